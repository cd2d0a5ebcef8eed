package storage

import (
	"context"
	"errors"
	"fmt"
	"path"
	"sort"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sync/errgroup"

	"github.com/vic-engine/vic/pkg/nfs"
	"github.com/vic-engine/vic/pkg/spec"
)

// volumeStore is one place for volumes. What is not fixed is guarded by the mu
// of Volumes.
type volumeStore struct {
	label, text string
	// datastore is its name, or the place of a share: "nfs://host/path".
	datastore string
	// share is where the store is if that is no datastore.
	share *nfs.Share
	// root is the folder of the volumes' folders, "[ds] path/volumes".
	root string
	// refused says why the store can never be used.
	refused error
	// again asks watch for another look.
	again chan struct{}

	ds      VolumeDatastore // nil until it was found
	problem error           // why it could not be looked at the last time
	looked  bool            // it was looked at, or could not be, at least once
	last    time.Time       // when it was last looked at or asked for
	sized   time.Time       // when the disks of its known volumes were last looked at
	strange map[string]string
}

func newVolumeStore(label, text string) *volumeStore {
	s := &volumeStore{label: label, text: text, again: make(chan struct{}, 1), strange: map[string]string{}}
	if nfs.IsShare(text) {
		share, err := nfs.Parse(text)
		if err != nil {
			s.refused = fmt.Errorf("volume store: %w", err)
			return s
		}
		s.share, s.datastore = &share, share.Place()
		s.root = sharePath(s.datastore, volumesFolder)
		return s
	}
	s.datastore, s.root, s.refused = parseStore(text)
	return s
}

// parseStore reads where a store is: "[ds] path" or "ds/path".
func parseStore(text string) (datastore, root string, err error) {
	bad := func(why string, class error) (string, string, error) {
		return "", "", fmt.Errorf("volume store %q: %s: %w", text, why, class)
	}
	scheme, rest, ok := strings.Cut(text, "://")
	if ok && !strings.EqualFold(scheme, "ds") {
		return bad("it is neither a datastore nor ds:// nor nfs://", errdefs.ErrInvalidArgument)
	}
	if !ok {
		rest = text
	}
	var dir string
	if after, found := strings.CutPrefix(rest, "["); found {
		datastore, dir, found = strings.Cut(after, "]")
		if !found {
			return bad("want \"[datastore] path\" or \"datastore/path\"", errdefs.ErrInvalidArgument)
		}
	} else {
		datastore, dir, _ = strings.Cut(rest, "/")
	}
	if datastore = strings.TrimSpace(datastore); datastore == "" || strings.ContainsAny(datastore+dir, "[]\\\n\x00") {
		return bad("want \"[datastore] path\" or \"datastore/path\"", errdefs.ErrInvalidArgument)
	}
	dir = strings.Trim(path.Clean("/"+strings.TrimSpace(dir)), "/")
	return datastore, "[" + datastore + "] " + path.Join(dir, volumesFolder), nil
}

// volumesFolder is in every store what the volumes' folders are in.
const volumesFolder = "volumes"

func (s *volumeStore) folder(name string) string { return s.root + "/" + name }

// disk is the volume's disk, or the folder with its data on a share.
func (s *volumeStore) disk(name string) string { return s.folder(name) + "/" + s.diskName(name) }

func (s *volumeStore) diskName(name string) string {
	if s.share != nil {
		return dataFolder
	}
	return name + ".vmdk"
}

// source is the volume as mounts name it: its disk, or host:/path.
func (s *volumeStore) source(name string) string {
	if s.share != nil {
		return s.share.Source(path.Join(volumesFolder, name, dataFolder))
	}
	return s.disk(name)
}

// has tells whether a mount's source would be a volume of this store.
func (s *volumeStore) has(source string) bool {
	if s.share != nil {
		return path.Dir(path.Dir(source)) == s.share.Source(volumesFolder)
	}
	return parent(parent(source)) == s.root
}

func (s *volumeStore) meta(name string) string { return s.root + "/" + name + "/" + metaName }
func (s *volumeStore) mark(name string) string { return s.root + "/" + name + "/" + markName }

// blank is a disk that new volumes of its size are copies of. No volume can
// have such a name.
func (s *volumeStore) blank(fs string, capacity int64) string {
	return fmt.Sprintf("%s/.blank/%s-%d.vmdk", s.root, fs, capacity>>20)
}

