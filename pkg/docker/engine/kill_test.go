package engine_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/vic-engine/vic/pkg/docker/engine"
	"github.com/vic-engine/vic/pkg/docker/engine/enginetest"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
)

// TestKillAndRestartPolicy: after which signals of the user a policy starts a
// container no more, as dockerd has it.
func TestKillAndRestartPolicy(t *testing.T) {
	for _, c := range []struct {
		name, policy, stopSignal, signal string
		restarts                         bool
	}{
		{"KILL", "always", "SIGUSR1", "KILL", false},
		{"any signal when there is no stop signal", "always", "", "HUP", false},
		{"the stop signal", "always", "SIGUSR1", "SIGUSR1", false},
		{"the stop signal by number", "always", "SIGUSR1", "10", false},
		{"another signal", "always", "SIGUSR1", "HUP", true},
		{"another signal, on-failure", "on-failure", "SIGUSR1", "HUP", true},
		{"another signal, unless-stopped", "unless-stopped", "SIGUSR1", "HUP", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := start(t, nil)
			id := h.run("kk", `"Cmd":["deaf"],"StopSignal":"`+c.stopSignal+`","HostConfig":{"RestartPolicy":{"Name":"`+c.policy+`"}}`)
			if err := h.e.Kill(h.ctx, id, c.signal); err != nil {
				t.Fatal(err)
			}
			if c.signal != "KILL" { // it goes on, and then fails
				if s := h.status(id); s != "running" {
					t.Fatalf("after the signal: %s", s)
				}
				if err := h.f.Signal(h.ctx, id, "SIGKILL"); err != nil {
					t.Fatal(err)
				}
			}
			if c.restarts {
				h.until("the restart", func() bool { return h.status(id) == "running" && h.inspect(id).RestartCount == 1 })
				return
			}
			h.answer(h.wait(id, engine.WaitNotRunning))
			if i := h.inspect(id); i.State.Status != "exited" || i.State.Restarting || i.RestartCount != 0 {
				t.Errorf("after its end: %+v", i.State)
			}
			// A start by the user is a new life of the policy too.
			if err := h.e.Start(h.ctx, id); err != nil {
				t.Fatal(err)
			}
			if err := h.f.Signal(h.ctx, id, "SIGKILL"); err != nil {
				t.Fatal(err)
			}
			h.until("the restart after a start", func() bool { return h.status(id) == "running" && h.inspect(id).RestartCount == 1 })
		})
	}
}

// TestSignalledSurvivesTheEngine: unless-stopped remembers a signal across a restart
// of the VCH, in which the container goes on and then ends.
func TestSignalledSurvivesTheEngine(t *testing.T) {
	h := start(t, nil)
	id := h.run("kk", `"Cmd":["deaf"],"StopSignal":"SIGUSR1","HostConfig":{"RestartPolicy":{"Name":"unless-stopped"}}`)
	if err := h.e.Kill(h.ctx, id, "HUP"); err != nil {
		t.Fatal(err)
	}
	h.stop()
	n := start(t, h.f)
	w := n.wait(id, engine.WaitNotRunning)
	if err := n.f.Signal(n.ctx, id, "SIGKILL"); err != nil {
		t.Fatal(err)
	}
	n.answer(w)
	if i := n.inspect(id); i.State.Status != "exited" || i.RestartCount != 0 {
		t.Errorf("%+v", i.State)
	}
}

// TestBadStopSignal: a stop that is refused is no stop.
func TestBadStopSignal(t *testing.T) {
	h := start(t, nil)
	id := h.run("kk", `"Cmd":["deaf"],"HostConfig":{"RestartPolicy":{"Name":"always"}}`)
	if err := h.e.Restart(h.ctx, id, engine.StopOptions{Signal: "BOGUS"}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("restart: %v", err)
	}
	if err := h.e.Stop(h.ctx, id, engine.StopOptions{Signal: "BOGUS"}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("stop: %v", err)
	}
	if err := h.f.Signal(h.ctx, id, "SIGKILL"); err != nil {
		t.Fatal(err)
	}
	h.until("the restart", func() bool { return h.status(id) == "running" && h.inspect(id).RestartCount == 1 })
}

