package storage

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/spec"
)

// RemoveVolume deletes a volume and its data. One that a container has, running
// or not, is ErrConflict.
func (v *Volumes) RemoveVolume(ctx context.Context, name string) error {
	if err := v.remove(ctx, name); err != nil {
		return fmt.Errorf("remove volume %s: %w", name, err)
	}
	v.log.WithField(spec.FieldVolume, name).Info("volume removed")
	return nil
}

func (v *Volumes) remove(ctx context.Context, name string) error {
	x, ds, unlock, err := v.take(ctx, name)
	if err != nil {
		return err
	}
	defer unlock()
	for _, u := range v.users(x.store.source(name)) {
		return fmt.Errorf("volume is in use by container %s (%.12s): %w", u.name, u.id, errdefs.ErrConflict)
	}
	v.mu.Lock()
	held := v.holds[name] > 0
	if !held {
		delete(v.byID, name) // from here on nobody can hold it
	}
	v.mu.Unlock()
	if held {
		return fmt.Errorf("volume is in use by a container that is being made: %w", errdefs.ErrConflict)
	}
	// The disk first: it is what can be refused. volume.json tells what is left
	// if the rest fails, and the next try takes it.
	if err = ds.DeleteDisk(ctx, x.store.disk(name)); err == nil {
		if err = ds.Delete(context.WithoutCancel(ctx), x.store.folder(name)); err == nil {
			return nil
		}
		gone := *x
		gone.problem, gone.allocated = diskGone(x.store.source(name)), 0
		x = &gone
	}
	v.learn(x)
	return err
}

// take gives a volume to change, with its name's lock.
func (v *Volumes) take(ctx context.Context, name string) (*volume, VolumeDatastore, func(), error) {
	if err := v.ready(ctx); err != nil {
		return nil, nil, nil, err
	}
	unlock, err := v.work.lock(ctx, "volume:"+name)
	if err != nil {
		return nil, nil, nil, err
	}
	v.mu.Lock()
	x := v.byID[name]
	var ds VolumeDatastore
	trouble := ""
	if x != nil {
		ds, trouble = x.store.ds, x.store.trouble()
	}
	v.mu.Unlock()
	switch {
	case x == nil:
		err = noSuchVolume(name)
		if r, ok := v.referenced()[name]; ok {
			err = fmt.Errorf("%s: %w", r.Unavailable, errdefs.ErrUnavailable)
		}
	case trouble != "":
		err = fmt.Errorf("volume store %q cannot be reached: %s: %w", x.store.label, trouble, errdefs.ErrUnavailable)
	}
	if err != nil {
		unlock()
		return nil, nil, nil, err
	}
	return x, ds, unlock, nil
}

// GrowVolume makes a volume larger, in bytes, also while a container writes to
// it. Its filesystem follows at once in a running container, else when the
// volume is next mounted. Nothing makes a volume smaller.
func (v *Volumes) GrowVolume(ctx context.Context, name string, capacity int64) error {
	if err := v.grow(ctx, name, capacity); err != nil {
		return fmt.Errorf("grow volume %s: %w", name, err)
	}
	return nil
}

func (v *Volumes) grow(ctx context.Context, name string, capacity int64) error {
	capacity, err := checkCapacity(capacity)
	if err != nil {
		return err
	}
	x, ds, unlock, err := v.take(ctx, name)
	if err != nil {
		return err
	}
	defer unlock()
	switch {
	case x.store.share != nil:
		return fmt.Errorf("it is a folder of the NFS share %s and has what room there is: %w", x.store.share.Place(), errdefs.ErrInvalidArgument)
	case x.problem != "":
		return fmt.Errorf("%s: %w", x.problem, errdefs.ErrUnavailable)
	case capacity < x.Capacity:
		return fmt.Errorf("it has %s, and a volume cannot be made smaller: %w", size(x.Capacity), errdefs.ErrInvalidArgument)
	case capacity == x.Capacity:
		return nil
	}
	grew, growErr := v.growDisk(ctx, x, ds, capacity)
	if !grew {
		return growErr
	}
	// The disk is larger whatever else fails.
	next := *x
	next.Capacity = capacity
	saved := next.save(context.WithoutCancel(ctx), x.store, ds)
	v.learn(&next)
	v.log.WithField(spec.FieldVolume, name).WithField("capacity", size(capacity)).Info("volume grown")
	if growErr != nil {
		return growErr
	}
	return saved
}

func (v *Volumes) growDisk(ctx context.Context, x *volume, ds VolumeDatastore, capacity int64) (grew bool, err error) {
	disk := x.store.disk(x.Name)
	for _, u := range v.users(disk) {
		switch {
		case !u.running:
		case u.writes:
			return v.cfg.Grow(ctx, u.id, u.unit, capacity)
		default:
			return false, fmt.Errorf("container %s (%.12s) reads it, stop it first: %w", u.name, u.id, errdefs.ErrConflict)
		}
	}
	if err := ds.ExtendDisk(ctx, disk, capacity); err != nil {
		return false, err
	}
	return true, nil
}
