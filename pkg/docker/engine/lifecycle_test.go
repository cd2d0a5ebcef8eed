package engine_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vic-engine/vic/pkg/docker/engine"
	"github.com/vic-engine/vic/pkg/docker/engine/enginetest"
	"github.com/vic-engine/vic/pkg/spec"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
)

func TestRunToTheEnd(t *testing.T) {
	h := start(t, nil)
	seen := h.collect(engine.Filters{"type": {"container"}})
	id := h.create("one", `{"Image":"busybox","Cmd":["exit","7"]}`)
	w := h.wait(id, engine.WaitNextExit)
	if err := h.e.Start(h.ctx, "one"); err != nil {
		t.Fatal(err)
	}
	if st := h.answer(w); st.Code != 7 {
		t.Errorf("exit code %d, want 7", st.Code)
	}
	i := h.inspect("one")
	if i.State.Status != "exited" || i.State.ExitCode != 7 || !strings.HasPrefix(i.StatusText, "Exited (7) ") {
		t.Errorf("state %+v, text %q", i.State, i.StatusText)
	}
	if st := h.answer(h.wait(id[:12], engine.WaitNotRunning)); st.Code != 7 {
		t.Errorf("wait of one that is over: code %d", st.Code)
	}
	if err := h.e.Remove(h.ctx, "one", engine.RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	want := []string{"create", "start", "die(7)", "destroy"}
	h.until("all events", func() bool { return len(seen()) >= len(want) })
	if d := cmp.Diff(want, seen()); d != "" {
		t.Errorf("events (-want +got):\n%s", d)
	}
}

func TestNamesAndPrefixes(t *testing.T) {
	h := start(t, nil, func(c *engine.Config) { c.Rand = func(int) int { return 0 } })
	a := h.create("", `{"Image":"busybox"}`)
	b := h.create("", `{"Image":"busybox"}`)
	if na, nb := h.inspect(a).Container.Name, h.inspect(b).Container.Name; na != "amber_alder" || nb != "amber_alder0" {
		t.Errorf("generated names %q and %q", na, nb)
	}
	h.create("taken", `{"Image":"busybox"}`)
	owner, _ := h.e.Resolve("/taken")
	_, _, err := h.tryCreate("taken", `{"Image":"busybox"}`)
	want := fmt.Sprintf(`Conflict. The container name "/taken" is already in use by container %q. You have to remove (or rename) that container to be able to reuse that name.`, owner)
	if err == nil || err.Error() != want || !errdefs.IsConflict(err) {
		t.Errorf("duplicate name: %v\nwant %s", err, want)
	}
	if _, _, err := h.tryCreate("a b", `{"Image":"busybox"}`); err == nil || err.Error() != `Invalid container name (a b), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed` {
		t.Errorf("bad name: %v", err)
	}
	if _, err := h.e.Inspect("nope"); err == nil || err.Error() != "No such container: nope" || !errdefs.IsNotFound(err) {
		t.Errorf("unknown: %v", err)
	}
	for _, ref := range []string{a, a[:12], a[:20], "/amber_alder", "amber_alder"} {
		if got, err := h.e.Resolve(ref); got != a {
			t.Errorf("resolve %s = %s, %v; want %s", ref, got, err, a)
		}
	}
	f := enginetest.New()
	for i := range 2 {
		f.Add(spec.View{Container: spec.Container{ID: "ab" + strings.Repeat(fmt.Sprint(i), 62), Name: fmt.Sprint("c", i)}})
	}
	h2 := start(t, f)
	if _, err := h2.e.Resolve("ab"); err == nil || err.Error() != "multiple IDs found with provided prefix: ab" {
		t.Errorf("ambiguous: %v", err)
	}
}

// TestOneNameOnce: of many creates with one name at the same time one wins.
func TestOneNameOnce(t *testing.T) {
	h := start(t, nil)
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for range 16 {
		wg.Go(func() {
			r, err := engine.ParseRequest([]byte(`{"Image":"busybox"}`))
			if err != nil {
				t.Error(err)
				return
			}
			_, _, err = h.e.Create(h.ctx, engine.CreateOptions{Name: "same", Request: r})
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won++
			} else if !errdefs.IsConflict(err) {
				t.Errorf("create: %v", err)
			}
		})
	}
	wg.Wait()
	if won != 1 {
		t.Errorf("%d creates won, want 1", won)
	}
}

