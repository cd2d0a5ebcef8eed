package engine_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vic-engine/vic/pkg/docker/engine"
	"github.com/vic-engine/vic/pkg/docker/engine/enginetest"

	"github.com/containerd/errdefs"
)

// safeBuffer may be written and read by several goroutines.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// attach joins streams and returns when the client would be answered.
func (h *harness) attach(ref string, o engine.AttachOptions, s engine.Streams) (done chan error) {
	h.Helper()
	joined := make(chan struct{})
	done = make(chan error, 1)
	go func() {
		done <- h.e.Attach(h.ctx, ref, o, func(bool) (engine.Streams, error) { close(joined); return s, nil })
	}()
	select {
	case <-joined:
	case err := <-done:
		h.Fatalf("attach: %v", err)
	case <-time.After(patience):
		h.Fatal("attach did not answer")
	}
	return done
}

func (h *harness) ended(what string, done <-chan error) {
	h.Helper()
	select {
	case err := <-done:
		if err != nil {
			h.Errorf("%s: %v", what, err)
		}
	case <-time.After(patience):
		h.Fatalf("%s did not end", what)
	}
}

// TestAttachLosesNothing is docker run's order: create, attach, wait, start.
func TestAttachLosesNothing(t *testing.T) {
	h := start(t, nil)
	for i := range 20 {
		id := h.create("", fmt.Sprintf(`{"Image":"busybox","Cmd":["lines","%d"],"AttachStdout":true,"AttachStderr":true}`, i))
		var out, err safeBuffer
		done := h.attach(id, engine.AttachOptions{Stdout: true, Stderr: true, Stream: true}, engine.Streams{Stdout: &out, Stderr: &err})
		w := h.wait(id, engine.WaitNextExit)
		if err := h.e.Start(h.ctx, id); err != nil {
			t.Fatal(err)
		}
		h.answer(w)
		h.ended("attach", done)
		if n := strings.Count(out.String(), "\n") + strings.Count(err.String(), "\n"); n != i {
			t.Fatalf("run of %d lines gave %d", i, n)
		}
	}
}

func TestAttachStdin(t *testing.T) {
	h := start(t, nil)
	id := h.create("", `{"Image":"busybox","Cmd":["cat"],"OpenStdin":true,"StdinOnce":true}`)
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	var out safeBuffer
	done := h.attach(id, engine.AttachOptions{Stdin: true, Stdout: true, Stream: true}, engine.Streams{Stdin: bytes.NewReader(big), Stdout: &out})
	if err := h.e.Start(h.ctx, id); err != nil {
		t.Fatal(err)
	}
	h.ended("attach", done)
	if out.String() != string(big) {
		t.Errorf("%d bytes came back of %d", len(out.String()), len(big))
	}
	if s := h.answer(h.wait(id, engine.WaitNotRunning)); s.Code != 0 {
		t.Errorf("cat ended with %d", s.Code)
	}
}

// TestDetach: the keys end the attach, and not the process.
func TestDetach(t *testing.T) {
	h := start(t, nil)
	seen := h.collect(engine.Filters{"event": {"attach", "detach"}})
	id := h.create("", `{"Image":"busybox","Cmd":["sh"],"OpenStdin":true,"StdinOnce":true,"Tty":true}`)
	for i, keys := range []string{"", "ctrl-a,x"} {
		in, feed := io.Pipe()
		var out safeBuffer
		done := h.attach(id, engine.AttachOptions{Stdin: true, Stdout: true, Stream: true, DetachKeys: keys}, engine.Streams{Stdin: in, Stdout: &out})
		if i == 0 {
			if err := h.e.Start(h.ctx, id); err != nil {
				t.Fatal(err)
			}
		}
		io.WriteString(feed, "echo hello\r")
		h.until("an answer", func() bool { return strings.Contains(out.String(), "hello") })
		io.WriteString(feed, map[string]string{"": "\x10\x11", "ctrl-a,x": "\x01x"}[keys])
		h.ended("attach", done)
		if s := h.status(id); s != "running" {
			t.Fatalf("after detach: %s", s)
		}
	}
	h.until("events", func() bool { return slices.Equal(seen(), []string{"attach", "detach", "attach", "detach"}) })
	err := h.e.Attach(h.ctx, id, engine.AttachOptions{DetachKeys: "ctrl-!"}, nil)
	if !errdefs.IsInvalidArgument(err) {
		t.Errorf("bad keys: %v", err)
	}
}

