package api_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/pkg/stdcopy"
)

// dockerRun does what docker run does, in its order, and gives both outputs.
func (h *harness) dockerRun(c container.Config, stdin io.Reader) (stdout, stderr string, code int64) {
	h.Helper()
	c.AttachStdout, c.AttachStderr = true, true
	c.AttachStdin, c.OpenStdin, c.StdinOnce = stdin != nil, stdin != nil, stdin != nil
	id := h.create("", c, &container.HostConfig{AutoRemove: true})
	a, err := h.c.ContainerAttach(h.ctx, id, container.AttachOptions{Stream: true, Stdin: stdin != nil, Stdout: true, Stderr: true})
	if err != nil {
		h.Fatal(err)
	}
	defer a.Close()
	ok, bad := h.c.ContainerWait(h.ctx, id, container.WaitConditionRemoved)
	h.start(id)
	go func() {
		if stdin != nil {
			_, _ = io.Copy(a.Conn, stdin)
		}
		if !c.Tty { // a terminal stays; its end is the client's leave
			_ = a.CloseWrite()
		}
	}()
	var out, errOut bytes.Buffer
	if c.Tty {
		_, err = io.Copy(&out, a.Reader)
	} else {
		_, err = stdcopy.StdCopy(&out, &errOut, a.Reader)
	}
	if err != nil {
		h.Errorf("read the output: %v", err)
	}
	select {
	case r := <-ok:
		return out.String(), errOut.String(), r.StatusCode
	case err := <-bad:
		h.Fatalf("wait: %v", err)
	case <-time.After(patience):
		h.Fatal("wait was not answered")
	}
	return "", "", -1
}

func TestDockerRun(t *testing.T) {
	for name, useTLS := range map[string]bool{"plain": false, "TLS": true} {
		t.Run(name, func(t *testing.T) {
			h := serve(t, useTLS)
			h.T = t
			for i := range 10 {
				out, errOut, code := h.dockerRun(container.Config{Cmd: []string{"lines", fmt.Sprint(i)}}, nil)
				if n := strings.Count(out+errOut, "\n"); n != i || code != 0 {
					t.Fatalf("%d lines of %d, code %d", n, i, code)
				}
			}
			out, errOut, _ := h.dockerRun(container.Config{Cmd: []string{"both"}}, nil)
			if out != "to stdout\n" || errOut != "to stderr\n" {
				t.Errorf("streams: %q, %q", out, errOut)
			}
			big := bytes.Repeat([]byte{0, 1, 2, 0xff}, 1<<18)
			if out, _, code := h.dockerRun(container.Config{Cmd: []string{"cat"}}, bytes.NewReader(big)); out != string(big) || code != 0 {
				t.Errorf("cat: %d bytes of %d, code %d", len(out), len(big), code)
			}
			if out, _, code := h.dockerRun(container.Config{Cmd: []string{"sh"}, Tty: true}, strings.NewReader("echo hi\rexit 9\r")); out != "hi\r\n" || code != 9 {
				t.Errorf("terminal: %q, code %d", out, code)
			}
			if list, err := h.c.ContainerList(h.ctx, container.ListOptions{All: true}); err != nil || len(list) != 0 {
				t.Errorf("left behind: %v, %v", list, err)
			}
		})
	}
}

// TestAttachAnswers: with Upgrade the answer is 101 and names the format;
// without it is 200. Errors come before that, with their status.
func TestAttachAnswers(t *testing.T) {
	h := serve(t, false)
	id := h.create("", container.Config{Cmd: []string{"sleep", "1h"}}, nil)
	tty := h.create("", container.Config{Cmd: []string{"sleep", "1h"}, Tty: true}, nil)
	for _, c := range []struct {
		id, upgrade, status, contentType string
	}{
		{id, "tcp", "101 UPGRADED", "application/vnd.docker.multiplexed-stream"},
		{tty, "tcp", "101 UPGRADED", "application/vnd.docker.raw-stream"},
		{id, "", "200 OK", "application/vnd.docker.raw-stream"},
		{"nope", "tcp", "404 Not Found", "application/vnd.docker.raw-stream"},
	} {
		conn, err := h.c.Dialer()(h.ctx)
		if err != nil {
			t.Fatal(err)
		}
		req := "POST /v1.51/containers/" + c.id + "/attach?stream=1&stdout=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n"
		if c.upgrade != "" {
			req += "Connection: Upgrade\r\nUpgrade: " + c.upgrade + "\r\n"
		}
		io.WriteString(conn, req+"\r\n")
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("%+v: %v", c, err)
		}
		if resp.Status != c.status || resp.Header.Get("Content-Type") != c.contentType {
			t.Errorf("%+v: %s, %s", c, resp.Status, resp.Header.Get("Content-Type"))
		}
		conn.Close()
	}
}

