package exec

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/guestinfo"
	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/pkg/vsphere"
	"github.com/vic-engine/vic/portlayer/vmspec"
)

// updateTries bounds how often a change is made again when somebody else
// changed the VM in between.
const updateTries = 5

// Update changes what may change without a new VM, in one reconfigure. The
// closure gets the container as it is in vSphere, and may run more than once.
func (m *Manager) Update(ctx context.Context, id string, change func(*spec.Container) error) error {
	c, err := m.find(id)
	if err != nil {
		return err
	}
	return m.update(ctx, c, false, func(s *spec.Container, _ vsphere.VM) error { return change(s) })
}

// hardware adds what changes of a VM's size to a reconfigure.
type hardware func(*types.VirtualMachineConfigSpec)

// update is Update with the VM that the container was read from. Without a change
// of somebody else, external, that need not be read again: should what is known of
// it be old, vSphere refuses the change.
func (m *Manager) update(ctx context.Context, c *Controller, external bool, change func(*spec.Container, vsphere.VM) error) error {
	return m.updateHardware(ctx, c, external, change, func(*types.VirtualMachineConfigSpec) {})
}

// updateHardware is update with a change of the VM's hardware, which is asked for
// after each call of change.
func (m *Manager) updateHardware(ctx context.Context, c *Controller, external bool, change func(*spec.Container, vsphere.VM) error, hw hardware) error {
	if err := hold(ctx, c.config); err != nil {
		return err
	}
	defer letGo(c.config)
	if !external {
		if vm, before, ok := c.asRead(); ok {
			err := m.tryUpdate(ctx, c, false, vm, before, change, hw)
			if !errdefs.IsAborted(err) {
				return err
			}
		}
	}
	for try := 1; ; try++ {
		vm, before, err := m.readFor(ctx, c)
		if err == nil {
			err = m.tryUpdate(ctx, c, external, vm, before, change, hw)
		}
		if !errdefs.IsAborted(err) || try == updateTries {
			return err
		}
	}
}

// asRead gives the container as it was read last, and of its VM what a change
// needs, if nothing was done to it since.
func (c *Controller) asRead() (vm vsphere.VM, before spec.Container, ok bool) {
	c.mu.Look()
	defer c.mu.Unlock()
	if c.read == "" || c.readGen != c.gen {
		return vm, before, false
	}
	return vsphere.VM{Ref: c.vm, Name: c.status.VMName, ChangeVersion: c.read}, c.spec, true
}

// readFor reads the container for a change.
func (m *Manager) readFor(ctx context.Context, c *Controller) (vm vsphere.VM, before spec.Container, err error) {
	if _, ok := c.listed(); !ok {
		return vm, before, fmt.Errorf("no such container: %s: %w", c.id, errdefs.ErrNotFound)
	}
	if vm, err = m.cfg.VSphere.VM(ctx, c.ref()); err == nil {
		before, err = guestinfo.DecodeContainer(guestinfo.FromMap(vm.Config))
	}
	if err != nil {
		return vm, before, fmt.Errorf("change container %s: %w", c.id, err)
	}
	return vm, before, nil
}

func (m *Manager) tryUpdate(ctx context.Context, c *Controller, external bool, vm vsphere.VM, before spec.Container, change func(*spec.Container, vsphere.VM) error, hw hardware) error {
	if _, ok := c.listed(); !ok {
		return fmt.Errorf("no such container: %s: %w", c.id, errdefs.ErrNotFound)
	}
	old, err := guestinfo.EncodeContainer(before)
	if err != nil {
		return fmt.Errorf("change container %s: %w", c.id, err)
	}
	after, err := guestinfo.DecodeContainer(guestinfo.FromMap(old)) // shares nothing with it
	if err != nil {
		return fmt.Errorf("change container %s: %w", c.id, err)
	}
	if err := change(&after, vm); err != nil {
		return err
	}
	after.ID, after.VCH = before.ID, before.VCH
	s, err := changeSpec(vm, before, old, after, external, hw)
	if err != nil {
		return fmt.Errorf("change container %s: %w", c.id, err)
	}
	if !external {
		c.want(after.Name)
		defer c.want("")
	}
	if s != nil {
		if err := m.cfg.VSphere.Reconfigure(ctx, vm.Ref, *s); err != nil {
			c.doubt() // it may have been made all the same
			return fmt.Errorf("change container %s: %w", c.id, err)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gen++
	was := c.spec.Name // the reconciler may have been faster
	c.spec = after
	if s != nil && s.Name != "" {
		c.status.VMName = s.Name
	}
	if was != after.Name {
		m.cfg.Publish(spec.Event{
			Kind: spec.EventRenamed, ID: c.id, Time: m.cfg.Now().UTC(), View: c.view(), OldName: was, External: external,
		})
	}
	return nil
}

// doubt makes what was read of the VM old.
func (c *Controller) doubt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gen++
}

func (c *Controller) want(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wanted = name
}

// changeSpec gives the reconfigure from one state of a container, which is old
// in its keys, to another; nil when nothing differs.
func changeSpec(vm vsphere.VM, before spec.Container, old map[string]string, after spec.Container, external bool, hw hardware) (*types.VirtualMachineConfigSpec, error) {
	now, err := guestinfo.EncodeContainer(after)
	if err != nil {
		return nil, err
	}
	set, del := guestinfo.Diff(old, now)
	if len(set) == 0 && len(del) == 0 {
		return nil, nil
	}
	s := changedKeys(vm, before, after, external, set, del)
	vmspec.Allocation(s, before.Resources, after.Resources)
	hw(s)
	return s, nil
}

// changedKeys is the reconfigure of a VM's keys, and of what shows them.
func changedKeys(vm vsphere.VM, before, after spec.Container, external bool, set map[string]string, del []string) *types.VirtualMachineConfigSpec {
	for _, k := range del {
		set[k] = ""
	}
	s := &types.VirtualMachineConfigSpec{
		ChangeVersion: vm.ChangeVersion,
		ExtraConfig:   vsphere.ExtraConfig(set),
		Annotation:    vmspec.Annotation(after),
	}
	// A VM that an administrator has given a name goes on being called like the
	// container; one called by the id keeps that.
	if before.Name != after.Name && !external && vm.Name != after.ID {
		s.Name = after.Name
	}
	return s
}
