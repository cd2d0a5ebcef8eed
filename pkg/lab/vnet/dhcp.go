package vnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/sirupsen/logrus"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// leaseTime is what guests are told; the address is theirs anyway.
const leaseTime = 12 * time.Hour

// dhcpServer answers for the external network.
type dhcpServer struct {
	log  *logrus.Entry
	plan Plan
	book *leaseBook
	// granted is told of each acknowledged lease, before the guest is.
	granted func(mac string, a netip.Addr)
}

// listen opens the server's port, which must take and send broadcasts.
func (d *dhcpServer) listen(s *stack.Stack) (*gonet.UDPConn, error) {
	wq := new(waiter.Queue)
	ep, terr := s.NewEndpoint(udp.ProtocolNumber, ipv4.ProtocolNumber, wq)
	if terr != nil {
		return nil, fmt.Errorf("DHCP: %s", terr)
	}
	ep.SocketOptions().SetBroadcast(true)
	if terr := ep.Bind(tcpip.FullAddress{NIC: nic, Port: dhcpv4.ServerPort}); terr != nil {
		ep.Close()
		return nil, fmt.Errorf("DHCP: bind: %s", terr)
	}
	return gonet.NewUDPConn(wq, ep), nil
}

func (d *dhcpServer) serve(c *gonet.UDPConn) error {
	buf := make([]byte, 2048)
	for {
		n, _, err := c.ReadFrom(buf)
		if err != nil {
			return err
		}
		m, err := dhcpv4.FromBytes(buf[:n])
		if err != nil {
			d.log.WithError(err).Debug("DHCP request can't be read")
			continue
		}
		reply, err := d.answer(m)
		if err != nil {
			d.log.WithError(err).WithField("mac", m.ClientHWAddr.String()).Warn("DHCP request not answered")
		}
		if reply == nil {
			continue
		}
		// A client without an address yet hears broadcasts only; one that has
		// it, as well.
		to := &net.UDPAddr{IP: net.IPv4bcast, Port: dhcpv4.ClientPort}
		if _, err := c.WriteTo(reply.ToBytes(), to); err != nil {
			d.log.WithError(err).Warn("DHCP reply not sent")
		}
	}
}

// answer is RFC 2131's server, for clients on its own network. Nil: no reply is
// due.
func (d *dhcpServer) answer(m *dhcpv4.DHCPv4) (*dhcpv4.DHCPv4, error) {
	if m.OpCode != dhcpv4.OpcodeBootRequest || len(m.ClientHWAddr) != 6 {
		return nil, nil
	}
	if id := m.ServerIdentifier(); id != nil && !id.Equal(net.IP(d.plan.Gateway().AsSlice())) {
		return nil, nil // another server was chosen
	}
	mac := m.ClientHWAddr.String()
	switch m.MessageType() {
	case dhcpv4.MessageTypeDiscover:
		return d.offer(m, mac, dhcpv4.MessageTypeOffer)
	case dhcpv4.MessageTypeRequest:
		wish := m.RequestedIPAddress()
		if wish == nil || wish.IsUnspecified() {
			wish = m.ClientIPAddr // renewing
		}
		have, known := d.book.lookup(mac)
		asked, ok := netip.AddrFromSlice(wish)
		if !ok || !known && m.ServerIdentifier() == nil || known && asked.Unmap() != have {
			return d.reply(m, dhcpv4.MessageTypeNak)
		}
		return d.offer(m, mac, dhcpv4.MessageTypeAck)
	case dhcpv4.MessageTypeInform:
		r, err := d.reply(m, dhcpv4.MessageTypeAck)
		if err == nil {
			d.settings(r)
		}
		return r, err
	case dhcpv4.MessageTypeDecline:
		d.book.decline(mac)
	}
	// RELEASE changes nothing: the address stays the MAC's.
	return nil, nil
}

func (d *dhcpServer) offer(m *dhcpv4.DHCPv4, mac string, kind dhcpv4.MessageType) (*dhcpv4.DHCPv4, error) {
	a, err := d.book.assign(mac)
	if errors.Is(err, errNoAddress) {
		return nil, fmt.Errorf("DHCP for %s: %w", mac, err)
	}
	if err != nil {
		// Given, though not kept over a restart of the lab.
		d.log.WithError(err).Error("lease not kept")
	}
	r, err := d.reply(m, kind)
	if err != nil {
		return nil, err
	}
	if kind == dhcpv4.MessageTypeAck {
		d.granted(mac, a)
	}
	r.YourIPAddr = a.AsSlice()
	r.UpdateOption(dhcpv4.OptIPAddressLeaseTime(leaseTime))
	d.settings(r)
	d.log.WithFields(logrus.Fields{"mac": mac, "address": a.String()}).Debug(kind.String())
	return r, nil
}

func (d *dhcpServer) reply(m *dhcpv4.DHCPv4, kind dhcpv4.MessageType) (*dhcpv4.DHCPv4, error) {
	r, err := dhcpv4.NewReplyFromRequest(m,
		dhcpv4.WithMessageType(kind), dhcpv4.WithServerIP(d.plan.Gateway().AsSlice()),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(d.plan.Gateway().AsSlice())))
	if err != nil {
		return nil, fmt.Errorf("DHCP reply to %s: %w", m.ClientHWAddr, err)
	}
	return r, nil
}

func (d *dhcpServer) settings(r *dhcpv4.DHCPv4) {
	r.UpdateOption(dhcpv4.OptSubnetMask(net.CIDRMask(d.plan.Subnet().Bits(), 32)))
	r.UpdateOption(dhcpv4.OptRouter(d.plan.Gateway().AsSlice()))
	r.UpdateOption(dhcpv4.OptDNS(d.plan.Gateway().AsSlice()))
	r.UpdateOption(dhcpv4.OptDomainName(Domain))
	r.UpdateOption(dhcpv4.Option{Code: dhcpv4.OptionInterfaceMTU, Value: dhcpv4.Uint16(MTU)})
}
