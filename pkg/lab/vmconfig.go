package lab

import (
	"slices"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/lab/collector"
	"github.com/vic-engine/vic/pkg/lab/store"
)

func (v *vmObj) ReconfigVMTask(ctx *simulator.Context, req *types.ReconfigVM_Task) soap.HasFault {
	return &methods.ReconfigVM_TaskBody{Res: &types.ReconfigVM_TaskResponse{
		Returnval: v.l.powerTask(ctx, v.VirtualMachine, "reconfigVm", opConfig, func(c *simulator.Context) (types.AnyType, types.BaseMethodFault) {
			return nil, v.l.reconfigure(c, v.VirtualMachine, req.Spec)
		})}}
}

// reconfigure applies a spec to a VM. Called within begin and end.
func (l *Lab) reconfigure(c *simulator.Context, o *simulator.VirtualMachine, spec types.VirtualMachineConfigSpec) types.BaseMethodFault {
	var before *mo.VirtualMachine
	locked(c, o, func() { before = snapshot(o) })
	cfg := before.Config
	if spec.ChangeVersion != "" && spec.ChangeVersion != cfg.ChangeVersion {
		return &types.ConcurrentAccess{}
	}
	if fault := l.checkReconfigure(before, &spec); fault != nil {
		return fault
	}
	dc := datacenterOf(c, before.Parent)
	if dc == nil {
		return &types.ManagedObjectNotFound{Obj: o.Self}
	}
	var home object.DatastorePath
	home.FromString(cfg.Files.VmPathName)
	p, fault := l.plan(c, dc, home, cfg.Name, cfg.Hardware.Device, spec.DeviceChange)
	if fault != nil {
		return fault
	}
	if spec.Name != "" && spec.Name != before.Name {
		if fault := l.rename(c, o, spec.Name); fault != nil {
			return fault
		}
	}
	spec.Name, spec.Files = "", nil
	undo, fault := p.makeDisks()
	if fault != nil {
		return fault
	}
	var h *hotplug
	if r := l.running(o.Self); r != nil {
		h = &hotplug{l: l, c: c, o: o, r: r}
		if fault := h.apply(p); fault != nil {
			undo()
			return fault
		}
		files := undo
		undo = func() { h.undo(); files() }
	}
	for _, f := range p.destroy {
		if l.opened(f, true) { // by another VM: this one has let go of it
			undo()
			return &types.FileLocked{FileFault: types.FileFault{File: l.shown(f)}}
		}
	}
	if fault := p.growDisks(); fault != nil {
		undo()
		return fault
	}
	if h != nil { // last, as it can hardly be undone
		if fault := h.size(cfg, &spec); fault != nil {
			undo()
			return fault
		}
	}
	plain, own := splitExtraConfig(spec.ExtraConfig)
	asked, shares := spec.DeviceChange, takeAllocations(&spec)
	spec.DeviceChange, spec.ExtraConfig = collector.ForEvent(p.changes), plain
	in := l.context(c.Session)
	reconfig := func() soap.HasFault { return o.ReconfigVMTask(in, &types.ReconfigVM_Task{This: o.Self, Spec: spec}) }
	// The simulator trips over a file that vanishes while it lists the VM's
	// folder, as a .vmx in the making does.
	l.files.wmu.Lock()
	_, fault = l.inner(in, o, reconfig)
	l.files.wmu.Unlock()
	if fault != nil {
		undo()
		return fault
	}
	l.settle(c, o, p, own, shares)
	l.storagePolicies.note(asked)
	for _, f := range p.destroy {
		if err := store.Delete(f); err != nil {
			l.log.WithError(err).WithField("vm", o.Self.Value).Warn("deleting a removed disk")
		}
	}
	if h != nil {
		l.unpublish(h.gone)
		l.publish(o)
	}
	return l.files.flush(l, c, o)
}

// checkReconfigure refuses what can't be done to this VM now: of one that runs,
// disks and network cards come and go, disks, CPUs and memory grow, and settings
// change.
func (l *Lab) checkReconfigure(before *mo.VirtualMachine, spec *types.VirtualMachineConfigSpec) types.BaseMethodFault {
	if before.Runtime.PowerState != poweredOff {
		if !hotChanges(spec.DeviceChange) || spec.Uuid != "" || spec.Version != "" {
			return reason(&types.InvalidPowerState{RequestedState: poweredOff, ExistingState: before.Runtime.PowerState},
				"while a VM runs, the lab adds and removes disks and network cards, grows disks, and adds CPUs and memory; other hardware changes when it is off")
		}
		if f := checkHotAdd(before.Config, spec); f != nil {
			return f
		}
	}
	if before.Config.Template && (len(spec.DeviceChange) > 0 || len(spec.ExtraConfig) > 0 || spec.NumCPUs != 0 || spec.MemoryMB != 0) {
		return &types.NotSupported{}
	}
	if spec.Name != "" {
		if f := checkName(spec.Name); f != nil {
			return f
		}
	}
	return firstOf(checkHardware(spec), checkExtraConfig(before.Config.ExtraConfig, spec.ExtraConfig))
}

