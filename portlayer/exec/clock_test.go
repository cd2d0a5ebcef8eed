package exec

import (
	"slices"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/vmware/govmomi/simulator"

	"github.com/vic-engine/vic/pkg/clock"
	"github.com/vic-engine/vic/pkg/spec"
)

// It is twelve, for the engine and its guests, so that asking takes no time.
func twelve() time.Time { return time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC) }
func noon(c *Config)    { c.Now = twelve }

// clockOf gives how far a guest's clock is off, and how often it was corrected.
func (l *line) clockOf() (off time.Duration, all []correction) {
	l.cmu.Lock()
	defer l.cmu.Unlock()
	return l.wrong, append(all, l.corrected...)
}

// TestGuestClock: set once at boot, at once and even where it is right, before a process
// that waits for the engine; later bent, or set where it is far off; and left alone where
// the guest has it so.
func TestGuestClock(t *testing.T) {
	l := newLab(t, simulator.ESX())
	e := l.boot(noon)
	ctx := t.Context()
	c := container(1)
	c.Process.Attach = true
	before := make(chan []correction, 1)
	l.guests.run(c.ID, func(g *line) {
		g.cmu.Lock()
		g.now, g.wrong = twelve, -440*time.Millisecond
		g.cmu.Unlock()
		g.up()
		<-g.released
		_, all := g.clockOf()
		g.start()
		before <- all
		<-g.off
	})
	if _, err := e.Create(ctx, c); err != nil {
		t.Fatal(err)
	}
	if err := e.Start(ctx, c.ID); err != nil {
		t.Fatal(err)
	}
	line := lineOfGuest(t, l, c.ID)
	if all := <-before; len(all) != 1 || !all[0].atOnce || all[0].by != 440*time.Millisecond {
		t.Errorf("corrections before the process was released: %v", all)
	}
	ctl, err := e.find(c.ID)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []struct {
		off   time.Duration
		blind error
		want  []correction
	}{
		{off: 2 * time.Millisecond},
		{off: 60 * time.Millisecond, want: []correction{{-60 * time.Millisecond, false}}},
		{off: -time.Hour, want: []correction{{time.Hour, true}}},
		{off: time.Hour, blind: errdefs.ErrUnavailable},
		{off: time.Hour, blind: errdefs.ErrNotImplemented},
	} {
		line.cmu.Lock()
		line.wrong, line.blind, line.corrected = s.off, s.blind, nil
		line.cmu.Unlock()
		e.correctAll(ctx)
		off, all := line.clockOf()
		if !slices.Equal(all, s.want) || s.blind == nil && off.Abs() > clock.Fine {
			t.Errorf("%s off, %v: corrected by %v, off by %s then", s.off, s.blind, all, off)
		}
	}
	line.cmu.Lock()
	line.wrong, line.blind, line.corrected = 0, nil, nil
	line.cmu.Unlock()
	e.setClock(ctx, ctl, line)
	if _, all := line.clockOf(); len(all) != 0 {
		t.Errorf("set again on the same line: %v", all)
	}
}

// TestGuestClockDetached: a guest whose process waits for no client is told as soon as
// its line is up, also where there is nothing to correct; one that ran before the engine
// is corrected like any that runs.
func TestGuestClockDetached(t *testing.T) {
	l := newLab(t, simulator.ESX())
	e := l.boot(noon)
	ctx := t.Context()
	c := container(1)
	told := make(chan []correction, 1)
	l.guests.run(c.ID, func(g *line) {
		g.now, g.tell = twelve, make(chan struct{}, 9)
		g.up()
		<-g.tell
		_, all := g.clockOf()
		g.start()
		told <- all
		<-g.off
	})
	if _, err := e.Create(ctx, c); err != nil {
		t.Fatal(err)
	}
	if err := e.Start(ctx, c.ID); err != nil {
		t.Fatal(err)
	}
	if all := <-told; len(all) != 1 || all[0] != (correction{0, true}) {
		t.Errorf("a clock that is right: %v", all)
	}
	line := lineOfGuest(t, l, c.ID)
	e.next(2) // created, started
	e.stop()
	e = l.boot(noon)
	line.cmu.Lock()
	line.wrong, line.corrected = 70*time.Millisecond, nil
	line.cmu.Unlock()
	e.OnLine(c.ID)
	<-line.tell
	if _, all := line.clockOf(); len(all) != 1 || all[0] != (correction{-70 * time.Millisecond, false}) {
		t.Errorf("a guest that ran before the engine: %v", all)
	}
	if v, err := e.Container(c.ID); err != nil || v.Status.Phase != spec.PhaseRunning {
		t.Errorf("it is %v, %v", v.Status.Phase, err)
	}
	e.OnLine("nobody") // a line of one that is gone: nothing happens
}
