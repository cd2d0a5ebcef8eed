package portlayer

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/crypto/ssh"

	"github.com/vic-engine/vic/pkg/guestinfo"
	"github.com/vic-engine/vic/pkg/lab/machine"
	"github.com/vic-engine/vic/pkg/logframe"
	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/pkg/tetherproto"
)

// hypervisor boots a fake tether for each VM: one that speaks guest RPC, the
// control line and the log's framing for real, and whose processes are functions.
// It outlives engines, as VMs do.
type hypervisor struct {
	log *logrus.Entry
	// booting, when set, is called at the beginning of each boot, which waits for it.
	booting func()

	mu   sync.Mutex // guards last
	last map[string]*tether
}

// guest is the last boot of a container.
func (h *hypervisor) guest(id string) *tether {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last[id]
}

var _ machine.Hypervisor = (*hypervisor)(nil)

func (h *hypervisor) Start(_ context.Context, m machine.Machine, g machine.Guest) (machine.Instance, error) {
	ctx, cancel := context.WithCancel(context.Background())
	t := &tether{m: m, g: g, log: h.log, ctx: ctx, off: cancel, released: make(chan struct{}), signal: make(chan string, 4), end: make(chan struct{})}
	get := func(key string) (string, bool, error) { v, ok := g.InfoGet(key); return v, ok, nil }
	c, err := guestinfo.DecodeContainer(get)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("guest: %w", err)
	}
	t.c = c
	h.mu.Lock()
	if h.last == nil {
		h.last = map[string]*tether{}
	}
	h.last[c.ID] = t
	h.mu.Unlock()
	go func() {
		if h.booting != nil {
			h.booting()
		}
		t.run()
	}()
	return t, nil
}

func (h *hypervisor) Adopt(context.Context, machine.Machine, machine.Guest) (machine.Instance, error) {
	return nil, os.ErrNotExist
}

// tether is one boot.
type tether struct {
	m   machine.Machine
	g   machine.Guest
	c   spec.Container
	log *logrus.Entry
	ctx context.Context // ends when the VM is off
	off context.CancelFunc

	release  sync.Once
	released chan struct{}
	signal   chan string
	end      chan struct{} // closed when the process has ended
	uncontrolled

	mu      sync.Mutex // guards all below
	nets    []spec.NetworkUpdate
	netErr  error // what Network gives
	conn    *tetherproto.ServerConn
	began   bool // the process runs
	clients []tetherproto.IO
	follow  []func(logframe.Frame)
	logs    *logframe.Writer
	frames  []logframe.Frame
}

var _ machine.Instance = (*tether)(nil)

func (t *tether) PID() int                      { return os.Getpid() }
func (t *tether) Done() <-chan struct{}         { return t.ctx.Done() }
func (t *tether) Err() error                    { return nil }
func (t *tether) Kill()                         { t.off() }
func (t *tether) Reset() error                  { return nil }
func (t *tether) RebootGuest() error            { return nil }
func (t *tether) ShutdownGuest() error          { t.signal <- "SIGTERM"; return nil }
func (t *tether) Usage() (machine.Usage, error) { return machine.Usage{}, nil }

func (t *tether) set(pairs []guestinfo.Pair) {
	for _, p := range pairs {
		_ = t.g.InfoSet(p.Key, p.Value)
	}
}

func (t *tether) run() {
	defer t.off()
	_, key, _ := ed25519.GenerateKey(rand.Reader)
	host, err := ssh.NewSignerFromKey(key)
	if err != nil {
		return
	}
	authorized, _, _, _, err := ssh.ParseAuthorizedKey([]byte(t.c.AuthorizedKey))
	if err != nil {
		return
	}
	boot := make([]byte, 8)
	_, _ = rand.Read(boot)
	t.set([]guestinfo.Pair{{Key: guestinfo.KeyHostKey, Value: string(bytes.TrimSpace(ssh.MarshalAuthorizedKey(host.PublicKey())))}})
	out, err := os.OpenFile(t.m.Serials[1].File, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return
	}
	defer out.Close()
	t.logs = logframe.NewWriter(out, uint64(time.Now().UnixNano()))

	listener := tetherproto.NewListener(tetherproto.LinkConfig{ContainerID: t.c.ID, BootID: hex.EncodeToString(boot)})
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { t.dial(listener) })
	wg.Go(func() {
		for {
			link, err := listener.Accept(t.ctx)
			if err != nil {
				return
			}
			_, _ = tetherproto.ServeConn(t.ctx, link, tetherproto.ServerConfig{HostKey: host, Authorized: authorized, Log: t.log,
				Connected: func(c *tetherproto.ServerConn) {
					t.mu.Lock()
					t.conn = c
					began := t.began
					t.mu.Unlock()
					if began { // an engine that comes late learns the same
						go t.report(tetherproto.Report{Kind: tetherproto.ReportStarted, PID: 42})
					}
				}}, t)
		}
	})
	t.process()
	t.off()
}

