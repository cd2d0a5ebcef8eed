package builder

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	control "github.com/moby/buildkit/api/services/control"
)

// A buildkitd that ends before it answers is not waited for until the time is over.
func TestUseOfWhatEnded(t *testing.T) {
	f := newFixture(t)
	var running atomic.Bool
	running.Store(true)
	f.cfg.Exists = func() (bool, bool) { return true, running.Load() }
	f.cfg.Dial = func(context.Context) (net.Conn, error) {
		return nil, fmt.Errorf("container vic-builder is not running: %w", errdefs.ErrConflict)
	}
	// While it runs, a stream that does not come yet is tried again.
	tried := make(chan struct{}, 16)
	dial := f.cfg.Dial
	f.cfg.Dial = func(ctx context.Context) (net.Conn, error) {
		select {
		case tried <- struct{}{}:
		default:
		}
		return dial(ctx)
	}
	failed := make(chan error, 1)
	go func() {
		_, err := f.Use(t.Context())
		failed <- err
	}()
	<-tried
	<-tried
	select {
	case err := <-failed:
		t.Fatalf("given up while it runs: %v", err)
	default:
	}
	running.Store(false)
	if err := <-failed; !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), "ended before it answered") {
		t.Errorf("%v", err)
	}
	if len(f.waiting) != 0 || f.users != 0 {
		t.Errorf("%d wait, %d use it", len(f.waiting), f.users)
	}
}

// A build whose builder goes says so, to both kinds of clients.
func TestBuilderLost(t *testing.T) {
	for what, build := range map[string]func(*fixture, *Use) error{
		"classic": func(_ *fixture, u *Use) error {
			_, err := u.Build(t.Context(), Options{Context: strings.NewReader("x")}, func(*control.StatusResponse) {})
			return err
		},
		"buildx's progress": func(f *fixture, u *Use) error {
			c := control.NewControlClient(newControl(t, u))
			go func() { _, _ = c.Solve(t.Context(), &control.SolveRequest{Ref: "r"}) }()
			s, err := c.Status(t.Context(), &control.StatusRequest{Ref: "endless"})
			for err == nil {
				_, err = s.Recv()
			}
			return err
		},
		"buildx": func(_ *fixture, u *Use) error {
			_, err := control.NewControlClient(newControl(t, u)).Solve(t.Context(), &control.SolveRequest{Ref: "r"})
			return err
		},
	} {
		f := newFixture(t)
		u := f.use(t)
		f.d.gate, f.d.begun = make(chan struct{}), make(chan struct{})
		go func() { <-f.d.begun; f.end() }()
		if err := build(f, u); err == nil || !strings.Contains(err.Error(), "the builder was lost during the build") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// What buildkitd sends does not fill the memory.
func TestTextIsBounded(t *testing.T) {
	var text Text
	for i := range 2 * maxSteps {
		text.Add(&control.StatusResponse{Vertexes: []*control.Vertex{{Digest: fmt.Sprint(i), Name: "step", Cached: true}}})
	}
	if len(text.steps) != maxSteps {
		t.Errorf("%d steps are kept", len(text.steps))
	}
}

// Credentials are found as Docker finds them.
func TestFindCredential(t *testing.T) {
	all := map[string]Credential{
		"https://reg.example/v2/": {Username: "url"}, "http://plain:5000": {Username: "plain"}, "reg.example:5000": {Username: "host"},
		"https://index.docker.io/v1/": {Username: "hub"},
	}
	for host, want := range map[string]string{
		"reg.example": "url", "plain:5000": "plain", "reg.example:5000": "host", "registry-1.docker.io": "hub", "docker.io": "hub", "reg.example:1": "", "v2": "", "": "",
	} {
		if c, ok := findCredential(all, host); c.Username != want || ok != (want != "") {
			t.Errorf("%q: %q %v", host, c.Username, ok)
		}
	}
	// The host itself goes before URLs of it.
	all["reg.example"] = Credential{Username: "exact"}
	if c, _ := findCredential(all, "reg.example"); c.Username != "exact" {
		t.Errorf("%q", c.Username)
	}
}

// A connection whose end comes before it is served is closed, as every other.
func TestConnectionsAreClosed(t *testing.T) {
	f := newFixture(t)
	u := f.use(t)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for what, serve := range map[string]func(net.Conn) error{
		"control": func(c net.Conn) error { return f.ServeControl(over, c) },
		"session": func(c net.Conn) error { return u.ServeSession(over, c, map[string][]string{headerID: {"s"}}) },
	} {
		for range 20 {
			near, far := net.Pipe()
			closed := make(chan struct{})
			go func() { _, _ = io.Copy(io.Discard, near); close(closed) }()
			_ = serve(far) // how it ended is told by near
			select {
			case <-closed:
			case <-time.After(time.Minute):
				t.Fatalf("%s: the connection is open", what)
			}
			near.Close()
		}
	}
}
