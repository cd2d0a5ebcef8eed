package engine_test

import (
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/docker/engine"
)

// An exec is listed from its creation to its end, and one that never ran goes with
// the run of its container; one that ran can be looked at until the container is
// removed.
func TestExecLife(t *testing.T) {
	h := start(t, nil)
	h.run("box", `"Cmd":["sleep","1h"],"User":"7"`)
	seen := h.collect(engine.Filters{"container": {"box"}})
	create := func(o engine.ExecOptions) string {
		t.Helper()
		id, err := h.e.ExecCreate("box", o)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	ran, never := create(engine.ExecOptions{Cmd: []string{"exit", "3"}, DetachKeys: "ctrl-a,b"}), create(engine.ExecOptions{Cmd: []string{"true"}, User: "9:9"})
	ids := h.inspect("box").ExecIDs
	if len(ids) != 2 || !slices.Contains(ids, ran) || !slices.Contains(ids, never) {
		t.Errorf("execs %q, want %s and %s", ids, ran, never)
	}
	if i, err := h.e.ExecInspect(never); err != nil || i.Running || i.ExitCode != nil || i.Pid != 0 || i.User != "9:9" || i.DetachKeys == nil || len(i.DetachKeys) != 0 {
		t.Errorf("one that was not started: %+v, %v", i, err)
	}
	if err := h.e.ExecStart(h.ctx, ran, engine.Streams{}, 0, 0); err != nil {
		t.Fatal(err)
	}
	h.until("its end", func() bool { i, err := h.e.ExecInspect(ran); return err == nil && i.ExitCode != nil })
	i, err := h.e.ExecInspect(ran)
	if err != nil || i.Running || *i.ExitCode != 3 || i.User != "7" || string(i.DetachKeys) != "\x01b" {
		t.Errorf("one that ran: %+v, %v", i, err)
	}
	if err := h.e.ExecStart(h.ctx, ran, engine.Streams{}, 0, 0); !errdefs.IsConflict(err) || err.Error() != "exec command "+ran+" has already run" {
		t.Errorf("started twice: %v", err)
	}
	if ids := h.inspect("box").ExecIDs; !slices.Equal(ids, []string{never}) {
		t.Errorf("execs %q, want %s", ids, never)
	}
	h.until("events", func() bool {
		all := strings.Join(seen(), "\n")
		return strings.Contains(all, "exec_create: exit 3") && strings.Contains(all, "exec_start: exit 3") && strings.Contains(all, "exec_die")
	})

	if err := h.e.Kill(h.ctx, "box", ""); err != nil {
		t.Fatal(err)
	}
	h.until("the end of the one that never ran", func() bool { _, err := h.e.ExecInspect(never); return errdefs.IsNotFound(err) })
	if err := h.e.ExecStart(h.ctx, never, engine.Streams{}, 0, 0); !errdefs.IsNotFound(err) || err.Error() != "No such exec instance: "+never {
		t.Errorf("start after its container: %v", err)
	}
	if err := h.e.ExecStart(h.ctx, ran, engine.Streams{}, 0, 0); !errdefs.IsConflict(err) || !strings.HasSuffix(err.Error(), " is not running") {
		t.Errorf("start in a stopped container: %v", err)
	}
	if _, err := h.e.ExecInspect(ran); err != nil {
		t.Errorf("inspect in a stopped container: %v", err)
	}
	if ids := h.inspect("box").ExecIDs; ids != nil {
		t.Errorf("execs of a stopped container: %q", ids)
	}
}

// goneClient is a client that hung up: nothing can be written to it, and its input
// has ended.
type goneClient struct{}

func (goneClient) Read([]byte) (int, error)  { return 0, io.ErrClosedPipe }
func (goneClient) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// A client that hangs up leaves its exec running, whose end is told all the same.
func TestExecOutlivesItsClient(t *testing.T) {
	h := start(t, nil)
	h.run("box", `"Cmd":["sleep","1h"]`)
	seen := h.collect(engine.Filters{"container": {"box"}, "event": {"exec_die", "exec_detach"}})
	x, err := h.e.ExecCreate("box", engine.ExecOptions{Cmd: []string{"trap"}, Stdout: true, Stderr: true})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		done <- h.e.ExecStart(h.ctx, x, engine.Streams{Stdout: goneClient{}, Stderr: goneClient{}}, 0, 0)
	}()
	h.until("its start", func() bool { i, err := h.e.ExecInspect(x); return err == nil && i.Pid != 0 })
	if err := h.e.ExecStart(h.ctx, x, engine.Streams{}, 0, 0); !errdefs.IsConflict(err) || err.Error() != "exec command "+x+" is already running" {
		t.Errorf("started while it runs: %v", err)
	}
	if got := seen(); len(got) != 0 {
		t.Errorf("events %q of one that runs", got)
	}
	if err := h.f.SignalExec(h.ctx, h.inspect("box").Container.ID, x, "SIGKILL"); err != nil {
		t.Fatal(err)
	}
	h.ended("exec start", done)
	h.until("its end", func() bool {
		i, err := h.e.ExecInspect(x)
		return err == nil && !i.Running && i.ExitCode != nil && *i.ExitCode == 137
	})
	h.until("the event of its end", func() bool { return len(seen()) == 1 })
}

// TestExecsNeverStarted: what was made and is never started is not kept for ever.
func TestExecsNeverStarted(t *testing.T) {
	clock := &stepped{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), waits: map[chan time.Time]time.Time{}}
	h := start(t, nil, func(c *engine.Config) { c.Clock = clock })
	id := h.run("box", `"Cmd":["sleep","1h"]`)
	var last string
	for range 100 {
		var err error
		if last, err = h.e.ExecCreate(id, engine.ExecOptions{Cmd: []string{"true"}}); err != nil {
			t.Fatal(err)
		}
		clock.step(time.Minute)
	}
	if n := len(h.inspect(id).ExecIDs); n < 59 || n > 62 {
		t.Errorf("%d execs are kept, want those of an hour", n)
	}
	if err := h.e.ExecStart(h.ctx, last, engine.Streams{}, 0, 0); err != nil {
		t.Errorf("the last one: %v", err)
	}
}

// failing is a client that cannot be written to any more.
type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// TestExecClientGoes: nobody waits for a client that has gone, and the process goes
// on, as in dockerd.
func TestExecClientGoes(t *testing.T) {
	h := start(t, nil)
	h.run("box", `"Cmd":["sleep","1h"]`)
	seen := h.collect(engine.Filters{"container": {"box"}})
	for name, c := range map[string]struct {
		o engine.ExecOptions
		s engine.Streams
	}{
		"a terminal whose client is gone": {
			engine.ExecOptions{Cmd: []string{"deaf"}, Tty: true, Stdin: true, Stdout: true}, engine.Streams{Stdin: strings.NewReader(""), Stdout: io.Discard},
		},
		"one that cannot be written to": {
			engine.ExecOptions{Cmd: []string{"trap"}, Stdout: true}, engine.Streams{Stdout: failing{}},
		},
	} {
		id, err := h.e.ExecCreate("box", c.o)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- h.e.ExecStart(h.ctx, id, c.s, 0, 0) }()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		case <-time.After(patience):
			t.Fatalf("%s: it is waited for", name)
		}
		if i, err := h.e.ExecInspect(id); err != nil || !i.Running {
			t.Errorf("%s: %+v, %v", name, i, err)
		}
	}
	if ev := seen(); slices.Contains(ev, "exec_detach") {
		t.Errorf("events %q", ev)
	}
}