// trouble says why the store cannot be used; called with the lock of Volumes.
func (s *volumeStore) trouble() string {
	switch {
	case s.refused != nil:
		return s.refused.Error()
	case s.problem != nil:
		return s.problem.Error()
	case !s.looked:
		return "it was not looked at yet"
	}
	return ""
}

// odd are complaints about single folders; called with the lock of Volumes.
func (s *volumeStore) odd() []string {
	var out []string
	for name, why := range s.strange {
		out = append(out, fmt.Sprintf("%s: %s", s.folder(name), why))
	}
	sort.Strings(out)
	return out
}

// wake asks for another look if the last is old; called with the lock of Volumes.
func (s *volumeStore) wake(now time.Time) {
	if s.refused != nil || now.Sub(s.last) < refreshAfter {
		return
	}
	s.last = now
	select {
	case s.again <- struct{}{}:
	default:
	}
}

// watch looks at a store until ctx is done; first is called after the first look.
func (v *Volumes) watch(ctx context.Context, s *volumeStore, first func()) {
	retry := v.cfg.Retry
	for {
		err := v.look(ctx, s)
		if ctx.Err() != nil {
			if first != nil {
				first()
			}
			return
		}
		wait := rescanEvery
		if err != nil {
			v.log.WithError(err).WithField("store", s.label).Warnf("volume store cannot be reached, trying again in %s", retry)
			wait, retry = retry, min(2*retry, longestRetry)
		} else {
			retry = v.cfg.Retry
		}
		if first != nil {
			first()
			first = nil
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-s.again:
		case <-ctx.Done():
		}
		t.Stop()
		if ctx.Err() != nil {
			return
		}
	}
}

