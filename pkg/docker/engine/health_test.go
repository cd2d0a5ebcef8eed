package engine_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vic-engine/vic/pkg/docker/engine"
	"github.com/vic-engine/vic/pkg/docker/engine/enginetest"

	"github.com/google/go-cmp/cmp"
)

// stepped is a clock that goes on only when the test says so.
type stepped struct {
	mu    sync.Mutex
	now   time.Time
	waits map[chan time.Time]time.Time
}

func (s *stepped) Now() time.Time { s.mu.Lock(); defer s.mu.Unlock(); return s.now }

func (s *stepped) After(d time.Duration) <-chan time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := make(chan time.Time, 1)
	s.waits[c] = s.now.Add(d)
	return c
}

// waiting tells whether somebody waits for what is d away.
func (s *stepped) waiting(d time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, at := range s.waits {
		if at.Equal(s.now.Add(d)) {
			return true
		}
	}
	return false
}

func (s *stepped) step(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = s.now.Add(d)
	for c, at := range s.waits {
		if !at.After(s.now) {
			c <- s.now
			delete(s.waits, c)
		}
	}
}

// healthHarness has a container "sick" whose check does what the test says.
type healthHarness struct {
	*harness
	clock *stepped
	mu    sync.Mutex
	code  int
	out   string
	hang  bool
}

func startHealth(t *testing.T, f *enginetest.Fake) *healthHarness {
	hh := &healthHarness{clock: &stepped{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), waits: map[chan time.Time]time.Time{}}}
	if f == nil {
		f = enginetest.New()
	}
	f.Now = hh.clock.Now
	check := func(p *enginetest.Proc) int {
		hh.mu.Lock()
		code, out, hang := hh.code, hh.out, hh.hang
		hh.mu.Unlock()
		fmt.Fprint(p.Stdout, out)
		if hang {
			<-p.Killed
			return 137
		}
		return code
	}
	f.Programs["check"], f.Programs["/bin/sh"] = check, check
	hh.harness = start(t, f, func(c *engine.Config) { c.Clock = hh.clock })
	return hh
}

func (h *healthHarness) does(code int, out string, hang bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.code, h.out, h.hang = code, out, hang
}

// tick lets the check run once more, an interval later, and gives its result. A wait
// that the monitor of another container, or of an earlier run, left behind on the
// clock looks like the one that is meant; then the clock goes on once more.
func (h *healthHarness) tick(id string, interval time.Duration) engine.Health {
	h.Helper()
	h.until(fmt.Sprintf("a check in %v", interval), func() bool { return h.clock.waiting(interval) })
	var before int
	if log := h.inspect(id).State.Health.Log; len(log) > 0 {
		before = int(log[len(log)-1].Start.Unix())
	}
	h.clock.step(interval)
	h.until("a result", func() bool {
		waiting := h.clock.waiting(interval) // if for the next check, the result is there
		log := h.inspect(id).State.Health.Log
		if len(log) > 0 && int(log[len(log)-1].Start.Unix()) != before {
			return true
		}
		if waiting {
			h.clock.step(interval)
		}
		return false
	})
	return *h.inspect(id).State.Health
}

func TestHealth(t *testing.T) {
	h := startHealth(t, nil)
	events := h.collect(engine.Filters{})
	id := h.create("sick", `{"Image":"busybox","Cmd":["deaf"],"Healthcheck":{"Test":["CMD","check","it"],"Interval":7000000000,"StartPeriod":20000000000,"StartInterval":2000000000,"Timeout":11000000000,"Retries":2}}`)
	if h.inspect(id).State.Health != nil {
		t.Error("a container that never ran has a health")
	}
	if err := h.e.Start(h.ctx, id); err != nil {
		t.Fatal(err)
	}
	h.until("starting", func() bool { x := h.inspect(id).State.Health; return x != nil && x.Status == "starting" })
	status := func() string { return h.inspect(id).StatusText }
	if s := status(); s != "Up Less than a second (health: starting)" {
		t.Errorf("ps says %q", s)
	}
	h.does(1, "not yet", false)
	if x := h.tick(id, 2*time.Second); x.Status != "starting" || x.FailingStreak != 0 || x.Log[0].Output != "not yet" || x.Log[0].ExitCode != 1 {
		t.Errorf("a failure in the start period: %+v", x)
	}
	h.does(0, strings.Repeat("x", 5000), false)
	if x := h.tick(id, 2*time.Second); x.Status != "healthy" || x.Log[1].Output != strings.Repeat("x", 4096)+"..." {
		t.Errorf("success: %+v", x)
	}
	if s := status(); !strings.HasSuffix(s, " (healthy)") {
		t.Errorf("ps says %q", s)
	}
	list := func(word string) int {
		l, err := h.e.List(engine.ListOptions{All: true, Filters: engine.Filters{"health": {word}}})
		if err != nil {
			t.Fatal(err)
		}
		return len(l)
	}
	if list("healthy") != 1 || list("none") != 0 {
		t.Error("the health filter does not know it")
	}
	h.does(1, "ill", false)
	if x := h.tick(id, 7*time.Second); x.Status != "healthy" || x.FailingStreak != 1 {
		t.Errorf("the first failure: %+v", x)
	}
	h.does(0, "slow", true)
	h.until("the next check", func() bool { return h.clock.waiting(7 * time.Second) })
	h.clock.step(7 * time.Second)
	h.until("the timeout", func() bool { return h.clock.waiting(11*time.Second) && len(h.inspect(id).ExecIDs) == 1 })
	h.clock.step(11 * time.Second)
	h.until("unhealthy", func() bool { return h.inspect(id).State.Health.Status == "unhealthy" })
	x := h.inspect(id).State.Health
	if r := x.Log[3]; r.ExitCode != -1 || !strings.HasPrefix(r.Output, "Health check exceeded timeout (11s): slow") || x.FailingStreak != 2 {
		t.Errorf("a check that takes too long: %+v", x)
	}
	h.does(0, "", false)
	for range 3 {
		h.tick(id, 7*time.Second)
	}
	if x := h.inspect(id).State.Health; x.Status != "healthy" || len(x.Log) != 5 || x.Log[0].Output != "ill" {
		t.Errorf("healthy again: %+v", x)
	}
	zero := 0
	if err := h.e.Stop(h.ctx, id, engine.StopOptions{Timeout: &zero}); err != nil {
		t.Fatal(err)
	}
	h.until("no check of what does not run", func() bool { return h.inspect(id).State.Health.Status == "unhealthy" })
	if err := h.e.Start(h.ctx, id); err != nil {
		t.Fatal(err)
	}
	h.until("starting again", func() bool { x := h.inspect(id).State.Health; return x.Status == "starting" && x.FailingStreak == 0 })
	want := []string{"health_status: healthy", "health_status: unhealthy", "health_status: healthy"}
	changes := func() (got []string) {
		for _, ev := range events() {
			if strings.HasPrefix(ev, "health_status") {
				got = append(got, ev)
			}
		}
		return got
	}
	h.until("the events of its health", func() bool { return len(changes()) >= len(want) })
	if d := cmp.Diff(want, changes()); d != "" {
		t.Errorf("events (-want +got):\n%s", d)
	}
	for _, ev := range []string{"exec_create: check it", "exec_start: check it", "exec_die(1)", "exec_die(0)", "exec_die(137)"} {
		h.until("the event "+ev, func() bool { return slices.Contains(events(), ev) })
	}
	// Another engine on the same containers begins anew (its clock, earlier, is in
	// the start period).
	h.stop()
	n := startHealth(t, h.f)
	n.until("watched by the new engine", func() bool { x := n.inspect(id).State.Health; return x != nil && x.Status == "starting" })
	if x := n.tick(id, 2*time.Second); x.Status != "healthy" {
		t.Errorf("by the new engine: %+v", x)
	}
}

