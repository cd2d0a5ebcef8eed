package rpci

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/sirupsen/logrus"
	"github.com/vmware/govmomi/toolbox"
)

var _ toolbox.Channel = Channel(nil)

// host answers RPCI like the lab does.
type host struct {
	mu   sync.Mutex
	keys map[string]string
	raw  []string
}

func (h *host) answer(msg string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.raw = append(h.raw, msg)
	verb, rest, _ := strings.Cut(msg, " ")
	key, value, _ := strings.Cut(rest, " ")
	switch verb {
	case "info-get":
		if v, ok := h.keys[key]; ok {
			return "1 " + v
		}
		return "0 No value found"
	case "info-set":
		if strings.HasPrefix(key, "guestinfo./") {
			return "0 Permission denied"
		}
		h.keys[key] = value
		return "1 "
	case "tools.os.statechange.status":
		return "1 "
	case "garbage":
		return "garbage"
	}
	return "0 Unknown command"
}

func (h *host) roundTrip(msg []byte) ([]byte, error) { return []byte(h.answer(string(msg))), nil }
func (h *host) Close() error                         { return nil }

func newHost() *host { return &host{keys: map[string]string{"guestinfo./common/id": "cafe"}} }

func quiet() *logrus.Entry {
	l := logrus.New()
	l.SetOutput(io.Discard)
	return logrus.NewEntry(l)
}

// exercise is what must hold of a client over any transport.
func exercise(t *testing.T, c *Client) {
	t.Helper()
	if v, ok, err := c.Get("guestinfo./common/id"); v != "cafe" || !ok || err != nil {
		t.Errorf("get: %q %v %v", v, ok, err)
	}
	if v, ok, err := c.Get("guestinfo./nothing"); v != "" || ok || err != nil {
		t.Errorf("get of no key: %q %v %v", v, ok, err)
	}
	value := "two  words | \" \n" + strings.Repeat("x", 64<<10)
	if err := c.Set("guestinfo..a.b", value); err != nil {
		t.Error(err)
	}
	if v, _, err := c.Get("guestinfo..a.b"); v != value || err != nil {
		t.Errorf("written value came back as %.30q %v", v, err)
	}
	err := c.Set("guestinfo./a", "secret")
	if !errors.Is(err, ErrRefused) || strings.Contains(err.Error(), "secret") {
		t.Errorf("refused set: %v", err)
	}
	if _, err := c.Command("garbage"); !errdefs.IsDataLoss(err) {
		t.Errorf("garbage: %v", err)
	}
}

func TestSocketServesClients(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	serve := func() (stop func()) {
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- Serve(ctx, l, &Client{t: newHost()}, quiet()) }()
		return func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	stop := serve()
	c, err := OpenAt(Places{Dev: t.TempDir(), Sys: t.TempDir(), Socket: path, NoBackdoor: true})
	if err != nil {
		t.Fatal(err)
	}
	exercise(t, c)
	stop()
	if _, _, err := c.Get("x"); err == nil {
		t.Error("no error without a server")
	}
	stop = serve()
	exercise(t, c)
	stop()
	if in, _ := c.Channels(); in != nil {
		t.Error("a TCLO channel over the socket")
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if _, _, err := c.Get("x"); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestNothingToOpen(t *testing.T) {
	_, err := OpenAt(Places{Dev: t.TempDir(), Sys: t.TempDir(), Socket: "/nonexistent/s", NoBackdoor: true})
	if !errdefs.IsUnavailable(err) {
		t.Errorf("got %v", err)
	}
}

func TestNoVMwareHereOrItWorks(t *testing.T) {
	// Must not crash on any hypervisor; what it says depends on the machine.
	t.Log("backdoor:", haveBackdoor())
}

func TestFindPortBySys(t *testing.T) {
	p := Places{Dev: t.TempDir(), Sys: t.TempDir()}
	for dev, name := range map[string]string{"vport1p1": "other\n", "vport1p2": PortRPCI + "\n"} {
		dir := filepath.Join(p.Sys, "class", "virtio-ports", dev)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "name"), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := findPort(p, PortRPCI), filepath.Join(p.Dev, "vport1p2"); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := findPort(p, PortTCLO); got != "" {
		t.Errorf("got %q for a port that is not there", got)
	}
}

// filePair gives two connected files that have deadlines, like a port.
func filePair(t *testing.T) (*os.File, net.Conn) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "p")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	f, err := a.(*net.UnixConn).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close(); b.Close() })
	return f, b
}

