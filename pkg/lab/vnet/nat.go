package vnet

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/containers/gvisor-tap-vsock/pkg/services/forwarder"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

const (
	// maxHandshakes is how many connections of guests may be in the making.
	maxHandshakes = 1024
	// outboundLimit bounds one connection attempt on a guest's behalf.
	outboundLimit = 30 * time.Second
)

// natTCP makes this computer's connections of the guests'. A guest sees refusal
// and silence as this computer sees them.
func (g *gateway) natTCP() {
	f := tcp.NewForwarder(g.stack, 0, maxHandshakes, func(r *tcp.ForwarderRequest) {
		id := r.ID()
		to, ok := g.plan.outbound(netAddr(id.LocalAddress))
		if !ok {
			r.Complete(true)
			return
		}
		// The guest's connection is the only owner of this one.
		ctx, cancel := context.WithTimeout(context.Background(), outboundLimit)
		out, err := new(net.Dialer).DialContext(ctx, "tcp", netip.AddrPortFrom(to, id.LocalPort).String())
		cancel()
		if err != nil {
			g.log.WithError(err).Debug("guest's connection")
			r.Complete(true)
			return
		}
		wq := new(waiter.Queue)
		ep, terr := r.CreateEndpoint(wq)
		r.Complete(false)
		if terr != nil {
			g.log.WithField("error", terr).Debug("guest's connection")
			_ = out.Close()
			return
		}
		splice(g.keep(ep, wq, netAddr(id.RemoteAddress)), out.(*net.TCPConn))
	})
	g.stack.SetTransportProtocolHandler(tcp.ProtocolNumber, f.HandlePacket)
}

func (g *gateway) natUDP() {
	table := map[tcpip.Address]tcpip.Address{tcpAddr(g.plan.Host()): tcpAddr(loopback)}
	f := forwarder.UDP(g.stack, table, new(sync.Mutex), false)
	g.stack.SetTransportProtocolHandler(udp.ProtocolNumber, f.HandlePacket)
}

// outbound is where a guest's connection to a really goes: not to this computer's
// own loopback network but by way of the plan's Host, nor back into the subnet.
func (p Plan) outbound(a netip.Addr) (netip.Addr, bool) {
	if a == p.Host() {
		return loopback, true
	}
	return a, a.IsGlobalUnicast() && !p.Subnet().Contains(a)
}
