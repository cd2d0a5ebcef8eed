package lab

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/lab/machine"
)

const (
	poweredOn  = types.VirtualMachinePowerStatePoweredOn
	poweredOff = types.VirtualMachinePowerStatePoweredOff
)

// run is one power cycle of a VM.
type run struct {
	inst machine.Instance
	m    machine.Machine // guarded by Lab.mu; its lists are replaced, never changed in place
	gone chan struct{}   // closed when the VM is off for vSphere too
	use  machine.Usage   // as of the last look, for rates
}

// opKind says what holds a VM. Two power operations are not queued: the second
// gets TaskInProgress, as in vSphere.
type opKind string

const (
	opPower  opKind = "power"
	opConfig opKind = "config"
)

// begin waits until no other operation works on the VM. The caller must call
// end, unless it got a fault.
func (l *Lab) begin(ref types.ManagedObjectReference, kind opKind) types.BaseMethodFault {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.busy[ref] != "" {
		if kind == opPower && l.busy[ref] == opPower {
			return &types.TaskInProgress{Task: ref}
		}
		l.idle.Wait()
	}
	l.busy[ref] = kind
	return nil
}

func (l *Lab) end(ref types.ManagedObjectReference) {
	l.mu.Lock()
	delete(l.busy, ref)
	l.idle.Broadcast()
	l.mu.Unlock()
}

// running returns the VM's power cycle, nil when it is off.
func (l *Lab) running(ref types.ManagedObjectReference) *run {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.vms[ref]
}

// powerTask is a task that holds the VM against other operations.
func (l *Lab) powerTask(ctx *simulator.Context, o *simulator.VirtualMachine, name string, kind opKind, fn job) types.ManagedObjectReference {
	return l.task(ctx, o, name, func(c *simulator.Context) (types.AnyType, types.BaseMethodFault) {
		if f := l.begin(o.Self, kind); f != nil {
			return nil, f
		}
		defer l.end(o.Self)
		if c.Map.Get(o.Self) == nil {
			return nil, &types.ManagedObjectNotFound{Obj: o.Self}
		}
		return fn(c)
	})
}

// start runs the hypervisor, then flips the state. Called within begin and end.
func (l *Lab) start(c *simulator.Context, o *simulator.VirtualMachine) types.BaseMethodFault {
	var m machine.Machine
	var fault types.BaseMethodFault
	locked(c, o, func() {
		switch h, _ := c.Map.Get(*o.Runtime.Host).(*simulator.HostSystem); {
		case o.Config.Template, h != nil && h.Runtime.InMaintenanceMode:
			fault = &types.InvalidState{}
		case o.Runtime.PowerState != poweredOff:
			fault = &types.InvalidPowerState{RequestedState: poweredOn, ExistingState: o.Runtime.PowerState}
		default:
			m, fault = l.machine(c, o)
		}
	})
	if fault != nil {
		if _, state := fault.(*types.InvalidPowerState); !state {
			l.failedToStart(c, o, fault)
		}
		return fault
	}
	l.event(c, o, func(e types.VmEvent) types.BaseEvent { return &types.VmStartingEvent{VmEvent: e} })
	if fault = l.files.flush(l, c, o); fault == nil {
		fault = l.available(m)
	}
	if fault != nil {
		l.failedToStart(c, o, fault)
		return fault
	}
	inst, err := l.hv.Start(c, m, l.guest(o))
	if err != nil {
		fault = hypervisorFault(err)
		l.failedToStart(c, o, fault)
		return fault
	}
	l.up(c, o, m, inst)
	l.event(c, o, func(e types.VmEvent) types.BaseEvent { return &types.VmPoweredOnEvent{VmEvent: e} })
	return nil
}

// up notes a VM that runs, and watches for its end.
func (l *Lab) up(c *simulator.Context, o *simulator.VirtualMachine, m machine.Machine, inst machine.Instance) {
	r := &run{inst: inst, m: m, gone: make(chan struct{})}
	l.mu.Lock()
	l.vms[o.Self] = r
	l.mu.Unlock()
	l.setPower(c, o, poweredOn)
	l.background(func() { l.reap(o, r) })
}

// reap waits until the VM is off, by whomever, and tells vSphere. When the lab
// ends first, the VM is left to the next one.
func (l *Lab) reap(o *simulator.VirtualMachine, r *run) {
	select {
	case <-r.inst.Done():
	case <-l.ctx.Done():
		return
	}
	err := r.inst.Err()
	c := l.context(nil)
	l.mu.Lock()
	delete(l.vms, o.Self)
	l.mu.Unlock()
	l.unpublish(l.cardsOf(r))
	if c.Map.Get(o.Self) != nil {
		l.setPower(c, o, poweredOff)
		l.event(c, o, func(e types.VmEvent) types.BaseEvent {
			if err != nil {
				e.FullFormattedMessage = fmt.Sprintf("%s is powered off: %v", o.Name, err)
			}
			return &types.VmPoweredOffEvent{VmEvent: e}
		})
	}
	if err != nil {
		l.log.WithField("vm", o.Self.Value).WithError(err).Warn("VM ended")
	}
	close(r.gone)
}

