package vnet

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
)

const (
	// maxFlows of one UDP port: a new client beyond it is not heard until an
	// old one is forgotten.
	maxFlows = 512
	// flowIdle is how long a client without datagrams is remembered: RFC 4787
	// wants two minutes at least.
	flowIdle = 2 * time.Minute
)

// udpRelay carries datagrams between this computer's clients and a guest's port.
// Each client is a flow of its own, so that answers find back.
type udpRelay struct {
	gw  *gateway
	log *logrus.Entry
	in  *net.UDPConn // its end ends the relay
	to  netip.AddrPort

	mu    sync.Mutex // guards flows
	flows map[netip.AddrPort]net.Conn
	wg    sync.WaitGroup
}

func (r *udpRelay) run() {
	defer r.wg.Wait()
	defer r.endAll()
	buf := make([]byte, 64<<10)
	for {
		n, from, err := r.in.ReadFromUDPAddrPort(buf)
		if err != nil {
			return // closed: a UDP socket that is not connected has no other errors to read
		}
		flow, err := r.flow(from)
		if err != nil {
			r.log.WithError(err).Debug("datagram not forwarded")
			continue
		}
		// The answers' reader sets the deadline anew; what is sent counts as well.
		_ = flow.SetReadDeadline(time.Now().Add(flowIdle))
		if _, err := flow.Write(buf[:n]); err != nil {
			r.log.WithError(err).Debug("datagram not forwarded")
		}
	}
}

// flow is the client's, made at its first datagram.
func (r *udpRelay) flow(client netip.AddrPort) (net.Conn, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.flows[client]; c != nil {
		return c, nil
	}
	if len(r.flows) >= maxFlows {
		return nil, fmt.Errorf("UDP to %s: %d clients already", r.to, maxFlows)
	}
	c, err := r.gw.dialUDP(r.to)
	if err != nil {
		return nil, err
	}
	r.flows[client] = c
	r.wg.Go(func() { r.answers(client, c) })
	return c, nil
}

// answers carries what the guest says to one client.
func (r *udpRelay) answers(client netip.AddrPort, c net.Conn) {
	defer r.forget(client, c)
	_ = c.SetReadDeadline(time.Now().Add(flowIdle))
	buf := make([]byte, 64<<10)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return // idle, refused or closed: the next datagram begins anew
		}
		_ = c.SetReadDeadline(time.Now().Add(flowIdle))
		if _, err := r.in.WriteToUDPAddrPort(buf[:n], client); err != nil {
			return
		}
	}
}

func (r *udpRelay) forget(client netip.AddrPort, c net.Conn) {
	r.mu.Lock()
	if r.flows[client] == c {
		delete(r.flows, client)
	}
	r.mu.Unlock()
	_ = c.Close()
}

func (r *udpRelay) endAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.flows {
		_ = c.Close()
	}
}

// dialUDP makes a socket of the gateway's address that talks to a guest's port.
func (g *gateway) dialUDP(to netip.AddrPort) (net.Conn, error) {
	c, err := gonet.DialUDP(g.stack, &tcpip.FullAddress{NIC: nic, Addr: tcpAddr(g.plan.Gateway())},
		&tcpip.FullAddress{NIC: nic, Addr: tcpAddr(to.Addr()), Port: to.Port()}, ipv4.ProtocolNumber)
	if err != nil {
		return nil, fmt.Errorf("UDP to guest %s: %w", to, err)
	}
	return c, nil
}
