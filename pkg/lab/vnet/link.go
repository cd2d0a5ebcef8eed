package vnet

import (
	"net/netip"
	"slices"
	"sync"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// link is the gateway's NIC: a member of the switch and the stack's link endpoint.
type link struct {
	sw  *layer2
	mac mac
	own []netip.Addr // what it answers for

	mu      sync.RWMutex // guards deliver
	deliver stack.NetworkDispatcher
}

var (
	_ member             = (*link)(nil)
	_ stack.LinkEndpoint = (*link)(nil)
)

// send implements member: into the stack.
func (l *link) send(f frame) {
	l.mu.RLock()
	d := l.deliver
	l.mu.RUnlock()
	if dst := f.dst(); d == nil || dst != l.mac && !dst.group() {
		return
	}
	// The stack keeps the data, and other members have the frame as well.
	data := buffer.MakeWithData(append([]byte(nil), f[lengthLen+ethernetLen:]...))
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: data})
	d.DeliverNetworkPacket(tcpip.NetworkProtocolNumber(f.kind()), pkt)
	pkt.DecRef()
}

// hears implements member: send tells by itself.
func (l *link) hears(frame) bool { return true }

// snoops implements member.
func (l *link) snoops() bool { return false }

// WritePackets implements stack.LinkEndpoint: onto the switch.
func (l *link) WritePackets(pkts stack.PacketBufferList) (int, tcpip.Error) {
	for _, p := range pkts.AsSlice() {
		if p.NetworkProtocolNumber == header.ARPProtocolNumber && !l.ownARP(header.ARP(p.NetworkHeader().Slice())) {
			continue
		}
		l.sw.forward(l, l.encode(p))
	}
	return pkts.Len(), nil
}

func (l *link) encode(p *stack.PacketBuffer) frame {
	f := newFrame(ethernetLen + p.Size())
	e := header.Ethernet(f.ethernet())
	e.Encode(&header.EthernetFields{Type: p.NetworkProtocolNumber, SrcAddr: l.LinkAddress(), DstAddr: p.EgressRoute.RemoteLinkAddress})
	at := lengthLen + ethernetLen
	for _, part := range p.AsSlices() {
		at += copy(f[at:], part)
	}
	return f
}

// ownARP tells whether the stack may say this: being promiscuous it would claim
// every address that is asked for.
func (l *link) ownARP(h header.ARP) bool {
	if !h.IsValid() || h.Op() != header.ARPReply {
		return true
	}
	return slices.Contains(l.own, netAddr(tcpip.AddrFromSlice(h.ProtocolAddressSender())))
}

// Attach implements stack.LinkEndpoint.
func (l *link) Attach(d stack.NetworkDispatcher) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.deliver = d
}

// IsAttached implements stack.LinkEndpoint.
func (l *link) IsAttached() bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.deliver != nil
}

// The rest of stack.LinkEndpoint says what this NIC is.

func (l *link) MTU() uint32                             { return MTU }
func (l *link) SetMTU(uint32)                           {}
func (l *link) MaxHeaderLength() uint16                 { return 0 }
func (l *link) LinkAddress() tcpip.LinkAddress          { return tcpip.LinkAddress(l.mac[:]) }
func (l *link) SetLinkAddress(tcpip.LinkAddress)        {}
func (l *link) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareEther }
func (l *link) AddHeader(*stack.PacketBuffer)           {}
func (l *link) ParseHeader(*stack.PacketBuffer) bool    { return true }
func (l *link) Wait()                                   {}
func (l *link) Close()                                  {}
func (l *link) SetOnCloseAction(func())                 {}
func (l *link) Capabilities() stack.LinkEndpointCapabilities {
	// Frames don't leave this computer unchecked by TCP on either end: what
	// arrives here came through memory.
	return stack.CapabilityResolutionRequired | stack.CapabilityRXChecksumOffload
}
