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
// of them can change. One that is on gets more CPUs and memory where vSphere and its
// guest allow it, and the guest gets the new limits; less is held by the guest alone
// until the next start. What it cannot get while it runs is ErrFailedPrecondition. The
// guest that does not take what is new leaves everything as it was, but the VM that
// has grown stays so until its next start.
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
	var resize vmspec.Size
	var size *vmspec.Size // of a VM that grows while it is on
	err = m.updateHardware(ctx, c, false, func(s *spec.Container, _ vsphere.VM) error {
		before, resize, size = *s, vmspec.Size{}, nil
		err := change(s)
		if err != nil {
			return err
		}
		if err := validChange(before, *s); err != nil {
			return fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
		}
		if err := s.Limits.Validate(); err != nil {
			return fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
		}
		if on {
			resize, size, err = m.grow(ctx, c, before.Resources, &s.Resources)
			return err
		}
		resize = m.shape(before.Resources, &s.Resources)
		return nil
	}, func(s *types.VirtualMachineConfigSpec) { resize.Put(s, !on) })
	if err != nil && on && size != nil {
		err = refusedGrowth(err)
	}
	if err != nil || !on {
		return err
	}
	v, listed := c.listed()
	if !listed || size == nil && v.Container.Limits == before.Limits {
		return nil
	}
	if err = m.tell(ctx, c, size, v.Container.Limits); err == nil {
		return nil
	}
	// As if nothing had been asked for; also when the caller has left.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	return errors.Join(err, m.update(ctx, c, false, func(s *spec.Container, _ vsphere.VM) error {
		s.Resources, s.Limits, s.Annotations = before.Resources, before.Limits, before.Annotations
		s.Resources.Resize = before.Resources.Resize || size != nil
		return nil
	}))
}

func (c *Controller) isActive() bool {
	c.mu.Look()
	defer c.mu.Unlock()
	return active(c.phase)
}

// defaults are those of VMs that are made.
func (m *Manager) defaults() vmspec.Env {
	return vmspec.Env{CPUs: m.cfg.CPUs, MemoryMB: m.cfg.MemoryMB}
}
