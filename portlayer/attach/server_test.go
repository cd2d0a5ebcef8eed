package attach

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/sirupsen/logrus"
	"golang.org/x/crypto/ssh"

	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/pkg/tetherproto"
)

const id = "2cf7f483bf6e7f32daa53f51ca388d5fb153f78d3a74d313318099086638ad58"

func signer(t *testing.T) ssh.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func quiet() *logrus.Entry {
	l := logrus.New()
	l.SetOutput(io.Discard)
	return logrus.NewEntry(l)
}

// guest is a containerVM as far as its line goes: a process that echoes.
type guest struct {
	tetherproto.Handler // what no test calls
	key                 ssh.Signer
	authorized          ssh.PublicKey
	listener            *tetherproto.Listener

	mu   sync.Mutex
	conn *tetherproto.ServerConn
	up   chan struct{}
}

func newGuest(t *testing.T, engine ssh.PublicKey) *guest {
	g := &guest{key: signer(t), authorized: engine, up: make(chan struct{}, 16),
		listener: tetherproto.NewListener(tetherproto.LinkConfig{ContainerID: id, BootID: "boot-1"})}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			link, err := g.listener.Accept(ctx)
			if err != nil {
				return
			}
			go func() {
				c, err := tetherproto.ServeConn(ctx, link, tetherproto.ServerConfig{HostKey: g.key, Authorized: g.authorized, Log: quiet()}, g)
				if err != nil {
					return
				}
				g.mu.Lock()
				g.conn = c
				g.mu.Unlock()
				g.up <- struct{}{}
			}()
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return g
}

// dial is the host connecting the guest's serial port; wrap may change the stream.
func (g *guest) dial(t *testing.T, addr string, wrap func(net.Conn) io.ReadWriteCloser) (cut func()) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	var rw io.ReadWriteCloser = c
	if wrap != nil {
		rw = wrap(c)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = g.listener.Serve(context.Background(), tetherproto.NewStream(rw))
	}()
	cut = sync.OnceFunc(func() { _ = c.Close(); <-done })
	t.Cleanup(cut)
	return cut
}

func (g *guest) Release(context.Context) (int, error) { return 42, nil }

func (g *guest) Attach(_ context.Context, _ tetherproto.AttachRequest, join func() (tetherproto.IO, error)) error {
	s, err := join()
	if err != nil {
		return err
	}
	_, err = io.Copy(s.Stdout, s.Stdin)
	return err
}

// patience bounds what must happen; it only ends tests that fail.
const patience = time.Minute

// start runs a Server for the test; keys are the host keys by container.
func start(t *testing.T, engine ssh.Signer, keys map[string]ssh.PublicKey, report func(string, tetherproto.Report)) (*Server, string, func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := New(Config{Signer: engine, Report: report, Log: quiet(), Handshake: patience,
		HostKey: func(_ context.Context, id string) (ssh.PublicKey, error) {
			if k := keys[id]; k != nil {
				return k, nil
			}
			return nil, errdefs.ErrNotFound
		}})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Serve: %v", err)
		}
	})
	t.Cleanup(stop)
	return s, l.Addr().String(), stop
}

