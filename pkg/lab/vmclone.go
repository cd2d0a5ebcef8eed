package lab

import (
	"os"
	"path/filepath"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/lab/store"
	"github.com/vic-engine/vic/pkg/lab/vmx"
)

func (v *vmObj) CloneVMTask(ctx *simulator.Context, req *types.CloneVM_Task) soap.HasFault {
	return &methods.CloneVM_TaskBody{Res: &types.CloneVM_TaskResponse{
		Returnval: v.l.task(ctx, v.VirtualMachine, "cloneVm", func(c *simulator.Context) (types.AnyType, types.BaseMethodFault) {
			return v.l.clone(c, v.VirtualMachine, req)
		})}}
}

// clone copies a VM that is off, disks and all.
func (l *Lab) clone(c *simulator.Context, o *simulator.VirtualMachine, req *types.CloneVM_Task) (types.AnyType, types.BaseMethodFault) {
	if fault := l.begin(o.Self, opConfig); fault != nil {
		return nil, fault
	}
	defer l.end(o.Self)
	var src *mo.VirtualMachine
	locked(c, o, func() { src = snapshot(o) })
	f, ok := c.Map.Get(req.Folder).(*simulator.Folder)
	if !ok {
		return nil, &types.ManagedObjectNotFound{Obj: req.Folder}
	}
	if src.Runtime.PowerState != poweredOff {
		return nil, reason(&types.InvalidPowerState{RequestedState: poweredOff, ExistingState: src.Runtime.PowerState}, "the lab clones a VM that is off only")
	}
	if req.Spec.Customization != nil || req.Spec.Snapshot != nil || len(req.Spec.Location.Disk) > 0 || len(req.Spec.Location.DeviceChange) > 0 {
		return nil, &types.NotSupported{}
	}
	pool := req.Spec.Location.Pool
	if pool == nil {
		pool = src.ResourcePool
	}
	if pool == nil {
		return nil, &types.InvalidArgument{InvalidProperty: "spec.location.pool"}
	}
	dc := datacenterOf(c, src.Parent)
	var home object.DatastorePath
	home.FromString(src.Config.Files.VmPathName)
	spec, err := vmx.ToSpec(vmx.FromVM(src), home)
	if err != nil {
		return nil, &types.SystemError{Reason: err.Error()}
	}
	// A clone is another VM: of its source it has the settings only.
	spec.Name, spec.Uuid, spec.InstanceUuid = req.Name, "", ""
	spec.Files = &types.VirtualMachineFileInfo{VmPathName: (&object.DatastorePath{Datastore: home.Datastore}).String()}
	if ref := req.Spec.Location.Datastore; ref != nil {
		ds, ok := c.Map.Get(*ref).(*simulator.Datastore)
		if !ok {
			return nil, &types.ManagedObjectNotFound{Obj: *ref}
		}
		spec.Files.VmPathName = (&object.DatastorePath{Datastore: ds.Name}).String()
	}
	dest, fault := l.homeOf(c, dc, &spec)
	if fault != nil {
		return nil, fault
	}
	if fault := checkName(spec.Name); fault != nil {
		return nil, fault
	}
	if _, fault := l.placeVM(c, f, &spec, *pool, req.Spec.Location.Host); fault != nil {
		return nil, fault
	}
	spec.Files.VmPathName = dest.String()
	undo, fault := l.cloneDisks(c, dc, dest, &spec)
	if fault != nil {
		return nil, fault
	}
	if s := req.Spec.Config; s != nil {
		spec.ExtraConfig = append(spec.ExtraConfig, s.ExtraConfig...)
		if s.NumCPUs != 0 {
			spec.NumCPUs = s.NumCPUs
		}
		if s.MemoryMB != 0 {
			spec.MemoryMB = s.MemoryMB
		}
		if s.Annotation != "" {
			spec.Annotation = s.Annotation
		}
	}
	res, fault := l.createVM(c, f, spec, *pool, req.Spec.Location.Host)
	if fault != nil {
		undo()
		return nil, fault
	}
	return res, l.cloned(c, src, res.(types.ManagedObjectReference), req)
}

