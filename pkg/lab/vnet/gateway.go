package vnet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"
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

// nic is the number of the stack's only interface.
const nic tcpip.NICID = 1

var (
	gatewayMAC = mac{0x02, 'v', 'i', 'c', 0, 1} // locally administered
	loopback   = netip.MustParseAddr("127.0.0.1")
)

// gateway is the TCP/IP stack at the end of the uplink.
type gateway struct {
	log   *logrus.Entry
	plan  Plan
	stack *stack.Stack
	link  *link
	ends  []service // open from the start, served by run

	mu    sync.Mutex // guards conns
	conns map[*conn]netip.Addr
}

func newGateway(s *layer2, plan Plan, log *logrus.Entry) (*gateway, error) {
	g := &gateway{log: log, plan: plan, conns: map[*conn]netip.Addr{},
		link: &link{sw: s, mac: gatewayMAC, own: []netip.Addr{plan.Gateway(), plan.Host()}}}
	g.stack = stack.New(stack.Options{
		NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, arp.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4},
	})
	sack, moderate := tcpip.TCPSACKEnabled(true), tcpip.TCPModerateReceiveBufferOption(true)
	// What one connection may have under way must fit a NIC's queue: there is no
	// back-pressure behind a stack, and a full queue costs a retransmission timeout.
	send := tcpip.TCPSendBufferSizeRangeOption{Min: 4 << 10, Default: 256 << 10, Max: 512 << 10}
	for _, opt := range []tcpip.SettableTransportProtocolOption{&sack, &moderate, &send} {
		if err := g.stack.SetTransportProtocolOption(tcp.ProtocolNumber, opt); err != nil {
			return nil, fmt.Errorf("gateway: TCP option %T: %s", opt, err)
		}
	}
	if err := g.stack.CreateNIC(nic, g.link); err != nil {
		return nil, fmt.Errorf("gateway: interface: %s", err)
	}
	addr := tcpip.ProtocolAddress{Protocol: ipv4.ProtocolNumber,
		AddressWithPrefix: tcpip.AddressWithPrefix{Address: tcpAddr(plan.Gateway()), PrefixLen: plan.Subnet().Bits()}}
	if err := g.stack.AddProtocolAddress(nic, addr, stack.AddressProperties{}); err != nil {
		return nil, fmt.Errorf("gateway: address: %s", err)
	}
	// Takes packets for, and answers from, every address: it is the way out.
	g.stack.SetSpoofing(nic, true)
	g.stack.SetPromiscuousMode(nic, true)
	g.stack.SetRouteTable([]tcpip.Route{{Destination: addr.AddressWithPrefix.Subnet(), NIC: nic}})
	g.natTCP()
	g.natUDP()
	s.join(g.link)
	return g, nil
}

// run ends everything that belongs to the stack when ctx ends.
func (g *gateway) run(ctx context.Context, closers ...func()) (err error) {
	var eg errgroup.Group
	for _, e := range g.ends {
		eg.Go(func() error {
			err := e.serve()
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("gateway: %s ended: %w", e.name, err)
		})
	}
	// A service that ends early ends the rest, too: there is no network then.
	gone := make(chan error, 1)
	go func() { gone <- eg.Wait() }()
	select {
	case <-ctx.Done():
	case err = <-gone:
		gone <- err
	}
	for _, c := range closers {
		c()
	}
	for _, e := range g.ends {
		_ = e.close()
	}
	err = <-gone
	g.abortAll()
	g.stack.Destroy()
	return err
}

// service is a server on the gateway's address.
type service struct {
	name  string
	serve func() error
	close func() error
}

// conn is a TCP connection with a guest. It is closed when the guest's NIC goes.
type conn struct {
	*gonet.TCPConn
	ep tcpip.Endpoint
	g  *gateway
}

// Close ends the connection in order: what was written still arrives.
func (c *conn) Close() error {
	c.g.forget(c)
	return c.TCPConn.Close()
}

// abort ends the connection with a reset.
func (c *conn) abort() {
	c.g.forget(c)
	c.ep.Abort()
}

// keeps is false for a connection that was closed or aborted.
func (g *gateway) keeps(c *conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, ok := g.conns[c]
	return ok
}

func (g *gateway) forget(c *conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.conns, c)
}

