package lab

import (
	"os"
	"path/filepath"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/lab/store"
)

// diskObj is the VirtualDiskManager.
type diskObj struct {
	*simulator.VirtualDiskManager
	l *Lab
}

// where is the file and datastore of a path, of a datacenter that may be left
// out when there is one.
func (l *Lab) where(c *simulator.Context, dc *types.ManagedObjectReference, name string) (*simulator.Datastore, string, types.BaseMethodFault) {
	var d *simulator.Datacenter
	if dc != nil {
		var ok bool
		if d, ok = c.Map.Get(*dc).(*simulator.Datacenter); !ok {
			return nil, "", &types.ManagedObjectNotFound{Obj: *dc}
		}
	} else if l.cfg.Mode == ModeVCenter {
		return nil, "", &types.InvalidArgument{InvalidProperty: "datacenter"}
	} else {
		d = c.Map.Any("Datacenter").(*simulator.Datacenter)
	}
	ds, rel, fault := l.onDatastore(c, d, name)
	if fault != nil {
		return nil, "", fault
	}
	return ds, filepath.Join(ds.Summary.Url, rel), nil
}

func (m *diskObj) task(ctx *simulator.Context, name string, fn job) types.ManagedObjectReference {
	return m.l.task(ctx, m.VirtualDiskManager, name, fn)
}

func (m *diskObj) CreateVirtualDiskTask(ctx *simulator.Context, req *types.CreateVirtualDisk_Task) soap.HasFault {
	return &methods.CreateVirtualDisk_TaskBody{Res: &types.CreateVirtualDisk_TaskResponse{
		Returnval: m.task(ctx, "createVirtualDisk", func(c *simulator.Context) (types.AnyType, types.BaseMethodFault) {
			ds, file, fault := m.l.where(c, req.Datacenter, req.Name)
			if fault != nil {
				return nil, fault
			}
			spec, ok := req.Spec.(types.BaseFileBackedVirtualDiskSpec)
			if !ok || filepath.Ext(file) != ".vmdk" {
				return nil, &types.InvalidArgument{InvalidProperty: "spec"}
			}
			s := spec.GetFileBackedVirtualDiskSpec()
			if fault := m.l.room(ds, diskOverhead); fault != nil {
				return nil, fault
			}
			err := store.Create(file, store.Spec{Capacity: s.CapacityKb * 1024, Thin: s.DiskType == string(types.VirtualDiskTypeThin), Adapter: adapter(s.AdapterType)})
			if err != nil {
				return nil, m.l.fileFault(file, err)
			}
			m.l.measure(c, ds)
			return req.Name, nil
		})}}
}

// adapter is ddb.adapterType for the API's name of it.
func adapter(name string) string {
	switch types.VirtualDiskAdapterType(name) {
	case types.VirtualDiskAdapterTypeIde:
		return "ide"
	case types.VirtualDiskAdapterTypeBusLogic:
		return "buslogic"
	}
	return "lsilogic"
}

func (m *diskObj) DeleteVirtualDiskTask(ctx *simulator.Context, req *types.DeleteVirtualDisk_Task) soap.HasFault {
	return &methods.DeleteVirtualDisk_TaskBody{Res: &types.DeleteVirtualDisk_TaskResponse{
		Returnval: m.task(ctx, "deleteVirtualDisk", func(c *simulator.Context) (types.AnyType, types.BaseMethodFault) {
			ds, file, fault := m.l.where(c, req.Datacenter, req.Name)
			if fault == nil {
				fault = m.l.lockedFile(file)
			}
			if fault != nil {
				return nil, fault
			}
			if err := store.Delete(file); err != nil {
				return nil, m.l.fileFault(file, err)
			}
			m.l.measure(c, ds)
			return nil, nil
		})}}
}

// lockedFile refuses a file that a running VM uses.
func (l *Lab) lockedFile(file string) types.BaseMethodFault {
	if l.opened(file, true) {
		return &types.FileLocked{FileFault: types.FileFault{File: l.shown(file)}}
	}
	return nil
}

func (m *diskObj) CopyVirtualDiskTask(ctx *simulator.Context, req *types.CopyVirtualDisk_Task) soap.HasFault {
	return &methods.CopyVirtualDisk_TaskBody{Res: &types.CopyVirtualDisk_TaskResponse{
		Returnval: m.task(ctx, "copyVirtualDisk", func(c *simulator.Context) (types.AnyType, types.BaseMethodFault) {
			_, src, fault := m.l.where(c, req.SourceDatacenter, req.SourceName)
			if fault != nil {
				return nil, fault
			}
			ds, dst, fault := m.l.where(c, other(req.DestDatacenter, req.SourceDatacenter), req.DestName)
			if fault != nil {
				return nil, fault
			}
			if req.Force != nil && *req.Force && exists(dst) {
				if fault := m.l.lockedFile(dst); fault != nil {
					return nil, fault
				}
				if err := store.Delete(dst); err != nil {
					return nil, m.l.fileFault(dst, err)
				}
			}
			fault = m.l.copyDisk(c, ds, src, dst)
			m.l.measure(c, ds)
			return nil, fault
		})}}
}

func other(a, b *types.ManagedObjectReference) *types.ManagedObjectReference {
	if a != nil {
		return a
	}
	return b
}

// copyDisk copies a disk into a datastore that has room for what is in it.
func (l *Lab) copyDisk(c *simulator.Context, ds *simulator.Datastore, src, dst string) types.BaseMethodFault {
	files, err := store.Files(src)
	if err != nil {
		return l.fileFault(src, err)
	}
	if l.opened(src, false) {
		return &types.FileLocked{FileFault: types.FileFault{File: l.shown(src)}}
	}
	var need int64
	for _, f := range files {
		fi, err := os.Stat(f)
		if err != nil {
			return l.missing(f)
		}
		need += store.Allocated(fi)
	}
	if fault := l.room(ds, need); fault != nil {
		return fault
	}
	if _, err := os.Stat(filepath.Dir(dst)); err != nil {
		return l.missing(filepath.Dir(dst))
	}
	if err := store.Copy(c, src, dst); err != nil {
		file := src
		if exists(dst) {
			file = dst
		}
		return l.fileFault(file, err)
	}
	return nil
}

