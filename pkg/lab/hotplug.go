package lab

import (
	"slices"

	"github.com/containerd/errdefs"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/lab/machine"
)

// hotChanges tells whether a running VM can have such changes.
func hotChanges(in []types.BaseVirtualDeviceConfigSpec) bool {
	return !slices.ContainsFunc(in, func(ch types.BaseVirtualDeviceConfigSpec) bool {
		if ch == nil || ch.GetVirtualDeviceConfigSpec() == nil {
			return false // refused elsewhere
		}
		s := ch.GetVirtualDeviceConfigSpec()
		switch s.Device.(type) {
		case *types.VirtualDisk:
			return false
		case types.BaseVirtualEthernetCard:
			return s.Operation == types.VirtualDeviceConfigSpecOperationEdit
		case *types.ParaVirtualSCSIController:
			return s.Operation != types.VirtualDeviceConfigSpecOperationAdd
		case nil:
			return false
		}
		return true
	})
}

// hotplug does a plan's changes to a VM that runs, all of them or none. Called
// within begin and end.
type hotplug struct {
	l    *Lab
	c    *simulator.Context
	o    *simulator.VirtualMachine
	r    *run
	back []func() error // undoes what was done, in reverse order
	gone []string       // MAC addresses of the cards that were removed
}

// apply does the changes: the simulator's VM follows later.
func (h *hotplug) apply(p *plan) types.BaseMethodFault {
	if len(p.changes) == 0 {
		return nil
	}
	now := h.machine()
	hp, ok := h.r.inst.(machine.HotPlug)
	if !ok {
		return &types.NotSupported{}
	}
	for _, ch := range p.changes {
		s := ch.GetVirtualDeviceConfigSpec()
		if fault := h.change(hp, p, s, now); fault != nil {
			h.undo()
			return fault
		}
	}
	return nil
}

func (h *hotplug) change(hp machine.HotPlug, p *plan, s *types.VirtualDeviceConfigSpec, now machine.Machine) types.BaseMethodFault {
	var m machine.Machine
	var fault types.BaseMethodFault
	if s.Operation == types.VirtualDeviceConfigSpecOperationEdit {
		return h.grow(hp, p, s, now)
	}
	devs := p.devices
	if s.Operation == types.VirtualDeviceConfigSpecOperationRemove {
		locked(h.c, h.o, func() { devs = object.VirtualDeviceList(h.o.Config.Hardware.Device) })
	}
	locked(h.c, h.o, func() { fault = h.l.addHardware(h.c, h.o, &m, devs, s.Device) })
	if fault != nil {
		return fault
	}
	add := s.Operation == types.VirtualDeviceConfigSpecOperationAdd
	if x := s.Device.GetVirtualDevice().Connectable; x != nil && add {
		x.Connected = x.StartConnected
	}
	for _, d := range m.Disks {
		plug, pull := func() error { return hp.AddDisk(h.c, d) }, func() error { return hp.RemoveDisk(h.c, d) }
		if add {
			if fault := h.l.available(machine.Machine{Disks: m.Disks}); fault != nil {
				return fault
			}
		} else {
			plug, pull = pull, plug
		}
		if fault := h.do(plug, pull); fault != nil {
			return fault
		}
		h.note(func(m *machine.Machine) { m.Disks = with(m.Disks, d, add, sameDisk) })
	}
	for _, n := range m.NICs {
		plug, pull := func() error { return hp.AddNIC(h.c, n) }, func() error { return hp.RemoveNIC(h.c, n) }
		if !add {
			plug, pull = pull, plug
		}
		if fault := h.do(plug, pull); fault != nil {
			return fault
		}
		h.note(func(m *machine.Machine) { m.NICs = with(m.NICs, n, add, sameNIC) })
		if !add {
			h.gone = append(h.gone, n.MAC)
		}
	}
	return nil
}

// grow makes a disk larger for the guest. It can't be undone, and need not be: the
// descriptor follows at once.
func (h *hotplug) grow(hp machine.HotPlug, p *plan, s *types.VirtualDeviceConfigSpec, now machine.Machine) types.BaseMethodFault {
	i := slices.IndexFunc(p.extend, func(n newDisk) bool { return n.key == s.Device.GetVirtualDevice().Key })
	if i < 0 {
		return nil // an edit of what only vSphere knows
	}
	n := p.extend[i]
	at := slices.IndexFunc(now.Disks, func(d machine.Disk) bool { return d.Path == n.path })
	if at < 0 {
		return &types.InvalidState{}
	}
	if err := hp.GrowDisk(h.c, now.Disks[at], n.capacity); err != nil {
		return plugFault(err)
	}
	return nil
}

func sameDisk(a, b machine.Disk) bool { return a.Bus == b.Bus && a.Unit == b.Unit }
func sameNIC(a, b machine.NIC) bool   { return a.MAC == b.MAC }

// with is a new list with or without x.
func with[T any](list []T, x T, add bool, same func(a, b T) bool) []T {
	list = slices.DeleteFunc(slices.Clone(list), func(o T) bool { return same(o, x) })
	if add {
		list = append(list, x)
	}
	return list
}

func (h *hotplug) do(now, back func() error) types.BaseMethodFault {
	if err := now(); err != nil {
		return plugFault(err)
	}
	h.back = append(h.back, back)
	return nil
}

// note changes what the lab knows of the running VM's hardware, until undone.
func (h *hotplug) note(change func(*machine.Machine)) {
	h.l.mu.Lock()
	defer h.l.mu.Unlock()
	was := h.r.m
	change(&h.r.m)
	h.back = append(h.back, func() error {
		h.l.mu.Lock()
		defer h.l.mu.Unlock()
		h.r.m = was
		return nil
	})
}

func (h *hotplug) machine() machine.Machine {
	h.l.mu.Lock()
	defer h.l.mu.Unlock()
	return h.r.m
}

// undo takes the changes back.
func (h *hotplug) undo() {
	for _, back := range slices.Backward(h.back) {
		if err := back(); err != nil {
			h.l.log.WithError(err).WithField("vm", h.o.Self.Value).Warn("taking a change of the hardware back")
		}
	}
	h.back = nil
}

// plugFault says why a running VM's hardware could not be changed.
func plugFault(err error) types.BaseMethodFault {
	switch {
	case errdefs.IsNotImplemented(err):
		return reason(&types.NotSupported{}, "%v", err)
	case errdefs.IsUnavailable(err), errdefs.IsNotFound(err), errdefs.IsAlreadyExists(err):
		return reason(&types.InvalidState{}, "%v", err)
	}
	return hypervisorFault(err)
}
