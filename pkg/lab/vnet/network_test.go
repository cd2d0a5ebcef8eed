package vnet

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
)

// other is the plan of the tests that use this computer's own addresses: labs
// may be running here.
var other = Plan{251}

const mac1, mac2, mac3 = "00:50:56:00:00:01", "00:50:56:00:00:02", "00:50:56:00:00:03"

// echo answers each connection with what it got, after the far end has closed its
// direction: only half-closes make it work.
func echo(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			b, err := io.ReadAll(c)
			if err == nil {
				_, _ = c.Write(append([]byte("got "), b...))
			}
		}()
	}
}

type halfConn interface {
	net.Conn
	CloseWrite() error
}

// ask writes text, closes its direction and reads all.
func ask(c halfConn, text []byte) ([]byte, error) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	werr := make(chan error, 1)
	go func() {
		_, err := c.Write(text)
		if err == nil {
			err = c.CloseWrite()
		}
		werr <- err
	}()
	b, err := io.ReadAll(c)
	return b, errors.Join(err, <-werr)
}

func TestBridge(t *testing.T) {
	n := lab(t, Config{NoForwards: true})
	a, b, c := plug(t, n, "VCH Bridge", mac1), plug(t, n, "VCH Bridge", mac2), plug(t, n, "other", mac3)
	for i, g := range []*guest{a, b, c} {
		g.use(netip.AddrFrom4([4]byte{172, 16, 0, byte(1 + i)}), 24)
	}
	go echo(b.listen(80))
	conn, err := a.dial(netip.MustParseAddr("172.16.0.2"), 80)
	if err != nil {
		t.Fatal(err)
	}
	text := make([]byte, 3<<20)
	_, _ = rand.Read(text)
	got, err := ask(conn, text)
	if err != nil || !bytes.Equal(got, append([]byte("got "), text...)) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := gonet.DialContextTCP(ctx, c.stack, tcpip.FullAddress{NIC: nic, Addr: tcpip.AddrFrom4([4]byte{172, 16, 0, 2}), Port: 80}, ipv4.ProtocolNumber); err == nil {
		t.Fatal("reached a guest of another port group")
	}
}

