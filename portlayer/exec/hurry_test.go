package exec

import (
	"context"
	"testing"
	"time"

	"github.com/vmware/govmomi/simulator"

	"github.com/vic-engine/vic/pkg/spec"
)

// A stop that waits for ever holds nobody up who has less patience.
func TestStopIsHurried(t *testing.T) {
	for name, hurry := range map[string]func(*engine, string) error{
		"remove": func(e *engine, id string) error { return e.Remove(context.Background(), id, true) },
		"another stop": func(e *engine, id string) error {
			return e.Stop(context.Background(), id, "SIGHUP", 50*time.Millisecond)
		},
		"a stop at once": func(e *engine, id string) error { return e.Stop(context.Background(), id, "", 0) },
		"a kill":         func(e *engine, id string) error { return e.Signal(context.Background(), id, "SIGKILL") },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, simulator.ESX())
			e := l.boot()
			c := container(1)
			asked := make(chan string, 10)
			l.guests.run(c.ID, func(g *line) {
				g.up()
				at := g.start()
				for {
					select {
					case s := <-g.signals:
						asked <- s
						if s == "SIGKILL" {
							g.exit(spec.ExitStatus{Started: at, Code: 137, Signal: 9})
							return
						}
					case <-g.off:
						return
					}
				}
			})
			if _, err := e.Create(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			if err := e.Start(t.Context(), c.ID); err != nil {
				t.Fatal(err)
			}
			patient := make(chan error, 1)
			go func() { patient <- e.Stop(context.Background(), c.ID, "", -1) }()
			if s := wait(t, asked); s != "SIGTERM" {
				t.Errorf("signal %s", s)
			}
			done := make(chan error, 1)
			go func() { done <- hurry(e, c.ID) }()
			if name == "another stop" {
				if s := wait(t, asked); s != "SIGHUP" {
					t.Errorf("signal of the second: %s", s)
				}
			}
			if err := wait(t, done); err != nil {
				t.Errorf("the second: %v", err)
			}
			if err := wait(t, patient); err != nil {
				t.Errorf("the first: %v", err)
			}
			if p := e.phase(c.ID); name == "remove" && p != phaseGone || name != "remove" && p != spec.PhaseExited {
				t.Errorf("phase %q", p)
			}
		})
	}
}
