package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vic-engine/vic/pkg/spec"

	"github.com/containerd/errdefs"
)

// anonymousLabel marks, as in Docker, volumes that nobody gave a name.
const anonymousLabel = "com.docker.volume.anonymous"

// VolumeDrivers are the names under which clients may ask for a volume. They
// mean the same.
func VolumeDrivers() []string { return []string{"local", "vsphere"} }

// VolumeInfo is a volume as clients see it.
type VolumeInfo struct {
	spec.Volume
	// Users are the ids of the containers that have it, running or not.
	Users []string
}

// VolumeCreate makes a volume, or gives the one of that name.
func (e *Engine) VolumeCreate(ctx context.Context, r spec.VolumeRequest) (VolumeInfo, error) {
	if e.vols == nil {
		return VolumeInfo{}, errNoVolumes()
	}
	if r.Name == "" {
		var err error
		if r.Name, err = newID(); err != nil {
			return VolumeInfo{}, err
		}
		r.Anonymous = true
	}
	v, _, err := e.makeVolume(ctx, r)
	if err != nil {
		return VolumeInfo{}, err
	}
	return VolumeInfo{Volume: v, Users: e.volumeUsers()[v.Name]}, nil
}

func errNoVolumes() error {
	return notImplemented("not supported: volumes: this engine has no volume stores")
}

// makeVolume makes a volume unless there is one of that name; made says which.
func (e *Engine) makeVolume(ctx context.Context, r spec.VolumeRequest) (v spec.Volume, made bool, err error) {
	if r.Driver != "" && !slices.Contains(VolumeDrivers(), r.Driver) {
		return v, false, notFound("create %s: error looking up volume plugin %s: plugin %q not found; there are %s", r.Name, r.Driver, r.Driver, strings.Join(VolumeDrivers(), " and "))
	}
	if err := checkVolumeName(r.Name); err != nil {
		return v, false, err
	}
	if r.Anonymous {
		r.Labels = mergeMap(map[string]string{anonymousLabel: ""}, r.Labels)
	}
	_, old := e.vols.Volume(r.Name)
	if v, err = e.vols.CreateVolume(ctx, r); err != nil {
		return v, false, err
	}
	if made = errdefs.IsNotFound(old); made {
		// At once: what follows, as a mount, is not reported before it.
		e.events.add(e.volumeEvent("create", v))
	}
	return v, made, nil
}

// VolumeInspect gives one volume.
func (e *Engine) VolumeInspect(name string) (VolumeInfo, error) {
	if e.vols == nil {
		return VolumeInfo{}, noSuchVolume(name)
	}
	v, err := e.vols.Volume(name)
	if errdefs.IsNotFound(err) {
		return VolumeInfo{}, noSuchVolume(name)
	}
	return VolumeInfo{Volume: v, Users: e.volumeUsers()[name]}, err
}

func noSuchVolume(name string) error { return notFound("get %s: no such volume", name) }

// VolumeList gives the volumes that the filters select, by name, and warnings
// about stores that cannot be reached.
func (e *Engine) VolumeList(f Filters) ([]VolumeInfo, []string, error) {
	if err := f.check("dangling", "driver", "label", "name"); err != nil {
		return nil, nil, err
	}
	dangling, err := f.boolean("dangling", false)
	if err != nil {
		return nil, nil, err
	}
	out := []VolumeInfo{}
	if e.vols == nil {
		return out, nil, nil
	}
	users := e.volumeUsers()
	list, warnings := e.vols.Volumes()
	for _, v := range list {
		if !f.match("name", v.Name) || !f.exact("driver", v.Driver) || !f.labels(v.Labels) {
			continue
		}
		if f.has("dangling") && dangling != (len(users[v.Name]) == 0) {
			continue
		}
		out = append(out, VolumeInfo{Volume: v, Users: users[v.Name]})
	}
	return out, warnings, nil
}

// VolumeRemove deletes a volume and its data. With force one that is not there
// is no error.
func (e *Engine) VolumeRemove(ctx context.Context, name string, force bool) error {
	if _, err := e.VolumeInspect(name); err != nil {
		if force && errdefs.IsNotFound(err) {
			return nil
		}
		return err
	}
	ctx, cancel := e.detach(ctx) // half removed is worse than late
	defer cancel()
	err := e.dropVolume(ctx, name)
	if force && errdefs.IsNotFound(err) {
		return nil
	}
	return err
}

