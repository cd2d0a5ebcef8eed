//go:build linux

package session

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
)

// noted is a clock that only notes how it is corrected.
type noted struct {
	mu  sync.Mutex
	all []string
}

func (n *noted) note(how string, by time.Duration) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.all = append(n.all, fmt.Sprint(how, " ", by))
	return nil
}

func (n *noted) Step(by time.Duration) error { return n.note("step", by) }
func (n *noted) Slew(by time.Duration) error { return n.note("slew", by) }

func (n *noted) said() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return fmt.Sprint(n.all)
}

// TestProcessAwaitsClock: the process starts once an engine has set the clock, also by
// nothing; without an engine after a while; and at once where that is released.
func TestProcessAwaitsClock(t *testing.T) {
	never := func(c *Config) { c.ClockWait = time.Hour }
	for name, c := range map[string]struct {
		tune func(*Config)
		tell bool
	}{
		"told":      {tune: never, tell: true},
		"no engine": {tune: func(c *Config) { c.ClockWait = time.Millisecond }},
		"no clock":  {tune: func(c *Config) { never(c); c.Clock = nil }},
	} {
		t.Run(name, func(t *testing.T) {
			own := &noted{}
			v := newVM(t, sh("exit 7"), func(cfg *Config) { cfg.Clock = own; c.tune(cfg) })
			if c.tell {
				if err := v.connect().Correct(v.ctx, 0, true); err != nil {
					t.Error(err)
				}
			}
			if exit := wait(t, v.run()); exit.Code != 7 || own.said() != "[]" {
				t.Errorf("%+v, clock %s", exit, own.said())
			}
		})
	}
}

// TestClockIsCorrected: over the line, before the process and while it runs; where that
// was given the clock by name, it is left to it from its start on.
func TestClockIsCorrected(t *testing.T) {
	for add, own := range map[string]bool{"NET_ADMIN": false, "ALL": false, "cap_sys_time": true} {
		p := sh("read x; exit 7")
		p.OpenStdin = true
		p.CapAdd = []string{add}
		k := &noted{}
		v := newVM(t, p, func(cfg *Config) { cfg.Clock = k })
		c := v.connect()
		before := time.Now()
		if at, err := c.Time(v.ctx); err != nil || at.Before(before.Round(0)) || at.After(time.Now()) {
			t.Errorf("time %s, %v; it is %s", at, err, before)
		}
		if err := c.Correct(v.ctx, -440*time.Millisecond, true); err != nil {
			t.Error(err)
		}
		done := v.run()
		wait(t, v.m.started)
		err := c.Correct(v.ctx, 20*time.Millisecond, false)
		if own != errdefs.IsFailedPrecondition(err) || !own && err != nil {
			t.Errorf("%s: %v", add, err)
		}
		want := "[step -440ms slew 20ms]"
		if own {
			want = "[step -440ms]"
		}
		if k.said() != want {
			t.Errorf("%s: corrected by %s, want %s", add, k.said(), want)
		}
		if err := c.CloseStdin(v.ctx, ""); err != nil {
			t.Error(err)
		}
		if exit := wait(t, done); exit.Code != 7 {
			t.Errorf("%+v", exit)
		}
	}
	none := handler{&Manager{}}
	if err := none.Correct(t.Context(), 1, true); !errdefs.IsNotImplemented(err) {
		t.Errorf("a guest without a clock: %v", err)
	}
}
