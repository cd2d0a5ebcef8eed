package exec

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/portlayer/vmspec"
)

// Volumes tells what the volumes are that containers mount. Implemented by
// storage.Volumes.
type Volumes interface {
	Volume(name string) (spec.Volume, error)
	// Hold gives a volume and keeps it from being removed until release is called.
	Hold(name string) (v spec.Volume, release func(), err error)
}

// volumeStep fills in what the disks of the container's volumes are. They are
// held until the container is known, or its create has failed.
func (m *Manager) volumeStep(_ context.Context, cr *creation) error {
	mounts := append([]spec.Mount(nil), cr.c.Mounts...)
	for i := range mounts {
		if !mounts[i].Type.IsVolume() {
			continue
		}
		if m.cfg.Volumes == nil {
			return fmt.Errorf("mount %s: there are no volumes here: %w", mounts[i].Path, errdefs.ErrNotImplemented)
		}
		v, release, err := m.cfg.Volumes.Hold(mounts[i].Name)
		if err != nil {
			return fmt.Errorf("mount %s: %w", mounts[i].Path, err)
		}
		cr.held = append(cr.held, release)
		mount(&mounts[i], v)
	}
	cr.c.Mounts = mounts
	return nil
}

func mount(m *spec.Mount, v spec.Volume) {
	m.Type, m.Source, m.FSType, m.DiskMode, m.Options = v.Type, v.Source, v.FSType, v.DiskMode, v.MountOptions
	m.Policy = v.PolicyID
	// Nobody writes to a volume that is read-only, however it is mounted.
	m.ReadOnly = m.ReadOnly || v.Access == "read-only"
}

// claim takes a container to starting, unless that takes a volume from another
// that runs: one VM writes to a disk, or many read it.
func (m *Manager) claim(c *Controller, begin func() error) error {
	m.claims.Lock()
	defer m.claims.Unlock()
	v, ok := c.listed()
	if ok && !active(v.Status.Phase) {
		if err := m.conflict(v.Container); err != nil {
			return err
		}
	}
	return begin()
}

func (m *Manager) conflict(c spec.Container) error {
	if len(c.Mounts) == 0 {
		return nil
	}
	mine := map[string]spec.Mount{}
	for _, mt := range c.Mounts {
		if mt.Type == spec.MountVolume {
			mine[mt.Source] = mt
		}
	}
	for _, other := range m.Snapshots() {
		maintained := !active(other.Status.Phase)
		if other.Container.ID == c.ID || maintained && !m.claimed(other.Container.ID) {
			continue
		}
		for _, mt := range other.Container.Mounts {
			wanted, ok := mine[mt.Source]
			if !ok || mt.Type != spec.MountVolume {
				continue
			}
			how := "reads"
			switch {
			case vmspec.Writes(other.Container, mt.Source):
				how = "writes to"
			case !vmspec.Writes(c, mt.Source):
				continue // both read
			}
			if maintained {
				return errMaintained
			}
			return fmt.Errorf("volume %s is in use: container %s (%.12s) is running and %s it; a volume has one running container, or several that only read it: %w",
				wanted.Name, other.Container.Name, other.Container.ID, how, errdefs.ErrConflict)
		}
	}
	return nil
}

// claimed tells whether a container that does not run has its volumes mounted all
// the same.
func (m *Manager) claimed(id string) bool {
	c, err := m.find(id)
	return err == nil && c.hasClaim()
}

// present makes sure that the volumes of a container are there before its VM is
// turned on. What cannot be known now, vSphere finds out, or the guest.
func (m *Manager) present(c spec.Container) error {
	if m.cfg.Volumes == nil {
		return nil
	}
	for _, mt := range c.Mounts {
		if !mt.Type.IsVolume() {
			continue
		}
		v, err := m.cfg.Volumes.Volume(mt.Name)
		if errdefs.IsNotFound(err) {
			return fmt.Errorf("mount %s: %w", mt.Path, err)
		}
		if mt.Type == spec.MountNFS && err == nil && v.Unavailable != "" {
			// The guest would find out only after it has booted.
			return fmt.Errorf("mount %s: volume %s: %s: %w", mt.Path, mt.Name, v.Unavailable, errdefs.ErrUnavailable)
		}
	}
	return nil
}

