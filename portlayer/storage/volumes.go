package storage

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/sirupsen/logrus"

	"github.com/vic-engine/vic/pkg/nfs"
	"github.com/vic-engine/vic/pkg/spec"
)

// VolumeDatastore is what volumes need of a datastore beyond the image store.
// Implemented by vsphere.Datastore.
type VolumeDatastore interface {
	Datastore
	// CopyDiskAs is CopyDisk with the destination's provisioning: "thin",
	// "zeroedthick" or "eagerzeroedthick". src may be on another datastore.
	CopyDiskAs(ctx context.Context, src, dst, format string) error
	// ExtendDisk makes a disk larger that no running VM has. It never shrinks.
	ExtendDisk(ctx context.Context, path string, capacity int64) error
	// Allocated gives the bytes that a disk takes of the datastore.
	Allocated(ctx context.Context, path string) (int64, error)
	// StoragePolicy finds the id of a storage policy that the datastore can hold to.
	// ErrInvalidArgument: there is none of that name, or it cannot; ErrNotImplemented: there
	// are no policies here.
	StoragePolicy(ctx context.Context, name string) (id string, err error)
}

// VolumesConfig of the volume stores of a VCH. What has no default must be set.
type VolumesConfig struct {
	// Stores by label, as in spec.VCH.VolumeStores; none: nothing can be made.
	Stores map[string]string
	// VCH is the UUID of the VCH, the mark of creates under way.
	VCH string
	// Open finds a datastore by its name. It is asked again after a failure.
	Open func(ctx context.Context, datastore string) (VolumeDatastore, error)
	// DialNFS connects to NFS servers; nil is nfs.DialLow.
	DialNFS nfs.Dialer
	// Spool is a folder for files being worked on.
	Spool string
	// Containers are all that are known, as they are now.
	Containers func() []*spec.View
	// Grow makes the disk larger that a running container has on scsi0:unit, and
	// then its filesystem; grew says whether the disk is larger, also on an error.
	Grow func(ctx context.Context, container string, unit int, capacity int64) (grew bool, err error)
	// MkfsXFS is the program that makes an XFS; empty: /sbin/mkfs.xfs.
	MkfsXFS string
	// ScanTimeout bounds one look at a store; zero: 30 seconds.
	ScanTimeout time.Duration
	// Retry is the wait after a store could not be reached, doubled each time up
	// to a minute; zero: 2 seconds.
	Retry time.Duration
	// Now tells the time; nil is time.Now.
	Now func() time.Time
	Log *logrus.Entry
}

const (
	defaultScanTimeout = 30 * time.Second
	defaultRetry       = 2 * time.Second
	longestRetry       = time.Minute
	// rescanEvery is how often a store is looked at that others may write too.
	rescanEvery = 5 * time.Minute
	// refreshAfter is how old what a list shows may be before it is read again.
	refreshAfter = 10 * time.Second
	// sizeAfter is the same for each disk, which takes a call for each.
	sizeAfter = time.Minute
	// volumeSpool begins the names of this part's folders in the spool.
	volumeSpool = "volume-"
)

// Volumes are the volumes of a VCH, in all its stores. Reads are from memory.
// What there is, the datastores' files say: a VCH that is made anew with the
// same stores finds its volumes again.
type Volumes struct {
	cfg    VolumesConfig
	log    *logrus.Entry
	stores map[string]*volumeStore
	labels []string // of stores, sorted
	work   keyLock  // by volume name or blank
	// scanned is closed when every store was looked at once, or could not be.
	scanned chan struct{}

	mu    sync.Mutex // guards all below and the stores' state, never held across a call
	byID  map[string]*volume
	holds map[string]int // containers being made with a volume, by name
	seq   uint64         // grows with each volume that becomes known
}

// volume is one volume in memory, replaced as a whole.
type volume struct {
	volumeRecord
	store     *volumeStore
	allocated int64
	// problem says what is wrong with the volume itself.
	problem string
	seq     uint64
}

