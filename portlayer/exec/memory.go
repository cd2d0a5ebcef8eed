package exec

import (
	"context"
	"fmt"

	"github.com/vic-engine/vic/pkg/spec"
)

// Containers that an older version made may have less memory than guests boot with
// now: it was 64 MiB. They are listed as they are, and get what is needed when their
// VM is turned on; what was asked for holds inside the guest, as of new containers.

// tooSmall tells whether a container was made with less memory than boots.
func tooSmall(r spec.Resources) bool { return r.MemoryMB != 0 && r.MemoryMB < spec.MinMemoryMB }

// enlarge gives a container that is too small the least memory. It is pure.
func enlarge(c *spec.Container) {
	if !tooSmall(c.Resources) {
		return
	}
	if c.Limits.Memory == 0 { // the VM alone held it to that
		c.Limits.Memory = c.Resources.MemoryMB << 20
	}
	c.Resources.MemoryMB = spec.MinMemoryMB
}

// enlarged makes that so in the keys that the guest reads. The VM's own memory is
// prepare's to repair: its VCH's default may have been too small as well.
func (m *Manager) enlarged(ctx context.Context, c *Controller) error {
	v, ok := c.listed()
	if !ok || !tooSmall(v.Container.Resources) {
		return nil
	}
	c.log().WithField("mb", v.Container.Resources.MemoryMB).Info("container has less memory than a guest boots with and gets more")
	if err := m.Update(ctx, c.id, func(s *spec.Container) error { enlarge(s); return nil }); err != nil {
		return fmt.Errorf("give it the least memory: %w", err)
	}
	return nil
}

// validChange is Validate of a container after a change. What it was made with is
// not a fault of the change.
func validChange(before, after spec.Container) error {
	if tooSmall(before.Resources) && after.Resources.MemoryMB == before.Resources.MemoryMB {
		after.Resources.MemoryMB = 0
	}
	return after.Validate()
}
