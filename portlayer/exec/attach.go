package exec

import (
	"context"
	"fmt"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/spec"
)

// attacher is a client that attached before the line was up.
type attacher struct {
	joined chan struct{} // closed when it is joined, or has left
}

// Attach joins client streams to the container's process, and returns when its
// output has ended or the client has left. Before the start, the client waits
// for it, and misses nothing.
func (m *Manager) Attach(ctx context.Context, id string, s spec.Streams) error {
	c, err := m.find(id)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	a, r, early, err := c.enter()
	if err != nil {
		return err
	}
	leave := sync.OnceFunc(func() { c.leave(a) })
	defer leave()
	joined := s.Joined
	if early && joined != nil {
		joined()
		joined = nil
	}
	s.Joined = func() {
		leave()
		if joined != nil {
			joined()
		}
	}
	line, err := c.lineOf(ctx, r)
	if err != nil || line == nil {
		return err
	}
	defer c.use()()
	err = line.Attach(ctx, s)
	if errdefs.IsUnavailable(err) && ended(ctx, r, lineTimeout) {
		return nil // the VM was turned off under its line
	}
	return err
}

// enter notes a client; early when there is no process yet to join.
func (c *Controller) enter() (a *attacher, r *run, early bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch c.phase {
	case spec.PhaseRemoving, spec.PhaseDead, spec.PhaseCreating, phaseGone:
		return nil, nil, false, fmt.Errorf("container %s is %s: %w", c.id, name(c.phase), errdefs.ErrConflict)
	}
	a = &attacher{joined: make(chan struct{})}
	c.waiting[a] = struct{}{}
	return a, c.run, c.phase != spec.PhaseRunning && c.phase != spec.PhaseStopping, nil
}

func (c *Controller) leave(a *attacher) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting, a)
	close(a.joined)
}

// lineOf waits for the line of a run; no line and no error when the run ended
// without.
func (c *Controller) lineOf(ctx context.Context, r *run) (Line, error) {
	up, cancel := context.WithCancel(ctx)
	defer cancel()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		select {
		case <-r.done:
		case <-c.gone:
		case <-up.Done():
		}
		cancel()
	}()
	line, err := c.runLine(up)
	cancel()
	<-stopped
	if err == nil {
		return line, nil
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	select {
	case <-r.done:
		return nil, nil
	case <-c.gone:
		return nil, nil
	default:
		return nil, fmt.Errorf("line of container %s: %w", c.id, err)
	}
}

// runLine waits for the line of a guest that runs the process: those that only
// serve its files are waited out.
func (c *Controller) runLine(ctx context.Context) (Line, error) {
	for {
		if s := c.maintained(); s != nil {
			select {
			case <-s.over:
				continue
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		line, err := c.m.cfg.Lines.Session(ctx, c.id)
		if err != nil || c.maintained() == nil {
			return line, err
		}
	}
}

// awaitJoined waits, not for long, until the clients that attached before the
// start are joined.
func (c *Controller) awaitJoined(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	c.mu.Lock()
	all := make([]*attacher, 0, len(c.waiting))
	for a := range c.waiting {
		all = append(all, a)
	}
	c.mu.Unlock()
	for _, a := range all {
		select {
		case <-a.joined:
		case <-ctx.Done():
			c.log().Warn("a client that attached before the start is not joined yet")
			return
		}
	}
}

// Exec runs p in a running container, joined to s.
func (m *Manager) Exec(ctx context.Context, id, exec string, p spec.Process, s spec.Streams, started func(pid int)) (spec.ExitStatus, error) {
	c, line, err := m.line(ctx, id)
	if err != nil {
		return spec.ExitStatus{}, err
	}
	defer c.use()()
	return line.Exec(ctx, exec, p, s, started)
}

// Resize sets the terminal size of the process, or of an exec.
func (m *Manager) Resize(ctx context.Context, id, exec string, rows, cols int) error {
	_, line, err := m.line(ctx, id)
	if err != nil {
		return err
	}
	return line.Resize(ctx, exec, rows, cols)
}

// line gives the line of a running container.
func (m *Manager) line(ctx context.Context, id string) (*Controller, Line, error) {
	c, err := m.running(id)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, lineTimeout)
	defer cancel()
	line, err := m.cfg.Lines.Session(ctx, id)
	if err != nil {
		return nil, nil, fmt.Errorf("line of container %s: %w", c.id, err)
	}
	return c, line, nil
}
