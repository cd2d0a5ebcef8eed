package network

import (
	"net/netip"
	"reflect"
)

// flow is a connection as the kernel tracks it: how its first packet came, and
// where the answers come from.
type flow struct {
	proto string         // "tcp" or "udp"
	to    netip.AddrPort // that the first packet was for
	from  netip.AddrPort // of the answers: after destination NAT another
}

// stale tells whether a flow does not go where its first packet would go now.
// The kernel asks the rules about a connection's first packet only: without
// forgetting such flows, a client that keeps sending from one port would go on
// reaching a container whose port is not published any more, or none although
// one is by now.
func (f flow) stale(n NAT) bool {
	n = n.of(f.to.Addr().Is6())
	return f.published(n) && f.target(n) != f.from
}

// mayBeStale tells whether there can be stale flows of a kind after a change from
// have, nil when that is not known: to look for them takes as long as all the rest.
func mayBeStale(have *NAT, n NAT, v6 bool) bool {
	if have == nil {
		return true
	}
	before, now := have.of(v6), n.of(v6)
	if len(before.Ports) == 0 && len(now.Ports) == 0 {
		return false // none was sent anywhere, and none shall be
	}
	return !reflect.DeepEqual(before, now)
}

// published tells whether a flow concerns published ports: it was sent to a
// container by us, or it is for us.
func (f flow) published(n NAT) bool {
	if f.to == f.from {
		return f.target(n) != f.to
	}
	for _, s := range n.Networks {
		if s.Gateway.Masked().Contains(f.from.Addr()) {
			return true
		}
	}
	return false
}

// target is where a packet for f.to goes now.
func (f flow) target(n NAT) netip.AddrPort {
	for _, p := range n.Ports {
		if p.Proto == f.proto && p.HostPort == f.to.Port() && p.takes(f.to.Addr(), n) {
			return netip.AddrPortFrom(p.To, p.Port)
		}
	}
	return f.to
}

// takes tells whether a port is published on an address.
func (p Forward) takes(a netip.Addr, n NAT) bool {
	if p.Host.IsValid() && !p.Host.IsUnspecified() {
		return p.Host == a
	}
	for _, own := range own(n) {
		if own == a {
			return true
		}
	}
	return false
}