// TestWaitHeaders: the headers of a wait are there before its answer, or
// docker run would never start the container.
func TestWaitHeaders(t *testing.T) {
	h := serve(t, false)
	id := h.create("", container.Config{Cmd: []string{"exit", "3"}}, nil)
	req, err := http.NewRequestWithContext(h.ctx, "POST", h.url+"/v1.51/containers/"+id+"/wait?condition=next-exit", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req) // returns with the headers
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	h.start(id)
	var r container.WaitResponse
	if err := json.NewDecoder(resp.Body).Decode(&r); err != nil || r.StatusCode != 3 || r.Error != nil {
		t.Errorf("wait: %+v, %v", r, err)
	}
}

func TestLogsOverHTTP(t *testing.T) {
	h := serve(t, false)
	id := h.run("", "lines", "6")
	h.exit(id)
	r, err := h.c.ContainerLogs(h.ctx, id, container.LogsOptions{ShowStdout: true, ShowStderr: true, Tail: "3"})
	if err != nil {
		t.Fatal(err)
	}
	var out, errOut bytes.Buffer
	if _, err := stdcopy.StdCopy(&out, &errOut, r); err != nil {
		t.Fatal(err)
	}
	r.Close()
	if out.String() != "line 4\nline 5\n" || errOut.String() != "line 6\n" {
		t.Errorf("tail: %q, %q", out.String(), errOut.String())
	}
	// With a terminal it is one raw stream.
	id = h.create("", container.Config{Cmd: []string{"both"}, Tty: true}, nil)
	h.start(id)
	h.exit(id)
	if _, body := h.do("GET", "/containers/"+id+"/logs?stdout=1&stderr=1", ""); body != "to stdout\nto stderr\n" {
		t.Errorf("raw logs: %q", body)
	}
	// Following sees live output and ends with the container.
	id = h.run("", "trap")
	if r, err = h.c.ContainerLogs(h.ctx, id, container.LogsOptions{ShowStdout: true, Follow: true}); err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := h.c.ContainerKill(h.ctx, id, "USR2"); err != nil {
		t.Fatal(err)
	}
	if err := h.c.ContainerStop(h.ctx, id, container.StopOptions{}); err != nil {
		t.Fatal(err)
	}
	out.Reset()
	if _, err := stdcopy.StdCopy(&out, io.Discard, r); err != nil || out.String() != "ready\ngot SIGUSR2\ngot SIGTERM\n" {
		t.Errorf("followed: %q, %v", out.String(), err)
	}
}