// TestHealthAfterAPause: what stands still is unhealthy until the next check, as in
// dockerd, also once it goes on; it does not start anew.
func TestHealthAfterAPause(t *testing.T) {
	h := startHealth(t, nil)
	id := h.create("sick", `{"Image":"busybox","Cmd":["deaf"],"Healthcheck":{"Test":["CMD","check"],"Interval":7000000000,"StartPeriod":20000000000,"StartInterval":2000000000}}`)
	if err := h.e.Start(h.ctx, id); err != nil {
		t.Fatal(err)
	}
	h.until("starting", func() bool { x := h.inspect(id).State.Health; return x != nil && x.Status == "starting" })
	if x := h.tick(id, 2*time.Second); x.Status != "healthy" {
		t.Errorf("before: %+v", x)
	}
	if err := h.e.Pause(h.ctx, id); err != nil {
		t.Fatal(err)
	}
	h.until("unhealthy", func() bool { return h.inspect(id).State.Health.Status == "unhealthy" })
	h.clock.step(time.Minute)
	if err := h.e.Unpause(h.ctx, id); err != nil {
		t.Fatal(err)
	}
	h.until("the next check is waited for", func() bool { return h.clock.waiting(7 * time.Second) })
	if x := h.inspect(id).State.Health; x.Status != "unhealthy" {
		t.Errorf("after the pause: %+v", x)
	}
	if x := h.tick(id, 7*time.Second); x.Status != "healthy" {
		t.Errorf("after a check: %+v", x)
	}
}

// TestHealthForms: how a check is given, by the user and by the image.
func TestHealthForms(t *testing.T) {
	h := startHealth(t, nil)
	for _, c := range []struct {
		given, exec, warning string
	}{
		{`["CMD-SHELL","a | b"]`, "exec_create: /bin/sh -c a | b", ""},
		{`["CMD","nothere"]`, "exec_create: nothere", ""},
		{`["NONE"]`, "", ""},
		{`["CMD"]`, "", "kept but not run"},
		{`["check"]`, "", "kept but not run"},
	} {
		id, warnings, err := h.tryCreate("", `{"Image":"busybox","Cmd":["sleep","1h"],"Healthcheck":{"Retries":1,"Interval":17000000000,"Test":`+c.given+`}}`)
		if err != nil {
			t.Fatal(err)
		}
		if all := strings.Join(warnings, "\n"); c.warning == "" && all != "" || !strings.Contains(all, c.warning) {
			t.Errorf("%s: warnings %q", c.given, all)
		}
		events := h.collect(engine.Filters{"container": {id}})
		h.clock.After(17 * time.Second) // nobody's, as the container before may leave one
		if err := h.e.Start(h.ctx, id); err != nil {
			t.Fatal(err)
		}
		if c.exec == "" {
			if h.until("start", func() bool { return slices.Contains(events(), "start") }); h.inspect(id).State.Health != nil {
				t.Errorf("%s: it has a health", c.given)
			}
			continue
		}
		h.until("watched", func() bool { return h.inspect(id).State.Health != nil })
		x := h.tick(id, 17*time.Second)
		if c.given == `["CMD","nothere"]` && (x.Status != "unhealthy" || x.Log[0].ExitCode != -1 || !strings.Contains(x.Log[0].Output, "executable file not found")) {
			t.Errorf("%s: %+v", c.given, x)
		}
		h.until("the exec's event", func() bool { return slices.Contains(events(), c.exec) })
		if err := h.e.Remove(h.ctx, id, engine.RemoveOptions{Force: true}); err != nil {
			t.Fatal(err)
		}
	}
}