func TestDHCP(t *testing.T) {
	dir := t.TempDir()
	var first, second netip.Addr
	t.Run("lease", func(t *testing.T) {
		n := lab(t, Config{Dir: dir, NoForwards: true})
		a, b := plug(t, n, "VM Network", mac1), plug(t, n, "VM Network", mac2)
		first, second = a.dhcp(), b.dhcp()
		if first.String() != "10.118.0.10" || second.String() != "10.118.0.11" {
			t.Fatal(first, second)
		}
		hw, _ := net.ParseMAC(mac3)
		d, err := dhcpv4.NewDiscovery(hw)
		if err != nil {
			t.Fatal(err)
		}
		c := plug(t, n, "VM Network", mac3)
		o := c.exchange(d, dhcpv4.MessageTypeOffer)
		for what, got := range map[string]string{
			"10.118.0.1": o.Router()[0].String(), " 10.118.0.1": " " + o.DNS()[0].String(), "lab.test": o.DomainName(),
			"ffffff00": o.SubnetMask().String(), "  10.118.0.1": "  " + o.ServerIdentifier().String(), "12h0m0s": o.IPAddressLeaseTime(0).String(),
		} {
			if what != got {
				t.Errorf("got %q, want %q", got, what)
			}
		}
	})
	t.Run("after a restart", func(t *testing.T) {
		n := lab(t, Config{Dir: dir, NoForwards: true})
		b, a := plug(t, n, "VM Network", mac2), plug(t, n, "VM Network", mac1)
		if x, y := a.dhcp(), b.dhcp(); x != first || y != second {
			t.Fatal(x, y)
		}
	})
	if err := os.WriteFile(filepath.Join(dir, "leases.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{Dir: dir, Log: quiet()}); err == nil || !strings.Contains(err.Error(), "leases.json") {
		t.Fatal(err)
	}
}

func TestDHCPAnswers(t *testing.T) {
	book, _ := loadLeases("", Plan{})
	d := &dhcpServer{log: quiet(), book: book, granted: func(string, netip.Addr) {}}
	hw, _ := net.ParseMAC(mac1)
	msg := func(kind dhcpv4.MessageType, mods ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
		m, err := dhcpv4.New(append([]dhcpv4.Modifier{dhcpv4.WithHwAddr(hw), dhcpv4.WithMessageType(kind)}, mods...)...)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	want := func(m *dhcpv4.DHCPv4, kind dhcpv4.MessageType, addr string) {
		t.Helper()
		r, err := d.answer(m)
		if err != nil {
			t.Fatal(err)
		}
		if kind == dhcpv4.MessageTypeNone {
			if r != nil {
				t.Fatalf("answered: %s", r.Summary())
			}
			return
		}
		if r == nil || r.MessageType() != kind || addr != "" && r.YourIPAddr.String() != addr {
			t.Fatalf("%v", r)
		}
	}
	ip := func(s string) dhcpv4.Modifier { return dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.ParseIP(s))) }
	server := func(s string) dhcpv4.Modifier { return dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.ParseIP(s))) }
	ciaddr := func(s string) dhcpv4.Modifier { return dhcpv4.WithClientIP(net.ParseIP(s)) }
	const none, ack, nak = dhcpv4.MessageTypeNone, dhcpv4.MessageTypeAck, dhcpv4.MessageTypeNak

	want(msg(dhcpv4.MessageTypeRequest, ip("10.118.0.77")), nak, "")                        // a lease of another network
	want(msg(dhcpv4.MessageTypeRequest, ip("10.118.0.10"), server("10.118.0.9")), none, "") // for another server
	want(msg(dhcpv4.MessageTypeDiscover), dhcpv4.MessageTypeOffer, "10.118.0.10")           //
	want(msg(dhcpv4.MessageTypeRequest, ip("10.118.0.11"), server("10.118.0.1")), nak, "")  // not what was offered
	want(msg(dhcpv4.MessageTypeRequest, ip("10.118.0.10"), server("10.118.0.1")), ack, "10.118.0.10")
	want(msg(dhcpv4.MessageTypeRequest, ip("10.118.0.10")), ack, "10.118.0.10")     // after a reboot
	want(msg(dhcpv4.MessageTypeRequest, ciaddr("10.118.0.10")), ack, "10.118.0.10") // renewing
	want(msg(dhcpv4.MessageTypeInform, ciaddr("10.118.0.99")), ack, "0.0.0.0")
	want(msg(dhcpv4.MessageTypeRelease), none, "")
	want(msg(dhcpv4.MessageTypeDiscover), dhcpv4.MessageTypeOffer, "10.118.0.10")
	want(msg(dhcpv4.MessageTypeDecline), none, "")
	want(msg(dhcpv4.MessageTypeDiscover), dhcpv4.MessageTypeOffer, "10.118.0.11")
}

func TestLeasesRunOut(t *testing.T) {
	b, _ := loadLeases("", Plan{})
	now := time.Unix(0, 0)
	b.now = func() time.Time { now = now.Add(time.Second); return now }
	b.inUse(netip.MustParseAddr("10.118.0.12"), "static")
	seen := map[netip.Addr]bool{}
	for i := range 240 {
		m := fmt.Sprint(i)
		b.connected(m, true)
		a, err := b.assign(m)
		if err != nil || seen[a] || a.String() == "10.118.0.12" {
			t.Fatal(i, a, err)
		}
		seen[a] = true
	}
	if _, err := b.assign("one more"); !errors.Is(err, errNoAddress) {
		t.Fatal(err)
	}
	b.connected("100", false)
	b.connected("7", false)
	seventh, _ := b.lookup("7")
	if a, err := b.assign("one more"); err != nil || a != seventh {
		t.Fatal(a, err) // of the one that was used the longest ago
	}
}