// look finds what is in a store and notes how that went.
func (v *Volumes) look(ctx context.Context, s *volumeStore) error {
	work, cancel := context.WithTimeout(ctx, v.cfg.ScanTimeout)
	defer cancel()
	// A datastore that hangs may keep its call: nobody waits for that.
	done := make(chan error, 1)
	go func() { done <- v.scan(work, s) }()
	var err error
	select {
	case err = <-done:
	case <-work.Done():
		err = fmt.Errorf("no answer within %s: %w", v.cfg.ScanTimeout, errdefs.ErrUnavailable)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	s.looked, s.problem, s.last = true, err, v.cfg.Now()
	return err
}

// open gives the store's datastore.
func (v *Volumes) open(ctx context.Context, s *volumeStore) (VolumeDatastore, error) {
	v.mu.Lock()
	ds := s.ds
	v.mu.Unlock()
	if ds != nil {
		return ds, nil
	}
	var err error
	if s.share != nil {
		ds = newShareStore(*s.share, v.cfg.DialNFS)
	} else if ds, err = v.cfg.Open(ctx, s.datastore); err != nil {
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	s.ds = ds
	return ds, nil
}

// scan reads which volumes a store has, cleans up after creates that were cut
// off, and refreshes the sizes.
func (v *Volumes) scan(ctx context.Context, s *volumeStore) error {
	ds, err := v.open(ctx, s)
	if err != nil {
		return err
	}
	v.mu.Lock()
	before := v.seq
	sizes := v.cfg.Now().Sub(s.sized) >= sizeAfter
	v.mu.Unlock()
	entries, err := ds.List(ctx, s.root)
	if err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	there := map[string]bool{}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for _, e := range entries {
		if !e.Dir || !validVolumeName(e.Name) {
			continue
		}
		there[e.Name] = true
		g.Go(func() error { return v.scanOne(gctx, s, ds, e.Name, sizes) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if sizes {
		s.sized = v.cfg.Now()
	}
	for name, x := range v.byID {
		if x.store == s && !there[name] && x.seq <= before {
			delete(v.byID, name)
		}
	}
	for name := range s.strange {
		if !there[name] {
			delete(s.strange, name)
		}
	}
	return nil
}

// scanOne looks at one folder of a store, and at the disk of a volume that is
// known if sizes is set. Only a datastore that does not answer is an error.
func (v *Volumes) scanOne(ctx context.Context, s *volumeStore, ds VolumeDatastore, name string, sizes bool) error {
	unlock, err := v.work.lock(ctx, "volume:"+name)
	if err != nil {
		return err
	}
	defer unlock()
	v.mu.Lock()
	known := v.byID[name]
	v.mu.Unlock()
	if known != nil && known.store != s {
		v.note(s, name, fmt.Sprintf("volume store %q has a volume of this name, which is used", known.store.label))
		return nil
	}
	if known != nil && !sizes {
		return nil
	}
	if known != nil {
		return v.refresh(ctx, ds, known)
	}
	x, err := v.read(ctx, s, ds, name)
	switch {
	case err == nil:
		v.note(s, name, "")
		v.learn(x)
	case errdefs.IsNotFound(err):
		v.note(s, name, "")
	case errdefs.IsDataLoss(err), errdefs.IsNotImplemented(err), errdefs.IsFailedPrecondition(err):
		v.log.WithError(err).WithField(spec.FieldVolume, name).Warn("folder of a volume store is left alone")
		v.note(s, name, err.Error())
	default:
		return err
	}
	return nil
}

// note keeps a complaint about a folder, or takes it back.
func (v *Volumes) note(s *volumeStore, name, why string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if why == "" {
		delete(s.strange, name)
		return
	}
	s.strange[name] = why
}

// learn makes a volume known.
func (v *Volumes) learn(x *volume) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.seq++
	x.seq = v.seq
	v.byID[x.Name] = x
}

// refresh reads again what may have changed of a known volume.
func (v *Volumes) refresh(ctx context.Context, ds VolumeDatastore, known *volume) error {
	n, err := ds.Allocated(ctx, known.store.disk(known.Name))
	problem := ""
	switch {
	case errdefs.IsNotFound(err):
		problem = diskGone(known.store.source(known.Name))
	case err != nil:
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.byID[known.Name] != known {
		return nil
	}
	next := *known
	next.allocated, next.problem = n, problem
	v.byID[known.Name] = &next
	return nil
}

func diskGone(source string) string { return "its disk or folder " + source + " is gone" }

// read gives the volume of a folder. ErrNotFound: there is none, or no more.
// The name's lock is held.
func (v *Volumes) read(ctx context.Context, s *volumeStore, ds VolumeDatastore, name string) (*volume, error) {
	entries, err := ds.List(ctx, s.folder(name))
	if err != nil {
		return nil, err
	}
	var disk, mark, meta bool
	for _, e := range entries {
		disk = disk || e.Name == s.diskName(name)
		mark = mark || e.Name == markName
		meta = meta || e.Name == metaName
	}
	if !meta {
		return nil, v.cleanUp(ctx, s, ds, name, mark, len(entries))
	}
	raw, err := getSmall(ctx, ds, s.meta(name), maxVolumeRecord)
	if err != nil {
		return nil, err
	}
	r, err := parseVolume(raw, name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", metaName, err)
	}
	x := &volume{volumeRecord: *r, store: s}
	if !disk {
		x.problem = diskGone(s.source(name))
	} else if x.allocated, err = ds.Allocated(ctx, s.disk(name)); err != nil && !errdefs.IsNotFound(err) {
		return nil, err
	}
	if mark {
		if err := ds.Delete(ctx, s.mark(name)); err != nil {
			v.log.WithError(err).WithField(spec.FieldVolume, name).Warn("mark of a finished create could not be removed")
		}
	}
	return x, nil
}

// cleanUp removes what a create of this VCH has left. The folder of somebody
// else is ErrFailedPrecondition, else the answer is ErrNotFound.
func (v *Volumes) cleanUp(ctx context.Context, s *volumeStore, ds VolumeDatastore, name string, mark bool, files int) error {
	gone := fmt.Errorf("no volume in %s: %w", s.folder(name), errdefs.ErrNotFound)
	if mark {
		m, err := v.readMark(ctx, s, ds, name)
		if err != nil {
			return err
		}
		if m.VCH != v.cfg.VCH && v.cfg.Now().Sub(m.Begun) < foreignCreate {
			return fmt.Errorf("another VCH makes a volume here: %w", errdefs.ErrFailedPrecondition)
		}
	} else if files > 0 {
		return fmt.Errorf("it has no %s and is not the folder of a volume: %w", metaName, errdefs.ErrFailedPrecondition)
	} else {
		return gone // another VCH may be about to mark it; it is in nobody's way
	}
	v.log.WithField(spec.FieldVolume, name).Info("removing what an interrupted create of a volume left behind")
	if err := errors.Join(ds.DeleteDisk(ctx, s.disk(name)), ds.Delete(ctx, s.folder(name))); err != nil {
		return err
	}
	return gone
}