// NewVolumes makes the volumes of a VCH that knows none yet; Run finds them. A
// store that cannot be used, now or ever, is no error: its volumes are shown so.
func NewVolumes(cfg VolumesConfig) (*Volumes, error) {
	if cfg.Open == nil || cfg.Containers == nil || cfg.Grow == nil || cfg.Spool == "" || cfg.VCH == "" || cfg.Log == nil {
		return nil, errors.New("volumes: a field of VolumesConfig that has no default is not set")
	}
	if cfg.ScanTimeout == 0 {
		cfg.ScanTimeout = defaultScanTimeout
	}
	if cfg.Retry == 0 {
		cfg.Retry = defaultRetry
	}
	if cfg.MkfsXFS == "" {
		cfg.MkfsXFS = defaultMkfsXFS
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	v := &Volumes{
		cfg: cfg, log: cfg.Log, stores: map[string]*volumeStore{}, scanned: make(chan struct{}),
		byID: map[string]*volume{}, holds: map[string]int{},
	}
	for label := range cfg.Stores {
		v.labels = append(v.labels, label)
	}
	sort.Strings(v.labels)
	places := map[string]string{}
	for _, label := range v.labels {
		s := newVolumeStore(label, cfg.Stores[label])
		if first, ok := places[s.root]; ok && s.refused == nil {
			s.refused = fmt.Errorf("it is the same place as store %q: %w", first, errdefs.ErrInvalidArgument)
		}
		places[s.root] = label
		v.stores[label] = s
	}
	return v, nil
}

// Scanned is closed when every store was looked at once, or could not be.
func (v *Volumes) Scanned() <-chan struct{} { return v.scanned }

// Run looks at the stores, again and again, until ctx is done.
func (v *Volumes) Run(ctx context.Context) error {
	if err := cleanSpool(v.cfg.Spool, volumeSpool); err != nil {
		return fmt.Errorf("clean spool folder: %w", err)
	}
	var first, all sync.WaitGroup
	for _, label := range v.labels {
		s := v.stores[label]
		if s.refused != nil {
			v.log.WithError(s.refused).WithField("store", label).Error("volume store cannot be used")
			continue
		}
		first.Add(1)
		all.Go(func() { v.watch(ctx, s, first.Done) })
	}
	first.Wait()
	close(v.scanned)
	all.Wait()
	return nil
}

// Volume gives one volume.
func (v *Volumes) Volume(name string) (spec.Volume, error) {
	v.mu.Lock()
	if x := v.byID[name]; x != nil {
		defer v.mu.Unlock()
		return v.view(x), nil
	}
	v.mu.Unlock()
	if x, ok := v.referenced()[name]; ok {
		return x, nil
	}
	return spec.Volume{}, noSuchVolume(name)
}

func noSuchVolume(name string) error {
	return fmt.Errorf("get %s: no such volume: %w", name, errdefs.ErrNotFound)
}

// Volumes gives all volumes by name, and tells which stores cannot be reached.
func (v *Volumes) Volumes() (list []spec.Volume, warnings []string) {
	known := map[string]bool{}
	v.mu.Lock()
	for name, x := range v.byID {
		known[name] = true
		list = append(list, v.view(x))
	}
	for _, label := range v.labels {
		s := v.stores[label]
		s.wake(v.cfg.Now())
		if why := s.trouble(); why != "" {
			warnings = append(warnings, fmt.Sprintf("volume store %q (%s) cannot be used: %s", label, s.text, why))
		}
		warnings = append(warnings, s.odd()...)
	}
	v.mu.Unlock()
	for name, x := range v.referenced() {
		if !known[name] {
			list = append(list, x)
		}
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Name < list[j].Name })
	return list, warnings
}

// view is called with mu held.
func (v *Volumes) view(x *volume) spec.Volume {
	out := x.view(x.store)
	out.Allocated = x.allocated
	out.Unavailable = x.problem
	if why := x.store.trouble(); why != "" {
		out.Unavailable = fmt.Sprintf("volume store %q cannot be reached: %s", x.store.label, why)
	}
	if out.Unavailable != "" || x.store.share != nil {
		x.store.wake(v.cfg.Now()) // who asks next may find it back, or find a server gone
	}
	return out
}

// referenced are the volumes that are not known but that a container has, and
// whose store cannot say whether they are there.
func (v *Volumes) referenced() map[string]spec.Volume {
	out := map[string]spec.Volume{}
	containers := v.cfg.Containers()
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, c := range containers {
		for _, m := range c.Container.Mounts {
			if !m.Type.IsVolume() || m.Name == "" || v.byID[m.Name] != nil {
				continue
			}
			s := v.storeOf(m.Source)
			x := spec.Volume{Name: m.Name, Driver: defaultDriver, Source: m.Source, Type: m.Type, FSType: m.FSType, Access: accessReadWrite}
			switch {
			case s == nil:
				x.Unavailable = "no volume store of the VCH holds " + m.Source
			case s.trouble() != "":
				x.Store = s.label
				x.Unavailable = fmt.Sprintf("volume store %q cannot be reached: %s", s.label, s.trouble())
			default:
				continue // the store was looked at, and it is gone
			}
			out[m.Name] = x
		}
	}
	return out
}

// storeOf is the store that a mount's source is in. Called with mu held or before Run.
func (v *Volumes) storeOf(source string) *volumeStore {
	for _, label := range v.labels {
		s := v.stores[label]
		if s.refused == nil && s.has(source) {
			return s
		}
	}
	return nil
}

// Hold gives a volume for a container that is being made, and keeps it from
// being removed until release was called: by then the container is known, or
// will never be.
func (v *Volumes) Hold(name string) (x spec.Volume, release func(), err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	known := v.byID[name]
	if known == nil {
		return spec.Volume{}, nil, noSuchVolume(name)
	}
	x = v.view(known)
	if x.Unavailable != "" {
		return spec.Volume{}, nil, fmt.Errorf("volume %s: %s: %w", name, x.Unavailable, errdefs.ErrUnavailable)
	}
	v.holds[name]++
	return x, sync.OnceFunc(func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		if v.holds[name]--; v.holds[name] == 0 {
			delete(v.holds, name)
		}
	}), nil
}

// user is how a container has a volume.
type user struct {
	id, name string
	unit     int
	running  bool
	writes   bool
}

// users are the containers that mount a source. A container that has it several
// times is there once, and writes if one of its mounts does.
func (v *Volumes) users(source string) []user {
	var out []user
	for _, c := range v.cfg.Containers() {
		var u *user
		for _, m := range c.Container.Mounts {
			if !m.Type.IsVolume() || m.Source != source {
				continue
			}
			if u == nil {
				out = append(out, user{id: c.Container.ID, name: c.Container.Name, unit: m.Unit, running: isOn(c.Status.Phase)})
				u = &out[len(out)-1]
			}
			u.writes = u.writes || !m.ReadOnly
		}
	}
	return out
}

// isOn tells whether a container's VM has its disks open.
func isOn(p spec.Phase) bool {
	return p == spec.PhaseStarting || p == spec.PhaseRunning || p == spec.PhaseStopping
}

// ready waits until the stores were looked at, which they are in moments or
// after ScanTimeout: until then nobody knows what exists.
func (v *Volumes) ready(ctx context.Context) error {
	select {
	case <-v.scanned:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (v *Volumes) newSpool() (*spool, error) {
	return newSpool(v.cfg.Spool, volumeSpool)
}
