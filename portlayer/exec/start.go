package exec

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	"github.com/sirupsen/logrus"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/pkg/vsphere"
	"github.com/vic-engine/vic/portlayer/vmspec"
)

var (
	// errStopped ends a start because somebody stopped the container.
	errStopped = fmt.Errorf("container was stopped while it started: %w", errdefs.ErrConflict)
	// errGone ends what is under way because the container's VM is gone.
	errGone = fmt.Errorf("container was removed: %w", errdefs.ErrNotFound)
	// errBoot ends a start whose process does not come up in time.
	errBoot = errors.New("boot takes too long")
)

// Start powers the VM on and returns when the process runs. It goes on when the
// caller leaves, and ends early when the container is stopped or removed. A
// container that runs already: nothing happens.
func (m *Manager) Start(ctx context.Context, id string) error {
	c, err := m.find(id)
	if err != nil {
		return err
	}
	c.makeWay(false)
	if err := hold(ctx, c.op); err != nil {
		return err
	}
	defer letGo(c.op)
	ctx, interrupt := context.WithCancelCause(context.WithoutCancel(ctx))
	defer interrupt(nil)
	var r *run
	var dropped <-chan struct{}
	for {
		err = m.claim(c, func() error {
			r, dropped, err = c.begin(interrupt)
			return err
		})
		if !errors.Is(err, errMaintained) {
			break
		}
		if err = m.awaitVolumes(ctx, c); err != nil {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("start container %s: %w", id, err)
	}
	if r == nil {
		return nil
	}
	defer c.begun()
	began := m.cfg.Now()
	<-dropped
	if err := m.boot(ctx, c, r); err != nil {
		return fmt.Errorf("start container %s: %w", id, err)
	}
	c.log().WithField(spec.FieldDuration, m.cfg.Now().Sub(began).Round(time.Millisecond)).Info("container started")
	return nil
}

// AwaitStart returns when a start that is under way is over, well or not; at once
// where there is none.
func (m *Manager) AwaitStart(ctx context.Context, id string) error {
	c, err := m.find(id)
	if err != nil {
		return err
	}
	c.mu.Look()
	starting, r := c.phase == spec.PhaseStarting, c.run
	c.mu.Unlock()
	if !starting {
		return nil
	}
	select {
	case <-r.started:
	case <-r.done:
	case <-c.gone:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// begin takes the container to starting; no run when it is on already.
func (c *Controller) begin(interrupt context.CancelCauseFunc) (*run, <-chan struct{}, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase == spec.PhaseRunning || c.phase == spec.PhaseStarting {
		return nil, nil, nil
	}
	if err := c.move(evStart); err != nil {
		return nil, nil, err
	}
	c.run.asked = true
	c.interrupt = interrupt
	return c.run, c.dropped, nil
}

func (c *Controller) begun() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.interrupt = nil
}

// boot turns the VM on and follows it until the process runs. On failure the VM
// is off and the container has exited.
func (m *Manager) boot(ctx context.Context, c *Controller, r *run) error {
	ready := m.isReady(c)
	if err := m.networksBefore(ctx, c); err != nil && !m.isOn(ctx, c) {
		return m.notOn(ctx, c, r, err)
	}
	err := m.turnOn(ctx, c, ready)
	if err != nil && ready && ctx.Err() == nil && !m.isOn(ctx, c) {
		// Somebody touched it in that moment, perhaps: look at it after all.
		err = m.turnOn(ctx, c, false)
	}
	if err != nil && !m.isOn(ctx, c) {
		return m.notOn(ctx, c, r, err)
	}
	c.mu.Lock()
	c.gen++
	r.on = true
	look := r.early
	c.mu.Unlock()
	if look {
		if err := m.Refresh(ctx, c.ref()); err != nil {
			c.log().WithError(err).Warn("VM could not be read after it was turned on")
		}
	}

	ctx, cancel := context.WithTimeoutCause(ctx, m.cfg.BootTimeout, errBoot)
	defer cancel()
	if err = m.awaitProcess(ctx, c, r); err == nil {
		m.networksAfter(ctx, c)
		return nil
	}
	return m.notUp(ctx, c, r, err)
}

// readyFor is how long a VM counts as it was made: the start of a `docker run`.
const readyFor = 10 * time.Second

// isReady tells, once, that the VM was made just now and needs no preparing.
func (m *Manager) isReady(c *Controller) bool {
	c.mu.Lock()
	ready := c.ready
	c.ready = nil
	c.mu.Unlock()
	if ready == nil || m.cfg.Now().Sub(ready.made) > readyFor {
		return false
	}
	line, err := m.cfg.Line()
	return err == nil && line == ready.line
}

func (m *Manager) turnOn(ctx context.Context, c *Controller, ready bool) error {
	if !ready {
		if err := m.prepare(ctx, c); err != nil {
			return err
		}
	}
	if err := m.unmark(ctx, c); err != nil {
		return err
	}
	c.touch()
	return m.cfg.VSphere.PowerOn(ctx, c.ref())
}

// touch makes what was read of the VM before old.
func (c *Controller) touch() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gen++
}

// isOn asks vSphere: somebody may have turned the VM on before us.
func (m *Manager) isOn(ctx context.Context, c *Controller) bool {
	vm, err := m.cfg.VSphere.VM(context.WithoutCancel(ctx), c.ref())
	return err == nil && vm.On()
}

// notOn ends a start that did not get as far as a VM that is on.
func (m *Manager) notOn(ctx context.Context, c *Controller, r *run, err error) error {
	if cause := context.Cause(ctx); cause != nil && ctx.Err() != nil {
		err = cause
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.run != r {
		return err // it ended otherwise meanwhile
	}
	c.gen++
	r.report = &spec.ExitStatus{Code: spec.ExitGuestFailed, Error: err.Error(), Stopped: m.cfg.Now().UTC()}
	r.on = true
	if c.move(evOff) == nil {
		c.end(nil)
	}
	return err
}

// prepare makes sure that the VM can boot: the image's disk exists (an
// administrator who deleted another container's VM with its disks has taken it
// along), the serial port dials the VCH where it is now, and it has the memory that
// guests of this version need.
func (m *Manager) prepare(ctx context.Context, c *Controller) error {
	v, ok := c.listed()
	if !ok {
		return errGone
	}
	sc := v.Container
	if sc.ImageID != "" {
		p, err := m.cfg.Images.Disk(ctx, sc.ImageID)
		if err != nil {
			return fmt.Errorf("disk of image %s: %w", sc.ImageID, err)
		}
		sc.Root.ImageDisk = p
	}
	if err := m.present(sc); err != nil {
		return err
	}
	if sc.Resources.Resize {
		if err := m.shrink(ctx, c); err != nil {
			return err
		}
	}
	line, err := m.cfg.Line()
	if err != nil {
		return err
	}
	if err := m.enlarged(ctx, c); err != nil {
		return err
	}
	devices, mb, err := m.cfg.VSphere.DevicesAndMemory(ctx, c.ref())
	if err != nil {
		return err
	}
	change := types.VirtualMachineConfigSpec{DeviceChange: repairs(devices, sc, line, m.cfg.DatastoreRef)}
	if mb < spec.MinMemoryMB {
		change.MemoryMB = spec.MinMemoryMB
	}
	if len(change.DeviceChange) == 0 && change.MemoryMB == 0 {
		return nil
	}
	if err := m.cfg.VSphere.Reconfigure(ctx, c.ref(), change); err != nil {
		return fmt.Errorf("repair hardware: %w", err)
	}
	return nil
}

// repairs gives what must change in a VM's hardware before it boots.
func repairs(devices []types.BaseVirtualDevice, sc spec.Container, line string, ds types.ManagedObjectReference) []types.BaseVirtualDeviceConfigSpec {
	var out []types.BaseVirtualDeviceConfigSpec
	hasImage := sc.Root.ImageDisk == ""
	for _, d := range devices {
		switch d := d.(type) {
		case *types.VirtualSerialPort:
			b, ok := d.Backing.(*types.VirtualSerialPortURIBackingInfo)
			if ok && b.ServiceURI != line {
				b.ServiceURI = line
				out = append(out, &types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationEdit, Device: d})
			}
		case *types.VirtualDisk:
			b, ok := d.Backing.(types.BaseVirtualDeviceFileBackingInfo)
			hasImage = hasImage || ok && b.GetVirtualDeviceFileBackingInfo().FileName == sc.Root.ImageDisk
		}
	}
	if !hasImage {
		out = append(out, vsphere.Add(vmspec.ImageDisk(sc, ds)))
	}
	return append(out, missingVolumes(devices, sc)...)
}

// awaitProcess waits until the process runs. An error that is *spec.StartError
// is what the guest said; nil also when it has run and ended already.
func (m *Manager) awaitProcess(ctx context.Context, c *Controller, r *run) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	released := make(chan error, 1)
	if c.wantsRelease() {
		m.background(func(context.Context) { released <- m.release(ctx, c, r) })
	}
	for {
		select {
		case <-r.started:
			return nil
		case <-r.done:
			return outcome(r)
		case err := <-released:
			var se *spec.StartError
			switch {
			case err == nil:
				return nil
			case errors.As(err, &se):
				return err
			}
			// The process starts by itself, or the boot takes too long.
			c.log().WithError(err).Warn("process could not be released over its line")
			released = nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (c *Controller) wantsRelease() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.spec.Process.Attach
}

// release lets the process go once the clients that attached before are joined.
func (m *Manager) release(ctx context.Context, c *Controller, r *run) error {
	line, err := m.cfg.Lines.Session(ctx, c.id)
	if err != nil {
		return err
	}
	m.setClock(ctx, c, line)
	c.awaitJoined(ctx)
	if m.cfg.Networks != nil {
		m.cfg.Networks.Greet(ctx, c.id, line)
	}
	pid, err := line.Release(ctx)
	if err != nil {
		return err
	}
	c.mu.Lock()
	current := c.run == r
	c.mu.Unlock()
	if current {
		c.started(pid, time.Time{})
	}
	return nil
}

// outcome tells how a run that has ended began.
func outcome(r *run) error {
	e := r.exit
	if !e.Started.IsZero() || r.isStarted() {
		return nil
	}
	msg := e.Error
	if msg == "" {
		msg = "the process ended before it started"
	}
	return &spec.StartError{Code: e.Code, Msg: msg}
}

// notUp ends a start whose VM is on but whose process does not run: the VM is
// off when it returns.
func (m *Manager) notUp(ctx context.Context, c *Controller, r *run, err error) error {
	var se *spec.StartError
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	switch {
	case errors.As(err, &se) && se.Code != spec.ExitGuestFailed:
		// The guest turns itself off after it said so.
		t := time.NewTimer(m.cfg.EndTimeout)
		defer t.Stop()
		select {
		case <-r.done:
			return err
		case <-t.C:
		}
	case errors.Is(err, errStopped) || errors.Is(err, errGone):
		return err // whoever did that ends the run
	default:
		err = m.explain(late, c, r, err)
	}
	if perr := m.powerOff(late, c); perr != nil {
		return errors.Join(err, perr)
	}
	return err
}

// explain says why a boot failed, with the end of the VM's console, and makes
// that the exit status of the run.
func (m *Manager) explain(ctx context.Context, c *Controller, r *run, err error) error {
	msg := err.Error()
	if errors.Is(err, errBoot) {
		msg = fmt.Sprintf("the containerVM did not start its process within %s", m.cfg.BootTimeout)
	}
	tail, terr := m.consoleTail(ctx, c.id)
	if terr != nil {
		c.log().WithError(terr).Debug("console of a failed boot cannot be read")
	}
	if tail != "" {
		msg += "; its console ends with:\n" + tail
	}
	c.log().WithFields(logrus.Fields{logrus.ErrorKey: err}).Warn("boot failed")
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.run == r {
		r.report = &spec.ExitStatus{Code: spec.ExitGuestFailed, Error: msg, Stopped: m.cfg.Now().UTC()}
	}
	return &spec.StartError{Code: spec.ExitGuestFailed, Msg: msg}
}
