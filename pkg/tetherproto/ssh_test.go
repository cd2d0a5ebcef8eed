package tetherproto

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"
	"golang.org/x/crypto/ssh"

	"github.com/vic-engine/vic/pkg/logframe"
	"github.com/vic-engine/vic/pkg/spec"
)

func newSigner(t *testing.T) ssh.Signer {
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

// fake is a guest whose process echoes.
type fake struct {
	fakeControls
	mu    sync.Mutex
	calls []string
	nets  []spec.NetworkUpdate
	stdin error // how the last attach's stdin ended
	ended chan struct{}
}

func (f *fake) note(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, fmt.Sprintf(format, args...))
}

func (f *fake) Release(context.Context) (int, error) { f.note("release"); return 42, nil }

func (f *fake) Attach(ctx context.Context, r AttachRequest, join func() (IO, error)) error {
	if r.StdinOnce {
		return fmt.Errorf("no such thing: %w", errdefs.ErrConflict)
	}
	s, err := join()
	if err != nil {
		return err
	}
	defer close(f.ended)
	if s.Stderr != nil {
		if _, err := s.Stderr.Write([]byte("on stderr")); err != nil {
			return err
		}
	}
	if s.Stdin == nil {
		<-ctx.Done()
		return ctx.Err()
	}
	_, err = io.Copy(s.Stdout, s.Stdin)
	f.mu.Lock()
	f.stdin = err
	f.mu.Unlock()
	return nil
}

func (f *fake) Exec(_ context.Context, r ExecRequest, s IO, started func(int)) (spec.ExitStatus, error) {
	if r.Process.Path == "nope" {
		return spec.ExitStatus{}, &spec.StartError{Code: 127, Msg: "not found"}
	}
	started(7)
	_, _ = io.WriteString(s.Stdout, r.ID+" "+strings.Join(r.Process.Args, "|"))
	return spec.ExitStatus{Code: 9}, nil
}

func (f *fake) Signal(_ context.Context, exec, name string) error {
	f.note("signal %q %s", exec, name)
	if exec == "gone" {
		return fmt.Errorf("exec gone: %w", errdefs.ErrNotFound)
	}
	return nil
}

func (f *fake) Resize(_ context.Context, exec string, rows, cols int) error {
	f.note("resize %q %d %d", exec, rows, cols)
	return nil
}

func (f *fake) CloseStdin(_ context.Context, exec string) error { f.note("close %q", exec); return nil }

func (f *fake) Network(_ context.Context, u spec.NetworkUpdate) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.nets = append(f.nets, u)
	if len(u.Endpoints) == 0 {
		return fmt.Errorf("no such NIC: %w", errdefs.ErrFailedPrecondition)
	}
	return nil
}

func (f *fake) Grow(_ context.Context, unit int) error {
	f.note("grow %d", unit)
	if unit > 63 {
		return fmt.Errorf("unit %d: %w", unit, errdefs.ErrNotFound)
	}
	return nil
}

func (f *fake) Follow(_ context.Context, r LogRequest, w io.Writer) error {
	lw := logframe.NewWriter(w, r.After.Run)
	for _, s := range []string{"one", "two"} {
		if err := lw.Write(spec.Stdout, []byte(s), nil); err != nil {
			return err
		}
	}
	return nil
}

// pair is an engine's client and a guest's server over a line.
func pair(t *testing.T, l *line, f *fake, report func(Report)) (*Client, *ServerConn) {
	t.Helper()
	host, engine := newSigner(t), newSigner(t)
	l.connect()
	guest, link := l.accept(), <-l.got
	var sc *ServerConn
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		sc, err = ServeConn(l.ctx, guest, ServerConfig{HostKey: host, Authorized: engine.PublicKey(), Log: quiet()}, f)
	}()
	c, cerr := NewClient(l.ctx, link, ClientConfig{Signer: engine, HostKey: host.PublicKey(), Report: report})
	<-done
	if err != nil || cerr != nil {
		t.Fatal(err, cerr)
	}
	t.Cleanup(func() {
		_ = c.Close()
		<-sc.Done()
	})
	return c, sc
}

// Who keeps a list of engines has this one in it before it asks for anything.
func TestConnectedComesFirst(t *testing.T) {
	l := newLine(t, fault{})
	f := &fake{ended: make(chan struct{})}
	host, engine := newSigner(t), newSigner(t)
	l.connect()
	guest, link := l.accept(), <-l.got
	connected, noted := make(chan struct{}), make(chan struct{})
	served := make(chan *ServerConn, 1)
	go func() {
		sc, err := ServeConn(l.ctx, guest, ServerConfig{HostKey: host, Authorized: engine.PublicKey(), Log: quiet(), Connected: func(*ServerConn) {
			close(connected)
			<-noted
			f.note("connected")
		}}, f)
		if err != nil {
			t.Error(err)
		}
		served <- sc
	}()
	c, err := NewClient(l.ctx, link, ClientConfig{Signer: engine, HostKey: host.PublicKey()})
	if err != nil {
		t.Fatal(err)
	}
	<-connected
	released := make(chan error, 1)
	go func() { _, err := c.Release(l.ctx); released <- err }()
	select {
	case err := <-released:
		t.Errorf("served too early: %v", err)
	case <-time.After(50 * time.Millisecond): // it would be served by now
	}
	close(noted)
	if err := <-released; err != nil {
		t.Error(err)
	}
	if got := strings.Join(f.calls, ","); got != "connected,release" {
		t.Errorf("calls: %s", got)
	}
	_ = c.Close()
	if sc := <-served; sc != nil {
		<-sc.Done()
	}
}

