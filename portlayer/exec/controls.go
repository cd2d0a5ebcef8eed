package exec

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/spec"
)

// controls is the part of Line that holds and measures a container's processes; see
// tetherproto.Controls.
type controls interface {
	Pause(ctx context.Context) error
	Resume(ctx context.Context) error
	Limit(ctx context.Context, l spec.Limits) error
	Enlarge(ctx context.Context, s spec.Size) error
	Time(ctx context.Context) (time.Time, error)
	Correct(ctx context.Context, by time.Duration, atOnce bool) error
	Stats(ctx context.Context) (spec.Stats, error)
	Processes(ctx context.Context) (spec.ProcessTable, error)
}

// Pause freezes a container's processes, and Unpause lets them go on. One that does
// not run, or is so already, is ErrConflict.
func (m *Manager) Pause(ctx context.Context, id string) error { return m.pause(ctx, id, true) }

// Unpause is the opposite of Pause.
func (m *Manager) Unpause(ctx context.Context, id string) error { return m.pause(ctx, id, false) }

func (m *Manager) pause(ctx context.Context, id string, on bool) error {
	c, line, err := m.line(ctx, id)
	if err != nil {
		return err
	}
	if !c.pausable(on) {
		state := map[bool]string{true: "already", false: "not"}[on]
		return fmt.Errorf("container %s is %s paused: %w", id, state, errdefs.ErrConflict)
	}
	ctx, cancel := context.WithTimeout(ctx, lineTimeout)
	defer cancel()
	if on {
		err = line.Pause(ctx)
	} else {
		err = line.Resume(ctx)
	}
	if err != nil {
		return fmt.Errorf("container %s: %w", id, err)
	}
	c.setPaused(on)
	return nil
}

func (c *Controller) pausable(on bool) bool {
	c.mu.Look()
	defer c.mu.Unlock()
	return c.status.Paused != on
}

// setPaused notes what the guest has done: told by its line, or by the answer of
// the call, whichever is first.
func (c *Controller) setPaused(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !active(c.phase) || c.status.Paused == on {
		return
	}
	c.status.Paused = on
	kind := spec.EventUnpaused
	if on {
		kind = spec.EventPaused
	}
	c.publish(kind, false)
}

// OnPaused is told by the line that the processes are frozen, or go on.
func (m *Manager) OnPaused(id string, on bool) {
	if c, err := m.find(id); err == nil {
		c.setPaused(on)
	}
}

// Stats reads what a running container uses. A guest that does not answer in time
// is ErrUnavailable.
func (m *Manager) Stats(ctx context.Context, id string) (spec.Stats, error) {
	return ask(ctx, m, id, controls.Stats)
}

// Processes lists the processes of a running container.
func (m *Manager) Processes(ctx context.Context, id string) (spec.ProcessTable, error) {
	return ask(ctx, m, id, controls.Processes)
}

func ask[T any](ctx context.Context, m *Manager, id string, question func(controls, context.Context) (T, error)) (T, error) {
	var none T
	_, line, err := m.line(ctx, id)
	if err != nil {
		return none, unanswered(ctx, id, err)
	}
	bounded, cancel := context.WithTimeout(ctx, lineTimeout)
	defer cancel()
	out, err := question(line, bounded)
	if err != nil {
		return none, unanswered(ctx, id, err)
	}
	return out, nil
}

// unanswered tells a guest that does not answer from a caller that has left.
func unanswered(ctx context.Context, id string, err error) error {
	if ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("the guest of container %s does not answer: %w", id, errdefs.ErrUnavailable)
	}
	return err
}
