package exec

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/pkg/vsphere"
	"github.com/vic-engine/vic/portlayer/vmspec"
)

// Remove destroys the VM and all that belongs to it alone. A running container
// is ErrConflict unless force.
func (m *Manager) Remove(ctx context.Context, id string, force bool) error {
	c, err := m.find(id)
	if err != nil {
		return err
	}
	if force {
		c.interruptStart(errStopped)
		c.hurryStop()
	}
	c.makeWay(true)
	if err := hold(ctx, c.op); err != nil {
		return err
	}
	defer letGo(c.op)
	// Half removed is worse than late.
	ctx = context.WithoutCancel(ctx)
	if err := m.off(ctx, c, force); err != nil {
		return fmt.Errorf("remove container %s: %w", id, err)
	}
	before, err := c.beginRemove()
	if err != nil {
		return fmt.Errorf("remove container %s: %w", id, err)
	}
	if err := m.destroy(ctx, c.id, c.ref()); err != nil {
		c.mu.Lock()
		_ = c.move(evFailed) // from removing this always goes
		c.mu.Unlock()
		return fmt.Errorf("remove container %s: %w", id, err)
	}
	c.mu.Lock()
	_ = c.move(evRemoved) // from removing this always goes
	c.finish(before, false)
	return nil
}

// off makes sure that the container does not run.
func (m *Manager) off(ctx context.Context, c *Controller, force bool) error {
	c.mu.Lock()
	phase, r, writes := c.phase, c.run, writesVolumes(c.spec)
	if active(phase) && force {
		_ = c.move(evStop) // from an active phase this always goes
	}
	c.mu.Unlock()
	if !active(phase) {
		return nil
	}
	if !force {
		return fmt.Errorf("container is %s, stop it before or use force: %w", name(phase), errdefs.ErrConflict)
	}
	// Its own disk goes; a volume has to hold what was written to it.
	if writes && phase == spec.PhaseRunning && m.endByKill(ctx, c, r) {
		return nil
	}
	return m.powerOff(ctx, c)
}

// writesVolumes tells whether what a container writes may outlive it.
func writesVolumes(c spec.Container) bool {
	return slices.ContainsFunc(c.Mounts, func(m spec.Mount) bool {
		return !m.ReadOnly && (m.Type == spec.MountVolume || m.Type == spec.MountNFS)
	})
}

func (c *Controller) beginRemove() (before spec.Phase, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before = c.phase
	c.gen++
	return before, c.move(evRemove)
}

// destroy removes a VM, what its folder holds, and no disk of others: a disk
// that is attached goes with the VM, so that those outside the folder are taken
// out before. A VM or files that are not there are not an error.
func (m *Manager) destroy(ctx context.Context, id string, ref types.ManagedObjectReference) error {
	if err := m.destroyVM(ctx, id, ref); err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	return m.cfg.Datastore.Delete(ctx, vmspec.Path(m.cfg.DatastoreName, id))
}

func (m *Manager) destroyVM(ctx context.Context, id string, ref types.ManagedObjectReference) error {
	if ref.Value == "" {
		return nil
	}
	devices, err := m.cfg.VSphere.Devices(ctx, ref)
	if err != nil {
		return err
	}
	// A snapshot's disk of our own is <id>-000001.vmdk.
	own := func(file string) bool { return strings.HasPrefix(path.Base(file), id) }
	others, below := shared(devices, own)
	if below {
		// A snapshot would take a volume's disk along: its data goes back first.
		if err := m.cfg.VSphere.RemoveSnapshots(ctx, ref); err != nil {
			return fmt.Errorf("remove snapshots that hold a volume: %w", err)
		}
		if devices, err = m.cfg.VSphere.Devices(ctx, ref); err != nil {
			return err
		}
		others, _ = shared(devices, own)
	}
	var detach []types.BaseVirtualDeviceConfigSpec
	for _, disk := range others {
		detach = append(detach, vsphere.Remove(disk))
	}
	if len(detach) > 0 {
		if err := m.cfg.VSphere.Reconfigure(ctx, ref, types.VirtualMachineConfigSpec{DeviceChange: detach}); err != nil {
			return fmt.Errorf("detach shared disks: %w", err)
		}
	}
	return m.cfg.VSphere.Destroy(ctx, ref)
}