// cloneDisks copies the disks of a spec into the new VM's folder and refers the
// spec to the copies. Addresses of cards are for createVM to make.
func (l *Lab) cloneDisks(c *simulator.Context, dc *simulator.Datacenter, dest object.DatastorePath, spec *types.VirtualMachineConfigSpec) (undo func(), fault types.BaseMethodFault) {
	ds, rel, fault := l.onDatastore(c, dc, dest.String())
	if fault != nil {
		return nil, fault
	}
	dir := filepath.Dir(filepath.Join(ds.Summary.Url, rel))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, l.fileFault(dir, err)
	}
	var made []string
	undo = func() {
		for _, m := range made {
			_ = store.Delete(m)
		}
		_ = os.Remove(dir)
	}
	for _, ch := range spec.DeviceChange {
		switch d := ch.GetVirtualDeviceConfigSpec().Device.(type) {
		case types.BaseVirtualEthernetCard:
			d.GetVirtualEthernetCard().MacAddress, d.GetVirtualEthernetCard().AddressType = "", ""
		case *types.VirtualDisk:
			b := d.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
			if b.DiskMode == string(types.VirtualDiskModeIndependent_nonpersistent) {
				continue // shared as it is
			}
			from, fault := l.file(c, &dc.Self, b.FileName)
			if fault != nil {
				undo()
				return nil, fault
			}
			to := filepath.Join(dir, filepath.Base(from))
			fault = l.copyDisk(c, ds, from, to)
			if fault != nil {
				undo()
				return nil, fault
			}
			made = append(made, to)
			b.FileName = l.shown(to)
		}
	}
	return undo, nil
}

func (l *Lab) cloned(c *simulator.Context, src *mo.VirtualMachine, ref types.ManagedObjectReference, req *types.CloneVM_Task) types.BaseMethodFault {
	o := c.Map.Get(ref).(*simulator.VirtualMachine)
	l.event(c, o, func(e types.VmEvent) types.BaseEvent {
		return &types.VmClonedEvent{VmCloneEvent: types.VmCloneEvent{VmEvent: e},
			SourceVm: types.VmEventArgument{EntityEventArgument: types.EntityEventArgument{Name: src.Name}, Vm: src.Self}}
	})
	if req.Spec.Template {
		locked(c, o, func() { _ = o.MarkAsTemplate(&types.MarkAsTemplate{This: ref}) })
		return nil
	}
	if !req.Spec.PowerOn {
		return nil
	}
	if fault := l.begin(ref, opPower); fault != nil {
		return fault
	}
	defer l.end(ref)
	return l.start(c, o)
}

// RegisterVMTask makes a VM of a .vmx that is there.
func (f *folderObj) RegisterVMTask(ctx *simulator.Context, req *types.RegisterVM_Task) soap.HasFault {
	return &methods.RegisterVM_TaskBody{Res: &types.RegisterVM_TaskResponse{
		Returnval: f.l.task(ctx, f.Folder, "registerVm", func(c *simulator.Context) (types.AnyType, types.BaseMethodFault) {
			return f.l.register(c, f.Folder, req)
		})}}
}

func (l *Lab) register(c *simulator.Context, f *simulator.Folder, req *types.RegisterVM_Task) (types.AnyType, types.BaseMethodFault) {
	dc := datacenterOf(c, &f.Self)
	ds, rel, fault := l.onDatastore(c, dc, req.Path)
	if fault != nil {
		return nil, fault
	}
	if req.Pool == nil {
		return nil, &types.InvalidArgument{InvalidProperty: "pool"}
	}
	home := object.DatastorePath{Datastore: ds.Name, Path: rel}
	for _, ref := range c.Map.AllReference("VirtualMachine") {
		if o, ok := ref.(*simulator.VirtualMachine); ok && o.Config != nil && o.Config.Files.VmPathName == home.String() {
			return nil, &types.AlreadyExists{Name: o.Name}
		}
	}
	file := filepath.Join(ds.Summary.Url, rel)
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, &types.NotFound{}
	}
	kv, err := vmx.Decode(text)
	if err != nil {
		return nil, reason(&types.VmConfigFault{}, "%s: %v", home.String(), err)
	}
	spec, err := vmx.ToSpec(kv, home)
	if err != nil {
		return nil, reason(&types.VmConfigFault{}, "%s: %v", home.String(), err)
	}
	if req.Name != "" {
		spec.Name = req.Name
	}
	// The simulator insists on making the file: what was there is put aside, and
	// back if that fails.
	aside := file + "~register"
	if err := os.Rename(file, aside); err != nil {
		return nil, l.fileFault(file, err)
	}
	res, fault := l.createVM(c, f, spec, *req.Pool, req.Host)
	if fault != nil {
		if err := os.Rename(aside, file); err != nil {
			l.log.WithError(err).Error("putting back a .vmx")
		}
		return nil, fault
	}
	_ = os.Remove(aside)
	o := c.Map.Get(res.(types.ManagedObjectReference)).(*simulator.VirtualMachine)
	l.event(c, o, func(e types.VmEvent) types.BaseEvent { return &types.VmRegisteredEvent{VmEvent: e} })
	if req.AsTemplate {
		locked(c, o, func() { _ = o.MarkAsTemplate(&types.MarkAsTemplate{This: o.Self}) })
	}
	return res, nil
}
