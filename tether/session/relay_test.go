package session

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/tetherproto"
)

const theSocket = "/var/run/docker.sock"

// served is a listener of the connections that the engine accepted.
type served struct {
	conns chan net.Conn
	over  chan struct{}
	once  sync.Once
}

func (s *served) Accept() (net.Conn, error) {
	select {
	case c := <-s.conns:
		return c, nil
	case <-s.over:
		return nil, net.ErrClosed
	}
}
func (s *served) Close() error   { s.once.Do(func() { close(s.over) }); return nil }
func (s *served) Addr() net.Addr { return &net.UnixAddr{Name: theSocket, Net: "unix"} }

// serve answers h to what is relayed, as vic-engine does.
func serve(t *testing.T, v *vm, h http.Handler) {
	t.Helper()
	s := &served{conns: make(chan net.Conn), over: make(chan struct{})}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(s) }()
	v.relay = func(q tetherproto.RelayRequest) (func(*tetherproto.RelayConn), error) {
		if q.Socket != theSocket {
			return nil, fmt.Errorf("no socket %s: %w", q.Socket, errdefs.ErrPermissionDenied)
		}
		return func(c *tetherproto.RelayConn) {
			select {
			case s.conns <- c:
			case <-s.over:
				_ = c.Close()
			}
		}, nil
	}
	t.Cleanup(func() { _ = srv.Close(); <-done })
}

// listen relays a socket of the guest and gives its path.
func (v *vm) listen(socket string) string {
	v.t.Helper()
	path := filepath.Join(v.t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		v.t.Fatal(err)
	}
	v.wg.Go(func() {
		if err := v.m.Relay(v.ctx, l, socket); err != nil {
			v.t.Error(err)
		}
	})
	return path
}

func unixClient(path string) *http.Client {
	return &http.Client{Timeout: 2 * patience, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}}}
}

func get(c *http.Client, path string) (string, error) {
	r, err := c.Get("http://engine" + path)
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if r.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", r.Status, b)
	}
	return string(b), err
}

// theAPI has what the Docker API does with its connections: plain answers,
// streams, and one that is taken over.
func theAPI(cancelled chan<- struct{}) http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("/big", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, strings.Repeat("0123456789abcdef", 20_000))
	})
	m.HandleFunc("/events", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "first\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		close(cancelled)
	})
	m.HandleFunc("/attach", func(w http.ResponseWriter, _ *http.Request) {
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
		in, err := io.ReadAll(rw) // until the client ends its stdin
		_, _ = fmt.Fprintf(c, "got %q, %v", in, err)
	})
	return m
}

func TestRelayCarriesTheAPI(t *testing.T) {
	v := newVM(t, sh("exit"), nil)
	cancelled := make(chan struct{})
	serve(t, v, theAPI(cancelled))
	v.connect()
	path := v.listen(theSocket)

	c := unixClient(path)
	for range 2 { // the second on the same connection
		if body, err := get(c, "/big"); err != nil || len(body) != 320_000 {
			t.Fatalf("%d bytes, %v", len(body), err)
		}
	}

	// A stream arrives as it is made, and ends with its client.
	events, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(events, "GET /events HTTP/1.1\r\nHost: e\r\n\r\n")
	for in := bufio.NewReader(events); ; {
		line, err := in.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if line == "first\n" {
			break
		}
	}
	_ = events.Close()
	wait(t, cancelled)

	// What is taken over ends in each direction on its own.
	raw, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	_, _ = io.WriteString(raw, "POST /attach HTTP/1.1\r\nHost: e\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
	_, _ = io.WriteString(raw, "some input")
	_ = raw.(*net.UnixConn).CloseWrite()
	_ = raw.SetDeadline(time.Now().Add(patience))
	b, err := io.ReadAll(raw)
	if err != nil || !strings.HasSuffix(string(b), `got "some input", <nil>`) {
		t.Errorf("taken over: %q, %v", b, err)
	}
}

func TestRelayIsRefusedWithTheReason(t *testing.T) {
	v := newVM(t, sh("exit"), nil)
	serve(t, v, http.NotFoundHandler())
	v.connect()
	_, err := get(unixClient(v.listen("/run/other.sock")), "/_ping")
	if err == nil || !strings.Contains(err.Error(), "403 Forbidden") || !strings.Contains(err.Error(), "no socket /run/other.sock") {
		t.Errorf("refused by the engine: %v", err)
	}
}

func TestRelayWaitsForTheEngine(t *testing.T) {
	v := newVM(t, sh("exit"), func(c *Config) { c.RelayWait = patience })
	serve(t, v, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "OK") }))
	path := v.listen(theSocket)
	answer := make(chan error, 1)
	ask := func() {
		_, err := get(unixClient(path), "/_ping")
		answer <- err
	}
	go ask()
	first := v.connect()
	if err := wait(t, answer); err != nil {
		t.Fatal("before the first engine:", err)
	}
	// The engine restarts: what comes meanwhile waits for the next.
	_ = first.Close()
	go ask()
	v.connect()
	if err := wait(t, answer); err != nil {
		t.Fatal("between two engines:", err)
	}
}

func TestRelayWithoutEngine(t *testing.T) {
	v := newVM(t, sh("exit"), func(c *Config) { c.RelayWait = 20 * time.Millisecond })
	_, err := get(unixClient(v.listen(theSocket)), "/_ping")
	if err == nil || !strings.Contains(err.Error(), "503 Service Unavailable") || !strings.Contains(err.Error(), "cannot be reached, try again") {
		t.Errorf("without an engine: %v", err)
	}
}

func TestRelayIsCutWithTheLine(t *testing.T) {
	v := newVM(t, sh("exit"), nil)
	cancelled := make(chan struct{})
	serve(t, v, theAPI(cancelled))
	engine := v.connect()
	conn, err := net.Dial("unix", v.listen(theSocket))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "GET /events HTTP/1.0\r\n\r\n")
	in := bufio.NewReader(conn)
	for line := ""; line != "first\n"; {
		if line, err = in.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	_ = engine.Close()
	wait(t, cancelled)
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := in.ReadByte(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection goes on without its engine: %v", err)
	}
}

func TestRelayedConnectionsAreBounded(t *testing.T) {
	v := newVM(t, sh("exit"), nil)
	free := make(chan struct{})
	serve(t, v, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-free }))
	defer close(free)
	v.connect()
	path := v.listen(theSocket)
	for range tetherproto.MaxRelayed {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: e\r\n\r\n")
	}
	_, err := get(unixClient(path), "/_ping")
	if err == nil || !strings.Contains(err.Error(), "503") || !strings.Contains(err.Error(), "64 connections already") {
		t.Errorf("one more: %v", err)
	}
}

// What a guest asks for is text of anybody's.
func FuzzRelayRequest(f *testing.F) {
	f.Add(`{"socket":"/var/run/docker.sock"}`)
	f.Add(`{"socket":1}`)
	f.Fuzz(func(t *testing.T, text string) {
		var q tetherproto.RelayRequest
		if json.Unmarshal([]byte(text), &q) != nil {
			return
		}
		near, far := net.Pipe()
		go func() { _, _ = io.WriteString(near, "GET / HTTP/1.1\r\n\r\n") }()
		go decline(far, fmt.Errorf("%s: %w", q.Socket, errdefs.ErrUnavailable))
		r, err := http.ReadResponse(bufio.NewReader(near), nil)
		if err != nil {
			t.Fatal(err)
		}
		var m struct{ Message string }
		if err := json.NewDecoder(r.Body).Decode(&m); err != nil || r.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%s, %v", r.Status, err)
		}
		_ = near.Close()
	})
}