func session(t *testing.T, s *Server) *Session {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	sess, err := s.Session(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	return sess
}

// echo sends text through the process and wants it back.
func echo(t *testing.T, sess *Session, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var out bytes.Buffer
	if err := sess.Attach(ctx, spec.Streams{Stdin: strings.NewReader(text), Stdout: &out}); err != nil {
		t.Fatalf("attach: %v", err)
	}
	if out.String() != text {
		t.Errorf("echo of %q: %q", text, out.String())
	}
}

func TestSessionOverRawLine(t *testing.T) {
	engine := signer(t)
	g := newGuest(t, engine.PublicKey())
	reports := make(chan tetherproto.Report, 4)
	s, addr, _ := start(t, engine, map[string]ssh.PublicKey{id: g.key.PublicKey()}, func(who string, r tetherproto.Report) {
		if who == id {
			reports <- r
		}
	})
	g.dial(t, addr, nil)
	sess := session(t, s)
	if sess.BootID() != "boot-1" {
		t.Errorf("boot id %q", sess.BootID())
	}
	if pid, err := sess.Release(context.Background()); pid != 42 || err != nil {
		t.Errorf("release: pid %d, %v", pid, err)
	}
	echo(t, sess, strings.Repeat("all the bytes \xff\x00", 5000))
	<-g.up
	g.mu.Lock()
	conn := g.conn
	g.mu.Unlock()
	if err := conn.Report(context.Background(), tetherproto.Report{Kind: tetherproto.ReportStarted, PID: 7}); err != nil {
		t.Fatal(err)
	}
	if r := <-reports; r.Kind != tetherproto.ReportStarted || r.PID != 7 {
		t.Errorf("report %+v", r)
	}
	s.Drop(id)
	select {
	case <-sess.Done():
	case <-time.After(patience):
		t.Error("Drop does not end the session")
	}
}

func TestSessionGoesOnAfterCut(t *testing.T) {
	engine := signer(t)
	g := newGuest(t, engine.PublicKey())
	s, addr, _ := start(t, engine, map[string]ssh.PublicKey{id: g.key.PublicKey()}, nil)
	again := make(chan string, 9)
	s.cfg.Again = func(id string) { again <- id }
	cut := g.dial(t, addr, nil)
	sess := session(t, s)
	echo(t, sess, "before")
	cut()
	got := make(chan error, 1)
	var out bytes.Buffer
	go func() { // asked while there is no stream: it waits for the next
		got <- sess.Attach(context.Background(), spec.Streams{Stdin: strings.NewReader("across"), Stdout: &out})
	}()
	if len(again) != 0 {
		t.Error("told of a line that goes on, before there was a cut")
	}
	g.dial(t, addr, nil)
	if err := <-got; err != nil || out.String() != "across" {
		t.Errorf("attach across a cut: %q, %v", out.String(), err)
	}
	if session(t, s) != sess {
		t.Error("the cut made a new session")
	}
	if who := <-again; who != id {
		t.Errorf("the line of %s goes on, it is said", who)
	}
}

func TestNewEngineSameGuest(t *testing.T) {
	engine := signer(t)
	g := newGuest(t, engine.PublicKey())
	keys := map[string]ssh.PublicKey{id: g.key.PublicKey()}
	s, addr, stop := start(t, engine, keys, nil)
	g.dial(t, addr, nil)
	echo(t, session(t, s), "one")
	stop()
	s2, addr2, _ := start(t, engine, keys, nil)
	g.dial(t, addr2, nil)
	echo(t, session(t, s2), "two")
}

func TestTelnetLine(t *testing.T) {
	engine := signer(t)
	g := newGuest(t, engine.PublicKey())
	s, addr, _ := start(t, engine, map[string]ssh.PublicKey{id: g.key.PublicKey()}, nil)
	g.dial(t, addr, func(c net.Conn) io.ReadWriteCloser { return newTelnetHost(t, c) })
	sess := session(t, s)
	echo(t, sess, strings.Repeat("\xff\xfe and more", 3000))
}

func TestRefusedLines(t *testing.T) {
	engine := signer(t)
	for name, keys := range map[string]map[string]ssh.PublicKey{
		"unknown container": {},
		"another host key":  {id: signer(t).PublicKey()},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGuest(t, engine.PublicKey())
			s, addr, _ := start(t, engine, keys, nil)
			g.dial(t, addr, nil)
			ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
			defer cancel()
			if _, err := s.Session(ctx, id); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Session: %v, want none", err)
			}
		})
	}
}

// TestImpostorChangesNothing: who says another's Hello without its key does not
// take its line away.
func TestImpostorChangesNothing(t *testing.T) {
	engine := signer(t)
	g, impostor := newGuest(t, engine.PublicKey()), newGuest(t, engine.PublicKey())
	s, addr, _ := start(t, engine, map[string]ssh.PublicKey{id: g.key.PublicKey()}, nil)
	g.dial(t, addr, nil)
	sess := session(t, s)
	impostor.dial(t, addr, nil)
	echo(t, sess, "still mine")
	if session(t, s) != sess {
		t.Error("the impostor has the session")
	}
}

// telnetHost is a host's side of vSPC: escapes what the guest writes, takes
// apart what comes.
type telnetHost struct {
	net.Conn
	in      telnetReader
	pending []byte
}

func newTelnetHost(t *testing.T, c net.Conn) *telnetHost {
	t.Helper()
	if _, err := c.Write([]byte{iac, will, optVMware, iac, do, optBinary, iac, will, optBinary,
		iac, sb, optVMware, subKnown1, subKnown1, subKnown2, subDoProxy, iac, se,
		iac, sb, optVMware, subDoProxy, 'C', iac, se}); err != nil {
		t.Fatal(err)
	}
	return &telnetHost{Conn: c}
}

func (h *telnetHost) Read(b []byte) (int, error) {
	for len(h.pending) == 0 {
		n, err := h.Conn.Read(b)
		if err != nil {
			return 0, err
		}
		h.pending, _ = h.in.feed(bytes.Clone(b[:n]))
	}
	n := copy(b, h.pending)
	h.pending = h.pending[n:]
	return n, nil
}

func (h *telnetHost) Write(b []byte) (int, error) {
	_, err := h.Conn.Write(escape(b))
	return len(b), err
}
