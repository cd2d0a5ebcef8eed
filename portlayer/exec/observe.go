package exec

import (
	"context"
	"errors"
	"time"

	"github.com/containerd/errdefs"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/guestinfo"
	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/pkg/vsphere"
)

// Concerns tells whether what happens to a VM may be news, see
// events.Containers. What we are just making or removing is none: whoever is at
// work says how it ends.
func (m *Manager) Concerns(ref types.ManagedObjectReference, name string, isNew bool) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if c := m.byVM[ref]; c != nil {
		return !c.inOurHands()
	}
	if c := m.byID[name]; c != nil && c.inOurHands() { // a VM is made under its container's id
		return false
	}
	_, foreign := m.foreign[ref]
	return isNew && !foreign
}

func (c *Controller) inOurHands() bool {
	c.mu.Look()
	defer c.mu.Unlock()
	return c.phase == spec.PhaseCreating || c.phase == spec.PhaseRemoving
}

// Gone is told that a VM is not in the inventory any more.
func (m *Manager) Gone(ref types.ManagedObjectReference) {
	m.mu.RLock()
	c := m.byVM[ref]
	m.mu.RUnlock()
	if c != nil && c.ref() == ref {
		c.vanish()
	}
}

// Sync reads all VMs of the VCH, and takes in what it did not know.
func (m *Manager) Sync(ctx context.Context) error {
	seen := m.generations()
	vms, err := m.cfg.VSphere.VMs(ctx, m.cfg.Place.Pool)
	if err != nil {
		return err
	}
	m.mu.Lock()
	m.foreign = map[types.ManagedObjectReference]struct{}{}
	first := !m.synced
	m.mu.Unlock()
	listed := map[types.ManagedObjectReference]bool{}
	for _, vm := range vms {
		listed[vm.Ref] = true
		if err := m.take(ctx, vm, seen, first); err != nil {
			return err
		}
	}
	m.mu.Lock()
	m.synced = true
	var missing []types.ManagedObjectReference
	for ref := range m.byVM {
		if !listed[ref] {
			missing = append(missing, ref)
		}
	}
	m.mu.Unlock()
	// Moved to another pool, or gone.
	for _, ref := range missing {
		if err := m.Refresh(ctx, ref); err != nil {
			return err
		}
	}
	return nil
}

// generations notes what we had done to each container before a read.
func (m *Manager) generations() map[string]uint64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	out := make(map[string]uint64, len(m.byID))
	for id, c := range m.byID {
		c.mu.Look()
		out[id] = c.gen
		c.mu.Unlock()
	}
	return out
}

// Refresh reads one VM and believes what it says.
func (m *Manager) Refresh(ctx context.Context, ref types.ManagedObjectReference) error {
	seen := m.generations()
	vm, err := m.cfg.VSphere.VM(ctx, ref)
	if errdefs.IsNotFound(err) {
		m.Gone(ref)
		return nil
	}
	if err != nil {
		return err
	}
	return m.take(ctx, vm, seen, false)
}

// errOld tells that the VM was read before something that we did to it.
var errOld = errors.New("the VM has changed since it was read")

// take brings one VM that was read into memory.
func (m *Manager) take(ctx context.Context, vm vsphere.VM, seen map[string]uint64, first bool) error {
	id := vm.Config[guestinfo.KeyID]
	if vm.Config[guestinfo.KeyVCH] != m.cfg.VCH || vm.Config[guestinfo.KeyKind] != guestinfo.KindContainer || !isID(id) {
		m.notOurs(vm)
		return nil
	}
	c, err := m.find(id)
	if err != nil {
		return m.adopt(ctx, vm, first)
	}
	ref := vm.Ref
	for range 5 {
		if err = c.observe(vm, seen[id]); err == nil {
			m.renamed(ctx, c, vm)
			return nil
		}
		seen = m.generations()
		if vm, err = m.cfg.VSphere.VM(ctx, ref); errdefs.IsNotFound(err) {
			m.Gone(ref)
			return nil
		}
		if err != nil {
			return err
		}
	}
	// Whoever changes it that fast looks at it after.
	return nil
}

