package guestrpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"
	"github.com/vmware/govmomi/toolbox"

	"github.com/vic-engine/vic/pkg/lab/machine"
)

// guest records what the host's side tells.
type guest struct {
	mu    sync.Mutex
	keys  map[string]string
	nics  []machine.GuestNIC
	name  string
	tools chan bool
}

var _ machine.Guest = (*guest)(nil)

func newGuest() *guest { return &guest{keys: map[string]string{}, tools: make(chan bool, 16)} }

func (g *guest) InfoGet(k string) (string, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	v, ok := g.keys[k]
	return v, ok
}

func (g *guest) InfoSet(k, v string) error {
	if strings.HasPrefix(k, "guestinfo./") {
		return errors.New("Permission denied")
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.keys[k] = v
	return nil
}
func (g *guest) Tools(running bool) { g.tools <- running }
func (g *guest) Addresses(n []machine.GuestNIC) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.nics = n
}
func (g *guest) Hostname(n string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.name = n
}

func quiet() *logrus.Entry {
	l := logrus.New()
	l.SetOutput(io.Discard)
	return logrus.NewEntry(l)
}

func TestAnswer(t *testing.T) {
	g := newGuest()
	g.keys["guestinfo./common/id"] = "abc"
	h := New(Config{Guest: g, Log: quiet()})
	nul := "\x00"
	for _, c := range []struct{ req, want string }{
		{"info-get guestinfo./common/id", "1 abc"},
		{"info-get guestinfo./common/id" + nul, "1 abc"},
		{"info-get guestinfo.none", "0 No value found"},
		{"info-get other", "0 Permission denied"},
		{"info-set guestinfo..a.b  two  words\nand a line ", "1 "},
		{"info-get guestinfo..a.b", "1  two  words\nand a line "},
		{"info-set guestinfo..empty ", "1 "},
		{"info-get guestinfo..empty", "1 "},
		{"info-set guestinfo./common/id x", "0 Permission denied"},
		{"info-set machine.id x", "0 Permission denied"},
		{"info-set guestinfo. x", "0 Permission denied"},
		{"info-set", "0 Permission denied"},
		{"SetGuestInfo  1 box", "1 "},
		{"SetGuestInfo  2 10.1.2.3", "1 "},
		{"SetGuestInfo  2 nonsense", "0 Invalid arguments"},
		{"SetGuestInfo  9 xxx", "0 Invalid arguments"},
		{"SetGuestInfo  7 12345", "1 "},
		{"SetGuestInfo  x", "0 Invalid arguments"},
		{"SetGuestInfo", "0 Invalid arguments"},
		{"tools.set.version 2147483647", "1 "},
		{"tools.capability.statechange", "1 "},
		{"vmx.capability.unified_loop tools", "1 "},
		{"log toolbox: hello\x1b[0m", "1 "},
		{"tools.os.statechange.status 1 1" + nul, "1 "},
		{"tools.os.statechange.status", "0 Invalid arguments"},
		{"unity.show.taskbar", "0 Unknown command"},
		{"", "0 Unknown command"},
	} {
		if got := string(h.Answer([]byte(c.req))); got != c.want {
			t.Errorf("%q: got %q, want %q", c.req, got, c.want)
		}
	}
	if v, _ := h.Capability("tools.set.version"); v != "2147483647" {
		t.Errorf("tools.set.version %q", v)
	}
	if g.name != "box" {
		t.Errorf("hostname %q", g.name)
	}
}

// line is toolbox's Channel over a byte stream.
type line struct{ c net.Conn }

func (l line) Start() error { return nil }
func (l line) Stop() error  { return nil }
func (l line) Send(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	return WriteFrame(l.c, b)
}
func (l line) Receive() ([]byte, error) { return ReadFrame(l.c) }

// polling is the same, but polls as vmtoolsd does.
type polling struct{ line }

func (p polling) Send(b []byte) error { return WriteFrame(p.c, b) }

// patience bounds what must happen; it only ends tests that fail.
const patience = time.Minute

func wait[T any](t *testing.T, what string, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		t.Fatalf("timed out: %s", what)
		panic("unreachable")
	}
}

