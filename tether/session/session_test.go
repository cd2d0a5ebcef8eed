//go:build linux

package session

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/sirupsen/logrus"
	"golang.org/x/crypto/ssh"

	"github.com/vic-engine/vic/pkg/guestinfo"
	"github.com/vic-engine/vic/pkg/logframe"
	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/pkg/tetherproto"
)

const testID = "2cf7f483bf6e7f32daa53f51ca388d5fb153f78d3a74d313318099086638ad58"

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

// locked is a buffer for several goroutines.
type locked struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *locked) Bytes() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Clone(l.b.Bytes())
}

// keys is guestinfo.
type keys struct {
	mu sync.Mutex
	m  map[string]string
}

func (k *keys) Set(key, value string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.m[key] = value
	return nil
}

// vm is a guest with its session, and the engine's side of its line.
type vm struct {
	t      *testing.T
	ctx    context.Context
	m      *Manager
	log    *locked
	keys   *keys
	host   ssh.Signer
	engine ssh.Signer
	dialed chan net.Conn
	relay  func(tetherproto.RelayRequest) (func(*tetherproto.RelayConn), error)
	wg     sync.WaitGroup

	mu      sync.Mutex // guards reports
	reports []tetherproto.Report
	cut     func()
}

func newVM(t *testing.T, p spec.Process, tune func(*Config)) *vm {
	t.Helper()
	if os.Geteuid() != 0 {
		p.User = strconv.Itoa(os.Geteuid())
	}
	ctx, cancel := context.WithCancel(context.Background())
	v := &vm{
		t: t, ctx: ctx, log: &locked{}, keys: &keys{m: map[string]string{}},
		host: signer(t), engine: signer(t), dialed: make(chan net.Conn),
	}
	logger := logrus.New()
	logger.SetOutput(io.Discard)
	cfg := Config{
		Container: spec.Container{ID: testID, Process: p, AuthorizedKey: string(ssh.MarshalAuthorizedKey(v.engine.PublicKey()))},
		BootID:    "boot1", HostKey: v.host, Log: v.log, RunID: 77,
		Reporter: GuestinfoReporter(v.keys), Logger: logrus.NewEntry(logger),
	}
	if tune != nil {
		tune(&cfg)
	}
	m, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	v.m = m
	v.wg.Go(func() {
		err := m.ServeLine(ctx, func() (io.ReadWriteCloser, error) {
			select {
			case c := <-v.dialed:
				return c, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		})
		if err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		v.wg.Wait()
	})
	return v
}

// dial makes a new stream of the line; link is nil for a new engine.
func (v *vm) dial(link *tetherproto.Link) *tetherproto.Link {
	v.t.Helper()
	a, b := net.Pipe()
	if v.cut != nil {
		v.cut()
	}
	v.cut = func() { a.Close(); b.Close() }
	select {
	case v.dialed <- a:
	case <-time.After(patience):
		v.t.Fatal("nobody opens the line")
	}
	s := tetherproto.NewStream(b)
	hello, err := tetherproto.Greet(v.ctx, s)
	if err != nil || hello.ContainerID != testID || hello.BootID != "boot1" {
		v.t.Fatalf("hello %+v, %v", hello, err)
	}
	if link == nil {
		link = tetherproto.NewLink(tetherproto.LinkConfig{})
	}
	v.wg.Go(func() {
		err := link.Run(v.ctx, s, &hello)
		for changed := (*tetherproto.PeerChanged)(nil); errors.As(err, &changed); {
			err = link.Run(v.ctx, s, &changed.Hello)
		}
	})
	return link
}

// connect is an engine that connects.
func (v *vm) connect() *tetherproto.Client {
	v.t.Helper()
	return v.shake(v.dial(nil))
}

func (v *vm) shake(link *tetherproto.Link) *tetherproto.Client {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(v.ctx, patience)
	defer cancel()
	c, err := tetherproto.NewClient(ctx, link, tetherproto.ClientConfig{
		Signer: v.engine, HostKey: v.host.PublicKey(), Relay: v.relay, Report: func(r tetherproto.Report) {
			v.mu.Lock()
			defer v.mu.Unlock()
			v.reports = append(v.reports, r)
		},
	})
	if err != nil {
		v.t.Fatal(err)
	}
	v.t.Cleanup(func() { _ = c.Close() })
	return c
}

// run starts the session's process and gives its status when it has ended.
func (v *vm) run() <-chan spec.ExitStatus {
	done := make(chan spec.ExitStatus, 1)
	v.wg.Go(func() {
		exit, err := v.m.Run(v.ctx, "/", nil)
		if err != nil {
			v.t.Error("run:", err)
		}
		done <- exit
	})
	return done
}

func (v *vm) frames() []logframe.Frame {
	r := logframe.NewReader(bytes.NewReader(v.log.Bytes()))
	var all []logframe.Frame
	for {
		f, err := r.Next()
		if err != nil {
			return all
		}
		all = append(all, f)
	}
}

// logged gives what is in the log of a stream.
func (v *vm) logged(s spec.Stream) string {
	var b strings.Builder
	for _, f := range v.frames() {
		if f.Kind == logframe.KindData && f.Stream == s {
			b.Write(f.Data)
		}
	}
	return b.String()
}

func (v *vm) kinds() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	var k []string
	for _, r := range v.reports {
		if r.Kind == tetherproto.ReportPaused && !r.Paused {
			continue // what an engine hears that finds the process running
		}
		k = append(k, string(r.Kind))
	}
	return strings.Join(k, ",")
}

