package api_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
	"golang.org/x/net/websocket"
)

// dialWebsocket opens an attach; the last argument is a path with its query.
func (h *harness) dialWebsocket(path string) *websocket.Conn {
	h.Helper()
	c, err := websocket.Dial("ws"+strings.TrimPrefix(h.url, "http")+path, "", "http://elsewhere.test")
	if err != nil {
		h.Fatalf("%s: %v", path, err)
	}
	h.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		h.Fatal(err)
	}
	return c
}

// frame gives a frame's type and payload.
func frame(t *testing.T, c *websocket.Conn) (kind byte, payload string) {
	t.Helper()
	r, err := c.NewFrameReader()
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return r.PayloadType(), string(b)
}

// A client without stdin has both outputs as they are, in frames of its version's
// kind; kept output first if it wants; and the socket's end when the process ends.
func TestWebsocketOutput(t *testing.T) {
	h := serve(t, false)
	for version, kind := range map[string]byte{"1.51": websocket.BinaryFrame, "1.28": websocket.BinaryFrame, "1.27": websocket.TextFrame} {
		id := h.create("", container.Config{Cmd: []string{"echo", "hello"}}, nil)
		c := h.dialWebsocket("/v" + version + "/containers/" + id + "/attach/ws?stream=1&stdout=1&stderr=1")
		h.start(id)
		if got, text := frame(t, c); got != kind || text != "hello\n" {
			t.Errorf("%s: a frame of type %d: %q", version, got, text)
		}
		if got, _ := frame(t, c); got != websocket.CloseFrame {
			t.Errorf("%s: a frame of type %d, want that of the end", version, got)
		}
		kept := h.dialWebsocket("/v" + version + "/containers/" + id + "/attach/ws?logs=1&stdout=1")
		if b, err := io.ReadAll(kept); err != nil || string(b) != "hello\n" {
			t.Errorf("%s: logs: %q, %v", version, b, err)
		}
	}
	id := h.create("", container.Config{Cmd: []string{"both"}}, nil)
	c := h.dialWebsocket("/v1.51/containers/" + id + "/attach/ws?stream=1&stderr=1")
	h.start(id)
	if b, err := io.ReadAll(c); err != nil || string(b) != "to stderr\n" {
		t.Errorf("stderr alone: %q, %v", b, err)
	}
}

func TestWebsocketInput(t *testing.T) {
	h := serve(t, false)
	id := h.create("", container.Config{Cmd: []string{"cat"}, OpenStdin: true, StdinOnce: true}, nil)
	c := h.dialWebsocket("/v1.51/containers/" + id + "/attach/ws?stream=1&stdin=1&stdout=1")
	h.start(id)
	for _, text := range []string{"some", "thing"} {
		if _, err := c.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(text))
		if _, err := io.ReadFull(c, got); err != nil || string(got) != text {
			t.Errorf("echo: %q, %v", got, err)
		}
	}
	c.Close() // the end of stdin, which was once
	if code := h.exit(id); code != 0 {
		t.Errorf("cat ended with %d", code)
	}
	tty := h.create("", container.Config{Cmd: []string{"sh"}, Tty: true, OpenStdin: true}, nil)
	c = h.dialWebsocket("/v1.24/containers/" + tty + "/attach/ws?stream=1&detachKeys=ctrl-a")
	h.start(tty)
	if _, err := c.Write([]byte{1}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(c); err != nil { // until the end that it says
		t.Errorf("after the detach keys: %v", err)
	}
	if i, err := h.c.ContainerInspect(h.ctx, tty); err != nil || !i.State.Running {
		t.Errorf("a container after its client detached: %+v, %v", i.State, err)
	}
}

// A client that gives no stdin and closes is noticed at once, though nothing is
// written to it: the attach is over. Its input is taken for none, also when it asked
// to give it to a container that takes none.
func TestWebsocketGone(t *testing.T) {
	h := serve(t, false)
	id := h.run("quiet", "sleep", "1h")
	since := h.e.Time().Now()
	for _, query := range []string{"stdout=1", "stdin=1&stdout=1"} {
		c := h.dialWebsocket("/v1.51/containers/" + id + "/attach/ws?stream=1&" + query)
		if _, err := c.Write([]byte("nobody reads this")); err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	got, bad := h.c.Events(h.ctx, events.ListOptions{Since: fmt.Sprint(since.Unix()), Filters: filters.NewArgs(filters.Arg("event", "detach"))})
	for range 2 {
		select {
		case <-got:
		case err := <-bad:
			t.Fatal(err)
		case <-time.After(patience):
			t.Fatal("a client that is gone is still attached")
		}
	}
}

// What is wrong is answered over HTTP, before the socket is there.
func TestWebsocketRefused(t *testing.T) {
	h := serve(t, false)
	h.run("runs", "sleep", "1h")
	const upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
	for _, c := range []struct {
		path, headers string
		code          int
		want          string
	}{
		{"/containers/nope/attach/ws?stream=1", upgrade + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", 404, "No such container: nope"},
		{"/containers/runs/attach/ws?stream=1&detachKeys=bogus-x", upgrade + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", 400, "Invalid detach keys (bogus-x) provided"},
		{"/containers/runs/attach/ws?stream=1", "", 400, "Upgrade: websocket"},
		{"/containers/runs/attach/ws?stream=1", upgrade, 400, ""},
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(h.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "GET /v1.51%s HTTP/1.1\r\nHost: x\r\n%s\r\n", c.path, c.headers)
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("%s: %v", c.path, err)
		}
		var body bytes.Buffer
		_, _ = body.ReadFrom(io.LimitReader(res.Body, max(0, res.ContentLength)))
		if res.StatusCode != c.code || !strings.Contains(body.String(), c.want) {
			t.Errorf("%s: %s %s, want %d %s", c.path, res.Status, body.String(), c.code, c.want)
		}
	}
}

// FuzzWebsocket sends what a client might instead of frames, to a socket of cat: the
// engine goes on, and so does the container.
func FuzzWebsocket(f *testing.F) {
	h := serve(f, false)
	if _, err := h.c.ContainerCreate(h.ctx, &container.Config{Image: "busybox", Cmd: []string{"cat"}, OpenStdin: true}, nil, nil, nil, "cat"); err != nil {
		f.Fatal(err)
	}
	if err := h.c.ContainerStart(h.ctx, "cat", container.StartOptions{}); err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{0x82, 0x81, 0, 0, 0, 0, 'x'}) // a masked frame of bytes
	f.Add([]byte{0x82, 0x01, 'x'})             // one that is not masked
	f.Add([]byte{0x89, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0})
	f.Add([]byte{0x88, 0x80, 0, 0, 0, 0, 0x82})
	f.Fuzz(func(t *testing.T, frames []byte) {
		conn, err := net.Dial("tcp", strings.TrimPrefix(h.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(conn, "GET /v1.51/containers/cat/attach/ws?stream=1&stdin=1&stdout=1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("%v, %v", res, err)
		}
		_, _ = conn.Write(frames)
		conn.Close()
		i, err := h.c.ContainerInspect(h.ctx, "cat")
		if err != nil || !i.State.Running {
			t.Fatalf("after %q: %+v, %v", frames, i.State, err)
		}
	})
}