func (m *diskObj) MoveVirtualDiskTask(ctx *simulator.Context, req *types.MoveVirtualDisk_Task) soap.HasFault {
	return &methods.MoveVirtualDisk_TaskBody{Res: &types.MoveVirtualDisk_TaskResponse{
		Returnval: m.task(ctx, "moveVirtualDisk", func(c *simulator.Context) (types.AnyType, types.BaseMethodFault) {
			_, src, fault := m.l.where(c, req.SourceDatacenter, req.SourceName)
			if fault != nil {
				return nil, fault
			}
			_, dst, fault := m.l.where(c, other(req.DestDatacenter, req.SourceDatacenter), req.DestName)
			if fault == nil {
				fault = m.l.lockedFile(src)
			}
			if fault != nil {
				return nil, fault
			}
			if err := store.Move(c, src, dst); err != nil {
				file := src
				if exists(dst) {
					file = dst
				}
				return nil, m.l.fileFault(file, err)
			}
			return nil, nil
		})}}
}

func (m *diskObj) ExtendVirtualDiskTask(ctx *simulator.Context, req *types.ExtendVirtualDisk_Task) soap.HasFault {
	return &methods.ExtendVirtualDisk_TaskBody{Res: &types.ExtendVirtualDisk_TaskResponse{
		Returnval: m.task(ctx, "extendVirtualDisk", func(c *simulator.Context) (types.AnyType, types.BaseMethodFault) {
			ds, file, fault := m.l.where(c, req.Datacenter, req.Name)
			if fault == nil {
				// As on an ESXi: a running VM's disk grows by ReconfigVM_Task.
				fault = m.l.lockedFile(file)
			}
			if fault != nil {
				return nil, fault
			}
			return req.Name, m.l.extendFile(c, ds, file, req.NewCapacityKb)
		})}}
}

// extendFile grows a disk that no running VM has, and tells the VMs that are off of
// its new size.
func (l *Lab) extendFile(c *simulator.Context, ds *simulator.Datastore, file string, kb int64) types.BaseMethodFault {
	d, err := store.ReadDescriptor(file)
	if err != nil {
		return l.fileFault(file, err)
	}
	if kb > maxDisk/1024 || kb*1024 < d.Capacity() {
		return reason(&types.InvalidArgument{InvalidProperty: "newCapacityKb"}, "%s has %d KB, and a disk can't shrink", l.shown(file), d.Capacity()/1024)
	}
	n := newDisk{path: file, ds: ds, capacity: kb * 1024, thin: d.Get("ddb.thinProvisioned") == "1"}
	if fault := l.canGrow(n, n.capacity-d.Capacity()); fault != nil {
		return fault
	}
	if err := store.Extend(file, n.capacity); err != nil {
		return l.fileFault(file, err)
	}
	l.measure(c, ds)
	l.resized(c, file, n.capacity)
	return nil
}

// resized shows a disk's size in every VM that has it.
func (l *Lab) resized(c *simulator.Context, file string, capacity int64) {
	name := l.shown(file)
	for _, ref := range c.Map.AllReference("VirtualMachine") {
		o, ok := ref.(*simulator.VirtualMachine)
		if !ok {
			continue
		}
		locked(c, o, func() {
			if o.Config == nil {
				return
			}
			devices, found := snapshot(o).Config.Hardware.Device, false
			for _, d := range devices {
				if x, ok := d.(*types.VirtualDisk); ok {
					if b, ok := x.Backing.(types.BaseVirtualDeviceFileBackingInfo); ok && b.GetVirtualDeviceFileBackingInfo().FileName == name {
						x.CapacityInBytes, x.CapacityInKB, found = capacity, capacity/1024, true
					}
				}
			}
			if found {
				c.Update(o, []types.PropertyChange{set("config.hardware.device", devices)})
			}
		})
	}
}

func (m *diskObj) QueryVirtualDiskUuid(ctx *simulator.Context, req *types.QueryVirtualDiskUuid) soap.HasFault {
	body := &methods.QueryVirtualDiskUuidBody{}
	_, file, fault := m.l.where(ctx, req.Datacenter, req.Name)
	var d *store.Descriptor
	if fault == nil {
		var err error
		if d, err = store.ReadDescriptor(file); err != nil {
			fault = m.l.fileFault(file, err)
		}
	}
	if fault != nil {
		body.Fault_ = simulator.Fault(faultText(fault), fault)
		return body
	}
	body.Res = &types.QueryVirtualDiskUuidResponse{Returnval: d.Get("ddb.uuid")}
	return body
}

func (m *diskObj) SetVirtualDiskUuid(ctx *simulator.Context, req *types.SetVirtualDiskUuid) soap.HasFault {
	body := &methods.SetVirtualDiskUuidBody{}
	_, file, fault := m.l.where(ctx, req.Datacenter, req.Name)
	if fault == nil && vsphereUUID(req.Uuid) == "" {
		fault = &types.InvalidArgument{InvalidProperty: "uuid"}
	}
	if fault == nil {
		if err := store.SetUUID(file, req.Uuid); err != nil {
			fault = m.l.fileFault(file, err)
		}
	}
	if fault != nil {
		body.Fault_ = simulator.Fault(faultText(fault), fault)
		return body
	}
	body.Res = &types.SetVirtualDiskUuidResponse{}
	return body
}