func TestForward(t *testing.T) {
	n := lab(t, Config{Plan: other, Forwards: []Forward{{Guest: 80, Local: 18080}, {Guest: 81, Local: 18082}}})
	g := plug(t, n, "VM Network", mac1)
	a := g.dhcp()
	go echo(g.listen(80))
	shown, ok := other.HostAddress(a)
	if !ok || shown.String() != "127.118.251.10" {
		t.Fatal(shown)
	}
	at := netip.AddrPortFrom(shown, 18080).String()
	text := make([]byte, 5<<20)
	_, _ = rand.Read(text)
	var c net.Conn
	eventually(t, "the forward", func() (err error) { c, err = net.Dial("tcp", at); return err })
	got, err := ask(c.(*net.TCPConn), text)
	if err != nil || !bytes.Equal(got, append([]byte("got "), text...)) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}

	// A port that nobody serves resets its client.
	if c, err = net.Dial("tcp", netip.AddrPortFrom(shown, 18082).String()); err == nil {
		_ = c.SetDeadline(time.Now().Add(patience))
		_, err = c.Read(make([]byte, 1))
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("%v", err)
	}

	// The VM is gone: so are its forward and its connections.
	open, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	open2, err := n.Dial(t.Context(), "tcp", netip.AddrPortFrom(a, 80).String())
	if err != nil {
		t.Fatal(err)
	}
	g.off()
	for _, c := range []net.Conn{open, open2} {
		_ = c.SetDeadline(time.Now().Add(patience))
		if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("connection with a VM that is off: %v", err)
		}
	}
	if _, err := net.Dial("tcp", at); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatalf("forward to a VM that is off: %v", err)
	}
}

// TestForwardBegun: a forward that is not connected yet when its VM goes ends then,
// not when its attempt would have timed out.
func TestForwardBegun(t *testing.T) {
	n := lab(t, Config{Plan: other, Forwards: []Forward{{Guest: 80, Local: 18080}}})
	near, far := socketpair(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = n.Connect(ctx, "VM Network", mac1, far) }()
	defer func() { cancel(); <-done }()
	// A guest that has an address and answers nothing but who it is.
	a := netip.MustParseAddr("10.118.251.10")
	hw := mac{0, 0x50, 0x56, 0, 0, 1}
	if _, err := near.Write(arpRequest(hw, a, other.Gateway())); err != nil {
		t.Fatal(err)
	}
	syn := make(chan struct{})
	go func() {
		defer close(syn)
		for {
			f, err := readFrame(near)
			if err != nil || f.kind() == 0x0800 {
				return
			}
			if _, err := near.Write(arpRequest(hw, a, other.Gateway())); err != nil {
				return
			}
		}
	}()
	at := "127.118.251.10:18080"
	var c net.Conn
	eventually(t, "the forward", func() (err error) { c, err = net.Dial("tcp", at); return err })
	<-syn
	n.gw.mu.Lock()
	if len(n.gw.conns) != 1 {
		t.Errorf("%d connections that would end with their guest, want the one that begins", len(n.gw.conns))
	}
	n.gw.mu.Unlock()
	cancel()
	<-done
	_ = c.SetDeadline(time.Now().Add(forwardLimit))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("a client of a VM that is off: %v", err)
	}
}