func TestToolbox(t *testing.T) {
	for _, poll := range []bool{false, true} {
		t.Run(fmt.Sprintf("poll=%v", poll), func(t *testing.T) {
			g := newGuest()
			h := New(Config{Guest: g, Log: quiet(), PingEvery: 20 * time.Millisecond})
			ctx, cancel := context.WithCancel(t.Context())
			ask, rpci := net.Pipe()
			ans, tcloEnd := net.Pipe()
			var wg sync.WaitGroup
			wg.Go(func() { _ = h.ServeRPCI(ctx, rpci) })
			wg.Go(func() { _ = h.ServeTCLO(ctx, tcloEnd) })
			t.Cleanup(func() { cancel(); wg.Wait() })

			if err := h.Power(ctx, Halt); !errdefs.IsUnavailable(err) {
				t.Fatalf("halt before tools: %v", err)
			}
			var in toolbox.Channel = line{ans}
			if poll {
				in = polling{line{ans}}
			}
			s := toolbox.NewService(in, line{ask})
			s.PrimaryIP = func() string { return "10.118.0.10" }
			halted := make(chan struct{}, 1)
			forever := make(chan struct{})
			s.Power.Halt.Handler = func() error { halted <- struct{}{}; <-forever; return nil }
			if err := s.Start(); err != nil {
				t.Fatal(err)
			}
			defer s.Stop()
			defer close(forever)
			if !wait(t, "tools", g.tools) {
				t.Fatal("tools not running")
			}
			waitFor(t, "guestinfo.ip", func() bool { v, _ := g.InfoGet("guestinfo.ip"); return v == "10.118.0.10" })
			waitFor(t, "capability", func() bool { _, ok := h.Capability("tools.capability.statechange"); return ok })
			if err := h.Power(ctx, Reboot); !errdefs.IsFailedPrecondition(err) {
				t.Fatalf("reboot without a handler: %v", err)
			}
			if err := h.Power(ctx, Halt); err != nil {
				t.Fatal(err)
			}
			wait(t, "halt handler", halted)
			_ = ans.Close() // the guest is off
			if wait(t, "tools gone", g.tools) {
				t.Fatal("tools still running")
			}
		})
	}
}

// The clock stands still while anybody works, so that nothing else is late.
func TestToolsTimeout(t *testing.T) { synctest.Test(t, testToolsTimeout) }

func testToolsTimeout(t *testing.T) {
	g := newGuest()
	h := New(Config{Guest: g, Log: quiet(), PingEvery: 5 * time.Millisecond, PingTimeout: 5 * time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	c, hostEnd := net.Pipe()
	done := make(chan struct{})
	go func() { defer close(done); _ = h.ServeTCLO(ctx, hostEnd) }()
	t.Cleanup(func() { cancel(); <-done })
	answer := func(n int) {
		for range n {
			if _, err := ReadFrame(c); err != nil {
				t.Error(err)
				return
			}
			if err := WriteFrame(c, []byte("OK ")); err != nil {
				t.Error(err)
				return
			}
		}
	}
	answer(4)
	if !wait(t, "tools", g.tools) {
		t.Fatal("tools not running")
	}
	req, err := ReadFrame(c) // taken, not answered
	if err != nil || string(req) != "ping" {
		t.Fatalf("%q %v", req, err)
	}
	if wait(t, "tools hang", g.tools) {
		t.Fatal("tools still running")
	}
	if err := WriteFrame(c, []byte("OK ")); err != nil { // the late answer
		t.Fatal(err)
	}
	answer(1)
	if !wait(t, "tools again", g.tools) {
		t.Fatal("tools not back")
	}
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("timed out: %s", what)
		}
	}
}

func TestNICInfo(t *testing.T) {
	status := int32(1)
	name, dom := "box", "lab.test"
	nics := toolbox.NewGuestNicInfo()
	one := toolbox.GuestNicV3{MacAddress: "00:50:56:AA:bb:01", DNSConfigInfo: &toolbox.DNSConfigInfo{HostName: &name, DomainName: &dom},
		DhcpConfigInfov4: &toolbox.DhcpConfigInfo{Enabled: true, Settings: "x"}}
	one.IPs = []toolbox.IPAddressEntry{
		{Address: toolbox.TypedIPAddress{Type: 1, Address: []byte{10, 118, 0, 10}}, PrefixLength: 24, Status: &status},
		{Address: toolbox.TypedIPAddress{Type: 2, Address: net.ParseIP("fe80::1")}, PrefixLength: 64},
	}
	nics.V3.Nics = []toolbox.GuestNicV3{one, {MacAddress: "00:50:56:00:00:02"}}
	nics.V3.Routes = []toolbox.InetCidrRouteEntry{{Dest: toolbox.TypedIPAddress{Type: 1, Address: []byte{0, 0, 0, 0}},
		NextHop: &toolbox.TypedIPAddress{Type: 1, Address: []byte{10, 118, 0, 1}}}}
	nics.V3.DNSConfigInfo = &toolbox.DNSConfigInfo{HostName: &name}
	b, err := toolbox.EncodeXDR(nics)
	if err != nil {
		t.Fatal(err)
	}
	g := newGuest()
	h := New(Config{Guest: g, Log: quiet()})
	if r := h.Answer(toolbox.GuestInfoCommand(9, b)); !bytes.Equal(r, []byte("1 ")) {
		t.Fatalf("%q", r)
	}
	want := []machine.GuestNIC{
		{MAC: "00:50:56:aa:bb:01", Addresses: []string{"10.118.0.10/24", "fe80::1/64"}},
		{MAC: "00:50:56:00:00:02"},
	}
	if d := cmp.Diff(want, g.nics); d != "" || g.name != "box" {
		t.Fatalf("%s %q", d, g.name)
	}
	for i := range b { // every truncation is refused, none panics
		if r := h.Answer(toolbox.GuestInfoCommand(9, b[:i])); r[0] != '0' {
			t.Fatalf("%d bytes of %d accepted", i, len(b))
		}
	}
}