// stop ends a VM and waits until vSphere says so too.
func (l *Lab) stop(c context.Context, ref types.ManagedObjectReference) {
	r := l.running(ref)
	if r == nil {
		return
	}
	r.inst.Kill()
	select {
	case <-r.gone:
	case <-c.Done():
	}
}

func (l *Lab) failedToStart(c *simulator.Context, o *simulator.VirtualMachine, fault types.BaseMethodFault) {
	l.event(c, o, func(e types.VmEvent) types.BaseEvent {
		return &types.VmFailedToPowerOnEvent{VmEvent: e, Reason: types.LocalizedMethodFault{Fault: fault, LocalizedMessage: faultText(fault)}}
	})
}

// hypervisorFault turns what the hypervisor says into what vSphere would.
func hypervisorFault(err error) types.BaseMethodFault {
	switch {
	case errdefs.IsNotFound(err):
		return reason(&types.FileNotFound{}, "%v", err)
	case errdefs.IsConflict(err):
		return reason(&types.FileLocked{}, "%v", err)
	case errdefs.IsResourceExhausted(err):
		return reason(&types.InsufficientHostMemoryCapacityFault{}, "%v", err)
	case errors.Is(err, context.Canceled):
		return reason(&types.RequestCanceled{}, "%v", err)
	}
	return &types.GenericVmConfigFault{Reason: err.Error()}
}

// --- the calls ---

func (v *vmObj) PowerOnVMTask(ctx *simulator.Context, _ *types.PowerOnVM_Task) soap.HasFault {
	return &methods.PowerOnVM_TaskBody{Res: &types.PowerOnVM_TaskResponse{Returnval: v.l.powerOn(ctx, v.VirtualMachine)}}
}

func (l *Lab) powerOn(ctx *simulator.Context, o *simulator.VirtualMachine) types.ManagedObjectReference {
	return l.powerTask(ctx, o, "powerOn", opPower, func(c *simulator.Context) (types.AnyType, types.BaseMethodFault) {
		return nil, l.start(c, o)
	})
}

func (v *vmObj) PowerOffVMTask(ctx *simulator.Context, _ *types.PowerOffVM_Task) soap.HasFault {
	o, l := v.VirtualMachine, v.l
	return &methods.PowerOffVM_TaskBody{Res: &types.PowerOffVM_TaskResponse{
		Returnval: l.powerTask(ctx, o, "powerOff", opPower, func(c *simulator.Context) (types.AnyType, types.BaseMethodFault) {
			if l.running(o.Self) == nil {
				return nil, &types.InvalidPowerState{RequestedState: poweredOff, ExistingState: poweredOff}
			}
			l.event(c, o, func(e types.VmEvent) types.BaseEvent { return &types.VmStoppingEvent{VmEvent: e} })
			l.stop(c, o.Self)
			return nil, nil
		})}}
}

func (v *vmObj) ResetVMTask(ctx *simulator.Context, _ *types.ResetVM_Task) soap.HasFault {
	o, l := v.VirtualMachine, v.l
	return &methods.ResetVM_TaskBody{Res: &types.ResetVM_TaskResponse{
		Returnval: l.powerTask(ctx, o, "reset", opPower, func(c *simulator.Context) (types.AnyType, types.BaseMethodFault) {
			r := l.running(o.Self)
			if r == nil {
				return nil, &types.InvalidPowerState{RequestedState: poweredOn, ExistingState: poweredOff}
			}
			l.event(c, o, func(e types.VmEvent) types.BaseEvent { return &types.VmResettingEvent{VmEvent: e} })
			if err := r.inst.Reset(); err != nil {
				return nil, hypervisorFault(err)
			}
			l.setTools(c, o, false)
			return nil, nil
		})}}
}

// toGuest is for what the guest's tools are asked for.
func (v *vmObj) toGuest(ctx *simulator.Context, ask func(machine.Instance) error) *soap.Fault {
	r := v.l.running(v.Self)
	if r == nil {
		return simulator.Fault("the VM is off", &types.InvalidPowerState{RequestedState: poweredOn, ExistingState: v.Runtime.PowerState})
	}
	if v.Guest.ToolsRunningStatus != string(types.VirtualMachineToolsRunningStatusGuestToolsRunning) {
		return simulator.Fault("VMware Tools is not running in the guest", new(types.ToolsUnavailable))
	}
	if err := ask(r.inst); err != nil {
		return simulator.Fault(err.Error(), new(types.ToolsUnavailable))
	}
	return nil
}