// dial is the host's side of the network serial port: it dials until the VM is off.
func (t *tether) dial(l *tetherproto.Listener) {
	u, err := url.Parse(t.m.Serials[0].URI)
	if err != nil {
		return
	}
	for t.ctx.Err() == nil {
		conn, err := net.Dial("tcp", u.Host)
		if err == nil {
			_ = l.Serve(t.ctx, tetherproto.NewStream(conn))
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-t.ctx.Done():
		}
	}
}

// process is the container's: "serve" runs until a signal, "print WORDS" prints
// them, "exit N" ends with N, anything else is not found.
func (t *tether) process() {
	if t.c.Process.Attach {
		select {
		case <-t.released:
		case <-t.ctx.Done():
			return
		}
	}
	exit := spec.ExitStatus{Started: time.Now().UTC()}
	if !strings.HasPrefix(t.c.Process.Path, "/bin/") {
		t.over(spec.ExitStatus{Code: spec.ExitNotFound, Error: t.notFound().Msg})
		return
	}
	t.set(guestinfo.StartedPairs(t.c.ID, 42, exit.Started))
	t.mu.Lock()
	t.began = true
	t.mu.Unlock()
	t.report(tetherproto.Report{Kind: tetherproto.ReportStarted, PID: 42})
	t.print(spec.Stdout, strings.Join(t.c.Process.Args, " ")+"\n")
	switch t.c.Process.Path {
	case "/bin/exit":
		_, _ = fmt.Sscan(t.c.Process.Args[0], &exit.Code)
	case "/bin/serve":
		select {
		case s := <-t.signal:
			t.print(spec.Stderr, "got "+s+"\n")
		case <-t.ctx.Done():
			return
		}
	}
	t.over(exit)
}

func (t *tether) notFound() *spec.StartError {
	return &spec.StartError{Code: spec.ExitNotFound, Msg: fmt.Sprintf("exec: %q: executable file not found in $PATH", t.c.Process.Path)}
}

func (t *tether) over(exit spec.ExitStatus) {
	_ = t.logs.Mark(logframe.KindEnd, t.see)
	close(t.end)
	exit.Stopped = time.Now().UTC()
	t.set(guestinfo.ExitedPairs(t.c.ID, exit))
	t.report(tetherproto.Report{Kind: tetherproto.ReportExited, Exit: exit})
}

func (t *tether) report(r tetherproto.Report) {
	t.mu.Lock()
	c := t.conn
	t.mu.Unlock()
	if c == nil {
		return
	}
	ctx, cancel := context.WithTimeout(t.ctx, patience)
	defer cancel()
	_ = c.Report(ctx, r)
}

func (t *tether) print(s spec.Stream, text string) {
	_ = t.logs.Write(s, []byte(text), t.see)
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range t.clients {
		w := c.Stdout
		if s == spec.Stderr {
			w = c.Stderr
		}
		if w != nil {
			_, _ = io.WriteString(w, text)
		}
	}
}

func (t *tether) see(f logframe.Frame) {
	f.Data = bytes.Clone(f.Data)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.frames = append(t.frames, f)
	for _, each := range t.follow {
		each(f)
	}
}

func (t *tether) Release(context.Context) (int, error) {
	t.release.Do(func() { close(t.released) })
	if !strings.HasPrefix(t.c.Process.Path, "/bin/") {
		return 0, t.notFound()
	}
	return 42, nil
}

func (t *tether) Attach(ctx context.Context, _ tetherproto.AttachRequest, join func() (tetherproto.IO, error)) error {
	t.mu.Lock()
	c, err := join()
	t.clients = append(t.clients, c)
	t.mu.Unlock()
	if err != nil {
		return err
	}
	select {
	case <-t.end:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t *tether) Exec(_ context.Context, r tetherproto.ExecRequest, s tetherproto.IO, started func(int)) (spec.ExitStatus, error) {
	started(43)
	_, err := fmt.Fprintf(s.Stdout, "%s %v", r.Process.Path, r.Process.Args)
	return spec.ExitStatus{Code: 3}, err
}

func (t *tether) Signal(_ context.Context, _, name string) error { t.signal <- name; return nil }
func (t *tether) Resize(context.Context, string, int, int) error { return nil }
func (t *tether) Grow(context.Context, int) error                { return nil }

func (t *tether) Network(_ context.Context, u spec.NetworkUpdate) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.netErr != nil {
		return t.netErr
	}
	t.nets = append(t.nets, u)
	return nil
}

func (t *tether) CloseStdin(context.Context, string) error { return nil }

func (t *tether) Follow(ctx context.Context, r tetherproto.LogRequest, w io.Writer) error {
	give := func(f logframe.Frame) {
		if r.FromStart || f.Run != r.After.Run || f.Seq > r.After.Seq {
			b, _ := f.Append(nil)
			_, _ = w.Write(b)
		}
	}
	t.mu.Lock()
	for _, f := range t.frames {
		give(f)
	}
	t.follow = append(t.follow, give)
	t.mu.Unlock()
	select {
	case <-t.end:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