// keep wraps an endpoint that is connected with guest, or about to be. A guest that is reset does not say
// goodbye: keepalives find out within 25 s.
func (g *gateway) keep(ep tcpip.Endpoint, wq *waiter.Queue, guest netip.Addr) *conn {
	idle, interval := tcpip.KeepaliveIdleOption(10*time.Second), tcpip.KeepaliveIntervalOption(5*time.Second)
	_ = ep.SetSockOpt(&idle) // refusals only leave the defaults
	_ = ep.SetSockOpt(&interval)
	_ = ep.SetSockOptInt(tcpip.KeepaliveCountOption, 3)
	ep.SocketOptions().SetKeepAlive(true)
	ep.SocketOptions().SetDelayOption(false)
	c := &conn{TCPConn: gonet.NewTCPConn(wq, ep), ep: ep, g: g}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.conns[c] = guest
	return c
}

// abortOf resets the connections with guest and forgets its MAC address.
func (g *gateway) abortOf(guest netip.Addr) {
	g.abortIf(func(a netip.Addr) bool { return a == guest })
	_ = g.stack.RemoveNeighbor(nic, ipv4.ProtocolNumber, tcpAddr(guest)) // unknown is as good
}

func (g *gateway) abortAll() { g.abortIf(func(netip.Addr) bool { return true }) }

func (g *gateway) abortIf(match func(netip.Addr) bool) {
	g.mu.Lock()
	var found []*conn
	for c, a := range g.conns {
		if match(a) {
			found = append(found, c)
		}
	}
	g.mu.Unlock()
	for _, c := range found {
		c.abort()
	}
}

// dial connects to a guest from the gateway's address.
func (g *gateway) dial(ctx context.Context, to netip.AddrPort) (*conn, error) {
	fail := func(err error) (*conn, error) { return nil, fmt.Errorf("dial guest %s: %w", to, err) }
	wq := new(waiter.Queue)
	ep, terr := g.stack.NewEndpoint(tcp.ProtocolNumber, ipv4.ProtocolNumber, wq)
	if terr != nil {
		return fail(errors.New(terr.String()))
	}
	entry, connected := waiter.NewChannelEntry(waiter.WritableEvents | waiter.EventErr | waiter.EventHUp)
	wq.EventRegister(&entry)
	defer wq.EventUnregister(&entry)
	c := g.keep(ep, wq, to.Addr()) // from here on abortOf ends it
	terr = ep.Connect(tcpip.FullAddress{NIC: nic, Addr: tcpAddr(to.Addr()), Port: to.Port()})
	if _, started := terr.(*tcpip.ErrConnectStarted); started {
		select {
		case <-connected:
			terr = ep.LastError()
		case <-ctx.Done():
		}
	}
	if ctx.Err() != nil {
		c.abort()
		return fail(context.Cause(ctx))
	}
	if terr == nil && !g.keeps(c) {
		terr = &tcpip.ErrAborted{}
	}
	if terr != nil {
		c.abort()
		return fail(fmt.Errorf("%s: %w", terr, errdefs.ErrUnavailable))
	}
	return c, nil
}

// listenUDP and listenTCP serve on the gateway's own address.
func (g *gateway) listenUDP(port uint16) (*gonet.UDPConn, error) {
	c, err := gonet.DialUDP(g.stack, &tcpip.FullAddress{NIC: nic, Addr: tcpAddr(g.plan.Gateway()), Port: port}, nil, ipv4.ProtocolNumber)
	if err != nil {
		return nil, fmt.Errorf("gateway: UDP port %d: %w", port, err)
	}
	return c, nil
}

func (g *gateway) listenTCP(port uint16) (net.Listener, error) {
	l, err := gonet.ListenTCP(g.stack, tcpip.FullAddress{NIC: nic, Addr: tcpAddr(g.plan.Gateway()), Port: port}, ipv4.ProtocolNumber)
	if err != nil {
		return nil, fmt.Errorf("gateway: TCP port %d: %w", port, err)
	}
	return l, nil
}

func tcpAddr(a netip.Addr) tcpip.Address { return tcpip.AddrFrom4(a.As4()) }

func netAddr(a tcpip.Address) netip.Addr {
	n, _ := netip.AddrFromSlice(a.AsSlice())
	return n.Unmap()
}