func (v *vmObj) RenameTask(ctx *simulator.Context, req *types.Rename_Task) soap.HasFault {
	return &methods.Rename_TaskBody{Res: &types.Rename_TaskResponse{
		Returnval: v.l.powerTask(ctx, v.VirtualMachine, "rename", opConfig, func(c *simulator.Context) (types.AnyType, types.BaseMethodFault) {
			if f := checkName(req.NewName); f != nil {
				return nil, f
			}
			if f := v.l.rename(c, v.VirtualMachine, req.NewName); f != nil {
				return nil, f
			}
			return nil, v.l.files.flush(v.l, c, v.VirtualMachine)
		})}}
}

// rename changes a VM's name. Its folder and files keep theirs, as on ESXi.
func (l *Lab) rename(c *simulator.Context, o *simulator.VirtualMachine, name string) types.BaseMethodFault {
	var old string
	var parent *types.ManagedObjectReference
	locked(c, o, func() { old, parent = o.Name, o.Parent })
	if f, ok := c.Map.Get(*parent).(*simulator.Folder); ok && name != old {
		var siblings []types.ManagedObjectReference
		locked(c, f, func() { siblings = slices.Clone(f.ChildEntity) })
		for _, s := range siblings {
			if nameOf(c, s) == name {
				return &types.DuplicateName{Name: name, Object: s}
			}
		}
	}
	locked(c, o, func() {
		c.Update(o, []types.PropertyChange{set("name", name), set("config.name", name), set("summary.config.name", name)})
	})
	l.event(c, o, func(e types.VmEvent) types.BaseEvent {
		return &types.VmRenamedEvent{VmEvent: e, OldName: old, NewName: name}
	})
	return nil
}

// --- what the lab does not do says so ---

func unsupported() *soap.Fault {
	return simulator.Fault("the lab does not do this", new(types.NotSupported))
}

func (v *vmObj) SuspendVMTask(*simulator.Context, *types.SuspendVM_Task) soap.HasFault {
	return &methods.SuspendVM_TaskBody{Fault_: unsupported()}
}

func (v *vmObj) StandbyGuest(*simulator.Context, *types.StandbyGuest) soap.HasFault {
	return &methods.StandbyGuestBody{Fault_: unsupported()}
}

func (v *vmObj) CreateSnapshotTask(*simulator.Context, *types.CreateSnapshot_Task) soap.HasFault {
	return &methods.CreateSnapshot_TaskBody{Fault_: unsupported()}
}

func (v *vmObj) CreateSnapshotExTask(*simulator.Context, *types.CreateSnapshotEx_Task) soap.HasFault {
	return &methods.CreateSnapshotEx_TaskBody{Fault_: unsupported()}
}

func (v *vmObj) RevertToCurrentSnapshotTask(*simulator.Context, *types.RevertToCurrentSnapshot_Task) soap.HasFault {
	return &methods.RevertToCurrentSnapshot_TaskBody{Fault_: unsupported()}
}

func (v *vmObj) PromoteDisksTask(*simulator.Context, *types.PromoteDisks_Task) soap.HasFault {
	return &methods.PromoteDisks_TaskBody{Fault_: unsupported()}
}

// RelocateVMTask moves a VM between pools and folders; storage and hosts are
// where they are.
func (v *vmObj) RelocateVMTask(ctx *simulator.Context, req *types.RelocateVM_Task) soap.HasFault {
	s := req.Spec
	sameHost := s.Host == nil || v.Runtime.Host != nil && *s.Host == *v.Runtime.Host
	if s.Datastore != nil || len(s.Disk) > 0 || len(s.DeviceChange) > 0 || !sameHost || s.Service != nil {
		return &methods.RelocateVM_TaskBody{Fault_: unsupported()}
	}
	if s.Pool != nil {
		if _, ok := ctx.Map.Get(*s.Pool).(*simulator.ResourcePool); !ok {
			return &methods.RelocateVM_TaskBody{Fault_: simulator.Fault("", &types.ManagedObjectNotFound{Obj: *s.Pool})}
		}
	}
	if s.Folder != nil {
		if _, ok := ctx.Map.Get(*s.Folder).(*simulator.Folder); !ok {
			return &methods.RelocateVM_TaskBody{Fault_: simulator.Fault("", &types.ManagedObjectNotFound{Obj: *s.Folder})}
		}
	}
	return v.VirtualMachine.RelocateVMTask(ctx, req)
}

// RefreshStorageInfo looks for the VM's files.
func (v *vmObj) RefreshStorageInfo(ctx *simulator.Context, req *types.RefreshStorageInfo) soap.HasFault {
	defer v.l.holdDatastores(ctx)()
	return v.VirtualMachine.RefreshStorageInfo(ctx, req)
}