// TestCreateThatFailsLeavesNoName: the name of a create that failed is free.
func TestCreateThatFailsLeavesNoName(t *testing.T) {
	h := start(t, nil)
	h.f.CreateErr = errors.New("datastore is full")
	if _, _, err := h.tryCreate("again", `{"Image":"busybox"}`); err == nil || !strings.Contains(err.Error(), "datastore is full") {
		t.Fatalf("create: %v", err)
	}
	h.f.CreateErr = fmt.Errorf("no such folder: %w", errdefs.ErrNotFound)
	if _, _, err := h.tryCreate("again", `{"Image":"busybox"}`); !errdefs.IsInternal(err) || errdefs.IsNotFound(err) {
		t.Fatalf("what vSphere lacks must not look like a missing image: %v", err)
	}
	h.f.CreateErr = nil
	h.create("again", `{"Image":"busybox"}`)
}

func TestRename(t *testing.T) {
	h := start(t, nil)
	seen := h.collect(engine.Filters{"event": {"rename"}})
	id := h.create("old", `{"Image":"busybox"}`)
	h.create("other", `{"Image":"busybox"}`)
	if err := h.e.Rename(h.ctx, "old", "new"); err != nil {
		t.Fatal(err)
	}
	if got, _ := h.e.Resolve("new"); got != id {
		t.Errorf("new is %s", got)
	}
	if _, err := h.e.Resolve("old"); !errdefs.IsNotFound(err) {
		t.Errorf("old: %v", err)
	}
	if err := h.e.Rename(h.ctx, "new", "other"); !errdefs.IsConflict(err) || !strings.HasPrefix(err.Error(), "Error when allocating new name: Conflict.") {
		t.Errorf("to a taken name: %v", err)
	}
	if err := h.e.Rename(h.ctx, "new", "/new"); !errdefs.IsInvalidArgument(err) {
		t.Errorf("to its own name: %v", err)
	}
	h.create("old", `{"Image":"busybox"}`) // free again
	h.until("rename event", func() bool { return len(seen()) == 1 })
}

func TestStopAndKill(t *testing.T) {
	h := start(t, nil)
	seen := h.collect(nil)
	h.run("trap", `"Cmd":["trap"]`)
	if err := h.e.Stop(h.ctx, "trap", engine.StopOptions{}); err != nil {
		t.Fatal(err)
	}
	h.until("stop event", func() bool { return slices.Contains(seen(), "stop") })
	if d := cmp.Diff([]string{"create", "connect", "start", "kill", "disconnect", "die(0)", "stop"}, seen()); d != "" {
		t.Errorf("events (-want +got):\n%s", d)
	}
	if err := h.e.Stop(h.ctx, "trap", engine.StopOptions{}); !errdefs.IsNotModified(err) {
		t.Errorf("stop of a stopped one: %v", err)
	}
	if err := h.e.Kill(h.ctx, "trap", ""); !errdefs.IsConflict(err) || !strings.HasSuffix(err.Error(), "is not running") {
		t.Errorf("kill of a stopped one: %v", err)
	}
	zero := 0
	h.run("deaf", `"Cmd":["deaf"]`)
	if err := h.e.Start(h.ctx, "deaf"); !errdefs.IsNotModified(err) {
		t.Errorf("second start: %v", err)
	}
	if err := h.e.Stop(h.ctx, "deaf", engine.StopOptions{Timeout: &zero}); err != nil {
		t.Fatal(err)
	}
	if c := h.inspect("deaf").State.ExitCode; c != 137 {
		t.Errorf("exit code %d after the timeout", c)
	}
	h.run("sleeper", `"Cmd":["sleep","1h"]`)
	if err := h.e.Kill(h.ctx, "sleeper", "SIGBOGUS"); !errdefs.IsInvalidArgument(err) {
		t.Errorf("bogus signal: %v", err)
	}
	if err := h.e.Kill(h.ctx, "sleeper", "9"); err != nil {
		t.Fatal(err)
	}
	if s := h.inspect("sleeper").State; s.Running || s.ExitCode != 137 {
		t.Errorf("after kill: %+v", s)
	}
}