// notOurs remembers a VM that is somebody else's. One of ours that lost its
// configuration (inaccessible, orphaned) is not forgotten for that.
func (m *Manager) notOurs(vm vsphere.VM) {
	m.mu.Lock()
	c := m.byVM[vm.Ref]
	if c == nil && vm.Path != "" {
		m.foreign[vm.Ref] = struct{}{}
	}
	m.mu.Unlock()
	if c == nil || vm.Connection == types.VirtualMachineConnectionStateConnected {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.move(evBroken) // where it does not go, somebody is at work on it
}

// adopt takes in a container that is not known: at the start all of them, later
// one whose VM was registered.
func (m *Manager) adopt(ctx context.Context, vm vsphere.VM, first bool) error {
	sc, err := guestinfo.DecodeContainer(guestinfo.FromMap(vm.Config))
	if err != nil {
		// It stays a VM; an operator can read why.
		m.cfg.Log.WithError(err).WithField(spec.FieldVM, vm.Ref.Value).Error("VM carries the mark of this VCH but cannot be read as a container")
		m.notOurs(vm)
		return nil
	}
	status, err := guestinfo.DecodeStatus(sc.ID, vm.Config)
	if err != nil {
		m.cfg.Log.WithError(err).WithField(spec.FieldContainer, sc.ID).Warn("what the guest reported cannot be read in full")
	}
	c := newController(m, sc, spec.PhaseCreated)
	c.vm, c.status.VMName = vm.Ref, vm.Name
	c.read = vm.ChangeVersion
	c.status.Started = status.Exit.Started
	maintenance := inMaintenance(vm)
	switch {
	case vm.On() && !maintenance:
		c.phase = spec.PhaseStarting
		c.run.on = true
		c.status.Addresses = status.Addresses
		if status.Running {
			c.phase, c.status.Pid = spec.PhaseRunning, status.Pid
			c.status.Paused, c.status.OOM = status.Paused, status.Exit.OOM
			close(c.run.started)
		}
	case !status.Exit.Started.IsZero() || !status.Exit.Stopped.IsZero():
		c.phase = spec.PhaseExited
		c.status.Exit = status.Exit
		if status.Exit.Stopped.IsZero() {
			// Turned off under it while nobody looked.
			c.status.Exit = killedAt(status.Exit.Started, time.Time{})
		}
	}
	if !vm.On() || maintenance || !status.Running {
		c.run.before = status.Exit
	}
	if err := m.cfg.Leases.Restore(sc.ID, sc.Endpoints); err != nil {
		c.log().WithError(err).Warn("container keeps an address that another one has")
	}
	if err := m.add(c); err != nil {
		return nil // somebody was faster
	}
	m.bind(c, vm.Ref)
	if !first {
		c.mu.Lock()
		c.publish(spec.EventCreated, true)
		c.mu.Unlock()
	}
	if maintenance {
		c.mu.Lock()
		c.seenMaintenance(vm, status)
		c.mu.Unlock()
	}
	m.renamed(ctx, c, vm)
	return nil
}

// inMaintenance tells that a VM is not what its container's process runs in: when
// it is on, its files are served.
func inMaintenance(vm vsphere.VM) bool {
	return vm.Config[guestinfo.KeyMode] == guestinfo.ModeMaintenance
}

// observe believes a VM that was read when the container's generation was seen.
// Its only error is errOld.
func (c *Controller) observe(vm vsphere.VM, seen uint64) error {
	status, serr := guestinfo.DecodeStatus(c.id, vm.Config)
	sc, err := guestinfo.DecodeContainer(guestinfo.FromMap(vm.Config))
	if err != nil {
		c.log().WithError(err).Warn("configuration of the container cannot be read, keeping what is known")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.phase == spec.PhaseCreating || c.phase == spec.PhaseRemoving || c.phase == phaseGone:
		return nil // whoever is at work says how it ends
	case c.vm != vm.Ref:
		c.log().WithField(spec.FieldVM, vm.Ref.Value).Warn("another VM carries this container's configuration, it is left alone")
		return nil
	case c.gen != seen:
		return errOld
	}
	if serr != nil {
		c.log().WithError(serr).Debug("what the guest reported cannot be read in full")
	}
	c.status.VMName = vm.Name
	c.read = ""
	if err == nil {
		c.rename(sc)
		c.read, c.readGen = vm.ChangeVersion, c.gen
	}
	if inMaintenance(vm) && !active(c.phase) {
		c.seenMaintenance(vm, status)
		return nil
	}
	switch vm.Power {
	case types.VirtualMachinePowerStatePoweredOn:
		c.seenOn(status)
	case types.VirtualMachinePowerStatePoweredOff:
		c.seenOff(status)
	}
	return nil
}

// rename takes the configuration as it is in the VM. Called with mu held.
func (c *Controller) rename(sc spec.Container) {
	old := c.spec.Name
	c.spec = sc
	if sc.Name == old {
		return
	}
	c.m.cfg.Publish(spec.Event{
		Kind: spec.EventRenamed, ID: c.id, Time: c.m.cfg.Now().UTC(), View: c.view(), OldName: old,
		External: sc.Name != c.wanted,
	})
}

// seenOn is called with mu held.
func (c *Controller) seenOn(status guestinfo.Status) {
	if c.move(evOn) != nil {
		return
	}
	if !active(c.phase) {
		return
	}
	c.run.on = true
	if status.Addresses != nil {
		c.status.Addresses = status.Addresses
	}
	if status.Running && c.phase == spec.PhaseStarting && !status.Exit.Started.Equal(c.run.before.Started) {
		_ = c.move(evStarted) // from starting this always goes
		c.status.Pid, c.status.Started = status.Pid, status.Exit.Started
		close(c.run.started)
		c.publish(spec.EventStarted, !c.run.asked)
	}
}

// seenOff is called with mu held.
func (c *Controller) seenOff(status guestinfo.Status) {
	if active(c.phase) && !c.run.on {
		c.run.early = true // not yet on, or off again already
		return
	}
	wasActive := active(c.phase)
	if c.move(evOff) != nil || !wasActive {
		return
	}
	c.end(&status)
}

// endOf says how the current run ended: as the guest reported, on the line or
// in guestinfo, or, if it could not, as if it had been killed. external: it was
// turned off, and not by us. Called with mu held.
func (c *Controller) endOf(status *guestinfo.Status) (exit spec.ExitStatus, external bool) {
	r := c.run
	if r.report != nil {
		return *r.report, false
	}
	if status == nil {
		status = &guestinfo.Status{Exit: r.before}
	}
	if !status.Exit.Stopped.IsZero() && !status.Exit.Stopped.Equal(r.before.Stopped) {
		return status.Exit, false
	}
	now, started := c.m.cfg.Now().UTC(), time.Time{}
	if !status.Exit.Started.Equal(r.before.Started) {
		started = status.Exit.Started
	} else if r.isStarted() {
		started = c.status.Started
	}
	if !started.IsZero() || r.killed {
		return killedAt(started, now), !r.killed
	}
	exit = spec.ExitStatus{Code: spec.ExitGuestFailed, Stopped: now, Error: "the VM was turned off before the process started"}
	if status.TetherState != "" {
		exit.Error += ": " + status.TetherState
	}
	return exit, true
}

// killedAt is the end of a process whose VM was turned off under it.
func killedAt(started, stopped time.Time) spec.ExitStatus {
	return spec.ExitStatus{Code: 137, Signal: 9, Started: started, Stopped: stopped}
}
