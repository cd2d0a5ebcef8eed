package engine

import (
	"testing"
	"time"

	"github.com/vic-engine/vic/pkg/spec"
)

func TestState(t *testing.T) {
	now := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	for _, c := range []struct {
		s            spec.Status
		restarting   bool
		status, text string
		running      bool
		code         int
	}{
		{spec.Status{Phase: spec.PhaseCreated}, false, "created", "Created", false, 0},
		{spec.Status{Phase: spec.PhaseStarting}, false, "created", "Created", false, 0},
		{spec.Status{Phase: spec.PhaseRunning, Started: ago(5 * time.Second)}, false, "running", "Up 5 seconds", true, 0},
		{spec.Status{Phase: spec.PhaseRunning, Started: ago(90 * time.Minute), Exit: spec.ExitStatus{Code: 3}}, false, "running", "Up 2 hours", true, 0},
		{spec.Status{Phase: spec.PhaseStopping, Started: ago(time.Minute)}, false, "running", "Up About a minute", true, 0},
		{spec.Status{Phase: spec.PhaseExited, Started: ago(time.Hour), Exit: spec.ExitStatus{Stopped: ago(2 * time.Minute)}}, false, "exited", "Exited (0) 2 minutes ago", false, 0},
		{spec.Status{Phase: spec.PhaseExited, Started: ago(time.Hour), Exit: spec.ExitStatus{Code: 137, OOM: true, Stopped: ago(48 * time.Hour)}}, false, "exited", "Exited (137) 2 days ago", false, 137},
		{spec.Status{Phase: spec.PhaseExited, Exit: spec.ExitStatus{Code: 127, Error: "exec", Stopped: ago(time.Second)}}, false, "created", "Created", false, 127},
		{spec.Status{Phase: spec.PhaseExited, Started: ago(time.Hour), Exit: spec.ExitStatus{Code: 1, Stopped: ago(3 * time.Second)}}, true, "restarting", "Restarting (1) 3 seconds ago", true, 1},
		{spec.Status{Phase: spec.PhaseRemoving}, true, "removing", "Removal In Progress", false, 0},
		{spec.Status{Phase: spec.PhaseDead}, false, "dead", "Dead", false, 0},
	} {
		got := stateOf(c.s, c.restarting)
		if got.Status != c.status || got.Text(now) != c.text || got.Running != c.running || got.ExitCode != c.code {
			t.Errorf("%+v: %+v, text %q; want %s, %q", c.s, got, got.Text(now), c.status, c.text)
		}
	}
}

func TestRestartDelay(t *testing.T) {
	for attempts, want := range map[int]time.Duration{
		0: 100 * time.Millisecond, 1: 200 * time.Millisecond, 5: 3200 * time.Millisecond, 9: 51200 * time.Millisecond, 10: time.Minute, 1000: time.Minute,
	} {
		if got := restartDelay(attempts); got != want {
			t.Errorf("after %d attempts %v, want %v", attempts, got, want)
		}
	}
}
