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

// update is Update with the VM that the container was read from.
func (m *Manager) update(ctx context.Context, c *Controller, external bool, change func(*spec.Container, vsphere.VM) error) error {
	if err := hold(ctx, c.config); err != nil {
		return err
	}
	defer letGo(c.config)
	for try := 1; ; try++ {
		err := m.tryUpdate(ctx, c, external, change)
		if !errdefs.IsAborted(err) || try == updateTries {
			return err
		}
	}
}

func (m *Manager) tryUpdate(ctx context.Context, c *Controller, external bool, change func(*spec.Container, vsphere.VM) error) error {
	if _, ok := c.listed(); !ok {
		return fmt.Errorf("no such container: %s: %w", c.id, errdefs.ErrNotFound)
	}
	vm, err := m.cfg.VSphere.VM(ctx, c.ref())
	if err != nil {
		return fmt.Errorf("change container %s: %w", c.id, err)
	}
	before, err := guestinfo.DecodeContainer(guestinfo.FromMap(vm.Config))
	if err != nil {
		return fmt.Errorf("change container %s: %w", c.id, err)
	}
	after, err := guestinfo.DecodeContainer(guestinfo.FromMap(vm.Config))
	if err != nil {
		return fmt.Errorf("change container %s: %w", c.id, err)
	}
	if err := change(&after, vm); err != nil {
		return err
	}
	after.ID, after.VCH = before.ID, before.VCH
	s, err := changeSpec(vm, before, after, external)
	if err != nil {
		return fmt.Errorf("change container %s: %w", c.id, err)
	}
	if !external {
		c.want(after.Name)
		defer c.want("")
	}
	if s != nil {
		if err := m.cfg.VSphere.Reconfigure(ctx, vm.Ref, *s); err != nil {
			return fmt.Errorf("change container %s: %w", c.id, err)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gen++
	old := c.spec.Name // the reconciler may have been faster
	c.spec = after
	if s != nil && s.Name != "" {
		c.status.VMName = s.Name
	}
	if old != after.Name {
		m.cfg.Publish(spec.Event{
			Kind: spec.EventRenamed, ID: c.id, Time: m.cfg.Now().UTC(), View: c.view(), OldName: old, External: external,
		})
	}
	return nil
}

func (c *Controller) want(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wanted = name
}

// changeSpec gives the reconfigure from one state of a container to another;
// nil when nothing differs.
func changeSpec(vm vsphere.VM, before, after spec.Container, external bool) (*types.VirtualMachineConfigSpec, error) {
	old, err := guestinfo.EncodeContainer(before)
	if err != nil {
		return nil, err
	}
	now, err := guestinfo.EncodeContainer(after)
	if err != nil {
		return nil, err
	}
	set, del := guestinfo.Diff(old, now)
	if len(set) == 0 && len(del) == 0 {
		return nil, nil
	}
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
	return s, nil
}