// missingVolumes gives the volumes' disks that somebody has taken out of the VM.
func missingVolumes(devices []types.BaseVirtualDevice, c spec.Container) []types.BaseVirtualDeviceConfigSpec {
	units := map[int32]bool{}
	for _, d := range devices {
		if disk, ok := d.(*types.VirtualDisk); ok && disk.UnitNumber != nil {
			units[*disk.UnitNumber] = true
		}
	}
	var out []types.BaseVirtualDeviceConfigSpec
	for _, d := range vmspec.VolumeDisks(c) {
		if !units[*d.GetVirtualDeviceConfigSpec().Device.GetVirtualDevice().UnitNumber] {
			out = append(out, d)
		}
	}
	return out
}

// GrowDisk makes the disk scsi0:unit of a running container larger, and then its
// filesystem. grew says whether the disk is larger; the filesystem may follow
// when it is next mounted.
func (m *Manager) GrowDisk(ctx context.Context, id string, unit int, capacity int64) (grew bool, err error) {
	c, err := m.find(id)
	if err != nil {
		return false, err
	}
	if err := m.growDisk(ctx, c, unit, capacity); err != nil {
		return false, fmt.Errorf("disk scsi0:%d of container %s: %w", unit, id, err)
	}
	if err := m.growFilesystem(context.WithoutCancel(ctx), id, unit); err != nil {
		return true, fmt.Errorf("the disk in container %s has grown, but not its filesystem, which will when the container starts next: %w", id, err)
	}
	return true, nil
}

// growTimeout bounds the growth of a filesystem, which writes inode tables: one
// MiB for each 64 that the disk has more, at worst.
const growTimeout = 10 * time.Minute

func (m *Manager) growFilesystem(ctx context.Context, id string, unit int) error {
	up, cancel := context.WithTimeout(ctx, lineTimeout)
	defer cancel()
	line, err := m.cfg.Lines.Session(up, id)
	if err != nil {
		return err
	}
	ctx, cancel = context.WithTimeout(ctx, growTimeout)
	defer cancel()
	return line.Grow(ctx, unit)
}

func (m *Manager) growDisk(ctx context.Context, c *Controller, unit int, capacity int64) error {
	if err := hold(ctx, c.config); err != nil {
		return err
	}
	defer letGo(c.config)
	devices, err := m.cfg.VSphere.Devices(ctx, c.ref())
	if err != nil {
		return err
	}
	for _, d := range devices {
		disk, ok := d.(*types.VirtualDisk)
		if !ok || disk.UnitNumber == nil || int(*disk.UnitNumber) != unit {
			continue
		}
		disk.CapacityInBytes, disk.CapacityInKB = capacity, capacity/1024
		c.touch()
		return m.cfg.VSphere.Reconfigure(ctx, c.ref(), types.VirtualMachineConfigSpec{DeviceChange: []types.BaseVirtualDeviceConfigSpec{
			&types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationEdit, Device: disk},
		}})
	}
	return fmt.Errorf("it is not in the VM: %w", errdefs.ErrNotFound)
}

// shared gives the disks of a VM that are not its own, by name, as vSAN shows
// folders by UUID; below tells that a snapshot holds one of them.
func shared(devices object.VirtualDeviceList, own func(file string) bool) (out []*types.VirtualDisk, below bool) {
	for _, d := range devices {
		disk, ok := d.(*types.VirtualDisk)
		if !ok {
			continue
		}
		b, ok := disk.Backing.(types.BaseVirtualDeviceFileBackingInfo)
		if !ok || own(b.GetVirtualDeviceFileBackingInfo().FileName) {
			continue
		}
		out = append(out, disk)
		if flat, ok := disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo); ok && flat.Parent != nil {
			below = true
		}
	}
	return out, below
}
