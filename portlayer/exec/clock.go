package exec

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/clock"
	"github.com/vic-engine/vic/pkg/spec"
)

const (
	// clockTimeout bounds how long a guest's clock is asked for and corrected.
	clockTimeout = 5 * time.Second
	// clockAsks is how often one that runs is asked: the quickest answer counts. One
	// that boots is asked once, as its process waits.
	clockAsks = 3
	// clocksAtOnce is how many guests are asked at a time.
	clocksAtOnce = 8
)

// guestClock is a guest's clock, over its line.
type guestClock struct {
	ctx  context.Context
	line Line
}

func (g guestClock) Step(by time.Duration) error { return g.line.Correct(g.ctx, by, true) }
func (g guestClock) Slew(by time.Duration) error { return g.line.Correct(g.ctx, by, false) }

// FollowClocks keeps the clocks of all guests with ours, until ctx is done. Those that
// boot are set by their start, before the process runs.
func (m *Manager) FollowClocks(ctx context.Context) {
	t := time.NewTicker(clock.Every)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			m.correctAll(ctx)
		case <-ctx.Done():
			return
		}
	}
}

func (m *Manager) correctAll(ctx context.Context) {
	turn := make(chan struct{}, clocksAtOnce)
	var all sync.WaitGroup
	for _, v := range m.Containers() {
		turn <- struct{}{}
		all.Go(func() {
			defer func() { <-turn }()
			ctx, cancel := context.WithTimeout(ctx, clockTimeout)
			defer cancel()
			if c, line, err := m.line(ctx, v.Container.ID); err == nil {
				m.correctClock(ctx, c, line)
			}
		})
	}
	all.Wait()
}

// OnLine is told that the line of a container is up, or goes on after a cut: its guest
// boots, this engine is new to it, or its VM was suspended or moved.
func (m *Manager) OnLine(id string) {
	c, err := m.find(id)
	if err != nil {
		return
	}
	m.background(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, clockTimeout)
		defer cancel()
		line, err := m.cfg.Lines.Session(ctx, id)
		switch {
		case err != nil: // it is told when its line is up again
		case c.boots():
			m.setClock(ctx, c, line)
		default:
			m.correctClock(ctx, c, line)
		}
	})
}

// boots tells that the guest's process does not run yet, or that there will be none.
func (c *Controller) boots() bool {
	c.mu.Look()
	defer c.mu.Unlock()
	return c.phase == spec.PhaseStarting || c.maint != nil
}

// correctClock compares the clock of a guest whose process runs.
func (m *Manager) correctClock(ctx context.Context, c *Controller, line Line) {
	if hold(ctx, c.clock) != nil {
		return
	}
	defer letGo(c.clock)
	ahead, within, err := compare(ctx, m, line, clockAsks)
	if err != nil {
		c.clockFailed(err)
		return
	}
	how, err := clock.Correct(guestClock{ctx, line}, -ahead, within, clock.Jump)
	switch {
	case err != nil:
		c.clockFailed(err)
	case how != "":
		c.log().WithField("offset", (-ahead).Round(time.Millisecond).String()).WithField("how", how).Info("clock of the guest corrected")
	}
}

// setClock sets the clock of a guest that boots, once. It is told even where there is
// nothing to correct, as its process waits for that.
func (m *Manager) setClock(ctx context.Context, c *Controller, line Line) {
	ctx, cancel := context.WithTimeout(ctx, clockTimeout)
	defer cancel()
	if hold(ctx, c.clock) != nil {
		return
	}
	defer letGo(c.clock)
	if c.clocked == line {
		return
	}
	ahead, within, err := compare(ctx, m, line, 1)
	if err == nil {
		by := -ahead
		if clock.Negligible(by, within) {
			by = 0
		}
		err = line.Correct(ctx, by, true)
	}
	if err != nil {
		c.clockFailed(err)
		return
	}
	c.clocked = line
	c.log().WithField("offset", (-ahead).Round(time.Millisecond).String()).Debug("clock of the guest set")
}

func compare(ctx context.Context, m *Manager, line Line, asks int) (ahead, within time.Duration, err error) {
	return clock.Compare(asks, m.cfg.Now, func() (time.Time, error) { return line.Time(ctx) })
}

// clockFailed logs why a guest's clock is not corrected. A process that was given it
// has it to itself, guests of before cannot, and one that is going has no need of it.
func (c *Controller) clockFailed(err error) {
	log := c.log().WithError(err)
	if errors.Is(err, context.Canceled) || errdefs.IsFailedPrecondition(err) || errdefs.IsNotImplemented(err) || errdefs.IsUnavailable(err) {
		log.Debug("clock of the guest is left alone")
		return
	}
	log.Warn("clock of the guest could not be corrected")
}