func TestPort(t *testing.T) {
	f, far := filePair(t)
	h := newHost()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			msg, err := ReadFrame(far)
			if err != nil {
				return
			}
			if err := WriteFrame(far, []byte(h.answer(string(msg)))); err != nil {
				return
			}
		}
	}()
	c := &Client{t: &port{f: f, closed: make(chan struct{})}}
	exercise(t, c)

	_, out := c.Channels()
	o := toolbox.ChannelOut{Channel: out}
	if got, err := o.Request([]byte("info-get guestinfo./common/id")); string(got) != "cafe" || err != nil {
		t.Errorf("toolbox request: %q %v", got, err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	far.Close()
	<-done
}

func TestLateAnswersAreNotMixedUp(t *testing.T) {
	f, far := filePair(t)
	p := &port{f: f, closed: make(chan struct{}), owed: 1}
	go func() {
		_ = WriteFrame(far, []byte("1 late"))
		_ = WriteFrame(far, []byte("1 right"))
	}()
	if got, err := p.roundTrip([]byte("info-get a")); string(got) != "1 right" || err != nil {
		t.Errorf("got %q %v", got, err)
	}
}

func TestPatientReaderWaitsForTheHost(t *testing.T) {
	r := &patientReader{f: &twice{}, closed: make(chan struct{}), until: time.Now().Add(time.Minute)}
	b, err := io.ReadAll(io.LimitReader(r, 2))
	if string(b) != "ab" || err != nil {
		t.Errorf("%q %v", b, err)
	}
	r.until = time.Now().Add(-time.Second)
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("past its time: %v", err)
	}
	r.until = time.Time{}
	closed := make(chan struct{})
	close(closed)
	r.closed = closed
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

// twice is at its end every other time.
type twice struct{ n int }

func (w *twice) Read(b []byte) (int, error) {
	w.n++
	if w.n%2 == 1 || w.n > 4 {
		return 0, io.EOF
	}
	b[0] = byte('a' + w.n/2 - 1)
	return 1, nil
}

func TestTCLOAnswersTheHost(t *testing.T) {
	f, far := filePair(t)
	in := &portTCLO{f: f, closed: make(chan struct{})}
	svc := toolbox.NewService(in, (&Client{t: newHost(), tclo: func() Channel { return in }}).out())
	halted := make(chan struct{})
	svc.Power.Halt.Handler = func() error { close(halted); return nil }
	if err := svc.Start(); err != nil {
		t.Fatal(err)
	}
	for _, step := range [][2]string{{"ping", "OK "}, {"OS_Halt", "OK "}, {"Set_Option x 1", "OK "}} {
		if err := WriteFrame(far, []byte(step[0])); err != nil {
			t.Fatal(err)
		}
		if got, err := ReadFrame(far); string(got) != step[1] || err != nil {
			t.Errorf("%s: got %q %v", step[0], got, err)
		}
	}
	<-halted
	svc.Stop()
	if err := in.Stop(); err != nil {
		t.Error(err)
	}
	svc.Wait()
}

func (c *Client) out() Channel { _, out := c.Channels(); return out }

func FuzzReadFrame(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, 'x'})
	f.Add([]byte{0xff, 0, 0, 1, 'x'})
	f.Fuzz(func(t *testing.T, data []byte) {
		msg, err := ReadFrame(bytes.NewReader(data))
		if err != nil {
			return
		}
		var b bytes.Buffer
		if err := WriteFrame(&b, msg); err != nil || !bytes.HasPrefix(data, b.Bytes()) {
			t.Fatalf("%q came back as %q, %v", data, b.Bytes(), err)
		}
	})
}
