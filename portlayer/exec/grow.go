package exec

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/pkg/vsphere"
	"github.com/vic-engine/vic/portlayer/vmspec"
)

// enlargeTimeout bounds how long a guest may take to use what its VM has got. A
// block of memory takes an emulated processor some 100 ms.
const enlargeTimeout = 30 * time.Second

// sizeOf is how large the VM of a container with such resources is.
func (m *Manager) sizeOf(r spec.Resources) vmspec.Size {
	env := m.defaults()
	return vmspec.Size{CPUs: vmspec.CPUs(r, env), MemoryMB: vmspec.MemoryMB(r, env)}
}

// shape gives what changes of the size of a VM that is off: what was asked for
// otherwise than before, as an administrator may have changed the rest, or all of it
// when it has grown while it ran.
func (m *Manager) shape(before spec.Resources, after *spec.Resources) vmspec.Size {
	after.Resize = false
	size := m.sizeOf(*after)
	if before.Resize {
		return size
	}
	return size.Since(m.sizeOf(before))
}

// grow gives what changes of the size of a VM that is on, and the size that its guest
// is to use then; nil: it does not grow. That its next start is to make it smaller is
// noted in after.
func (m *Manager) grow(ctx context.Context, c *Controller, before spec.Resources, after *spec.Resources) (vmspec.Size, *vmspec.Size, error) {
	was, want := m.sizeOf(before), m.sizeOf(*after)
	after.Resize = before.Resize || was != want
	if want.CPUs <= was.CPUs && want.MemoryMB <= was.MemoryMB {
		return vmspec.Size{}, nil, nil
	}
	h, err := m.cfg.VSphere.Hardware(ctx, c.ref())
	if err != nil {
		return vmspec.Size{}, nil, err
	}
	size, err := vmspec.Grow(h, want)
	if err != nil {
		return vmspec.Size{}, nil, wayOut(err)
	}
	if more := size.MemoryMB - h.MemoryMB; more > 0 {
		if err := m.askAhead(ctx, c, more); err != nil {
			return vmspec.Size{}, nil, wayOut(fmt.Errorf("the containerVM has %d MiB of memory and cannot get %d while it runs: %w", h.MemoryMB, size.MemoryMB, err))
		}
	}
	after.Resize = size != want
	return size.Since(vmspec.Size{CPUs: h.CPUs, MemoryMB: h.MemoryMB}), &size, nil
}

// askAhead asks the guest whether it can use so much more memory, in MiB.
func (m *Manager) askAhead(ctx context.Context, c *Controller, more int64) error {
	_, line, err := m.line(ctx, c.id)
	if err != nil {
		return unanswered(ctx, c.id, err)
	}
	bounded, cancel := context.WithTimeout(ctx, lineTimeout)
	defer cancel()
	return unanswered(ctx, c.id, line.Enlarge(bounded, spec.Size{MemoryMB: more, Ahead: true}))
}

// wayOut tells what to do about a VM that does not grow while it runs.
func wayOut(err error) error {
	return fmt.Errorf("%w: stop the container, update it, and start it again", err)
}

// refusedGrowth adds the way out to vSphere's refusal of a larger size.
func refusedGrowth(err error) error {
	var f *vsphere.FaultError
	if !errors.As(err, &f) || errdefs.IsPermissionDenied(err) || errdefs.IsUnavailable(err) || errdefs.IsNotFound(err) || errdefs.IsAborted(err) {
		return err
	}
	return wayOut(fmt.Errorf("the containerVM cannot get it while it runs: %w", err))
}

// tell gives the guest of a container that runs what is new: what the VM has got, if
// anything, and the limits.
func (m *Manager) tell(ctx context.Context, c *Controller, size *vmspec.Size, l spec.Limits) error {
	_, line, err := m.line(ctx, c.id)
	if errdefs.IsConflict(err) {
		return nil // it boots, and reads them itself, or has ended
	}
	if err != nil {
		return unanswered(ctx, c.id, err)
	}
	if size != nil {
		if err := m.enlarge(ctx, c, line, spec.Size{CPUs: int(size.CPUs), MemoryMB: size.MemoryMB}); err != nil {
			return err
		}
	}
	bounded, cancel := context.WithTimeout(ctx, lineTimeout)
	defer cancel()
	if err := line.Limit(bounded, l); err != nil && !errdefs.IsConflict(err) {
		return fmt.Errorf("limits of container %s: %w", c.id, unanswered(ctx, c.id, err))
	}
	return nil
}

// enlarge has the guest use what its VM has got.
func (m *Manager) enlarge(ctx context.Context, c *Controller, line Line, size spec.Size) error {
	bounded, cancel := context.WithTimeout(ctx, enlargeTimeout)
	defer cancel()
	err := line.Enlarge(bounded, size)
	if err == nil || errdefs.IsConflict(err) {
		return nil
	}
	if ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("it did not within %s: %w", enlargeTimeout, errdefs.ErrUnavailable)
	}
	return fmt.Errorf("the containerVM has got %d CPUs and %d MiB of memory, but its guest does not use them: %w", size.CPUs, size.MemoryMB, err)
}

// OnUp is told that the line of a container is up. A guest that ran before this
// engine did may not have heard of the last update: the engine before may have ended
// between the change of the VM and the guest's being told. So it is told again.
func (m *Manager) OnUp(id string) {
	c, err := m.find(id)
	if err != nil || !c.wasFound() {
		return
	}
	m.background(func(ctx context.Context) {
		if hold(ctx, c.op) != nil {
			return
		}
		defer letGo(c.op)
		v, listed := c.listed()
		if !listed {
			return
		}
		if err := m.tell(ctx, c, &vmspec.Size{}, v.Container.Limits); err != nil && ctx.Err() == nil {
			c.log().WithError(err).Warn("guest could not be told its limits again")
		}
	})
}

// wasFound tells that the container runs and was not started by this engine.
func (c *Controller) wasFound() bool {
	c.mu.Look()
	defer c.mu.Unlock()
	return active(c.phase) && !c.run.asked
}

// shrink gives a VM that is off, and grew while it ran, the size that was asked for.
func (m *Manager) shrink(ctx context.Context, c *Controller) error {
	var size vmspec.Size
	err := m.updateHardware(ctx, c, false, func(s *spec.Container, _ vsphere.VM) error {
		size = m.shape(s.Resources, &s.Resources)
		return nil
	}, func(s *types.VirtualMachineConfigSpec) { size.Put(s, true) })
	if err != nil {
		return fmt.Errorf("give the VM the size that was asked for: %w", err)
	}
	return nil
}
