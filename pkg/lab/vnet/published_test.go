package vnet

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
)

func TestParsePorts(t *testing.T) {
	got, err := ParsePorts(`["8080/tcp","53/udp","8080/tcp","53/tcp"]`)
	want := []Port{{"tcp", 53}, {"udp", 53}, {"tcp", 8080}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v %v, want %v", got, err, want)
	}
	if got, err := ParsePorts(""); err != nil || got != nil {
		t.Errorf("nothing: %v %v", got, err)
	}
	for _, bad := range []string{"80/tcp", `["80"]`, `["0/tcp"]`, `["65536/udp"]`, `["80/sctp"]`, `["80/tcp/udp"]`, `[80]`, `{}`} {
		if got, err := ParsePorts(bad); err == nil {
			t.Errorf("%s gave %v", bad, got)
		}
	}
}

// echoUDP answers datagrams on a guest's port.
func (g *guest) echoUDP(port uint16) {
	g.t.Helper()
	c, err := gonet.DialUDP(g.stack, &tcpip.FullAddress{NIC: nic, Port: port}, nil, ipv4.ProtocolNumber)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = c.Close() })
	go func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = c.WriteTo(append([]byte("got "), buf[:n]...), from)
		}
	}()
}

func TestPublished(t *testing.T) {
	n := lab(t, Config{Plan: other})
	n.Publish(mac1, []Port{{"tcp", 18090}, {"udp", 18090}}) // before the guest has an address
	g := plug(t, n, "VM Network", mac1)
	a := g.dhcp()
	shown, _ := other.HostAddress(a)
	go echo(g.listen(18090))
	go echo(g.listen(18091))
	go echo(g.listen(2376))
	g.echoUDP(18090)

	at := netip.AddrPortFrom(shown, 18090).String()
	var c net.Conn
	eventually(t, "the forward", func() (err error) { c, err = net.Dial("tcp", at); return err })
	if got, err := ask(c.(*net.TCPConn), []byte("a")); err != nil || string(got) != "got a" {
		t.Fatalf("%q %v", got, err)
	}
	for _, text := range []string{"one", "two"} { // two clients
		u, err := net.Dial("udp", at)
		if err != nil {
			t.Fatal(err)
		}
		defer u.Close()
		for range 2 {
			got := make([]byte, 64)
			eventually(t, "a datagram's answer", func() error {
				if _, err := u.Write([]byte(text)); err != nil {
					return err
				}
				_ = u.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
				n, err := u.Read(got)
				if err == nil && string(got[:n]) != "got "+text {
					t.Fatalf("%q", got[:n])
				}
				return err
			})
		}
	}

	// Another list: what is not in it any more is closed, and what can't be had
	// is left out.
	taken, err := net.Listen("tcp", netip.AddrPortFrom(shown, 18092).String())
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	n.Publish(mac1, []Port{{"tcp", 18092}, {"tcp", 18091}, {"tcp", 2376}})
	if c, err = net.Dial("tcp", netip.AddrPortFrom(shown, 18091).String()); err != nil {
		t.Fatal(err)
	}
	if got, err := ask(c.(*net.TCPConn), []byte("b")); err != nil || string(got) != "got b" {
		t.Fatalf("%q %v", got, err)
	}
	if _, err := net.Dial("tcp", at); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatalf("a port that is not published any more: %v", err)
	}
	again, err := net.ListenPacket("udp", at)
	if err != nil {
		t.Fatalf("a UDP port that is not published any more: %v", err)
	}
	again.Close()

	n.Publish(mac1, nil)
	if _, err := net.Dial("tcp", netip.AddrPortFrom(shown, 18091).String()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatalf("no port is published: %v", err)
	}
	if c, err = net.Dial("tcp", netip.AddrPortFrom(shown, 2376).String()); err != nil {
		t.Fatalf("the VCH's own port: %v", err)
	}
	if got, err := ask(c.(*net.TCPConn), []byte("c")); err != nil || string(got) != "got c" {
		t.Fatalf("the VCH's own port: %q %v", got, err)
	}

	// With its NIC all of a guest's ports go.
	n.Publish(mac1, []Port{{"tcp", 18091}})
	g.off()
	if _, err := net.Dial("tcp", netip.AddrPortFrom(shown, 18091).String()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatalf("a guest that is off: %v", err)
	}
}

func FuzzParsePorts(f *testing.F) {
	f.Add(`["80/tcp","53/udp"]`)
	f.Add(`[]`)
	f.Add(`["-1/tcp"]`)
	f.Fuzz(func(t *testing.T, text string) {
		ports, err := ParsePorts(text)
		if err != nil && ports != nil {
			t.Fatal(ports)
		}
		if len(ports) > maxPublished {
			t.Fatal(len(ports))
		}
		for i, p := range ports {
			if p.Port == 0 || p.Proto != "tcp" && p.Proto != "udp" || i > 0 && ports[i-1] == p {
				t.Fatal(ports)
			}
		}
	})
}