func (v *vm) status() guestinfo.Status {
	v.keys.mu.Lock()
	defer v.keys.mu.Unlock()
	s, err := guestinfo.DecodeStatus(testID, v.keys.m)
	if err != nil {
		v.t.Error(err)
	}
	return s
}

func sh(script string) spec.Process {
	return spec.Process{Path: "/bin/sh", Args: []string{"-c", script}}
}

// patience bounds what must happen; it only ends tests that fail.
const patience = time.Minute

func wait[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatal("nothing happened")
	}
	panic("unreachable")
}

func TestRunWithoutEngine(t *testing.T) {
	v := newVM(t, sh("echo out; echo err >&2; exit 7"), nil)
	exit := wait(t, v.run())
	if exit.Code != 7 || v.logged(spec.Stdout) != "out\n" || v.logged(spec.Stderr) != "err\n" {
		t.Errorf("%+v, log %q %q", exit, v.logged(spec.Stdout), v.logged(spec.Stderr))
	}
	f := v.frames()
	if f[0].Kind != logframe.KindStart || f[len(f)-1].Kind != logframe.KindEnd || f[0].Run != 77 {
		t.Errorf("marks of the log: %+v", f)
	}
	if s := v.status(); s.Exit.Code != 7 || s.Running || s.Exit.Stopped.IsZero() || s.Exit.Started.IsZero() {
		t.Errorf("guestinfo %+v", s)
	}
}

// dockerRun does what the engine does for `docker run`: attach, then release.
func dockerRun(t *testing.T, v *vm, c *tetherproto.Client, s spec.Streams) (pid int, attached <-chan error, err error) {
	t.Helper()
	joined := make(chan struct{})
	s.Joined = func() { close(joined) }
	done := make(chan error, 1)
	v.wg.Go(func() { done <- c.Attach(v.ctx, s) })
	wait(t, joined)
	pid, err = c.Release(v.ctx)
	return pid, done, err
}

func TestAttachMissesNothing(t *testing.T) {
	p := sh("echo first; wc -c; echo last >&2; exit 3")
	p.Attach, p.OpenStdin, p.StdinOnce = true, true, true
	v := newVM(t, p, nil)
	c := v.connect()
	done := v.run()
	in := strings.Repeat("0123456789", 30000)
	var out, errOut bytes.Buffer
	pid, attached, err := dockerRun(t, v, c, spec.Streams{Stdin: strings.NewReader(in), Stdout: &out, Stderr: &errOut})
	if err != nil || pid < 2 {
		t.Fatalf("release: pid %d, %v", pid, err)
	}
	if err := wait(t, attached); err != nil {
		t.Error("attach:", err)
	}
	exit := wait(t, done)
	if got := strings.Fields(out.String()); exit.Code != 3 || len(got) != 2 || got[1] != strconv.Itoa(len(in)) || errOut.String() != "last\n" {
		t.Errorf("%+v %q %q", exit, out.String(), errOut.String())
	}
	if v.kinds() != "started,exited" {
		t.Errorf("reports: %s", v.kinds())
	}
	if v.logged(spec.Stdout) != out.String() {
		t.Errorf("log %q", v.logged(spec.Stdout))
	}
}

