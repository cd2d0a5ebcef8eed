package vnet

import (
	"io"
	"net"
	"net/netip"
	"testing"
)

// The throughput of one TCP connection, both stacks and the sockets between them
// in this process, in each direction that matters.

const chunk = 64 << 10

func drain(b *testing.B, l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, c)
		_ = c.Close()
	}
}

func pump(b *testing.B, c halfConn) {
	b.Helper()
	b.SetBytes(chunk)
	buf := make([]byte, chunk)
	for b.Loop() {
		if _, err := c.Write(buf); err != nil {
			b.Fatal(err)
		}
	}
	if err := c.CloseWrite(); err != nil {
		b.Fatal(err)
	}
	_, _ = c.Read(buf) // until all of it has arrived
	_ = c.Close()
}

func BenchmarkNAT(b *testing.B) {
	n := lab(b, Config{NoForwards: true})
	g := plug(b, n, "VM Network", mac1)
	g.dhcp()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	go drain(b, l)
	c, err := g.dial(Plan{}.Host(), l.Addr().(*net.TCPAddr).AddrPort().Port())
	if err != nil {
		b.Fatal(err)
	}
	pump(b, c)
}

func BenchmarkForward(b *testing.B) {
	n := lab(b, Config{Forwards: []Forward{{Guest: 80, Local: 18081}}})
	g := plug(b, n, "VM Network", mac1)
	a := g.dhcp()
	go drain(b, g.listen(80))
	shown, _ := Plan{}.HostAddress(a)
	c, err := net.Dial("tcp", netip.AddrPortFrom(shown, 18081).String())
	if err != nil {
		b.Fatal(err)
	}
	pump(b, c.(*net.TCPConn))
}

func BenchmarkBridge(b *testing.B) {
	n := lab(b, Config{NoForwards: true})
	g, h := plug(b, n, "bridge", mac1), plug(b, n, "bridge", mac2)
	g.use(netip.MustParseAddr("172.16.0.1"), 24)
	h.use(netip.MustParseAddr("172.16.0.2"), 24)
	go drain(b, h.listen(80))
	c, err := g.dial(netip.MustParseAddr("172.16.0.2"), 80)
	if err != nil {
		b.Fatal(err)
	}
	pump(b, c)
}