func (v *vmObj) ShutdownGuest(ctx *simulator.Context, _ *types.ShutdownGuest) soap.HasFault {
	body := new(methods.ShutdownGuestBody)
	if body.Fault_ = v.toGuest(ctx, machine.Instance.ShutdownGuest); body.Fault_ == nil {
		body.Res = new(types.ShutdownGuestResponse)
		v.l.later(v.VirtualMachine, func(e types.VmEvent) types.BaseEvent { return &types.VmGuestShutdownEvent{VmEvent: e} })
	}
	return body
}

func (v *vmObj) RebootGuest(ctx *simulator.Context, _ *types.RebootGuest) soap.HasFault {
	body := new(methods.RebootGuestBody)
	if body.Fault_ = v.toGuest(ctx, machine.Instance.RebootGuest); body.Fault_ == nil {
		body.Res = new(types.RebootGuestResponse)
		v.l.later(v.VirtualMachine, func(e types.VmEvent) types.BaseEvent { return &types.VmGuestRebootEvent{VmEvent: e} })
	}
	return body
}

// later posts an event once the call's locks are gone.
func (l *Lab) later(o *simulator.VirtualMachine, mk func(types.VmEvent) types.BaseEvent) {
	l.background(func() { l.event(l.context(nil), o, mk) })
}

// PowerOnMultiVMTask starts VMs one by one: there is one host.
func (d *datacenterObj) PowerOnMultiVMTask(ctx *simulator.Context, req *types.PowerOnMultiVM_Task) soap.HasFault {
	return &methods.PowerOnMultiVM_TaskBody{Res: &types.PowerOnMultiVM_TaskResponse{
		Returnval: d.l.task(ctx, d.Datacenter, "powerOnMultiVM", func(c *simulator.Context) (types.AnyType, types.BaseMethodFault) {
			res := types.ClusterPowerOnVmResult{}
			for _, ref := range req.Vm {
				o, ok := c.Map.Get(ref).(*simulator.VirtualMachine)
				if !ok {
					f := &types.ManagedObjectNotFound{Obj: ref}
					res.NotAttempted = append(res.NotAttempted, types.ClusterNotAttemptedVmInfo{Vm: ref,
						Fault: types.LocalizedMethodFault{Fault: f, LocalizedMessage: faultText(f)}})
					continue
				}
				t := d.l.powerOn(c, o)
				res.Attempted = append(res.Attempted, types.ClusterAttemptedVmInfo{Vm: ref, Task: &t})
			}
			return res, nil
		})}}
}

// StopVMs powers every VM off, for the end of the lab. Those with tools are
// asked first, and have until ctx ends.
func (l *Lab) StopVMs(ctx context.Context) {
	l.mu.Lock()
	var all []*run
	for _, r := range l.vms {
		all = append(all, r)
	}
	l.mu.Unlock()
	for _, r := range all {
		if r.inst.ShutdownGuest() != nil {
			r.inst.Kill()
		}
	}
	for _, r := range all {
		select {
		case <-r.gone:
			continue
		case <-ctx.Done():
		}
		r.inst.Kill()
		<-r.gone
	}
}

// adopt takes over the VMs that an earlier lab left running. Those gone since
// are marked off. A killed lab may not have saved that a VM was powered on: all
// are looked for.
func (l *Lab) adopt() {
	c := l.context(nil)
	for _, ref := range c.Map.AllReference("VirtualMachine") {
		o, ok := ref.(*simulator.VirtualMachine)
		if !ok {
			continue
		}
		wasOn := o.Runtime.PowerState == poweredOn
		var m machine.Machine
		var fault types.BaseMethodFault
		locked(c, o, func() { m, fault = l.machine(c, o) })
		log := l.log.WithField("vm", o.Self.Value)
		err := errors.New(faultText(fault))
		if fault == nil {
			var inst machine.Instance
			if inst, err = l.hv.Adopt(c, m, l.guest(o)); err == nil {
				l.up(c, o, m, inst)
				l.publish(o)
				log.Info("running VM adopted")
				if !wasOn {
					l.event(c, o, func(e types.VmEvent) types.BaseEvent { return &types.VmPoweredOnEvent{VmEvent: e} })
				}
				continue
			}
		}
		if !wasOn {
			continue
		}
		log.WithError(err).Info("VM does not run any more")
		l.setPower(c, o, poweredOff)
		l.event(c, o, func(e types.VmEvent) types.BaseEvent { return &types.VmPoweredOffEvent{VmEvent: e} })
	}
}
