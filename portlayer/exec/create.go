package exec

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/portlayer/vmspec"
)

// creation is one create under way.
type creation struct {
	c    spec.Container
	vm   types.VirtualMachineConfigSpec
	line string
	ref  types.ManagedObjectReference
	undo undoStack
	// held are the volumes' releases.
	held []func()
}

// createStep does one thing and pushes how to take it back.
type createStep struct {
	name string
	run  func(context.Context, *creation) error
}

// createSteps is the order of a create. The mark comes before anything on the
// datastore, and its undo after, so that a create that is cut off is found.
func (m *Manager) createSteps() []createStep {
	return []createStep{
		{"volumes", m.volumeStep},
		{"address", m.leaseStep},
		{"mark", m.markStep},
		{"folder", m.folderStep},
		{"image disk", m.imageStep},
		{"root disk", m.rootStep},
		{"specification", m.specStep},
		{"VM", m.vmStep},
	}
}

// Create makes the VM of c with its disk and addresses, or nothing.
func (m *Manager) Create(ctx context.Context, c spec.Container) (spec.View, error) {
	c.VCH, c.AuthorizedKey = m.cfg.VCH, m.cfg.AuthorizedKey
	if c.Created.IsZero() {
		c.Created = m.cfg.Now().UTC()
	}
	if c.Root.SizeMB == 0 {
		c.Root.SizeMB = m.cfg.RootSizeMB
	}
	if err := c.Validate(); err != nil {
		return spec.View{}, fmt.Errorf("create container: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	ctl := newController(m, c, spec.PhaseCreating)
	if err := m.add(ctl); err != nil {
		return spec.View{}, err
	}
	cr := &creation{c: c}
	defer func() {
		for _, release := range cr.held {
			release()
		}
	}()
	for _, s := range m.createSteps() {
		err := s.run(ctx, cr)
		if err == nil && m.afterStep != nil {
			err = m.afterStep(s.name)
		}
		if err == nil {
			continue
		}
		err = fmt.Errorf("create container %s: %s: %w", c.ID, s.name, err)
		if u := cr.undo.fail(ctx); u != nil {
			ctl.log().WithError(u).Error("create failed and is not wholly undone, the next start cleans up")
		}
		ctl.mu.Lock()
		_ = ctl.move(evFailed) // from creating this always goes
		close(ctl.gone)
		ctl.mu.Unlock()
		m.forget(ctl)
		return spec.View{}, err
	}
	return m.created(ctl, cr), nil
}

func (m *Manager) created(ctl *Controller, cr *creation) spec.View {
	m.bind(ctl, cr.ref)
	ctl.mu.Lock()
	ctl.spec, ctl.vm = cr.c, cr.ref
	ctl.ready = &readiness{line: cr.line, made: m.cfg.Now()}
	ctl.status.VMName = cr.vm.Name
	ctl.gen++
	_ = ctl.move(evCreated) // from creating this always goes
	ctl.publish(spec.EventCreated, false)
	v := ctl.view()
	ctl.mu.Unlock()
	m.background(func(ctx context.Context) {
		// One that stays is removed at the next start, where there is a VM.
		if err := m.cfg.Datastore.Delete(ctx, m.mark(cr.c.ID)); err != nil && ctx.Err() == nil {
			ctl.log().WithError(err).Warn("mark of a finished create could not be removed")
		}
	})
	return v
}

func (m *Manager) leaseStep(_ context.Context, cr *creation) error {
	endpoints, err := m.cfg.Leases.Allocate(cr.c.ID, cr.c.Endpoints)
	if err != nil {
		return err
	}
	cr.c.Endpoints = endpoints
	m.settle(&cr.c)
	cr.undo.push("address", func(context.Context) error {
		m.cfg.Leases.Release(cr.c.ID)
		return nil
	})
	return nil
}

// mark is a file that names a create under way.
func (m *Manager) mark(id string) string { return m.cfg.Marks + "/" + id }

func (m *Manager) markStep(ctx context.Context, cr *creation) error {
	cr.undo.push("mark", func(ctx context.Context) error { return m.cfg.Datastore.Delete(ctx, m.mark(cr.c.ID)) })
	text := cr.c.Name + "\n"
	return m.cfg.Datastore.Put(ctx, m.mark(cr.c.ID), strings.NewReader(text), int64(len(text)))
}

func (m *Manager) folderStep(ctx context.Context, cr *creation) error {
	dir := vmspec.Path(m.cfg.DatastoreName, cr.c.ID)
	cr.undo.push("folder", func(ctx context.Context) error { return m.cfg.Datastore.Delete(ctx, dir) })
	return m.cfg.Datastore.Mkdir(ctx, dir)
}

func (m *Manager) imageStep(ctx context.Context, cr *creation) error {
	if cr.c.ImageID == "" {
		return nil
	}
	p, err := m.cfg.Images.Disk(ctx, cr.c.ImageID)
	if err != nil {
		return fmt.Errorf("of %s: %w", cr.c.ImageID, err)
	}
	cr.c.Root.ImageDisk = p
	return nil
}

func (m *Manager) rootStep(ctx context.Context, cr *creation) error {
	disk := vmspec.Disk(m.cfg.DatastoreName, cr.c.ID)
	cr.undo.push("root disk", func(ctx context.Context) error { return m.cfg.Datastore.DeleteDisk(ctx, disk) })
	return m.cfg.Images.CloneRoot(ctx, disk, cr.c.Root.SizeMB)
}

func (m *Manager) specStep(ctx context.Context, cr *creation) error {
	var err error
	if cr.c, err = vmspec.Arrange(cr.c); err != nil {
		return err
	}
	env := vmspec.Env{
		Datastore: m.cfg.DatastoreName, Ref: m.cfg.DatastoreRef,
		BootstrapISO: m.cfg.BootstrapISO, BootstrapRef: m.cfg.BootstrapRef,
		CPUs: m.cfg.CPUs, MemoryMB: m.cfg.MemoryMB,
		Networks: map[string]types.BaseVirtualDeviceBackingInfo{},
	}
	if env.Line, err = m.cfg.Line(); err != nil {
		return err
	}
	for _, e := range cr.c.Endpoints {
		if env.Networks[e.PortGroup], err = m.nic(ctx, e.PortGroup); err != nil {
			return err
		}
	}
	cr.line = env.Line
	cr.vm, err = vmspec.Build(cr.c, env)
	return err
}

func (m *Manager) vmStep(ctx context.Context, cr *creation) error {
	cr.undo.push("VM", func(ctx context.Context) error { return m.undoVM(ctx, cr) })
	var err error
	cr.ref, err = m.cfg.VSphere.CreateVM(ctx, m.cfg.Place, cr.vm)
	return err
}

// undoVM destroys the VM of a failed create. When the call failed, the VM may
// exist all the same (the answer was lost): its UUID tells.
func (m *Manager) undoVM(ctx context.Context, cr *creation) error {
	ref := cr.ref
	if ref.Value == "" {
		found, err := m.cfg.VSphere.FindVM(ctx, m.cfg.Place, cr.vm.Uuid)
		if errdefs.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
		ref = found
	}
	return m.destroy(ctx, cr.c.ID, ref)
}

// CleanUp removes what creates left behind that were cut off with the engine:
// folders and disks that never got a VM. Call it after the first Sync.
func (m *Manager) CleanUp(ctx context.Context) error {
	if err := m.cfg.Datastore.Mkdir(ctx, m.cfg.Marks); err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	marks, err := m.cfg.Datastore.List(ctx, m.cfg.Marks)
	if err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	var all error
	for _, e := range marks {
		if err := m.cleanUp(ctx, e.Name); err != nil {
			all = errors.Join(all, fmt.Errorf("clean up after container %s: %w", e.Name, err))
		}
	}
	return all
}

func (m *Manager) cleanUp(ctx context.Context, id string) error {
	if !isID(id) {
		return nil
	}
	if _, err := m.find(id); errdefs.IsNotFound(err) {
		m.cfg.Log.WithField(spec.FieldContainer, id).Info("removing what an interrupted create left behind")
		if err := m.cfg.Datastore.DeleteDisk(ctx, vmspec.Disk(m.cfg.DatastoreName, id)); err != nil {
			return err
		}
		if err := m.cfg.Datastore.Delete(ctx, vmspec.Path(m.cfg.DatastoreName, id)); err != nil {
			return err
		}
	}
	return m.cfg.Datastore.Delete(ctx, m.mark(id))
}

func isID(s string) bool {
	if len(s) != 64 {
		return false
	}
	return strings.Trim(s, "0123456789abcdef") == ""
}
