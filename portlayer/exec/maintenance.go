package exec

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/guestinfo"
	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/pkg/vsphere"
)

// A container that does not run has its files served by its own VM, turned on
// without the process: maintenance. It is no run: phase, status and events stay
// what they were, and a VM that carries the mode in its configuration is never
// taken for one that runs.
//
// All who want files at the same time share one boot, and those who come a
// moment later too (Config.FilesLinger). The operation lock is held all the time,
// so that a start and a removal come after it; a start lets those who are there
// finish and keeps others out, a removal cuts them off. When the engine dies
// meanwhile, the next one turns the VM off (sweep), or the guest itself does.

// maintenance is one such boot. What is not a channel is guarded by the
// controller's mu.
type maintenance struct {
	up     chan struct{} // closed when line or err is set
	off    chan struct{} // closed when the VM was seen off
	over   chan struct{} // closed when the VM is the others' again
	quiet  chan struct{} // holds a token when users became 0
	wanted chan struct{} // closed when somebody waits for the VM
	cut    chan struct{} // closed when nobody may go on

	line    Line
	err     error
	users   int
	closing bool // takes no more users
	claimed bool // has the container's volumes
	on      bool // what is seen off now is the end of it
	early   bool // seen off before on: not yet on, or off again already
	// state is what the guest said last of itself.
	state string
}

func newMaintenance() *maintenance {
	return &maintenance{
		up: make(chan struct{}), off: make(chan struct{}), over: make(chan struct{}),
		quiet: make(chan struct{}, 1), wanted: make(chan struct{}), cut: make(chan struct{}),
	}
}

var (
	// errAgain tells a user of files that the container runs now, or is about to.
	errAgain = errors.New("the container was started meanwhile")
	// errMaintained ends a claim of volumes that a maintenance has.
	errMaintained = errors.New("the volume's files are being looked at")
	// errUnused ends a boot that nobody waits for any more.
	errUnused = errors.New("nobody needs the files any more")
)

// InMaintenance tells whether a container's guest is on without its process.
func (m *Manager) InMaintenance(id string) bool {
	c, err := m.find(id)
	return err == nil && c.maintained() != nil
}

func (c *Controller) maintained() *maintenance {
	c.mu.Look()
	defer c.mu.Unlock()
	return c.maint
}

// join makes the caller a user of a maintenance, which it begins if there is none;
// nil: the one there is takes nobody any more, wait for over.
func (c *Controller) join() (s *maintenance, over <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s = c.maint; s == nil {
		s = newMaintenance()
		c.maint = s
		c.m.background(func(ctx context.Context) { c.m.maintain(ctx, c, s) })
	}
	if s.closing {
		return nil, s.over
	}
	s.users++
	return s, nil
}

// part ends the use of a maintenance.
func (c *Controller) part(s *maintenance) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.users--; s.users > 0 {
		return
	}
	select {
	case s.quiet <- struct{}{}:
	default:
	}
}

// unused tells whether nobody uses it; with close, nobody will from now on.
func (c *Controller) unused(s *maintenance, close bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	s.closing = s.closing || close && s.users == 0
	return s.users == 0
}

// makeWay asks a maintenance, if there is one, to make way: its users finish, or are
// cut off. It gives when it has.
func (c *Controller) makeWay(cut bool) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.maint
	if s == nil {
		return closed()
	}
	s.closing = true
	closeOnce(s.wanted)
	if cut {
		closeOnce(s.cut)
	}
	return s.over
}

// closeOnce is called with the controller's mu held.
func closeOnce(c chan struct{}) {
	select {
	case <-c:
	default:
		close(c)
	}
}

