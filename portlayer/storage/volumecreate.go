package storage

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/spec"
)

// CreateVolume makes a volume, or nothing. One of that name that exists is
// given back when its options agree with the request, else ErrConflict.
func (v *Volumes) CreateVolume(ctx context.Context, q spec.VolumeRequest) (spec.Volume, error) {
	if q.Name == "" {
		q.Name = anonymousName()
	}
	x, err := v.create(ctx, q)
	if err != nil {
		return spec.Volume{}, fmt.Errorf("create volume %s: %w", q.Name, err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.view(x), nil
}

func anonymousName() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func (v *Volumes) create(ctx context.Context, q spec.VolumeRequest) (*volume, error) {
	o, err := parseVolumeOptions(q.Options)
	driver, derr := checkDriver(q.Driver)
	if err := errors.Join(checkName(q.Name), derr, err); err != nil {
		return nil, err
	}
	if err := v.ready(ctx); err != nil {
		return nil, err
	}
	unlock, err := v.work.lock(ctx, "volume:"+q.Name)
	if err != nil {
		return nil, err
	}
	defer unlock()
	v.mu.Lock()
	known := v.byID[q.Name]
	v.mu.Unlock()
	if known != nil {
		return known, known.mustAgree(q)
	}
	var src *volume
	if o.cloneFrom != "" {
		if src, err = v.cloneSource(&o); err != nil {
			return nil, err
		}
	}
	s, ds, err := v.usable(ctx, o.store)
	if err != nil {
		return nil, err
	}
	if s.share != nil {
		if err := checkShare(s, q.Options); err != nil {
			return nil, err
		}
		o = volumeOptions{store: s.label, fstype: fsNFS, access: o.access}
	}
	// Another VCH with this store may have made it meanwhile.
	found, err := v.read(ctx, s, ds, q.Name)
	switch {
	case err == nil:
		v.learn(found)
		return found, found.mustAgree(q)
	case errdefs.IsFailedPrecondition(err):
		return nil, fmt.Errorf("%s is taken: %w: %w", s.folder(q.Name), err, errdefs.ErrConflict)
	case !errdefs.IsNotFound(err):
		return nil, err
	}
	if o.capacity == 0 && s.share == nil {
		o.capacity = defaultCapacity
	}
	if o.fstype == "" {
		o.fstype = fsExt4
	}
	policy := ""
	if o.policy != "" {
		if policy, err = ds.StoragePolicy(ctx, o.policy); err != nil {
			return nil, err
		}
	}
	x := &volume{store: s, volumeRecord: volumeRecord{
		Name: q.Name, Driver: driver, Created: v.cfg.Now().UTC(), FSType: o.fstype, Capacity: o.capacity,
		Format: o.format, Access: o.access, AttachAs: o.attach, Policy: o.policy, PolicyID: policy,
		Labels: maps.Clone(q.Labels), Options: maps.Clone(q.Options), Anonymous: q.Anonymous,
	}}
	if err := v.build(ctx, x, ds, src); err != nil {
		return nil, err
	}
	v.learn(x)
	v.log.WithField(spec.FieldVolume, q.Name).WithField("store", s.label).Info("volume made")
	return x, nil
}

func (x *volume) mustAgree(q spec.VolumeRequest) error {
	if x.agrees(q) {
		return nil
	}
	return fmt.Errorf("a volume of this name exists with other options: %w", errdefs.ErrConflict)
}

// cloneSource gives the volume to copy, and fills in what o leaves to it.
func (v *Volumes) cloneSource(o *volumeOptions) (*volume, error) {
	v.mu.Lock()
	src, problem := v.byID[o.cloneFrom], ""
	if src != nil {
		problem = v.view(src).Unavailable
	}
	v.mu.Unlock()
	switch {
	case src == nil:
		return nil, fmt.Errorf("clone-from: %w", noSuchVolume(o.cloneFrom))
	case problem != "":
		return nil, fmt.Errorf("clone-from %s: %s: %w", src.Name, problem, errdefs.ErrUnavailable)
	}
	if src.store.share != nil {
		return nil, fmt.Errorf("clone-from %s: it is a folder of an NFS share, which has no disk to copy: %w", src.Name, errdefs.ErrInvalidArgument)
	}
	for _, u := range v.users(src.store.disk(src.Name)) {
		if u.running && u.writes {
			return nil, fmt.Errorf("clone-from %s: container %s (%.12s) writes to it, stop it first: %w", src.Name, u.name, u.id, errdefs.ErrConflict)
		}
	}
	if o.store == "" {
		o.store = src.store.label
	}
	if o.fstype != "" && o.fstype != src.FSType {
		return nil, fmt.Errorf("clone-from %s: it has %s, and so has its copy; leave fstype out: %w", src.Name, src.FSType, errdefs.ErrInvalidArgument)
	}
	o.fstype = src.FSType
	if o.capacity == 0 {
		o.capacity = src.Capacity
	}
	if o.capacity < src.Capacity {
		return nil, fmt.Errorf("clone-from %s: it has %s, a copy cannot be smaller: %w", src.Name, size(src.Capacity), errdefs.ErrInvalidArgument)
	}
	return src, nil
}

// usable gives a store that can be worked with now.
func (v *Volumes) usable(ctx context.Context, label string) (*volumeStore, VolumeDatastore, error) {
	if label == "" {
		label = defaultStore
	}
	s := v.stores[label]
	if s == nil {
		if len(v.stores) == 0 {
			return nil, nil, fmt.Errorf("the VCH has no volume store; vic-machine create --volume-store datastore/path:%s gives it one: %w", label, errdefs.ErrNotFound)
		}
		if label == defaultStore {
			return nil, nil, fmt.Errorf("the VCH has no volume store %q, name one with --opt VolumeStore=: it has %s: %w", label, quoted(v.labels), errdefs.ErrNotFound)
		}
		return nil, nil, fmt.Errorf("the VCH has no volume store %q; it has %s: %w", label, quoted(v.labels), errdefs.ErrNotFound)
	}
	v.mu.Lock()
	trouble := s.trouble()
	refused := s.refused
	ds := s.ds
	v.mu.Unlock()
	if refused != nil {
		return nil, nil, refused
	}
	if trouble != "" || ds == nil {
		// It may be back: the next look tells, and the request finds out itself.
		if err := v.look(ctx, s); err != nil {
			return nil, nil, fmt.Errorf("volume store %q cannot be reached: %v: %w", label, err, errdefs.ErrUnavailable)
		}
		v.mu.Lock()
		ds = s.ds
		v.mu.Unlock()
	}
	return s, ds, nil
}

func quoted(labels []string) string { return fmt.Sprintf("%q", labels) }

// build makes the files of a volume: volume.json is the last of them, and before
// it a mark tells what there is from a volume. After a failure nothing is left.
func (v *Volumes) build(ctx context.Context, x *volume, ds VolumeDatastore, src *volume) error {
	s, name := x.store, x.Name
	if x.Format != formatThin && s.share == nil {
		capacity, free, err := ds.Space(ctx)
		if err != nil {
			return fmt.Errorf("read free space of datastore %s: %w", s.datastore, err)
		}
		if x.Capacity > free {
			return noRoom("the volume needs "+size(x.Capacity), s.datastore, capacity, free)
		}
	}
	var u undo
	u.add(func(ctx context.Context) error {
		if err := ds.DeleteDisk(ctx, s.disk(name)); err != nil {
			return err // the mark stays, and the next start cleans up
		}
		return ds.Delete(ctx, s.folder(name))
	})
	err := v.buildFiles(ctx, x, ds, src)
	if err == nil {
		u.success()
		return nil
	}
	if uerr := u.fail(ctx); uerr != nil {
		v.log.WithError(uerr).WithField(spec.FieldVolume, name).Error("create failed and is not wholly undone, the next start cleans up")
	}
	if errdefs.IsNotFound(err) {
		// Not the caller's to find: the class says that a store or volume is unknown.
		return fmt.Errorf("%v: %w", err, errdefs.ErrInternal)
	}
	return err
}

func (v *Volumes) buildFiles(ctx context.Context, x *volume, ds VolumeDatastore, src *volume) error {
	s, name := x.store, x.Name
	if err := ds.Mkdir(ctx, s.folder(name)); err != nil {
		return err
	}
	if err := v.putMark(ctx, s, ds, name); err != nil {
		return err
	}
	if s.share != nil {
		if err := ds.Mkdir(ctx, s.disk(name)); err != nil {
			return err
		}
	} else if src != nil {
		if err := ds.CopyDiskAs(ctx, src.store.disk(src.Name), s.disk(name), x.Format); err != nil {
			return err
		}
		if x.Capacity > src.Capacity {
			if err := ds.ExtendDisk(ctx, s.disk(name), x.Capacity); err != nil {
				return err
			}
		}
	} else if err := v.copyBlank(ctx, x, ds); err != nil {
		return err
	}
	// What cannot be known now is known at the next look.
	x.allocated, _ = ds.Allocated(ctx, s.disk(name))
	if err := x.save(ctx, s, ds); err != nil {
		return err
	}
	if err := ds.Delete(context.WithoutCancel(ctx), s.mark(name)); err != nil {
		v.log.WithError(err).WithField(spec.FieldVolume, name).Warn("mark of a finished create could not be removed")
	}
	return nil
}

// copyBlank makes the volume's disk from an empty one of its size, which is made
// at first use and stays.
func (v *Volumes) copyBlank(ctx context.Context, x *volume, ds VolumeDatastore) error {
	blank := x.store.blank(x.FSType, x.Capacity)
	unlock, err := v.work.lock(ctx, "blank:"+blank)
	if err != nil {
		return err
	}
	defer unlock()
	copyIt := func() error { return ds.CopyDiskAs(ctx, blank, x.store.disk(x.Name), x.Format) }
	if err := copyIt(); !errdefs.IsNotFound(err) {
		return err
	}
	if err := ds.Mkdir(ctx, parent(blank)); err != nil {
		return err
	}
	sp, err := v.newSpool()
	if err != nil {
		return err
	}
	mkfs := ext4Blank(volumeLabel)
	if x.FSType == fsXFS {
		mkfs = v.xfsBlank
	}
	if err := importBlank(ctx, ds, sp, blank, x.Capacity, mkfs); err != nil {
		return fmt.Errorf("make blank disk %s: %w", blank, err)
	}
	return copyIt()
}

// volumeLabel is the label of a volume's filesystem.
const volumeLabel = "vic-volume"