// TestAdoptedGuest: after a restart of the lab a guest that is silent is found by
// its lease.
func TestAdoptedGuest(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "leases.json")
	if err := os.WriteFile(file, []byte(`{"`+mac1+`":{"address":"10.118.251.33","used":"2026-01-01T00:00:00Z"}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	n := lab(t, Config{Plan: other, Dir: dir, Forwards: []Forward{{Guest: 80, Local: 18080}}})
	near, far := socketpair(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = n.Connect(ctx, "VM Network", mac1, far) }()
	defer func() { cancel(); <-done }()
	f, err := readFrame(near) // the question
	if err != nil || f.kind() != 0x0806 {
		t.Fatal(f, err)
	}
	answer := arpRequest(mac{0, 0x50, 0x56, 0, 0, 1}, netip.MustParseAddr("10.118.251.33"), other.Gateway())
	if _, err := near.Write(answer); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the forward", func() error {
		c, err := net.Dial("tcp", "127.118.251.33:18080")
		if err == nil {
			_ = c.Close()
		}
		return err
	})
}

func TestNAT(t *testing.T) {
	for _, p := range []Plan{{}, other} {
		t.Run(p.Subnet().String(), func(t *testing.T) { testNAT(t, p) })
	}
}

func testNAT(t *testing.T, p Plan) {
	at := func(x byte) string { return p.guest(x).String() }
	n := lab(t, Config{Plan: p, NoForwards: true, Names: map[string]netip.Addr{"extra": p.guest(9)}})
	g := plug(t, n, "VM Network", mac1)
	g.dhcp()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go echo(l)
	port := l.Addr().(*net.TCPAddr).AddrPort().Port()
	for name, want := range map[string]string{"registry.lab.test": at(2), "esxi01.lab.test": at(2), "gateway.lab.test": at(1), "extra.lab.test": at(9), "none.lab.test": ""} {
		r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return gonet.DialUDP(g.stack, nil, &tcpip.FullAddress{NIC: nic, Addr: tcpAddr(p.Gateway()), Port: 53}, ipv4.ProtocolNumber)
		}}
		got, err := r.LookupNetIP(t.Context(), "ip4", name)
		if want == "" {
			var de *net.DNSError
			if !errors.As(err, &de) || !de.IsNotFound {
				t.Errorf("%s: %v %v", name, got, err)
			}
		} else if err != nil || len(got) != 1 || got[0].String() != want {
			t.Errorf("%s: %v %v", name, got, err)
		}
	}
	c, err := g.dial(p.Host(), port)
	if err != nil {
		t.Fatal(err)
	}
	text := make([]byte, 5<<20)
	_, _ = rand.Read(text)
	got, err := ask(c, text)
	if err != nil || !bytes.Equal(got, append([]byte("got "), text...)) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	// Not to be had through the gateway: this computer's loopback by its own
	// name, the gateway itself, a closed port.
	_ = l.Close()
	for _, to := range []netip.AddrPort{netip.AddrPortFrom(p.Gateway(), 80), netip.AddrPortFrom(p.Host(), port)} {
		if _, err := g.dial(to.Addr(), to.Port()); err == nil || !strings.Contains(err.Error(), "refused") {
			t.Errorf("%s: %v", to, err)
		}
	}
	for _, a := range []string{"127.0.0.1", "0.0.0.0", "169.254.169.254", "224.0.0.1", "255.255.255.255", at(9)} {
		if to, ok := p.outbound(netip.MustParseAddr(a)); ok {
			t.Errorf("%s goes out to %s", a, to)
		}
	}
	// Dial knows the lab's names and aliases.
	for addr, want := range map[string]string{
		"registry.lab.test:5000": at(2) + ":5000", p.local(10).String() + ":80": at(10) + ":80", at(10) + ":80": at(10) + ":80",
		"127.0.0.1:1": "127.0.0.1:1", "127.118.99.10:80": "127.118.99.10:80"} {
		if got, err := n.resolve(addr); err != nil || got.String() != want {
			t.Errorf("%s: %s %v", addr, got, err)
		}
	}
}

func TestBadFrame(t *testing.T) {
	n := lab(t, Config{NoForwards: true})
	near, far := socketpair(t)
	ended := make(chan error, 1)
	go func() { ended <- n.Connect(t.Context(), "x", mac1, far) }()
	if _, err := near.Write([]byte{0, 0, 0, 3, 1, 2, 3, 0xff, 0xff, 0xff, 0xff}); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, errFrame) {
		t.Fatal(err)
	}
	if err := n.Connect(t.Context(), "x", "nonsense", near); err == nil {
		t.Fatal("bad MAC accepted")
	}
}

// patience bounds what must happen; it only ends tests that fail.
const patience = time.Minute

func eventually(t testing.TB, what string, f func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if err = f(); err == nil {
			return
		}
	}
	t.Fatalf("%s: %v", what, err)
}