// dropVolume removes a volume that no container has.
func (e *Engine) dropVolume(ctx context.Context, name string) error {
	if users := e.volumeUsers()[name]; len(users) > 0 {
		return conflict("remove %s: volume is in use - [%s]", name, strings.Join(users, ", "))
	}
	v, err := e.vols.Volume(name)
	if err != nil {
		return err
	}
	if err := e.vols.RemoveVolume(ctx, name); err != nil {
		return err
	}
	e.post(e.volumeEvent("destroy", v)) // after what the port layer reported so far
	return nil
}

// VolumePrune removes volumes that no container has: the anonymous ones, with
// the filter all=true every one. It gives the names and the bytes freed. A
// volume that cannot be removed is logged.
func (e *Engine) VolumePrune(ctx context.Context, f Filters) (gone []string, freed int64, err error) {
	if err := f.check("all", "label", "label!"); err != nil {
		return nil, 0, err
	}
	all, err := f.boolean("all", false)
	if err != nil {
		return nil, 0, err
	}
	if !e.lockPrune() {
		return nil, 0, conflict("a prune operation is already running")
	}
	defer e.unlockPrune()
	var list []spec.Volume
	if e.vols != nil {
		list, _ = e.vols.Volumes()
	}
	for _, v := range list {
		if !(all || v.Anonymous) || v.Unavailable != "" || !f.labels(v.Labels) || !f.notLabels(v.Labels) || len(e.volumeUsers()[v.Name]) > 0 {
			continue
		}
		if ctx.Err() != nil {
			return gone, freed, nil // as Docker: what was done is reported
		}
		if err := e.dropVolume(context.WithoutCancel(ctx), v.Name); err != nil {
			e.log.WithField(spec.FieldVolume, v.Name).WithError(err).Warn("prune volume")
			continue
		}
		gone = append(gone, v.Name)
		freed += v.Allocated
	}
	e.pruned("volume", freed)
	return gone, freed, nil
}

// VolumeGrow makes a volume larger, in bytes. It goes on when the caller leaves.
func (e *Engine) VolumeGrow(ctx context.Context, name string, capacity int64) (VolumeInfo, error) {
	if _, err := e.VolumeInspect(name); err != nil {
		return VolumeInfo{}, err
	}
	ctx, cancel := e.detach(ctx)
	defer cancel()
	if err := e.vols.GrowVolume(ctx, name, capacity); err != nil {
		return VolumeInfo{}, err
	}
	return e.VolumeInspect(name)
}

// volumeUsers are the ids of the containers that have each volume, also of
// those that are being made.
func (e *Engine) volumeUsers() map[string][]string {
	out := map[string][]string{}
	add := func(name, id string) {
		if !slices.Contains(out[name], id) {
			out[name] = append(out[name], id)
		}
	}
	// First those being made: one that is done in between is in the snapshots.
	e.mu.Lock()
	for id, names := range e.making {
		for _, name := range names {
			add(name, id)
		}
	}
	e.mu.Unlock()
	for _, v := range e.pl.Snapshots() {
		for _, m := range v.Container.Mounts {
			if m.Name != "" {
				add(m.Name, v.Container.ID)
			}
		}
	}
	for _, ids := range out {
		slices.Sort(ids)
	}
	return out
}

func (e *Engine) volumeEvent(action string, v spec.Volume) Event {
	return Event{Type: "volume", Action: action, ID: v.Name, Attributes: map[string]string{"driver": v.Driver}, Time: e.clock.Now()}
}

// recordMounts records that a container's volumes were mounted or unmounted.
// Called only from Run.
func (e *Engine) recordMounts(v spec.View, action string, at time.Time) {
	for _, m := range v.Container.Mounts {
		if !m.Type.IsVolume() || m.Name == "" {
			continue
		}
		attr := map[string]string{"container": v.Container.ID, "driver": e.volumeDriver(m.Name)}
		if action == "mount" {
			attr["destination"], attr["read/write"], attr["propagation"] = m.Path, fmt.Sprint(!m.ReadOnly), ""
		}
		e.events.add(Event{Type: "volume", Action: action, ID: m.Name, Attributes: attr, Time: at})
	}
}

// volumeDriver is the driver that a volume was asked for with.
func (e *Engine) volumeDriver(name string) string {
	if e.vols != nil {
		if v, err := e.vols.Volume(name); err == nil && v.Driver != "" {
			return v.Driver
		}
	}
	return "vsphere"
}
