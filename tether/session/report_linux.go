package session

import (
	"context"
	"errors"
	"maps"
	"time"

	"github.com/vic-engine/vic/pkg/guestinfo"
	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/pkg/tetherproto"
	"github.com/vic-engine/vic/tether/proc"
)

// state is what is reported to every engine that connects: a level, so that an
// engine that comes late learns the same.
type state struct {
	pid       int
	running   bool
	ending    bool // the process has ended, its output is on its way
	exited    bool
	exit      spec.ExitStatus
	paused    bool
	oomKills  int // kills for want of memory
	addresses map[string]string
}

// connection is one engine.
type connection struct {
	sc    *tetherproto.ServerConn
	knows chan struct{} // closed when it took note of the exit, or is gone
}

// change updates the state and wakes those who report it.
func (m *Manager) change(f func(s *state)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f(&m.state)
	close(m.changed)
	m.changed = make(chan struct{})
}

func (m *Manager) setStarted(p *proc.Process) {
	m.change(func(s *state) { s.pid, s.running = p.Pid(), true })
}

func (m *Manager) setEnding() { m.change(func(s *state) { s.ending, s.paused = true, false }) }

func (m *Manager) setExited(exit spec.ExitStatus) {
	m.change(func(s *state) {
		s.exited, s.exit = true, exit
		if exit.OOM {
			s.oomKills = max(1, s.oomKills)
		}
	})
}

// ReportAddresses tells the engine the container's addresses, by network name in
// CIDR form. Guestinfo is the caller's.
func (m *Manager) ReportAddresses(byNetwork map[string]string) {
	have := maps.Clone(byNetwork)
	m.change(func(s *state) { s.addresses = have })
}

// reportTo keeps one engine informed until it is gone or knows of the exit.
func (m *Manager) reportTo(ctx context.Context, c *connection) {
	defer close(c.knows)
	var told state
	for first := true; ; first = false {
		m.mu.Lock()
		now, changed := m.state, m.changed
		m.mu.Unlock()
		var reports []tetherproto.Report
		if !maps.Equal(now.addresses, told.addresses) {
			reports = append(reports, tetherproto.Report{Kind: tetherproto.ReportAddresses, Addresses: now.addresses})
		}
		if now.running && !told.running {
			reports = append(reports, tetherproto.Report{Kind: tetherproto.ReportStarted, PID: now.pid})
		}
		// An engine that finds the process running may have read of a pause that is over.
		if now.paused != told.paused || first && now.running {
			reports = append(reports, tetherproto.Report{Kind: tetherproto.ReportPaused, Paused: now.paused})
		}
		// A kill is told once: no engine that comes later hears of it as an event.
		if kills := int64(now.oomKills); m.oomTold.Swap(kills) < kills {
			reports = append(reports, tetherproto.Report{Kind: tetherproto.ReportOOM})
		}
		if now.exited {
			reports = append(reports, tetherproto.Report{Kind: tetherproto.ReportExited, Exit: now.exit})
		}
		for _, r := range reports {
			if err := c.sc.Report(ctx, r); err != nil {
				if ctx.Err() == nil {
					m.log.WithError(err).Debug("report not delivered")
				}
				if isDone(c.sc.Done()) || ctx.Err() != nil {
					return
				}
			}
		}
		if now.exited {
			return
		}
		told = now
		select {
		case <-changed:
		case <-c.sc.Done():
			return
		case <-ctx.Done():
			return
		}
	}
}

// awaitReported waits until the engines that are connected know of the exit, or
// the line takes nothing.
func (m *Manager) awaitReported() {
	m.mu.Lock()
	conns := make([]*connection, 0, len(m.conns))
	for c := range m.conns {
		conns = append(conns, c)
	}
	m.mu.Unlock()
	limit := time.NewTimer(m.cfg.EndWait)
	defer limit.Stop()
	for _, c := range conns {
		select {
		case <-c.knows:
		case <-limit.C:
			m.log.Warn("the engine did not take note of the exit")
			return
		}
	}
}

func isDone(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func (g guestinfoReporter) write(pairs []guestinfo.Pair) error {
	var errs []error
	for _, p := range pairs {
		if err := g.c.Set(p.Key, p.Value); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
