package enginetest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vic-engine/vic/pkg/docker/engine"
	"github.com/vic-engine/vic/pkg/spec"

	"github.com/containerd/errdefs"
)

var _ engine.Volumes = (*Volumes)(nil)

// Volumes are volume stores in memory.
type Volumes struct {
	// Stores are the labels that there are. Set before use.
	Stores []string
	// Warnings are given with lists; RemoveErr, when set, is RemoveVolume's.
	Warnings  []string
	RemoveErr error
	// OnCreate, when set, is called before a volume is made; its error is the create's.
	OnCreate func(spec.VolumeRequest) error

	mu   sync.Mutex // guards vols
	vols map[string]spec.Volume
}

// NewVolumes makes empty stores with these labels.
func NewVolumes(labels ...string) *Volumes {
	return &Volumes{Stores: labels, vols: map[string]spec.Volume{}}
}

// CreateVolume implements engine.Volumes.
func (v *Volumes) CreateVolume(ctx context.Context, r spec.VolumeRequest) (spec.Volume, error) {
	if err := ctx.Err(); err != nil {
		return spec.Volume{}, err
	}
	if v.OnCreate != nil {
		if err := v.OnCreate(r); err != nil {
			return spec.Volume{}, err
		}
	}
	fail := func(class error, text string) (spec.Volume, error) {
		return spec.Volume{}, fmt.Errorf("create volume %s: %s: %w", r.Name, text, class)
	}
	if len(r.Name) < 2 || strings.ContainsAny(r.Name, "/: ") {
		return fail(errdefs.ErrInvalidArgument, "volume name is not valid")
	}
	store := "default"
	for k, o := range r.Options {
		if strings.EqualFold(k, "VolumeStore") {
			store = o
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if old, ok := v.vols[r.Name]; ok {
		if len(r.Options) > 0 && !maps.Equal(old.Options, r.Options) {
			return fail(errdefs.ErrConflict, "a volume of this name exists with other options")
		}
		return old, nil
	}
	if !slices.Contains(v.Stores, store) {
		return fail(errdefs.ErrNotFound, "no volume store "+store)
	}
	driver := r.Driver
	if driver == "" {
		driver = "vsphere"
	}
	n := spec.Volume{
		Name: r.Name, Driver: driver, Store: store, Source: "[mydatastore] vols/volumes/" + r.Name + "/" + r.Name + ".vmdk", Type: spec.MountVolume,
		FSType: "ext4", Capacity: 1 << 30, Allocated: 1 << 20, Access: "read-write", Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Labels: maps.Clone(r.Labels), Options: maps.Clone(r.Options), Anonymous: r.Anonymous,
	}
	v.vols[r.Name] = n
	return n, nil
}

// Volume implements engine.Volumes.
func (v *Volumes) Volume(name string) (spec.Volume, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	x, ok := v.vols[name]
	if !ok {
		return x, fmt.Errorf("get %s: no such volume: %w", name, errdefs.ErrNotFound)
	}
	return x, nil
}

// Volumes implements engine.Volumes.
func (v *Volumes) Volumes() ([]spec.Volume, []string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	out := []spec.Volume{}
	for _, name := range slices.Sorted(maps.Keys(v.vols)) {
		out = append(out, v.vols[name])
	}
	return out, v.Warnings
}

// RemoveVolume implements engine.Volumes.
func (v *Volumes) RemoveVolume(_ context.Context, name string) error {
	if v.RemoveErr != nil {
		return v.RemoveErr
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if _, ok := v.vols[name]; !ok {
		return fmt.Errorf("remove volume %s: %w", name, errdefs.ErrNotFound)
	}
	delete(v.vols, name)
	return nil
}

// GrowVolume implements engine.Volumes.
func (v *Volumes) GrowVolume(_ context.Context, name string, capacity int64) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	x, ok := v.vols[name]
	switch {
	case !ok:
		return fmt.Errorf("grow volume %s: %w", name, errdefs.ErrNotFound)
	case capacity < x.Capacity:
		return fmt.Errorf("grow volume %s: a volume cannot be made smaller: %w", name, errdefs.ErrInvalidArgument)
	}
	x.Capacity = capacity
	v.vols[name] = x
	return nil
}
