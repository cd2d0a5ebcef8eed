package exec

import (
	"context"
	"time"
)

// A stop holds the operation lock while it waits for the process, for as long as its
// caller has asked for, which may be for ever. Who comes meanwhile and has less
// patience, or none, is not held up by that: the patience of the least patient counts.

// stopping is a stop under way. hurry is closed with the controller's mu held.
type stopping struct {
	run   *run
	wasUp bool   // there is a process
	own   string // the container's stop signal
	hurry chan struct{}
}

func (c *Controller) stopOver() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopping = nil
}

// hurryStop ends the patience of a stop under way, if there is one.
func (c *Controller) hurryStop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopping != nil {
		closeOnce(c.stopping.hurry)
	}
}

// joinStop is a stop of a container that is being stopped already: its signal is sent
// too, and after its own timeout the stop under way waits no longer. over tells that
// the run has ended.
func (m *Manager) joinStop(ctx context.Context, c *Controller, signal string, timeout time.Duration) (over bool, err error) {
	c.mu.Look()
	s := c.stopping
	c.mu.Unlock()
	if s == nil || !s.wasUp {
		return false, nil
	}
	if timeout != 0 && !isKill(signal) {
		if err := m.ask(ctx, c, signal, s.own); err != nil {
			c.log().WithError(err).Warn("process could not be asked to stop")
			timeout = 0
		}
		if ended(ctx, s.run, timeout) {
			return true, nil
		}
		if err := ctx.Err(); err != nil {
			return false, err
		}
	}
	c.hurryStop()
	return false, nil
}
