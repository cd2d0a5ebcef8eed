package vnet

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/sirupsen/logrus"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

func quiet() *logrus.Entry {
	l := logrus.New()
	l.SetOutput(io.Discard)
	return logrus.NewEntry(l)
}

// lab runs a Network for a test.
func lab(t testing.TB, cfg Config) *Network {
	t.Helper()
	cfg.Log = quiet()
	n, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return n
}

// guest is a VM of a test: another TCP/IP stack behind a NIC's stream.
type guest struct {
	t     testing.TB
	mac   string
	plan  Plan
	stack *stack.Stack
	link  *link
	off   func() // pulls the plug and waits
}

func plug(t testing.TB, n *Network, portGroup, macAddr string) *guest {
	t.Helper()
	hw, err := net.ParseMAC(macAddr)
	if err != nil {
		t.Fatal(err)
	}
	g := &guest{t: t, mac: macAddr, plan: n.plan}
	inside := newLayer2() // joins the stack and the wire
	l := &link{sw: inside, mac: mac(hw)}
	g.link = l
	g.stack = stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, arp.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4},
	})
	sack := tcpip.TCPSACKEnabled(true) // as Linux
	_ = g.stack.SetTransportProtocolOption(tcp.ProtocolNumber, &sack)
	send := tcpip.TCPSendBufferSizeRangeOption{Min: 4 << 10, Default: 256 << 10, Max: 512 << 10}
	_ = g.stack.SetTransportProtocolOption(tcp.ProtocolNumber, &send)
	if err := g.stack.CreateNIC(nic, l); err != nil {
		t.Fatal(err)
	}
	g.stack.SetRouteTable([]tcpip.Route{{Destination: all, Gateway: tcpAddr(g.plan.Gateway()), NIC: nic}})
	inside.join(l)
	near, far := socketpair(t)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = newPort(near, "").run(ctx, inside) })
	wg.Go(func() {
		if err := n.Connect(ctx, portGroup, macAddr, far); err != nil {
			t.Error(err)
		}
	})
	eventually(t, "the port", func() error {
		n.mu.Lock()
		defer n.mu.Unlock()
		if s := n.switches[portGroup]; s != nil {
			s.mu.RLock()
			defer s.mu.RUnlock()
			for _, m := range s.members {
				if p, ok := m.(*port); ok && p.mac == macAddr {
					return nil
				}
			}
		}
		return errors.New("not there")
	})
	g.off = sync.OnceFunc(func() { cancel(); wg.Wait(); g.stack.Destroy() })
	t.Cleanup(g.off)
	return g
}

var all, _ = tcpip.NewSubnet(tcpip.AddrFrom4([4]byte{}), tcpip.MaskFromBytes(make([]byte, 4)))

func socketpair(t testing.TB) (a, b net.Conn) {
	t.Helper()
	l, err := net.Listen("unix", t.TempDir()+"/s")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if a, err = net.Dial("unix", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return a, b
}

// use gives the guest a static address.
func (g *guest) use(a netip.Addr, bits int) {
	g.t.Helper()
	g.stack.SetRouteTable([]tcpip.Route{
		{Destination: tcpip.AddressWithPrefix{Address: tcpAddr(a), PrefixLen: bits}.Subnet(), NIC: nic},
		{Destination: all, Gateway: tcpAddr(g.plan.Gateway()), NIC: nic},
	})
	g.link.own = append(g.link.own, a)
	if err := g.stack.AddProtocolAddress(nic, tcpip.ProtocolAddress{Protocol: ipv4.ProtocolNumber,
		AddressWithPrefix: tcpip.AddressWithPrefix{Address: tcpAddr(a), PrefixLen: bits}}, stack.AddressProperties{}); err != nil {
		g.t.Fatal(err)
	}
}

// dhcp gets an address as a Linux guest does, and uses it.
func (g *guest) dhcp() netip.Addr {
	g.t.Helper()
	hw, _ := net.ParseMAC(g.mac)
	discover, err := dhcpv4.NewDiscovery(hw)
	if err != nil {
		g.t.Fatal(err)
	}
	offer := g.exchange(discover, dhcpv4.MessageTypeOffer)
	request, err := dhcpv4.NewRequestFromOffer(offer)
	if err != nil {
		g.t.Fatal(err)
	}
	ack := g.exchange(request, dhcpv4.MessageTypeAck)
	a, _ := netip.AddrFromSlice(ack.YourIPAddr.To4())
	ones, _ := ack.SubnetMask().Size()
	g.use(a, ones)
	return a
}

// exchange sends one DHCP message and waits for the answer to it.
func (g *guest) exchange(m *dhcpv4.DHCPv4, want dhcpv4.MessageType) *dhcpv4.DHCPv4 {
	g.t.Helper()
	wq := new(waiter.Queue)
	ep, terr := g.stack.NewEndpoint(udp.ProtocolNumber, ipv4.ProtocolNumber, wq)
	if terr != nil {
		g.t.Fatal(terr)
	}
	ep.SocketOptions().SetBroadcast(true)
	if terr := ep.Bind(tcpip.FullAddress{NIC: nic, Port: dhcpv4.ClientPort}); terr != nil {
		g.t.Fatal(terr)
	}
	c := gonet.NewUDPConn(wq, ep)
	defer c.Close()
	// Before it has an address a stack must say where a broadcast goes from.
	zero := tcpip.ProtocolAddress{Protocol: ipv4.ProtocolNumber, AddressWithPrefix: tcpip.AddressWithPrefix{Address: tcpip.AddrFrom4([4]byte{})}}
	_ = g.stack.AddProtocolAddress(nic, zero, stack.AddressProperties{})
	defer g.stack.RemoveAddress(nic, tcpip.AddrFrom4([4]byte{}))
	buf := make([]byte, 2048)
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if _, err := c.WriteTo(m.ToBytes(), &net.UDPAddr{IP: net.IPv4bcast, Port: dhcpv4.ServerPort}); err != nil {
			g.t.Fatal(err)
		}
		_ = c.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
		n, _, err := c.ReadFrom(buf)
		if err != nil {
			continue // lost before the server listened: ask again
		}
		r, err := dhcpv4.FromBytes(buf[:n])
		if err != nil {
			g.t.Fatal(err)
		}
		if r.TransactionID != m.TransactionID || r.MessageType() == dhcpv4.MessageTypeOffer && want == dhcpv4.MessageTypeAck {
			continue // another guest's, or of a discovery sent twice
		}
		if r.MessageType() != want {
			g.t.Fatalf("got %s, want %s", r.MessageType(), want)
		}
		return r
	}
	g.t.Fatalf("no answer to %s", m.MessageType())
	return nil
}

func (g *guest) listen(port uint16) net.Listener {
	g.t.Helper()
	l, err := gonet.ListenTCP(g.stack, tcpip.FullAddress{NIC: nic, Port: port}, ipv4.ProtocolNumber)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = l.Close() })
	return l
}

func (g *guest) dial(a netip.Addr, port uint16) (*gonet.TCPConn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return gonet.DialContextTCP(ctx, g.stack, tcpip.FullAddress{NIC: nic, Addr: tcpAddr(a), Port: port}, ipv4.ProtocolNumber)
}