func TestLargeOutputArrivesWhole(t *testing.T) {
	p := sh("head -c 3000000 /dev/zero | tr '\\0' x; head -c 100000 /dev/zero >&2")
	p.Attach = true
	v := newVM(t, p, nil)
	c := v.connect()
	done := v.run()
	var out, errOut bytes.Buffer
	_, attached, err := dockerRun(t, v, c, spec.Streams{Stdout: &out, Stderr: &errOut})
	if err != nil {
		t.Fatal(err)
	}
	if err := wait(t, attached); err != nil {
		t.Error(err)
	}
	wait(t, done)
	if out.Len() != 3000000 || errOut.Len() != 100000 || len(v.logged(spec.Stdout)) != 3000000 {
		t.Errorf("client %d %d, log %d", out.Len(), errOut.Len(), len(v.logged(spec.Stdout)))
	}
}

func TestStartErrorsReachRelease(t *testing.T) {
	p := spec.Process{Path: "no-such-program", Attach: true}
	v := newVM(t, p, nil)
	c := v.connect()
	done := v.run()
	_, attached, err := dockerRun(t, v, c, spec.Streams{Stdout: io.Discard})
	var start *spec.StartError
	if !errors.As(err, &start) || start.Code != 127 || !strings.Contains(start.Msg, "executable file not found in $PATH") {
		t.Errorf("release: %v", err)
	}
	if err := wait(t, attached); err != nil {
		t.Error("attach:", err)
	}
	if exit := wait(t, done); exit.Code != 127 || exit.Error == "" {
		t.Errorf("%+v", exit)
	}
	if s := v.status(); s.Exit.Code != 127 || !strings.Contains(s.Exit.Error, "not found") || !s.Exit.Started.IsZero() {
		t.Errorf("guestinfo %+v", s)
	}
	if v.kinds() != "exited" {
		t.Errorf("reports %s", v.kinds())
	}
}

func TestNobodyReleases(t *testing.T) {
	p := sh("echo alone")
	p.Attach = true
	v := newVM(t, p, func(c *Config) { c.ReleaseWait = 20 * time.Millisecond })
	if exit := wait(t, v.run()); exit.Code != 0 || v.logged(spec.Stdout) != "alone\n" {
		t.Errorf("%+v %q", exit, v.logged(spec.Stdout))
	}
}

func TestStopBeforeRelease(t *testing.T) {
	p := sh("echo never")
	p.Attach, p.StopSignal = true, "SIGINT"
	v := newVM(t, p, nil)
	done := v.run()
	if err := v.m.Stop(v.ctx); err != nil {
		t.Error(err)
	}
	if exit := wait(t, done); exit.Code != 130 || v.logged(spec.Stdout) != "" {
		t.Errorf("%+v", exit)
	}
}

func TestStopSignal(t *testing.T) {
	p := sh("trap 'echo bye; exit 5' USR2; echo up; while :; do sleep 0.01; done")
	p.StopSignal = "SIGUSR2"
	v := newVM(t, p, nil)
	c := v.connect()
	done := v.run()
	if _, err := c.Release(v.ctx); err != nil {
		t.Fatal(err)
	}
	seen := make(chan struct{})
	var once sync.Once
	v.wg.Go(func() {
		_ = c.Follow(v.ctx, tetherproto.LogRequest{FromStart: true}, func(f logframe.Frame) error {
			if strings.Contains(string(f.Data), "up") {
				once.Do(func() { close(seen) })
			}
			return nil
		})
	})
	wait(t, seen)
	if err := c.Signal(v.ctx, "", "nonsense"); !errdefs.IsInvalidArgument(err) {
		t.Errorf("bad signal: %v", err)
	}
	if err := v.m.Stop(v.ctx); err != nil {
		t.Error(err)
	}
	if exit := wait(t, done); exit.Code != 5 || !strings.Contains(v.logged(spec.Stdout), "bye") {
		t.Errorf("%+v %q", exit, v.logged(spec.Stdout))
	}
}

