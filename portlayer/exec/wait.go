package exec

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/spec"
)

// Wait blocks until the current run ends, or with next, when there is none, the
// next one. On a container that does not run and next false it returns at once.
func (m *Manager) Wait(ctx context.Context, id string, next bool) (spec.ExitStatus, error) {
	c, err := m.find(id)
	if err != nil {
		return spec.ExitStatus{}, err
	}
	c.mu.Lock()
	r, last, runs := c.run, c.status.Exit, active(c.phase)
	c.mu.Unlock()
	if !runs && !next {
		return last, nil
	}
	select {
	case <-r.done:
		return r.exit, nil
	default:
	}
	select {
	case <-r.done:
		return r.exit, nil
	case <-c.gone:
		select {
		case <-r.done: // it ended by being removed
			return r.exit, nil
		default:
		}
		return spec.ExitStatus{}, fmt.Errorf("container %s was removed: %w", id, errdefs.ErrNotFound)
	case <-ctx.Done():
		return spec.ExitStatus{}, ctx.Err()
	}
}

// WaitRemoved blocks until the container is gone and gives its last status.
func (m *Manager) WaitRemoved(ctx context.Context, id string) (spec.ExitStatus, error) {
	c, err := m.find(id)
	if err != nil {
		return spec.ExitStatus{}, err
	}
	select {
	case <-c.gone:
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.status.Exit, nil
	case <-ctx.Done():
		return spec.ExitStatus{}, ctx.Err()
	}
}