func TestOperations(t *testing.T) {
	l := newLine(t, fault{drop: 0.005, corrupt: 0.005})
	f := &fake{ended: make(chan struct{})}
	var reported []Report
	c, sc := pair(t, l, f, func(r Report) { reported = append(reported, r) })
	ctx := context.Background()

	if pid, err := c.Release(ctx); pid != 42 || err != nil {
		t.Errorf("release: %d %v", pid, err)
	}
	if err := c.Signal(ctx, "", "SIGTERM"); err != nil {
		t.Error(err)
	}
	if err := c.Signal(ctx, "gone", "9"); !errdefs.IsNotFound(err) {
		t.Errorf("class lost: %v", err)
	}
	if err := c.Resize(ctx, "e", 24, 80); err != nil {
		t.Error(err)
	}
	if err := c.CloseStdin(ctx, "e"); err != nil {
		t.Error(err)
	}
	if got := strings.Join(f.calls, ","); got != `release,signal "" SIGTERM,signal "gone" 9,resize "e" 24 80,close "e"` {
		t.Errorf("calls: %s", got)
	}

	data := pattern(300<<10, 5)
	var out, errOut bytes.Buffer
	joined := false
	err := c.Attach(ctx, spec.Streams{Stdin: bytes.NewReader(data), Stdout: &out, Stderr: &errOut, Joined: func() { joined = true }})
	if err != nil || !joined || !bytes.Equal(out.Bytes(), data) || errOut.String() != "on stderr" {
		t.Errorf("attach: %v, joined %v, %d bytes, stderr %q", err, joined, out.Len(), errOut.String())
	}
	if f.stdin != nil {
		t.Errorf("stdin ended with %v, want io.EOF", f.stdin)
	}

	out.Reset()
	pid := 0
	exit, err := c.Exec(ctx, "e1", spec.Process{Path: "p", Args: []string{"a b", "c"}}, spec.Streams{Stdout: &out}, func(p int) { pid = p })
	if exit.Code != 9 || err != nil || pid != 7 || out.String() != "e1 a b|c" {
		t.Errorf("exec: %+v %v pid %d %q", exit, err, pid, out.String())
	}
	var start *spec.StartError
	if _, err = c.Exec(ctx, "e2", spec.Process{Path: "nope"}, spec.Streams{}, nil); !errors.As(err, &start) || start.Code != 127 {
		t.Errorf("exec of nothing: %v", err)
	}

	var frames []string
	err = c.Follow(ctx, LogRequest{After: logframe.Position{Run: 3}}, func(fr logframe.Frame) error {
		frames = append(frames, fmt.Sprintf("%d.%d %s", fr.Run, fr.Seq, fr.Data))
		return nil
	})
	if got := strings.Join(frames, ","); got != "3.0 one,3.1 two" || err != nil {
		t.Errorf("follow: %s %v", got, err)
	}

	if err := sc.Report(ctx, Report{Kind: ReportExited, Exit: spec.ExitStatus{Code: 3}}); err != nil {
		t.Error(err)
	}
	if len(reported) != 1 || reported[0].Exit.Code != 3 {
		t.Errorf("reported: %+v", reported)
	}
}

// TestNetworkAndGrow: an update arrives whole, and so does why it was refused.
func TestNetworkAndGrow(t *testing.T) {
	l := newLine(t, fault{})
	f := &fake{ended: make(chan struct{})}
	c, _ := pair(t, l, f, nil)
	ctx := context.Background()
	u := spec.NetworkUpdate{
		Endpoints: []spec.Endpoint{
			{Network: "bridge", NetworkID: "1", PortGroup: "pg", MAC: "00:50:56:00:00:01", IP: "172.16.0.2/16", Gateway: "172.16.0.1", Static: true,
				Aliases: []string{"a"}, Links: []string{"db:x"}, Ports: []string{"80:80/tcp"}},
			{Network: "inner", MAC: "00:50:56:00:00:01", IP: "172.17.0.2/16"}},
		DNS: spec.DNS{Servers: []string{"172.16.0.1"}, Search: []string{"s"}, Options: []string{"ndots:0"}}, Hosts: []string{"a:1.2.3.4"},
		Filter: true, GatewayMAC: "00:50:56:00:00:fe", Peers: []spec.Peer{{MAC: "00:50:56:00:00:02", Addresses: []string{"172.16.0.3"}}},
	}
	if err := c.Network(ctx, u); err != nil {
		t.Error(err)
	}
	if err := c.Network(ctx, spec.NetworkUpdate{}); !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), "no such NIC") {
		t.Errorf("refused update: %v", err)
	}
	if d := cmp.Diff([]spec.NetworkUpdate{u, {}}, f.nets); d != "" {
		t.Errorf("(-sent +got):\n%s", d)
	}
	if _, err := c.call(ctx, callRequest{Method: callNetwork}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("update without contents: %v", err)
	}
	if err := c.Grow(ctx, 5); err != nil {
		t.Error(err)
	}
	if err := c.Grow(ctx, 64); !errdefs.IsNotFound(err) {
		t.Errorf("grow of nothing: %v", err)
	}
	if got := strings.Join(f.calls, ","); got != "grow 5,grow 64" {
		t.Errorf("calls: %s", got)
	}
}