// held is a port layer whose starts by policy wait until the test lets them.
type held struct {
	*enginetest.Fake
	began, let chan struct{}
}

func (p *held) hold(id string) error {
	if v, err := p.Container(id); err == nil && v.Status.Started.IsZero() {
		return nil // the user's
	}
	p.began <- struct{}{}
	<-p.let
	return nil
}

// TestStopWhileThePolicyStarts: nothing that the policy was just starting runs after
// a stop, a kill or a restart that has come back.
func TestStopWhileThePolicyStarts(t *testing.T) {
	for name, end := range map[string]func(*harness, string) error{
		"stop": func(h *harness, id string) error { return h.e.Stop(h.ctx, id, engine.StopOptions{}) },
		"kill": func(h *harness, id string) error { return h.e.Kill(h.ctx, id, "") },
		"TERM": func(h *harness, id string) error { return h.e.Kill(h.ctx, id, "TERM") },
	} {
		t.Run(name, func(t *testing.T) {
			p := &held{Fake: enginetest.New(), began: make(chan struct{}), let: make(chan struct{})}
			p.OnStart = p.hold
			h := start(t, p.Fake)
			id := h.run("kk", `"Cmd":["trap"],"HostConfig":{"RestartPolicy":{"Name":"always"}}`)
			if err := h.f.Signal(h.ctx, id, "SIGTERM"); err != nil {
				t.Fatal(err)
			}
			<-p.began
			if s := h.status(id); s != "restarting" {
				t.Errorf("before: %s", s)
			}
			done := make(chan error, 1)
			go func() { done <- end(h, id) }()
			h.until("the restart is given up", func() bool { return h.status(id) != "restarting" })
			select {
			case err := <-done:
				t.Fatalf("it came back while the container was being started: %v", err)
			default:
			}
			close(p.let)
			select {
			case err := <-done:
				if err != nil {
					t.Fatal(err)
				}
			case <-time.After(patience):
				t.Fatal("it does not come back")
			}
			h.until("the end", func() bool { return h.status(id) == "exited" })
			if i := h.inspect(id); i.State.Restarting {
				t.Errorf("after: %+v", i.State)
			}
		})
	}
}

// TestWhileItStarts: what comes while a container is being started waits for that, as
// it does with dockerd, and is neither refused nor lost.
func TestWhileItStarts(t *testing.T) {
	broken := errors.New("the host is full")
	for name, c := range map[string]struct {
		do     func(*harness, string) error
		fails  error // of the start
		want   func(error) bool
		status string
	}{
		"signal":                    {do: func(h *harness, id string) error { return h.e.Kill(h.ctx, id, "TERM") }, status: "exited"},
		"signal, no process":        {func(h *harness, id string) error { return h.e.Kill(h.ctx, id, "TERM") }, broken, errdefs.IsConflict, "created"},
		"pause":                     {do: func(h *harness, id string) error { return h.e.Pause(h.ctx, id) }, status: "paused"},
		"another start":             {func(h *harness, id string) error { return h.e.Start(h.ctx, id) }, nil, errdefs.IsNotModified, "running"},
		"another start, no process": {func(h *harness, id string) error { return h.e.Start(h.ctx, id) }, broken, nil, "running"},
	} {
		t.Run(name, func(t *testing.T) {
			h := start(t, nil)
			began, let := make(chan struct{}, 2), make(chan struct{})
			first := true
			h.f.OnStart = func(string) error {
				if !first {
					return nil
				}
				first = false
				began <- struct{}{}
				<-let
				return c.fails
			}
			id := h.create("kk", `{"Image":"busybox","Cmd":["trap"]}`)
			started, done := make(chan error, 1), make(chan error, 1)
			go func() { started <- h.e.Start(h.ctx, id) }()
			<-began
			waits := h.f.Waits()
			go func() { done <- c.do(h, id) }()
			select {
			case <-waits:
			case err := <-done:
				t.Fatalf("it came back while the container was being started: %v", err)
			}
			close(let)
			if err := <-started; !errors.Is(err, c.fails) {
				t.Fatal(err)
			}
			if err := <-done; c.want == nil && err != nil || c.want != nil && !c.want(err) {
				t.Errorf("%v", err)
			}
			h.until(c.status, func() bool { return h.status(id) == c.status })
		})
	}
}