func TestAttachLogs(t *testing.T) {
	h := start(t, nil)
	id := h.run("", `"Cmd":["trap"]`)
	h.until("ready", func() bool { return strings.Contains(h.logs(id, engine.LogsOptions{Stdout: true, Tail: -1}), "ready") })
	seen := h.collect(engine.Filters{"event": {"attach"}})
	var out safeBuffer
	done := h.attach(id, engine.AttachOptions{Stdout: true, Stream: true, Logs: true}, engine.Streams{Stdout: &out})
	// What is put out while the kept output is sent may come twice; the event
	// tells that it was sent.
	h.until("attach event", func() bool { return len(seen()) == 1 })
	if err := h.e.Stop(h.ctx, id, engine.StopOptions{}); err != nil {
		t.Fatal(err)
	}
	h.ended("attach", done)
	if out.String() != "ready\ngot SIGTERM\n" {
		t.Errorf("attach with logs: %q", out.String())
	}
}

func (h *harness) logs(ref string, o engine.LogsOptions) string {
	h.Helper()
	_, write, err := h.e.LogsOpen(ref, o)
	if err != nil {
		h.Fatal(err)
	}
	var out safeBuffer
	if err := write(h.ctx, &out, &out); err != nil {
		h.Fatal(err)
	}
	return out.String()
}

