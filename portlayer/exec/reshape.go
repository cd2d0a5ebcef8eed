package exec

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/pkg/vsphere"
	"github.com/vic-engine/vic/portlayer/vmspec"
)

// Reshape is Update for changes of Resources and Limits too. On a VM that is off all
// of them can change. On one that is on, the guest gets the new limits, and vSphere
// the new shares, limit of CPU and reservation; the numbers of CPUs and the memory of
// the VM stay, so that more than it has is ErrFailedPrecondition. The guest that does
// not take the limits leaves everything as it was.
func (m *Manager) Reshape(ctx context.Context, id string, change func(*spec.Container) error) error {
	c, err := m.find(id)
	if err != nil {
		return err
	}
	// Nobody turns it on or off meanwhile: what is possible depends on that.
	if err := hold(ctx, c.op); err != nil {
		return err
	}
	defer letGo(c.op)
	on := c.isActive()
	var before spec.Container
	err = m.update(ctx, c, false, func(s *spec.Container, _ vsphere.VM) error {
		before = *s
		if err := change(s); err != nil {
			return err
		}
		if err := validChange(before, *s); err != nil {
			return fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
		}
		if err := s.Limits.Validate(); err != nil {
			return fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
		}
		if !on {
			return nil
		}
		return m.keepHardware(before.Resources, &s.Resources)
	})
	if err != nil || !on {
		return err
	}
	v, listed := c.listed()
	if !listed || v.Container.Limits == before.Limits {
		return nil
	}
	if err = m.limit(ctx, c, v.Container.Limits); err == nil {
		return nil
	}
	// As if nothing had been asked for; also when the caller has left.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	return errors.Join(err, m.update(ctx, c, false, func(s *spec.Container, _ vsphere.VM) error {
		s.Resources, s.Limits, s.Annotations = before.Resources, before.Limits, before.Annotations
		return nil
	}))
}

func (c *Controller) isActive() bool {
	c.mu.Look()
	defer c.mu.Unlock()
	return active(c.phase)
}

// keepHardware lets the hardware of a VM that is on be as it is, where that is
// enough.
func (m *Manager) keepHardware(before spec.Resources, after *spec.Resources) error {
	env := m.defaults()
	if have, want := vmspec.MemoryMB(before, env), vmspec.MemoryMB(*after, env); want > have {
		return fmt.Errorf("the containerVM runs with %d MiB of memory and cannot get %d MiB while it runs: stop the container, update it, and start it again: %w",
			have, want, errdefs.ErrFailedPrecondition)
	}
	if have, want := vmspec.CPUs(before, env), vmspec.CPUs(*after, env); want > have {
		return fmt.Errorf("the containerVM runs with %d CPUs and cannot get %d while it runs: stop the container, update it, and start it again: %w",
			have, want, errdefs.ErrFailedPrecondition)
	}
	after.MemoryMB, after.CPUs = before.MemoryMB, before.CPUs
	return nil
}

// defaults are those of VMs that are made.
func (m *Manager) defaults() vmspec.Env {
	return vmspec.Env{CPUs: m.cfg.CPUs, MemoryMB: m.cfg.MemoryMB}
}

// limit gives the limits to the guest of a container that runs.
func (m *Manager) limit(ctx context.Context, c *Controller, l spec.Limits) error {
	_, line, err := m.line(ctx, c.id)
	if errdefs.IsConflict(err) {
		return nil // it boots, and reads them itself, or has ended
	}
	if err != nil {
		return unanswered(ctx, c.id, err)
	}
	bounded, cancel := context.WithTimeout(ctx, lineTimeout)
	defer cancel()
	if err := line.Limit(bounded, l); err != nil && !errdefs.IsConflict(err) {
		return fmt.Errorf("limits of container %s: %w", c.id, unanswered(ctx, c.id, err))
	}
	return nil
}

// reshaped adds the changes of hardware to a reconfigure.
func reshaped(s *types.VirtualMachineConfigSpec, before, after spec.Resources, env vmspec.Env) *types.VirtualMachineConfigSpec {
	if n := vmspec.CPUs(after, env); n != vmspec.CPUs(before, env) {
		s.NumCPUs = n
	}
	if mb := vmspec.MemoryMB(after, env); mb != vmspec.MemoryMB(before, env) {
		s.MemoryMB = mb
	}
	vmspec.Allocation(s, before, after)
	return s
}
