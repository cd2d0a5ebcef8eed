package vmspec

import (
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/pkg/vsphere"
)

// arrangeVolumes gives each volume a SCSI unit. Several mounts of one volume are
// one disk.
func arrangeVolumes(mounts []spec.Mount) error {
	units := map[string]int{}
	for i := range mounts {
		m := &mounts[i]
		if m.Type != spec.MountVolume {
			continue
		}
		unit, ok := units[m.Source]
		if !ok {
			n := firstUnit + len(units)
			if n >= vsphere.MaxDisks {
				return fmt.Errorf("container has more than %d volumes: %w", vsphere.MaxDisks-firstUnit, errdefs.ErrInvalidArgument)
			}
			unit = vsphere.SCSIUnit(n)
			units[m.Source] = unit
		}
		m.Unit = unit
	}
	return nil
}

// VolumeDisks add the disks of a container's volumes to its VM, in the order of their
// units, each with its storage policy: vCenter gives a disk one when it is in a VM. One that some mount writes to is kept by its VM alone; one that is only
// read is opened like an image's disk, so that many running VMs share it. Both
// are independent unless the volume says otherwise: a snapshot of the VM would
// give the disk another name, and its other users would miss what is written.
func VolumeDisks(c spec.Container) []types.BaseVirtualDeviceConfigSpec {
	var out []types.BaseVirtualDeviceConfigSpec
	done := map[string]bool{}
	for _, m := range c.Mounts {
		if m.Type != spec.MountVolume || done[m.Source] {
			continue
		}
		done[m.Source] = true
		d := vsphere.Disk{Path: m.Source, Unit: m.Unit, Mode: types.VirtualDiskModeIndependent_nonpersistent}
		if Writes(c, m.Source) {
			d.Mode = types.VirtualDiskModeIndependent_persistent
			if m.DiskMode != "" {
				d.Mode = types.VirtualDiskMode(m.DiskMode)
			}
		}
		// Volumes may be on any datastore: the path names it.
		out = append(out, vsphere.AddWithPolicy(d.Device(types.ManagedObjectReference{}), m.Policy))
	}
	return out
}

// Writes tells whether a container writes to a volume's disk, by one of its mounts.
func Writes(c spec.Container, disk string) bool {
	for _, m := range c.Mounts {
		if m.Type == spec.MountVolume && m.Source == disk && !m.ReadOnly {
			return true
		}
	}
	return false
}