func TestLogs(t *testing.T) {
	h := start(t, nil)
	id := h.run("lines", `"Cmd":["lines","6"]`)
	h.answer(h.wait(id, engine.WaitNotRunning))
	all := "line 1\nline 2\nline 3\nline 4\nline 5\nline 6\n"
	for _, c := range []struct {
		name string
		o    engine.LogsOptions
		want string
	}{
		{"all", engine.LogsOptions{Stdout: true, Stderr: true, Tail: -1}, all},
		{"stdout", engine.LogsOptions{Stdout: true, Tail: -1}, "line 1\nline 2\nline 4\nline 5\n"},
		{"stderr", engine.LogsOptions{Stderr: true, Tail: -1}, "line 3\nline 6\n"},
		{"tail", engine.LogsOptions{Stdout: true, Stderr: true, Tail: 2}, "line 5\nline 6\n"},
		{"tail of stdout", engine.LogsOptions{Stdout: true, Tail: 1}, "line 5\n"},
		{"more than there is", engine.LogsOptions{Stdout: true, Stderr: true, Tail: 99}, all},
		{"none", engine.LogsOptions{Stdout: true, Stderr: true, Tail: 0}, ""},
		{"since the future", engine.LogsOptions{Stdout: true, Since: time.Now().Add(time.Hour), Tail: -1}, ""},
		{"until the past", engine.LogsOptions{Stdout: true, Until: time.Now().Add(-time.Hour), Tail: -1}, ""},
		{"follow of one that is over", engine.LogsOptions{Stdout: true, Stderr: true, Follow: true, Tail: 1}, "line 6\n"},
	} {
		if got := h.logs("lines", c.o); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	stamped := h.logs("lines", engine.LogsOptions{Stdout: true, Tail: 1, Timestamps: true})
	if at, rest, ok := strings.Cut(stamped, " "); !ok || rest != "line 5\n" || len(at) != len("2026-11-22T20:29:41.976101302Z") {
		t.Errorf("timestamps: %q", stamped)
	}
	if _, _, err := h.e.LogsOpen("lines", engine.LogsOptions{}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("no stream: %v", err)
	}
}

// TestLogsLines: a line that comes in pieces is one line, and lines of the two
// streams that are mixed are kept apart.
func TestLogsLines(t *testing.T) {
	h := start(t, nil)
	h.f.Programs["pieces"] = func(p *enginetest.Proc) int {
		io.WriteString(p.Stdout, "out 1\nout ")
		io.WriteString(p.Stderr, "err 1\n")
		io.WriteString(p.Stdout, "2\nno end")
		return 0
	}
	id := h.run("", `"Cmd":["pieces"]`)
	h.answer(h.wait(id, engine.WaitNotRunning))
	if got := h.logs(id, engine.LogsOptions{Stdout: true, Tail: 2}); got != "out 2\nno end" {
		t.Errorf("tail: %q", got)
	}
	got := h.logs(id, engine.LogsOptions{Stdout: true, Stderr: true, Tail: -1, Timestamps: true})
	if n := strings.Count(got, "Z "); n != 4 {
		t.Errorf("%d stamps in %q, want 4", n, got)
	}
}

func TestLogsFollow(t *testing.T) {
	h := start(t, nil)
	id := h.run("", `"Cmd":["trap"]`)
	_, write, err := h.e.LogsOpen(id, engine.LogsOptions{Stdout: true, Follow: true, Tail: 1})
	if err != nil {
		t.Fatal(err)
	}
	var out safeBuffer
	done := make(chan error, 1)
	go func() { done <- write(h.ctx, &out, io.Discard) }()
	h.until("ready", func() bool { return out.String() == "ready\n" })
	if err := h.e.Kill(h.ctx, id, "USR1"); err != nil {
		t.Fatal(err)
	}
	h.until("the live line", func() bool { return strings.HasSuffix(out.String(), "got SIGUSR1\n") })
	if err := h.e.Kill(h.ctx, id, "KILL"); err != nil {
		t.Fatal(err)
	}
	h.ended("follow", done)
	// A client that goes ends it too.
	id = h.run("", `"Cmd":["trap"]`)
	_, write, err = h.e.LogsOpen(id, engine.LogsOptions{Stdout: true, Follow: true, Tail: -1})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(h.ctx)
	go func() { _ = write(ctx, io.Discard, io.Discard); done <- nil }()
	cancel()
	h.ended("follow of a client that went", done)
}

func TestExec(t *testing.T) {
	h := start(t, nil)
	id := h.run("box", `"Cmd":["sleep","1h"],"Env":["A=container"],"User":"1:2","WorkingDir":"/w"`)
	seen := h.collect(engine.Filters{"container": {"box"}})
	var wg sync.WaitGroup
	for i := range 20 { // many at once
		wg.Go(func() {
			x, err := h.e.ExecCreate("box", engine.ExecOptions{Cmd: []string{"cat"}, Stdin: true, Stdout: true, Stderr: true})
			if err != nil {
				t.Error(err)
				return
			}
			var out safeBuffer
			in := fmt.Sprintf("exec %d", i)
			if err := h.e.ExecStart(h.ctx, x, engine.Streams{Stdin: strings.NewReader(in), Stdout: &out}, 0, 0); err != nil {
				t.Error(err)
			}
			if out.String() != in {
				t.Errorf("exec %d gave %q", i, out.String())
			}
			if e, err := h.e.ExecInspect(x); err != nil || e.Running || e.ExitCode == nil || *e.ExitCode != 0 || e.Container != id {
				t.Errorf("inspect: %+v, %v", e, err)
			}
		})
	}
	wg.Wait()
	h.until("exec events", func() bool { return len(seen()) >= 60 })

	code := func(cmd ...string) (int, error) {
		x, err := h.e.ExecCreate("box", engine.ExecOptions{Cmd: cmd, Stdout: true, Env: []string{"B=exec"}})
		if err != nil {
			t.Fatal(err)
		}
		var out safeBuffer
		err = h.e.ExecStart(h.ctx, x, engine.Streams{Stdout: &out}, 0, 0)
		e, ierr := h.e.ExecInspect(x)
		if ierr != nil || e.ExitCode == nil {
			t.Fatalf("%v: %v, %+v", cmd, ierr, e)
		}
		if cmd[0] == "env" && (!strings.Contains(out.String(), "A=container\n") || !strings.Contains(out.String(), "B=exec\n")) {
			t.Errorf("environment of an exec: %q", out.String())
		}
		if err == nil {
			if err := h.e.ExecStart(h.ctx, x, engine.Streams{}, 0, 0); !errdefs.IsConflict(err) {
				t.Errorf("second start: %v", err)
			}
		}
		return *e.ExitCode, err
	}
	if c, err := code("exit", "4"); c != 4 || err != nil {
		t.Errorf("exit 4: %d, %v", c, err)
	}
	if c, err := code("env"); c != 0 || err != nil {
		t.Errorf("env: %d, %v", c, err)
	}
	if c, err := code("nosuch"); c != 127 || err == nil || !strings.HasPrefix(err.Error(), "OCI runtime exec failed: exec failed: ") {
		t.Errorf("nosuch: %d, %v", c, err)
	}

	// Detached, with a terminal to resize, then ended by the container's end.
	x, err := h.e.ExecCreate("box", engine.ExecOptions{Cmd: []string{"size"}, Tty: true, Stdin: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.e.ExecStart(h.ctx, x, engine.Streams{}, 0, 0); err != nil {
		t.Fatal(err)
	}
	if e, _ := h.e.ExecInspect(x); !e.Running || e.Pid == 0 {
		t.Errorf("detached exec: %+v", e)
	}
	if ids := h.inspect("box").ExecIDs; len(ids) != 1 || ids[0] != x {
		t.Errorf("running execs %v", ids)
	}
	if err := h.e.ExecResize(h.ctx, x, 10, 20); err != nil {
		t.Errorf("resize: %v", err)
	}
	if err := h.e.Kill(h.ctx, "box", ""); err != nil {
		t.Fatal(err)
	}
	h.until("the exec's end", func() bool { e, err := h.e.ExecInspect(x); return err == nil && !e.Running })
	if _, err := h.e.ExecCreate("box", engine.ExecOptions{Cmd: []string{"true"}}); !errdefs.IsConflict(err) {
		t.Errorf("exec in a stopped container: %v", err)
	}
	if _, err := h.e.ExecInspect("bogus"); !errdefs.IsNotFound(err) || err.Error() != "No such exec instance: bogus" {
		t.Errorf("bogus: %v", err)
	}
}

// TestExecDetachKeys: the client leaves, the process stays.
func TestExecDetachKeys(t *testing.T) {
	h := start(t, nil)
	h.run("box", `"Cmd":["sleep","1h"]`)
	x, err := h.e.ExecCreate("box", engine.ExecOptions{Cmd: []string{"sh"}, Tty: true, Stdin: true, Stdout: true})
	if err != nil {
		t.Fatal(err)
	}
	in, feed := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- h.e.ExecStart(h.ctx, x, engine.Streams{Stdin: in, Stdout: io.Discard}, 0, 0) }()
	io.WriteString(feed, "\x10\x11")
	h.ended("exec start", done)
	if e, _ := h.e.ExecInspect(x); !e.Running {
		t.Error("the process ended with its client")
	}
}

func TestResize(t *testing.T) {
	h := start(t, nil)
	id := h.create("tty", `{"Image":"busybox","Cmd":["size"],"Tty":true,"OpenStdin":true}`)
	if err := h.e.Resize(h.ctx, id, 1, 2); !errdefs.IsConflict(err) {
		t.Errorf("resize before start: %v", err)
	}
	var out safeBuffer
	h.attach(id, engine.AttachOptions{Stdout: true, Stream: true}, engine.Streams{Stdout: &out})
	if err := h.e.Start(h.ctx, id); err != nil {
		t.Fatal(err)
	}
	if err := h.e.Resize(h.ctx, id, 33, 100); err != nil {
		t.Fatal(err)
	}
	h.until("the program sees it", func() bool { return strings.Contains(out.String(), "33 100") })
}

// TestLogsDetails: --details, and a container that keeps nothing.
func TestLogsDetails(t *testing.T) {
	h := start(t, nil)
	id := h.run("told", `"Cmd":["echo","hi"],"Labels":{"app":"x"},"HostConfig":{"LogConfig":{"Type":"json-file","Config":{"labels":"app"}}}`)
	h.answer(h.wait(id, engine.WaitNotRunning))
	_, write, err := h.e.LogsOpen(id, engine.LogsOptions{Stdout: true, Tail: -1, Details: true})
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := write(h.ctx, &out, nil); err != nil || out.String() != "app=x hi\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
	id = h.run("silent", `"Cmd":["sleep","1h"],"HostConfig":{"LogConfig":{"Type":"none"}}`)
	if _, _, err := h.e.LogsOpen(id, engine.LogsOptions{Stdout: true}); !errdefs.IsNotImplemented(err) {
		t.Errorf("logs of none: %v", err)
	}
	if err := h.e.Attach(h.ctx, id, engine.AttachOptions{Stdout: true, Logs: true}, nil); !errdefs.IsNotImplemented(err) {
		t.Errorf("attach to logs of none: %v", err)
	}
}

// TestLongTail: a tail that is not kept in memory is the same lines.
func TestLongTail(t *testing.T) {
	h := start(t, nil)
	id := h.create("many", `{"Image":"busybox","Cmd":["lines","30000"]}`)
	w := h.wait(id, engine.WaitNextExit)
	if err := h.e.Start(h.ctx, id); err != nil {
		t.Fatal(err)
	}
	h.answer(w)
	want := &strings.Builder{}
	for i := 5; i <= 30000; i++ {
		fmt.Fprintf(want, "line %d\n", i)
	}
	if got := h.logs(id, engine.LogsOptions{Stdout: true, Stderr: true, Tail: 29996}); got != want.String() {
		t.Errorf("%d bytes, want %d", len(got), want.Len())
	}
}