func TestUnknownIsRefusedNotFatal(t *testing.T) {
	l := newLine(t, fault{})
	f := &fake{ended: make(chan struct{})}
	c, sc := pair(t, l, f, nil)
	ctx := context.Background()
	if _, err := c.open(ctx, "vic-attach@99", nil); !errdefs.IsNotImplemented(err) {
		t.Errorf("unknown channel: %v", err)
	}
	if ok, _, err := c.conn.SendRequest("vic-unknown@1", true, nil); ok || err != nil {
		t.Errorf("unknown request: %v %v", ok, err)
	}
	if _, err := c.call(ctx, callRequest{Method: "fly"}); !errdefs.IsNotImplemented(err) {
		t.Errorf("unknown method: %v", err)
	}
	if _, err := c.open(ctx, chanCall, []int{1}); err == nil {
		t.Error("malformed payload accepted")
	}
	if err := sc.Report(ctx, Report{}); err != nil {
		t.Errorf("report to an engine that does not care: %v", err)
	}
	if err := c.Attach(ctx, spec.Streams{StdinOnce: true}); !errdefs.IsConflict(err) {
		t.Errorf("refused attach: %v", err)
	}
	if pid, err := c.Release(ctx); pid != 42 || err != nil {
		t.Errorf("after all that: %d %v", pid, err)
	}
}

func TestStdinCutIsNotItsEnd(t *testing.T) {
	l := newLine(t, fault{})
	f := &fake{ended: make(chan struct{})}
	c, _ := pair(t, l, f, nil)
	in, w := io.Pipe()
	defer w.Close()
	ctx, cancel := context.WithCancel(context.Background())
	joined := make(chan struct{})
	done := make(chan error, 1)
	go func() {
		done <- c.Attach(ctx, spec.Streams{Stdin: in, Stdout: io.Discard, Joined: func() { close(joined) }})
	}()
	<-joined
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("attach: %v", err)
	}
	<-f.ended
	f.mu.Lock()
	defer f.mu.Unlock()
	if !errors.Is(f.stdin, ErrCut) {
		t.Errorf("stdin ended with %v", f.stdin)
	}
}

func TestKeysArePinned(t *testing.T) {
	host, engine, other := newSigner(t), newSigner(t), newSigner(t)
	for name, tc := range map[string]struct{ clientKey, want ssh.Signer }{
		"wrong engine key": {other, host},
		"wrong host key":   {engine, other},
	} {
		t.Run(name, func(t *testing.T) { // a line counts goroutines: one at a time
			l := newLine(t, fault{})
			l.connect()
			guest, link := l.accept(), <-l.got
			done := make(chan error, 1)
			go func() {
				_, err := ServeConn(l.ctx, guest, ServerConfig{HostKey: host, Authorized: engine.PublicKey(), Log: quiet()}, &fake{})
				done <- err
			}()
			_, err := NewClient(l.ctx, link, ClientConfig{Signer: tc.clientKey, HostKey: tc.want.PublicKey()})
			if err == nil {
				t.Error("the engine accepted")
			}
			select {
			case err = <-done:
			case <-time.After(patience):
				t.Fatal("the guest waits")
			}
			if err == nil {
				t.Error("the guest accepted")
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"method":"release"}`))
	f.Add(encode(Report{Kind: ReportExited}))
	f.Add(encode(callRequest{Method: callNetwork, Network: &spec.NetworkUpdate{Filter: true, Endpoints: []spec.Endpoint{{IP: "172.16.0.2/16"}},
		Peers: []spec.Peer{{MAC: "00:50:56:00:00:02", Addresses: []string{"172.16.0.3"}}}}}))
	f.Add([]byte(`{"method":"grow","unit":-1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, to := range []any{&callRequest{}, &AttachRequest{}, &ExecRequest{}, &LogRequest{}, &Report{}, &reply{}} {
			_ = decode(data, to)
		}
		if h, err := parseHello(data); err == nil && (h.From == 0 || h.Version != Version) {
			t.Fatalf("%+v", h)
		}
	})
}