func TestRemoveRules(t *testing.T) {
	h := start(t, nil)
	h.run("run", `"Cmd":["sleep","1h"]`)
	err := h.e.Remove(h.ctx, "run", engine.RemoveOptions{})
	if err == nil || err.Error() != `cannot remove container "run": container is running: stop the container before removing or force remove` || !errdefs.IsConflict(err) {
		t.Errorf("remove of a running one: %v", err)
	}
	w := h.wait("run", engine.WaitRemoved)
	if err := h.e.Remove(h.ctx, "run", engine.RemoveOptions{Force: true, Volumes: true}); err != nil {
		t.Fatal(err)
	}
	if st := h.answer(w); st.Code != 137 {
		t.Errorf("status of the removed: %+v", st)
	}
}

// TestStartFailure: the words and the state that make `docker run` exit with
// 127 and 126, and --rm cleans up.
func TestStartFailure(t *testing.T) {
	h := start(t, nil)
	for _, c := range []struct {
		cmd, words string
		code       int
	}{
		{"nosuch", `exec: "nosuch": executable file not found in $PATH: unknown`, 127},
		{"noexec", `exec: "noexec": permission denied: unknown`, 126},
	} {
		h.create(c.cmd, `{"Image":"busybox","Cmd":["`+c.cmd+`"],"HostConfig":{"RestartPolicy":{"Name":"always"}}}`)
		w := h.wait(c.cmd, engine.WaitNextExit)
		err := h.e.Start(h.ctx, c.cmd)
		if err == nil || !strings.HasSuffix(err.Error(), c.words) || !errdefs.IsInvalidArgument(err) {
			t.Errorf("%s: %v", c.cmd, err)
		}
		if st := h.answer(w); st.Code != c.code {
			t.Errorf("%s: exit code %d", c.cmd, st.Code)
		}
		if s := h.inspect(c.cmd); s.State.Status != "created" || s.State.ExitCode != c.code || s.StatusText != "Created" || s.RestartCount != 0 {
			t.Errorf("%s: %+v %q", c.cmd, s.State, s.StatusText)
		}
	}
	id := h.create("rm", `{"Image":"busybox","Cmd":["nosuch"],"HostConfig":{"AutoRemove":true}}`)
	w := h.wait(id, engine.WaitRemoved)
	if err := h.e.Start(h.ctx, id); err == nil {
		t.Fatal("start of nosuch")
	}
	if st := h.answer(w); st.Code != 127 {
		t.Errorf("--rm: exit code %d", st.Code)
	}
	h.f.StartErr = fmt.Errorf("host is gone: %w", errdefs.ErrUnavailable)
	h.create("down", `{"Image":"busybox"}`)
	if err := h.e.Start(h.ctx, "down"); !errdefs.IsUnavailable(err) {
		t.Errorf("vSphere down: %v", err)
	}
}

func TestAutoRemove(t *testing.T) {
	h := start(t, nil)
	id := h.create("gone", `{"Image":"busybox","Cmd":["exit","3"],"HostConfig":{"AutoRemove":true}}`)
	w := h.wait(id, engine.WaitRemoved)
	if err := h.e.Start(h.ctx, id); err != nil {
		t.Fatal(err)
	}
	if st := h.answer(w); st.Code != 3 {
		t.Errorf("exit code %d", st.Code)
	}
	if _, err := h.f.Container(id); !errdefs.IsNotFound(err) {
		t.Errorf("still there: %v", err)
	}
	// A restart by the user is no end.
	id = h.run("stay", `"Cmd":["trap"],"HostConfig":{"AutoRemove":true}`)
	if err := h.e.Restart(h.ctx, "stay", engine.StopOptions{}); err != nil {
		t.Fatal(err)
	}
	if s := h.status(id); s != "running" {
		t.Errorf("after restart: %s", s)
	}
}

