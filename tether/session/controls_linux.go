package session

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/sys/signal"

	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/tether/cgroup"
	"github.com/vic-engine/vic/tether/gauge"
	"github.com/vic-engine/vic/tether/proc"
)

// thawWait bounds a thaw that nobody waits for; the kernel needs no time for it.
const thawWait = 5 * time.Second

// Pause freezes the container's process and all beside it.
func (h handler) Pause(ctx context.Context) error {
	if err := hold(ctx, h.freezing); err != nil {
		return err
	}
	defer func() { <-h.freezing }()
	g, err := h.barExecs()
	if err != nil || g == nil {
		return err
	}
	if err := g.Freeze(ctx); err != nil {
		h.mu.Lock()
		h.frozen = false
		h.mu.Unlock()
		return err
	}
	h.setPaused(true)
	return nil
}

// barExecs lets no exec start from now on: one that starts in a frozen group would
// hold up whoever starts it. No group: it is paused already.
func (m *Manager) barExecs() (*cgroup.Group, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	g, err := m.held()
	if err != nil || m.frozen {
		return nil, err
	}
	m.frozen = true
	return g, nil
}

// held gives the group of a process that runs. Called with mu held.
func (m *Manager) held() (*cgroup.Group, error) {
	if m.process == nil || m.state.ending {
		return nil, fmt.Errorf("container %s is not running: %w", m.id, errdefs.ErrConflict)
	}
	if m.group == nil {
		return nil, fmt.Errorf("control groups: %w", errdefs.ErrNotImplemented)
	}
	return m.group, nil
}

// Resume thaws them.
func (h handler) Resume(ctx context.Context) error { return h.resume(ctx) }

func (m *Manager) resume(ctx context.Context) error {
	if err := hold(ctx, m.freezing); err != nil {
		return err
	}
	defer func() { <-m.freezing }()
	m.mu.Lock()
	frozen, g := m.frozen, m.group
	m.mu.Unlock()
	if !frozen {
		return nil
	}
	if err := g.Thaw(ctx); err != nil {
		return err
	}
	m.mu.Lock()
	m.frozen = false
	m.mu.Unlock()
	m.setPaused(false)
	return nil
}

// setPaused reports it, to guestinfo first: that is what an engine that comes later
// reads.
func (m *Manager) setPaused(on bool) {
	if err := m.cfg.Reporter.Paused(m.id, on); err != nil {
		m.log.WithError(err).Warn("pause not reported")
	}
	m.change(func(s *state) { s.paused = on })
}

// signalMain sends a signal to the container's process. One that asks it to end
// thaws it, as in Docker: its own stop signal, KILL, and any when it has no stop
// signal of its own.
func (m *Manager) signalMain(ctx context.Context, p *proc.Process, name string) error {
	if err := p.Signal(name); err != nil {
		return err
	}
	m.mu.Lock()
	frozen := m.frozen
	m.mu.Unlock()
	own := m.cfg.Container.Process.StopSignal
	if !frozen || own != "" && !sameSignal(name, own) && !sameSignal(name, "KILL") {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, thawWait)
	defer cancel()
	return m.resume(ctx)
}

func sameSignal(a, b string) bool {
	x, err := signal.ParseSignal(a)
	if err != nil {
		return strings.EqualFold(a, b)
	}
	y, err := signal.ParseSignal(b)
	return err == nil && x == y
}

// Limit holds the processes to l.
func (h handler) Limit(_ context.Context, l spec.Limits) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	g, err := h.held()
	if err != nil {
		return err
	}
	return g.SetLimits(l)
}

// Enlarge uses what the VM has got.
func (h handler) Enlarge(ctx context.Context, s spec.Size) error {
	if h.cfg.Enlarge == nil {
		return fmt.Errorf("CPUs and memory of a VM that runs: %w", errdefs.ErrNotImplemented)
	}
	return h.cfg.Enlarge(ctx, s)
}

// Time is this computer's clock.
func (h handler) Time(context.Context) (time.Time, error) { return time.Now().UTC(), nil }

// Correct corrects it, unless the process that runs was given the clock: it has it to
// itself then.
func (h handler) Correct(_ context.Context, by time.Duration, atOnce bool) error {
	c := h.cfg.Clock
	if c == nil {
		return fmt.Errorf("correction of the clock: %w", errdefs.ErrNotImplemented)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.process != nil && proc.SetsClock(h.cfg.Container.Process) {
		return fmt.Errorf("the process of container %s sets the clock: %w", h.id, errdefs.ErrFailedPrecondition)
	}
	if h.process == nil && !h.isTimed {
		h.isTimed = true
		defer close(h.timed)
	}
	switch {
	case by == 0:
		return nil
	case atOnce:
		return c.Step(by)
	default:
		return c.Slew(by)
	}
}

// gauge reads the figures of a container that runs.
func (m *Manager) gauge() (gauge.Reader, *cgroup.Group, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	g, err := m.held()
	if err != nil {
		return gauge.Reader{}, nil, err
	}
	return gauge.Reader{Group: g.Dir(), Proc: procDir, Root: m.root}, g, nil
}

// Stats reads what the processes use.
func (h handler) Stats(context.Context) (spec.Stats, error) {
	r, _, err := h.gauge()
	if err != nil {
		return spec.Stats{}, err
	}
	return r.Stats()
}

// Processes lists them.
func (h handler) Processes(context.Context) (spec.ProcessTable, error) {
	r, g, err := h.gauge()
	if err != nil {
		return spec.ProcessTable{}, err
	}
	pids, err := g.Pids()
	if err != nil {
		return spec.ProcessTable{}, err
	}
	return r.Processes(pids)
}

// watchOOM notes each kill for want of memory until ctx is done.
func (m *Manager) watchOOM(ctx context.Context, g *cgroup.Group) {
	err := g.WatchOOM(ctx, func(n int) {
		m.log.WithField("killed", n).Warn("out of memory")
		m.change(func(s *state) { s.oomKills = n })
		if err := m.cfg.Reporter.OOM(m.id); err != nil {
			m.log.WithError(err).Warn("want of memory not reported")
		}
	})
	if err != nil {
		m.log.WithError(err).Warn("a want of memory will be seen at the end only")
	}
}

// hold takes a lock that is a channel of one, or gives up with ctx.
func hold(ctx context.Context, lock chan struct{}) error {
	select {
	case lock <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