// TestRestartOfAShortOne: the end of the run that a restart began is an end like any,
// for --rm and for the policy.
func TestRestartOfAShortOne(t *testing.T) {
	h := start(t, nil)
	runs := make(chan int, 10)
	runs <- 1
	h.f.Programs["once"] = func(p *enginetest.Proc) int {
		select {
		case <-runs: // the first run goes on
			<-p.Signals
			return 0
		default:
			return 4
		}
	}
	id := h.run("kk", `"Cmd":["once"],"HostConfig":{"AutoRemove":true}`)
	w := h.wait(id, engine.WaitRemoved)
	if err := h.e.Restart(h.ctx, id, engine.StopOptions{}); err != nil {
		t.Fatal(err)
	}
	if st := h.answer(w); st.Code != 4 {
		t.Errorf("exit code %d", st.Code)
	}
}

// TestUpdateRemembersTheStop: a policy that a stopped container gets does not start
// it when the VCH comes up again.
func TestUpdateRemembersTheStop(t *testing.T) {
	h := start(t, nil)
	id := h.run("kk", `"Cmd":["trap"]`)
	if err := h.e.Stop(h.ctx, id, engine.StopOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.e.Update(h.ctx, id, json.RawMessage(`{"RestartPolicy":{"Name":"unless-stopped"}}`)); err != nil {
		t.Fatal(err)
	}
	other := h.run("other", `"Cmd":["trap"],"HostConfig":{"RestartPolicy":{"Name":"always"}}`)
	h.stop()
	if err := h.f.Stop(t.Context(), other, "", time.Second); err != nil {
		t.Fatal(err)
	}
	n := start(t, h.f)
	n.until("the VCH is up", func() bool { return n.status(other) == "running" })
	if i := n.inspect(id); i.State.Status != "exited" || i.State.Restarting {
		t.Errorf("%+v", i.State)
	}
	// As with dockerd a start at boot is no restart, and a new life of the policy.
	if i := n.inspect(other); i.RestartCount != 0 {
		t.Errorf("restart count %d", i.RestartCount)
	}
}

// TestForcedRemoveEvents: who follows events sees that a container was killed.
func TestForcedRemoveEvents(t *testing.T) {
	h := start(t, nil)
	seen := h.collect(engine.Filters{"type": {"container"}})
	id := h.run("kk", `"Cmd":["sleep","1h"]`)
	if err := h.e.Remove(h.ctx, id, engine.RemoveOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	h.until("all events", func() bool { return slices.Contains(seen(), "destroy") })
	if d := cmp.Diff([]string{"create", "start", "kill", "die(137)", "destroy"}, seen()); d != "" {
		t.Errorf("events (-want +got):\n%s", d)
	}
}

// slowRemove is a port layer whose removals wait.
type slowRemove struct {
	*enginetest.Fake
	began, let chan struct{}
}

// Remove implements engine.PortLayer.
func (s *slowRemove) Remove(ctx context.Context, id string, force bool) error {
	s.began <- struct{}{}
	<-s.let
	return s.Fake.Remove(ctx, id, force)
}

// TestRemoveTwice: the words that clients look for.
func TestRemoveTwice(t *testing.T) {
	pl := &slowRemove{Fake: enginetest.New(), began: make(chan struct{}), let: make(chan struct{})}
	h := start(t, pl.Fake, func(c *engine.Config) { c.PortLayer = pl })
	h.create("kk", `{"Image":"busybox"}`)
	first := make(chan error, 1)
	go func() { first <- h.e.Remove(h.ctx, "kk", engine.RemoveOptions{}) }()
	<-pl.began
	if err := h.e.Remove(h.ctx, "kk", engine.RemoveOptions{}); !errdefs.IsConflict(err) || err.Error() != "removal of container kk is already in progress" {
		t.Errorf("second: %v", err)
	}
	close(pl.let)
	if err := <-first; err != nil {
		t.Errorf("first: %v", err)
	}
}
