package exec

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/spec"
)

// Stop sends signal (empty: the container's own), waits up to timeout (negative:
// for ever) and then kills the process; a VM whose guest does not end by that is
// turned off. A container that does not run: nothing happens.
func (m *Manager) Stop(ctx context.Context, id, signal string, timeout time.Duration) error {
	return m.stop(ctx, id, signal, timeout, false)
}

// stop is Stop, of a process that was killed already, in vain, or was not.
func (m *Manager) stop(ctx context.Context, id, signal string, timeout time.Duration, killed bool) error {
	c, err := m.find(id)
	if err != nil {
		return err
	}
	if c.maintained() != nil {
		return nil // it does not run
	}
	c.interruptStart(errStopped)
	if over, err := m.joinStop(ctx, c, signal, timeout); over || err != nil {
		return err
	}
	if err := hold(ctx, c.op); err != nil {
		return err
	}
	defer letGo(c.op)
	s, err := c.beginStop()
	if s == nil || err != nil {
		return err
	}
	defer c.stopOver()
	if !s.wasUp {
		timeout = 0 // there is no process that could be asked
	}
	if timeout != 0 && !isKill(signal) {
		if err := m.ask(ctx, c, signal, s.own); err != nil {
			c.log().WithError(err).Warn("process could not be asked to stop")
			timeout = 0
		}
		if endedOr(ctx, s.run, timeout, s.hurry) {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	if s.wasUp && !killed && m.endByKill(ctx, c, s.run) {
		return nil
	}
	if err := m.powerOff(ctx, c); err != nil {
		return fmt.Errorf("stop container %s: %w", id, err)
	}
	return nil
}

// endByKill kills the process over the line and tells whether the guest turned
// itself off: then what the container wrote is on its disks, as it is with Docker.
// A VM that loses its power instead loses what the guest's kernel had not yet written.
func (m *Manager) endByKill(ctx context.Context, c *Controller, r *run) bool {
	if err := m.signal(ctx, c, "", "SIGKILL"); err != nil {
		c.log().WithError(err).Warn("process could not be killed: its VM is turned off")
		return false
	}
	return ended(ctx, r, min(lineTimeout, m.cfg.EndTimeout))
}

func (c *Controller) interruptStart(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.interrupt != nil {
		c.interrupt(cause)
	}
}

// beginStop takes the container to stopping; nil when it does not run. stopOver must
// follow.
func (c *Controller) beginStop() (*stopping, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !active(c.phase) {
		return nil, nil
	}
	s := &stopping{run: c.run, wasUp: c.phase != spec.PhaseStarting, own: c.spec.Process.StopSignal, hurry: make(chan struct{})}
	if s.own == "" {
		s.own = "SIGTERM"
	}
	if err := c.move(evStop); err != nil {
		return nil, err
	}
	c.stopping = s
	return s, nil
}

// ask sends a signal over the line; when that is not up, the guest's tools are
// asked, which know the container's own signal only.
func (m *Manager) ask(ctx context.Context, c *Controller, signal, own string) error {
	if signal == "" {
		signal = own
	}
	err := m.signal(ctx, c, "", signal)
	if err == nil || ctx.Err() != nil || signal != own {
		return err
	}
	if terr := m.cfg.VSphere.ShutdownGuest(ctx, c.ref()); terr != nil {
		return errors.Join(err, terr)
	}
	return nil
}

// signal sends a signal over the line, which must be up soon.
func (m *Manager) signal(ctx context.Context, c *Controller, exec, signal string) error {
	ctx, cancel := context.WithTimeout(ctx, lineTimeout)
	defer cancel()
	line, err := m.cfg.Lines.Session(ctx, c.id)
	if err != nil {
		return fmt.Errorf("line of container %s: %w", c.id, err)
	}
	return line.Signal(ctx, exec, signal)
}

// ended waits for the end of a run, negative: for ever.
func ended(ctx context.Context, r *run, timeout time.Duration) bool {
	return endedOr(ctx, r, timeout, nil)
}

// endedOr is ended that waits no longer than until hurry is closed.
func endedOr(ctx context.Context, r *run, timeout time.Duration, hurry <-chan struct{}) bool {
	var limit <-chan time.Time
	if timeout >= 0 {
		t := time.NewTimer(timeout)
		defer t.Stop()
		limit = t.C
	}
	select {
	case <-r.done:
		return true
	case <-limit:
	case <-hurry:
	case <-ctx.Done():
	}
	return false
}

// powerOff turns the VM off and takes the container to exited.
func (m *Manager) powerOff(ctx context.Context, c *Controller) error {
	c.mu.Lock()
	r := c.run
	if !active(c.phase) {
		c.mu.Unlock()
		return nil
	}
	r.killed = true
	r.on = true
	c.gen++
	c.mu.Unlock()
	err := m.cfg.VSphere.PowerOff(ctx, c.ref())
	if err != nil && !errdefs.IsFailedPrecondition(err) && !errdefs.IsNotFound(err) {
		return err
	}
	c.touch()
	// Off, or off already, or gone: what was read after it tells.
	if err := m.Refresh(ctx, c.ref()); err != nil {
		return err
	}
	select {
	case <-r.done:
		return nil
	default:
		return fmt.Errorf("VM of container %s is still on: %w", c.id, errdefs.ErrUnavailable)
	}
}

func isKill(signal string) bool {
	switch strings.ToUpper(signal) {
	case "9", "KILL", "SIGKILL":
		return true
	}
	return false
}

// Signal sends a signal to the process. KILL turns the VM off when the guest
// does not answer. A container that does not run is ErrConflict.
func (m *Manager) Signal(ctx context.Context, id, signal string) error {
	c, err := m.find(id)
	if err != nil {
		return err
	}
	c.mu.Lock()
	phase, r := c.phase, c.run
	c.mu.Unlock()
	if !active(phase) || phase == spec.PhaseStarting && !isKill(signal) {
		return fmt.Errorf("container %s is not running: %w", id, errdefs.ErrConflict)
	}
	if phase == spec.PhaseStarting {
		return m.Stop(ctx, id, signal, 0)
	}
	err = m.signal(ctx, c, "", signal)
	if !isKill(signal) || ctx.Err() != nil {
		return err
	}
	if err == nil && ended(ctx, r, lineTimeout) {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return m.stop(ctx, id, signal, 0, true)
}

// SignalExec sends a signal to an exec's process.
func (m *Manager) SignalExec(ctx context.Context, id, exec, signal string) error {
	c, err := m.running(id)
	if err != nil {
		return err
	}
	return m.signal(ctx, c, exec, signal)
}

// running gives a container whose process runs.
func (m *Manager) running(id string) (*Controller, error) {
	c, err := m.find(id)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase != spec.PhaseRunning && c.phase != spec.PhaseStopping {
		return nil, fmt.Errorf("container %s is not running: %w", id, errdefs.ErrConflict)
	}
	return c, nil
}
