package session

import "time"

// execStall is how long the client of an exec may take nothing. The container's end
// waits for its execs, and does not wait for long: what an exec puts out is kept
// nowhere, and dockerd does not wait for it either.
func (m *Manager) execStall() time.Duration {
	d := m.stall()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.state.ending {
		d = min(d, m.cfg.EndWait)
	}
	return d
}

// awaitLast waits until a client has what is left of an output that has ended, or is
// gone. Nobody pushes any more who would see that it takes nothing.
func (f *fan) awaitLast(c *client, pumped <-chan struct{}) {
	check := time.NewTicker(min(time.Second, f.stall()))
	defer check.Stop()
	for {
		select {
		case <-pumped:
			return
		case <-c.gone:
			return
		case <-check.C:
			f.dropStalled()
		}
	}
}