func TestExecOverHTTP(t *testing.T) {
	h := serve(t, true)
	h.run("box", "sleep", "1h")
	exec := func(cmd []string, stdin string) (string, int) {
		x, err := h.c.ContainerExecCreate(h.ctx, "box", container.ExecOptions{Cmd: cmd, AttachStdin: true, AttachStdout: true, AttachStderr: true})
		if err != nil {
			t.Fatal(err)
		}
		a, err := h.c.ContainerExecAttach(h.ctx, x.ID, container.ExecAttachOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		io.WriteString(a.Conn, stdin)
		_ = a.CloseWrite()
		var out bytes.Buffer
		if _, err := stdcopy.StdCopy(&out, &out, a.Reader); err != nil {
			t.Fatal(err)
		}
		i, err := h.c.ContainerExecInspect(h.ctx, x.ID)
		if err != nil || i.Running {
			t.Fatalf("%+v, %v", i, err)
		}
		return out.String(), i.ExitCode
	}
	if out, code := exec([]string{"cat"}, "abc"); out != "abc" || code != 0 {
		t.Errorf("cat: %q, %d", out, code)
	}
	if out, code := exec([]string{"exit", "5"}, ""); out != "" || code != 5 {
		t.Errorf("exit 5: %q, %d", out, code)
	}
	if out, code := exec([]string{"nosuch"}, ""); !strings.Contains(out, `exec: "nosuch": executable file not found in $PATH: unknown`) || code != 127 {
		t.Errorf("nosuch: %q, %d", out, code)
	}
	x, err := h.c.ContainerExecCreate(h.ctx, "box", container.ExecOptions{Cmd: []string{"nosuch"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.c.ContainerExecStart(h.ctx, x.ID, container.ExecStartOptions{Detach: true}); err == nil || !strings.Contains(err.Error(), "executable file not found") {
		t.Errorf("detached nosuch: %v", err)
	}
}

func TestEventsOverHTTP(t *testing.T) {
	h := serve(t, false)
	ctx, cancel := context.WithTimeout(h.ctx, patience)
	defer cancel()
	live, bad := h.c.Events(ctx, events.ListOptions{Filters: filters.NewArgs(filters.Arg("type", "container"), filters.Arg("event", "die"))})
	id := h.run("one", "exit", "4")
	select {
	case ev := <-live:
		if ev.Action != "die" || ev.Actor.ID != id || ev.Actor.Attributes["exitCode"] != "4" || ev.Actor.Attributes["name"] != "one" || ev.Scope != "local" || ev.TimeNano == 0 {
			t.Errorf("event %+v", ev)
		}
	case err := <-bad:
		t.Fatal(err)
	}
}

// TestPastEvents: since and until give what was, and end.
func TestPastEvents(t *testing.T) {
	h := serve(t, false)
	before := time.Now().Add(-time.Minute).Unix()
	id := h.run("one", "true")
	h.exit(id)
	h.until("die is in the past", func() bool {
		_, body := h.do("GET", fmt.Sprintf("/events?since=%d&until=%d.999999999", before, time.Now().Unix()-0), "")
		return strings.Contains(body, `"Action":"create"`) && strings.Contains(body, `"Action":"die"`)
	})
}

func TestPullStream(t *testing.T) {
	h := serve(t, false)
	r, err := h.c.ImagePull(h.ctx, "web:1", image.PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	d := json.NewDecoder(bytes.NewReader(b))
	for d.More() {
		var m struct{ Status, ID, Progress string }
		if err := d.Decode(&m); err != nil {
			t.Fatal(err)
		}
		s := m.Status
		if m.ID != "" {
			s = m.ID + ": " + s
		}
		if i := strings.Index(s, "sha256:"); i >= 0 {
			s = s[:i] + "…"
		}
		if m.Progress != "" {
			s += " " + m.Progress
		}
		got = append(got, s)
	}
	want := []string{
		"1: Pulling from library/web", "111111111111: Pulling fs layer",
		"111111111111: Downloading [=========================>                         ]  2.097MB/4.194MB",
		"111111111111: Download complete", "111111111111: Pull complete", "Digest: …", "Status: Downloaded newer image for web:1",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("progress:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestPullStopsWithItsClient: a client that closes its connection stops the pull.
func TestPullStopsWithItsClient(t *testing.T) {
	h := serve(t, false)
	block := make(chan struct{})
	h.images.Block = block
	ctx, cancel := context.WithCancel(h.ctx)
	r, err := h.c.ImagePull(ctx, "web:1", image.PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	cancel()
	r.Close()
	h.until("the pull ends", func() bool {
		_, err := h.c.ImageInspect(h.ctx, "web:1")
		return err != nil && !h.images.Pulling()
	})
}

// TestStopGoesOn: a stop whose client leaves is still done.
func TestStopGoesOn(t *testing.T) {
	h := serve(t, false)
	id := h.run("", "deaf")
	ctx, cancel := context.WithCancel(h.ctx)
	defer cancel()
	stopped := make(chan error, 1)
	go func() {
		two := 2
		stopped <- h.c.ContainerStop(ctx, id, container.StopOptions{Timeout: &two})
	}()
	h.until("the signal is there", func() bool {
		_, text := h.do("GET", "/containers/"+id+"/logs?stdout=1", "")
		return strings.Contains(text, "deaf to SIGTERM")
	})
	cancel()
	if err := <-stopped; err == nil {
		t.Fatal("stop returned before its timeout")
	}
	h.until("stopped", func() bool {
		i, err := h.c.ContainerInspect(h.ctx, id)
		return err == nil && !i.State.Running
	})
}

// TestEventsAreCutOff: a reader that is cut off sees a broken stream, never one
// that ended as it should.
func TestEventsAreCutOff(t *testing.T) {
	h := serve(t, false)
	resp, err := http.Get(h.url + "/v1.51/events")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	h.f.DropSubscribers()
	if _, err := io.ReadAll(resp.Body); err == nil {
		t.Error("the stream ended without an error")
	}
}