// maintain is the whole of a maintenance.
func (m *Manager) maintain(ctx context.Context, c *Controller, s *maintenance) {
	if err := hold(ctx, c.op); err != nil {
		c.overWith(s, err)
		return
	}
	defer letGo(c.op)
	err := m.maintenanceBoot(ctx, c, s)
	if err == nil {
		c.log().Info("files of the container are served, its process is not started")
		m.serveFiles(ctx, c, s)
	}
	if ctx.Err() == nil { // else the next engine finds it, or the guest ends by itself
		m.maintenanceOff(ctx, c, s, err == nil)
	}
	c.overWith(s, err)
}

// overWith ends a maintenance for all who wait for anything of it.
func (c *Controller) overWith(s *maintenance, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.line == nil && s.err == nil {
		s.err = err
		closeOnce(s.up)
	}
	closeOnce(s.cut)
	c.maint = nil
	close(s.over)
}

// maintenanceBoot turns the VM on and waits for its line.
func (m *Manager) maintenanceBoot(ctx context.Context, c *Controller, s *maintenance) error {
	if err := c.mayMaintain(s); err != nil {
		return err
	}
	if err := m.claimFiles(ctx, c, s); err != nil {
		return err
	}
	if err := m.prepare(ctx, c); err != nil {
		return err
	}
	if err := m.setMode(ctx, c, guestinfo.ModeMaintenance); err != nil {
		return err
	}
	c.touch()
	err := m.cfg.VSphere.PowerOn(ctx, c.ref())
	// One that was on already runs its process. Else it may be on though the
	// answer was lost.
	look := c.maintenanceOn(s, err == nil || !errdefs.IsFailedPrecondition(err))
	if err != nil {
		return fmt.Errorf("turn the VM on for its files: %w", err)
	}
	if look {
		if err := m.Refresh(ctx, c.ref()); err != nil {
			c.log().WithError(err).Warn("VM could not be read after it was turned on for its files")
		}
	}
	line, err := m.maintenanceLine(ctx, c, s)
	if err != nil {
		return m.explainFiles(ctx, c, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s.line = line
	closeOnce(s.up)
	return nil
}

// maintenanceOn notes that the VM was turned on. It tells whether the VM must be
// read again: one that was seen off meanwhile may have ended already, and nobody
// would hear of it any more.
func (c *Controller) maintenanceOn(s *maintenance, on bool) (look bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s.on = on
	c.gen++
	return on && s.early
}

// mayMaintain is asked with the operation lock held.
func (c *Controller) mayMaintain(s *maintenance) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch c.phase {
	case spec.PhaseCreated, spec.PhaseExited:
	case spec.PhaseStarting, spec.PhaseRunning, spec.PhaseStopping:
		return errAgain
	default:
		return fmt.Errorf("container is %s: %w", name(c.phase), errdefs.ErrConflict)
	}
	if s.users == 0 {
		return errUnused
	}
	c.ready = nil // its next start looks at the VM again
	return nil
}

// claimFiles takes the container's volumes, as a start does. Those that another
// maintenance has are waited for.
func (m *Manager) claimFiles(ctx context.Context, c *Controller, s *maintenance) error {
	for {
		err := m.claim(c, func() error {
			c.mu.Lock()
			defer c.mu.Unlock()
			s.claimed = true
			return nil
		})
		if !errors.Is(err, errMaintained) {
			return err
		}
		if err := m.awaitVolumes(ctx, c); err != nil {
			return err
		}
	}
}

// awaitVolumes waits for maintenances that have a container's volumes.
func (m *Manager) awaitVolumes(ctx context.Context, c *Controller) error {
	v, ok := c.listed()
	if !ok {
		return errGone
	}
	for _, other := range m.sharers(v.Container) {
		if !other.hasClaim() {
			continue
		}
		select {
		case <-other.makeWay(false):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// sharers are the other containers that mount one of a container's volumes.
func (m *Manager) sharers(c spec.Container) []*Controller {
	mine := map[string]bool{}
	for _, mt := range c.Mounts {
		if mt.Type == spec.MountVolume {
			mine[mt.Source] = true
		}
	}
	var out []*Controller
	for _, v := range m.Snapshots() {
		if v.Container.ID == c.ID {
			continue
		}
		for _, mt := range v.Container.Mounts {
			if mt.Type != spec.MountVolume || !mine[mt.Source] {
				continue
			}
			if other, err := m.find(v.Container.ID); err == nil {
				out = append(out, other)
			}
			break
		}
	}
	return out
}

func (c *Controller) hasClaim() bool {
	c.mu.Look()
	defer c.mu.Unlock()
	return c.maint != nil && c.maint.claimed
}

// setMode writes the mode in which the VM boots next; empty: it runs its process.
func (m *Manager) setMode(ctx context.Context, c *Controller, mode string) error {
	if err := hold(ctx, c.config); err != nil {
		return err
	}
	defer letGo(c.config)
	if mode != "" {
		c.mark(true)
	}
	err := m.cfg.VSphere.Reconfigure(ctx, c.ref(), types.VirtualMachineConfigSpec{
		ExtraConfig: vsphere.ExtraConfig(map[string]string{guestinfo.KeyMode: mode}),
	})
	if err != nil {
		return fmt.Errorf("set the mode of the VM's next boot: %w", err)
	}
	if mode == "" {
		c.mark(false)
	}
	return nil
}

// mark notes that the VM's configuration may have a mode.
func (c *Controller) mark(has bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.marked = has
	c.gen++
}

// unmark lets the VM run its process when it is turned on.
func (m *Manager) unmark(ctx context.Context, c *Controller) error {
	c.mu.Look()
	marked := c.marked
	c.mu.Unlock()
	if !marked {
		return nil
	}
	return m.setMode(ctx, c, "")
}

// maintenanceLine waits for the line of a guest that boots, as long as somebody
// wants it.
func (m *Manager) maintenanceLine(ctx context.Context, c *Controller, s *maintenance) (Line, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, m.cfg.BootTimeout, errBoot)
	defer cancel()
	type result struct {
		line Line
		err  error
	}
	got := make(chan result, 1)
	go func() { // ends with ctx
		line, err := m.cfg.Lines.Session(ctx, c.id)
		got <- result{line, err}
	}()
	for {
		select {
		case r := <-got:
			if r.err != nil && ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			return r.line, r.err
		case <-s.off:
			c.mu.Look()
			defer c.mu.Unlock()
			return nil, fmt.Errorf("the VM turned itself off: %s: %w", s.state, errdefs.ErrUnavailable)
		case <-s.quiet:
			if c.unused(s, true) {
				return nil, errUnused
			}
		case <-s.cut:
			return nil, errGone
		case <-c.gone:
			return nil, errGone
		}
	}
}

// explainFiles adds the end of the console to what went wrong with a boot.
func (m *Manager) explainFiles(ctx context.Context, c *Controller, err error) error {
	if errors.Is(err, errUnused) || errors.Is(err, errGone) || ctx.Err() != nil && !errors.Is(err, errBoot) {
		return err
	}
	if errors.Is(err, errBoot) {
		err = fmt.Errorf("the containerVM did not come up to serve its files within %s: %w", m.cfg.BootTimeout, errdefs.ErrUnavailable)
	}
	tail, terr := m.consoleTail(ctx, c.id)
	if terr != nil || tail == "" {
		return err
	}
	return fmt.Errorf("%w; its console ends with:\n%s", err, tail)
}

// serveFiles returns when nobody needs the guest any more.
func (m *Manager) serveFiles(ctx context.Context, c *Controller, s *maintenance) {
	linger := time.NewTimer(m.cfg.FilesLinger)
	defer linger.Stop()
	wanted := s.wanted
	for {
		select {
		case <-s.quiet:
			linger.Reset(m.cfg.FilesLinger)
		case <-linger.C:
			if c.unused(s, true) {
				return
			}
			continue
		case <-wanted:
			wanted = nil // from now on the last user is waited for
		case <-s.cut:
			return
		case <-s.off:
			c.log().Warn("VM went off while its files were served")
			return
		case <-c.gone:
			return
		case <-ctx.Done():
			return
		}
		if wanted == nil && c.unused(s, true) {
			return
		}
	}
}

// maintenanceOff makes the VM what it was: off, and without a mode. gently: the
// guest is up and may write out what it has.
func (m *Manager) maintenanceOff(ctx context.Context, c *Controller, s *maintenance, gently bool) {
	c.mu.Lock()
	on := s.on
	s.closing = true
	closeOnce(s.cut)
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	if on {
		m.turnOff(ctx, c, s, gently)
	}
	if err := m.unmark(ctx, c); err != nil && !errdefs.IsNotFound(err) {
		c.log().WithError(err).Warn("VM stays marked for maintenance until its next start")
	}
}

func (m *Manager) turnOff(ctx context.Context, c *Controller, s *maintenance, gently bool) {
	if gently && m.askOff(ctx, c, s) {
		t := time.NewTimer(m.cfg.EndTimeout)
		defer t.Stop()
		select {
		case <-s.off:
			m.cfg.Lines.Drop(c.id)
			return
		case <-c.gone:
			return
		case <-t.C:
			c.log().Warn("guest does not turn itself off")
		}
	}
	c.touch()
	err := m.cfg.VSphere.PowerOff(ctx, c.ref())
	if err != nil && !errdefs.IsFailedPrecondition(err) && !errdefs.IsNotFound(err) {
		c.log().WithError(err).Error("VM that served files could not be turned off")
	}
	c.touch()
	m.cfg.Lines.Drop(c.id)
}

// askOff lets the guest turn itself off: over its line, or by its tools.
func (m *Manager) askOff(ctx context.Context, c *Controller, s *maintenance) bool {
	ctx, cancel := context.WithTimeout(ctx, lineTimeout)
	defer cancel()
	if l, ok := s.line.(FileLine); ok {
		err := l.PowerOff(ctx)
		// It may be gone before its answer.
		if err == nil || errdefs.IsUnavailable(err) {
			return true
		}
		c.log().WithError(err).Warn("guest could not be asked to turn itself off")
	}
	return m.cfg.VSphere.ShutdownGuest(ctx, c.ref()) == nil
}

// seenMaintenance is what a VM in this mode says that was read. Called with mu
// held.
func (c *Controller) seenMaintenance(vm vsphere.VM, status guestinfo.Status) {
	c.marked = true
	switch s := c.maint; {
	case s == nil && !c.sweeping:
		c.sweeping = true
		c.m.background(func(ctx context.Context) { c.m.sweep(ctx, c) })
	case s == nil || vm.On():
	case !s.on:
		s.early = true
	default:
		s.state = status.TetherState
		closeOnce(s.off)
	}
}

// sweep ends a maintenance that nobody here began: its engine is gone.
func (m *Manager) sweep(ctx context.Context, c *Controller) {
	defer func() {
		c.mu.Lock()
		c.sweeping = false
		c.mu.Unlock()
	}()
	if hold(ctx, c.op) != nil {
		return
	}
	defer letGo(c.op)
	s := newMaintenance()
	c.mu.Lock()
	if c.maint != nil || !c.marked || active(c.phase) {
		c.mu.Unlock()
		return
	}
	s.closing, s.on = true, true
	c.maint = s
	c.mu.Unlock()
	defer c.overWith(s, nil)
	vm, err := m.cfg.VSphere.VM(ctx, c.ref())
	if err != nil {
		c.log().WithError(err).Warn("VM that is marked for maintenance could not be read")
		return
	}
	if vm.On() {
		c.log().Info("turning off a VM that served files to an engine before")
	} else {
		c.mu.Lock()
		s.on = false
		c.mu.Unlock()
	}
	m.maintenanceOff(ctx, c, s, vm.On())
}