func TestRestartPolicies(t *testing.T) {
	h := start(t, nil)
	var mu sync.Mutex
	runs := map[string]int{}
	h.f.Programs["flaky"] = func(p *enginetest.Proc) int {
		mu.Lock()
		runs[p.Args[0]]++
		n := runs[p.Args[0]]
		mu.Unlock()
		if n < 3 {
			return 5
		}
		<-p.Killed
		return 137
	}
	count := func(name string) int { mu.Lock(); defer mu.Unlock(); return runs[name] }

	id := h.create("always", `{"Image":"busybox","Cmd":["flaky","always"],"HostConfig":{"RestartPolicy":{"Name":"always"}}}`)
	if err := h.e.Start(h.ctx, id); err != nil {
		t.Fatal(err)
	}
	h.until("third run", func() bool { return count("always") == 3 && h.status(id) == "running" })
	if n := h.inspect(id).RestartCount; n != 2 {
		t.Errorf("restart count %d, want 2", n)
	}
	w := h.wait(id, engine.WaitNotRunning)
	zero := 0
	if err := h.e.Stop(h.ctx, id, engine.StopOptions{Timeout: &zero}); err != nil {
		t.Fatal(err)
	}
	h.answer(w)
	if s := h.status(id); s != "exited" || count("always") != 3 {
		t.Errorf("after stop: %s, %d runs", s, count("always"))
	}

	id = h.run("onfail", `"Cmd":["exit","1"],"HostConfig":{"RestartPolicy":{"Name":"on-failure","MaximumRetryCount":2}}`)
	h.until("retries used up", func() bool { return h.status(id) == "exited" && h.inspect(id).RestartCount == 2 })
	id = h.run("okay", `"Cmd":["true"],"HostConfig":{"RestartPolicy":{"Name":"on-failure"}}`)
	h.answer(h.wait(id, engine.WaitNotRunning))
	if n := h.inspect(id).RestartCount; n != 0 {
		t.Errorf("on-failure after success: %d restarts", n)
	}
}

// TestRestartsWhileVSphereIsAway: a restart goes on trying; another failure ends it.
func TestRestartsWhileVSphereIsAway(t *testing.T) {
	h := start(t, nil)
	var mu sync.Mutex
	tries := 0
	fail := fmt.Errorf("host is gone: %w", errdefs.ErrUnavailable)
	h.f.OnStart = func(string) error {
		mu.Lock()
		defer mu.Unlock()
		tries++
		if tries == 1 || tries > 4 {
			return nil
		}
		return fail
	}
	id := h.run("ever", `"Cmd":["trap"],"HostConfig":{"RestartPolicy":{"Name":"always"}}`)
	if err := h.f.Signal(h.ctx, id, "SIGTERM"); err != nil { // not by the engine
		t.Fatal(err)
	}
	h.until("back again", func() bool { mu.Lock(); defer mu.Unlock(); return tries == 5 && h.status(id) == "running" })

	mu.Lock()
	tries, fail = 1, errors.New("the disk is broken")
	mu.Unlock()
	if err := h.f.Signal(h.ctx, id, "SIGTERM"); err != nil {
		t.Fatal(err)
	}
	h.until("it is given up", func() bool { mu.Lock(); defer mu.Unlock(); return tries == 2 && h.status(id) == "exited" })
}