func TestEngineRestartsAndAttachesAgain(t *testing.T) {
	p := sh("while read x; do echo got $x; done; echo end")
	p.OpenStdin = true
	v := newVM(t, p, nil)
	old := v.connect()
	done := v.run()
	in, w := io.Pipe()
	out := &locked{}
	_, attached, err := dockerRun(t, v, old, spec.Streams{Stdin: in, Stdout: out})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(w, "one")
	for !strings.Contains(string(out.Bytes()), "got one") {
		time.Sleep(time.Millisecond)
	}
	// kill -9 of the engine: no goodbye. A new one knows nothing.
	v.cut()
	_ = old.Close()
	if err := wait(t, attached); err == nil {
		t.Error("the attach of an engine that is gone ended well")
	}
	fresh := v.connect()
	w.Close()
	var out2 bytes.Buffer
	_, attached, err = dockerRun(t, v, fresh, spec.Streams{Stdin: strings.NewReader("two\n"), Stdout: &out2, StdinOnce: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := wait(t, attached); err != nil {
		t.Error(err)
	}
	if exit := wait(t, done); exit.Code != 0 || out2.String() != "got two\nend\n" {
		t.Errorf("%+v %q", exit, out2.String())
	}
	if got := v.logged(spec.Stdout); got != "got one\ngot two\nend\n" {
		t.Errorf("log %q", got)
	}
	if v.kinds() != "started,started,exited" {
		t.Errorf("reports: %s (each engine must learn of the start)", v.kinds())
	}
}

func TestLineIsCutAndGoesOn(t *testing.T) {
	p := sh("i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done")
	p.Attach = true
	v := newVM(t, p, nil)
	link := v.dial(nil)
	c := v.shake(link)
	done := v.run()
	var out bytes.Buffer
	_, attached, err := dockerRun(t, v, c, spec.Streams{Stdout: &out})
	if err != nil {
		t.Fatal(err)
	}
	v.dial(link)
	if err := wait(t, attached); err != nil {
		t.Error(err)
	}
	wait(t, done)
	if n := strings.Count(out.String(), "\n"); n != 2000 || v.logged(spec.Stdout) != out.String() {
		t.Errorf("%d lines", n)
	}
}

func TestExec(t *testing.T) {
	p := sh("read x; exit 9")
	p.OpenStdin = true
	v := newVM(t, p, nil)
	c := v.connect()
	if _, err := c.Exec(v.ctx, "e", sh("true"), spec.Streams{}, nil); !errdefs.IsConflict(err) {
		t.Errorf("exec before the start: %v", err)
	}
	done := v.run()
	if _, err := c.Release(v.ctx); err != nil {
		t.Fatal(err)
	}
	var out, errOut bytes.Buffer
	pid := 0
	exec := sh("echo $A; cat; echo e >&2; exit 4")
	exec.Env = []string{"A=b"}
	exit, err := c.Exec(v.ctx, "e1", exec, spec.Streams{Stdin: strings.NewReader("in"), Stdout: &out, Stderr: &errOut}, func(p int) { pid = p })
	if exit.Code != 4 || err != nil || pid == 0 || out.String() != "b\nin" || errOut.String() != "e\n" {
		t.Errorf("%+v %v %d %q %q", exit, err, pid, out.String(), errOut.String())
	}
	var start *spec.StartError
	if _, err = c.Exec(v.ctx, "e2", spec.Process{Path: "nope"}, spec.Streams{}, nil); !errors.As(err, &start) || start.Code != 127 {
		t.Errorf("exec of nothing: %v", err)
	}
	tty := sh("stty size; read x; stty size")
	tty.TTY, tty.Rows, tty.Cols = true, 10, 20
	out.Reset()
	in, w := io.Pipe()
	exit, err = c.Exec(v.ctx, "e3", tty, spec.Streams{Stdin: in, Stdout: &out}, func(int) {
		go func() {
			if err := c.Resize(v.ctx, "e3", 30, 40); err != nil {
				t.Error(err)
			}
			fmt.Fprintln(w)
		}()
	})
	if err != nil || exit.Code != 0 || !strings.Contains(out.String(), "30 40") {
		t.Errorf("%+v %v %q", exit, err, out.String())
	}
	if err := c.Signal(v.ctx, "e3", "TERM"); !errdefs.IsNotFound(err) {
		t.Errorf("signal to an exec that has ended: %v", err)
	}
	exit, err = c.Exec(v.ctx, "e4", sh("sleep 60"), spec.Streams{}, func(int) {
		go func() {
			if err := c.Signal(v.ctx, "e4", "KILL"); err != nil {
				t.Error(err)
			}
		}()
	})
	if exit.Code != 137 || err != nil {
		t.Errorf("%+v %v", exit, err)
	}
	if err := c.CloseStdin(v.ctx, ""); err != nil {
		t.Error(err)
	}
	if exit := wait(t, done); exit.Code != 9 {
		t.Errorf("%+v", exit)
	}
}

// stuck is a client that takes nothing.
type stuck struct{ free chan struct{} }

func (s stuck) Write(b []byte) (int, error) {
	<-s.free
	return len(b), nil
}

func TestStuckClientDoesNotHoldTheProcessForEver(t *testing.T) {
	p := sh("head -c 8000000 /dev/zero; echo done >&2")
	p.Attach = true
	v := newVM(t, p, func(c *Config) { c.ClientStall, c.LineStall = 50*time.Millisecond, 50*time.Millisecond })
	c := v.connect()
	done := v.run()
	free := make(chan struct{})
	_, attached, err := dockerRun(t, v, c, spec.Streams{Stdout: stuck{free}})
	if err != nil {
		t.Fatal(err)
	}
	if exit := wait(t, done); exit.Code != 0 || v.logged(spec.Stderr) != "done\n" || len(v.logged(spec.Stdout)) != 8000000 {
		t.Errorf("%+v", exit)
	}
	close(free)
	if err := wait(t, attached); err == nil {
		t.Error("the client was not told that it missed output")
	}
}

func TestFollowGoesOnWithoutGap(t *testing.T) {
	p := sh("i=0; while [ $i -lt 300 ]; do echo $i; i=$((i+1)); done; read x; echo fin")
	p.OpenStdin = true
	v := newVM(t, p, nil)
	c := v.connect()
	done := v.run()
	if _, err := c.Release(v.ctx); err != nil {
		t.Fatal(err)
	}
	for !strings.Contains(v.logged(spec.Stdout), "299\n") {
		time.Sleep(time.Millisecond)
	}
	file := v.frames()
	from := file[(len(file)-1)/2] // not the last one
	want := v.logged(spec.Stdout)
	var got strings.Builder
	for _, f := range file[:(len(file)-1)/2+1] {
		got.Write(f.Data)
	}
	next := from.Seq + 1
	err := c.Follow(v.ctx, tetherproto.LogRequest{After: from.Position}, func(f logframe.Frame) error {
		if f.Seq != next || f.Run != from.Run {
			t.Errorf("frame %d.%d, want %d", f.Run, f.Seq, next)
		}
		next++
		got.Write(f.Data)
		if strings.HasSuffix(got.String(), "299\n") {
			if err := c.CloseStdin(v.ctx, ""); err != nil {
				t.Error(err)
			}
		}
		return nil
	})
	wait(t, done)
	if err != nil || got.String() != want+"fin\n" {
		t.Errorf("%v: %d of %d bytes", err, got.Len(), len(want)+4)
	}
}

func TestFollowRefusesWhatIsNotKept(t *testing.T) {
	r := newRecent(5)
	w := logframe.NewWriter(io.Discard, 5)
	for range 20 {
		if err := w.Write(spec.Stdout, make([]byte, 30<<10), r.add); err != nil {
			t.Fatal(err)
		}
	}
	err := r.follow(context.Background(), tetherproto.LogRequest{After: logframe.Position{Run: 5, Seq: 1}}, io.Discard)
	if !errdefs.IsUnavailable(err) {
		t.Errorf("got %v", err)
	}
	if r.size > recentBytes {
		t.Errorf("%d bytes kept", r.size)
	}
}

func TestFailIsAnExit(t *testing.T) {
	p := sh("true")
	p.Attach = true
	v := newVM(t, p, nil)
	c := v.connect()
	released := make(chan error, 1)
	v.wg.Go(func() { _, err := c.Release(v.ctx); released <- err })
	v.m.Fail(errors.New("mount image: no such device"))
	var start *spec.StartError
	if err := wait(t, released); !errors.As(err, &start) || start.Code != 125 {
		t.Errorf("release: %v", err)
	}
	if s := v.status(); s.Exit.Code != 125 || s.Exit.Error != "mount image: no such device" {
		t.Errorf("%+v", s)
	}
}

func TestAddressesAreReportedLate(t *testing.T) {
	v := newVM(t, sh("sleep 0.2"), nil)
	v.m.ReportAddresses(map[string]string{"bridge": "172.16.0.2/16"})
	c := v.connect()
	done := v.run()
	if _, err := c.Release(v.ctx); err != nil {
		t.Error(err)
	}
	wait(t, done)
	if v.kinds() != "addresses,started,exited" || v.reports[0].Addresses["bridge"] != "172.16.0.2/16" {
		t.Errorf("%s %+v", v.kinds(), v.reports)
	}
}
