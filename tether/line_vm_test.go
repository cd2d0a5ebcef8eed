//go:build vm

package tether_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/crypto/ssh"

	"github.com/vic-engine/vic/pkg/clock"
	"github.com/vic-engine/vic/pkg/guestinfo"
	"github.com/vic-engine/vic/pkg/lab/qemu/qemutest"
	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/pkg/tetherproto"
	"github.com/vic-engine/vic/portlayer/attach"
)

// lines is the concentrator's listener: the connections are ttyS0's.
type lines struct {
	vm     *qemutest.VM
	first  chan net.Conn
	closed chan struct{}
}

func (l *lines) Accept() (net.Conn, error) {
	select {
	case c := <-l.first:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}
func (l *lines) Close() error   { close(l.closed); return nil }
func (l *lines) Addr() net.Addr { return &net.TCPAddr{} }

// concentrator serves the control line of vm, as the engine does.
func concentrator(t *testing.T, vm *qemutest.VM, signer ssh.Signer) *attach.Server {
	t.Helper()
	return listening(t, vm, signer, nil)
}

// listening is a concentrator that passes on what the guest reports.
func listening(t *testing.T, vm *qemutest.VM, signer ssh.Signer, report func(string, tetherproto.Report)) *attach.Server {
	t.Helper()
	log := logrus.New()
	log.SetOutput(io.Discard)
	s := attach.New(attach.Config{Signer: signer, Log: logrus.NewEntry(log), Report: report,
		HostKey: func(context.Context, string) (ssh.PublicKey, error) {
			key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(vm.Guest.Keys()[guestinfo.KeyHostKey]))
			return key, err
		}})
	l := &lines{vm, make(chan net.Conn, 1), make(chan struct{})}
	l.first <- vm.Line(0)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return s
}

// TestControlLine attaches to a process that waits for it: nothing of its output
// is missed, its input arrives, and an exec runs beside it.
func TestControlLine(t *testing.T) {
	signer := signerOf(t)
	c := container(`echo begin; cat; echo end >&2; exit 4`)
	c.AuthorizedKey = string(ssh.MarshalAuthorizedKey(signer.PublicKey()))
	c.Process.Attach, c.Process.OpenStdin, c.Process.StdinOnce = true, true, true
	begin := time.Now()
	vm := qemutest.Boot(t, qemutest.Options{ISO: built.bootstrap, Console: 2, Disks: disks(t), GuestInfo: keys(t, c)})
	output := output(t, vm)
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	s, err := concentrator(t, vm, signer).Session(ctx, c.ID)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("line is up after %v", time.Since(begin).Round(time.Millisecond))

	sent := strings.Repeat("0123456789abcde\n", 4096) // 64 KiB
	input, feed := io.Pipe()
	var stdout, stderr bytes.Buffer
	joined := make(chan struct{})
	attached := make(chan error, 1)
	go func() {
		attached <- s.Attach(ctx, spec.Streams{Stdin: input, Stdout: &stdout, Stderr: &stderr, StdinOnce: true, Joined: func() { close(joined) }})
	}()
	<-joined
	setClock(ctx, t, s)
	if _, err := s.Release(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("process runs after %v", time.Since(begin).Round(time.Millisecond))
	var exec bytes.Buffer
	exit, err := s.Exec(ctx, "e1", spec.Process{Path: "sh", Args: []string{"-c", "tty; hostname; exit 9"}, TTY: true,
		Env: []string{"PATH=/bin"}}, spec.Streams{Stdout: &exec}, func(int) {})
	if err != nil || exit.Code != 9 || !strings.Contains(exec.String(), "/dev/pts/") || !strings.Contains(exec.String(), c.ID[:12]) {
		t.Errorf("exec: %+v %q %v", exit, exec.String(), err)
	}
	rate := time.Now()
	if _, err := io.WriteString(feed, sent); err != nil {
		t.Fatal(err)
	}
	feed.Close()
	if err := <-attached; err != nil {
		t.Error(err)
	}
	t.Logf("64 KiB there and back in %v", time.Since(rate).Round(time.Millisecond))
	vm.WaitOff(limit)
	if stdout.String() != "begin\n"+sent || stderr.String() != "end\n" {
		t.Errorf("got %d bytes of stdout, want %d, and %q", stdout.Len(), len(sent)+6, stderr.String())
	}
	if text := <-output.all; len(text) != len(sent)+10 {
		t.Errorf("%d bytes in the log", len(text))
	}
	st, err := guestinfo.DecodeStatus(c.ID, vm.Guest.Keys())
	if err != nil || st.Exit.Code != 4 {
		t.Errorf("reported %+v %v", st, err)
	}
	if at := st.Exit.Started; at.Before(begin.Add(time.Hour)) || at.After(time.Now().Add(time.Hour)) {
		t.Errorf("started %s by a clock that is an hour ahead; it was booted %s", at, begin)
	}
}

// setClock puts a guest's clock an hour ahead, and is then not content with it by little.
func setClock(ctx context.Context, t *testing.T, s *attach.Session) {
	t.Helper()
	compare := func() (ahead, within time.Duration) {
		ahead, within, err := clock.Compare(3, time.Now, func() (time.Time, error) { return s.Time(ctx) })
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("the guest is %s ahead, to within %s", ahead, within)
		return ahead, within
	}
	ahead, first := compare()
	if err := s.Correct(ctx, time.Hour-ahead, true); err != nil {
		t.Fatal(err)
	}
	if ahead, within := compare(); (ahead - time.Hour).Abs() > first+within {
		t.Errorf("set an hour ahead, it is %s, to within %s", ahead, first+within)
	}
	if err := s.Correct(ctx, time.Millisecond, false); err != nil {
		t.Error(err)
	}
}

// TestProgramNotFound: Docker's exit code and words reach the engine.
func TestProgramNotFound(t *testing.T) {
	c := container("")
	c.Process.Path = "/no/such/program"
	vm := qemutest.Boot(t, qemutest.Options{ISO: built.bootstrap, Console: 2, Disks: disks(t), GuestInfo: keys(t, c)})
	_ = output(t, vm)
	vm.WaitOff(limit)
	st, err := guestinfo.DecodeStatus(c.ID, vm.Guest.Keys())
	if err != nil || st.Exit.Code != spec.ExitNotFound || !strings.Contains(st.Exit.Error, "/no/such/program") {
		t.Errorf("reported %+v %v", st, err)
	}
}