// TestNewEngine: an engine that comes up on containers of an earlier one shows
// all of the create request, restarts and removes what it must.
func TestNewEngine(t *testing.T) {
	h := start(t, nil)
	full := h.run("full", `"Cmd":["sleep","1h"],"Labels":{"a":"b"},"HostConfig":{"Memory":268435456,"CapAdd":["NET_ADMIN"],"RestartPolicy":{"Name":"unless-stopped"}}`)
	h.create("fresh", `{"Image":"busybox","Cmd":["true"]}`)
	stopped := h.run("stopped", `"Cmd":["trap"],"HostConfig":{"RestartPolicy":{"Name":"unless-stopped"}}`)
	if err := h.e.Stop(h.ctx, stopped, engine.StopOptions{}); err != nil {
		t.Fatal(err)
	}
	always := h.run("always", `"Cmd":["trap"],"HostConfig":{"RestartPolicy":{"Name":"always"}}`)
	died := h.run("died", `"Cmd":["trap"],"HostConfig":{"RestartPolicy":{"Name":"unless-stopped"}}`)
	rm := h.run("rm", `"Cmd":["trap"],"HostConfig":{"AutoRemove":true}`)
	before := h.inspect(full)
	h.stop()
	// The VCH is away; an administrator powers three of them off.
	for _, id := range []string{always, died, rm} {
		if err := h.f.Stop(t.Context(), id, "", time.Second); err != nil {
			t.Fatal(err)
		}
	}
	n := start(t, h.f)
	n.until("boot", func() bool {
		return n.status("always") == "running" && n.status("died") == "running" && n.status("rm") == "gone"
	})
	if s := n.status("stopped"); s != "exited" {
		t.Errorf("unless-stopped that was stopped: %s", s)
	}
	if s := n.status("fresh"); s != "created" {
		t.Errorf("one that never ran: %s", s)
	}
	after := n.inspect("full")
	after.StatusText, before.StatusText = "", ""
	if d := cmp.Diff(before.Config, after.Config); d != "" {
		t.Errorf("config differs (-before +after):\n%s", d)
	}
	if string(before.HostConfig) != string(after.HostConfig) || after.Host.Memory != 256<<20 {
		t.Errorf("host config\n%s\n%s", before.HostConfig, after.HostConfig)
	}
}

// TestLostEvents: when the port layer cuts the engine off, exits that it did
// not see still answer waits, and readers of events are told.
func TestLostEvents(t *testing.T) {
	h := start(t, nil)
	id := h.run("xx", `"Cmd":["sleep","1h"]`)
	w := h.wait(id, engine.WaitNotRunning)
	ended := make(chan error, 1)
	ready := make(chan struct{})
	go func() {
		ended <- h.e.Events(h.ctx, engine.EventOptions{}, func() { close(ready) }, func(engine.Event) error { return nil })
	}()
	<-ready
	h.f.DropSubscribers()
	if err := h.f.Signal(h.ctx, id, "SIGKILL"); err != nil {
		t.Fatal(err)
	}
	h.answer(w)
	select {
	case err := <-ended:
		if !errors.Is(err, engine.ErrEventsLost) {
			t.Errorf("events ended with %v", err)
		}
	case <-time.After(patience):
		t.Error("the reader of events was not told")
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	h := start(t, nil)
	h.run("xx", `"Cmd":["sleep","1h"]`)
	ctx, cancel := context.WithCancel(h.ctx)
	w, err := h.e.Wait(ctx, "xx", engine.WaitNotRunning)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	select {
	case r := <-w:
		if !errors.Is(r.Err, context.Canceled) {
			t.Errorf("wait: %+v", r)
		}
	case <-time.After(patience):
		t.Error("wait did not end")
	}
}

func TestPrune(t *testing.T) {
	h := start(t, nil)
	h.run("runs", `"Cmd":["sleep","1h"]`)
	a := h.create("aa", `{"Image":"busybox","Labels":{"keep":"no"}}`)
	h.create("bb", `{"Image":"busybox","Labels":{"keep":"yes"}}`)
	events := h.collect(engine.Filters{"event": {"prune"}})
	got, freed, err := h.e.Prune(h.ctx, engine.Filters{"label!": {"keep=yes"}})
	if err != nil || len(got) != 1 || got[0] != a || freed != 5<<20 {
		t.Errorf("pruned %v, %d bytes, %v", got, freed, err)
	}
	h.until("event of the prune", func() bool { return len(events()) == 1 })
	if _, _, err := h.e.Prune(h.ctx, engine.Filters{"bogus": {"x"}}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("bogus filter: %v", err)
	}
}
