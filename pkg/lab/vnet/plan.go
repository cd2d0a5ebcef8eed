package vnet

import (
	"fmt"
	"net/netip"

	"github.com/containerd/errdefs"
)

// Plan is the addresses of one lab's external network: 10.118.N.0/24, and the
// range of this computer's loopback network that stands for it, 127.118.N.0/24.
// The zero value is the plan of the first lab, with N = 0.
type Plan struct{ n byte }

// Plans is how many there are: labs with different ones do not collide.
const Plans = 256

// NewPlan is the plan of a subnet, which must be 10.118.N.0/24. No subnet at all
// means the zero Plan.
func NewPlan(subnet netip.Prefix) (Plan, error) {
	if subnet == (netip.Prefix{}) {
		return Plan{}, nil
	}
	if a := subnet.Addr(); a.Is4() {
		if p := (Plan{a.As4()[2]}); p.Subnet() == subnet {
			return p, nil
		}
	}
	return Plan{}, fmt.Errorf("subnet %s: want 10.118.N.0/24, with N from 0 to 255: %w", subnet, errdefs.ErrInvalidArgument)
}

// ParsePlan is the plan of a subnet that is given as text.
func ParsePlan(subnet string) (Plan, error) {
	p, err := netip.ParsePrefix(subnet)
	if err != nil {
		return Plan{}, fmt.Errorf("subnet %q: want one like 10.118.7.0/24: %w", subnet, errdefs.ErrInvalidArgument)
	}
	return NewPlan(p)
}

// Subnet is the external network, as guests see it.
func (p Plan) Subnet() netip.Prefix { return netip.PrefixFrom(p.guest(0), 24) }

// Gateway is the way out, and the DHCP and DNS server.
func (p Plan) Gateway() netip.Addr { return p.guest(1) }

// Host is this computer's 127.0.0.1, as guests reach it.
func (p Plan) Host() netip.Addr { return p.guest(2) }

// Alias is where this computer has the guests' ports.
func (p Plan) Alias() netip.Prefix { return netip.PrefixFrom(p.local(0), 24) }

// HostAddress is where this computer reaches a guest: 127.118.N.x for 10.118.N.x.
// False for an address that is not of the subnet.
func (p Plan) HostAddress(guest netip.Addr) (netip.Addr, bool) {
	guest = guest.Unmap()
	if !p.Subnet().Contains(guest) {
		return netip.Addr{}, false
	}
	return p.local(guest.As4()[3]), true
}

// GuestAddress undoes HostAddress.
func (p Plan) GuestAddress(local netip.Addr) (netip.Addr, bool) {
	local = local.Unmap()
	if !p.Alias().Contains(local) {
		return netip.Addr{}, false
	}
	return p.guest(local.As4()[3]), true
}

// forGuests tells whether a guest may have an address.
func (p Plan) forGuests(a netip.Addr) bool {
	if !p.Subnet().Contains(a) {
		return false
	}
	x := a.As4()[3]
	return x > 2 && x < 255
}

// firstLease and lastLease bound what DHCP hands out.
func (p Plan) firstLease() netip.Addr { return p.guest(10) }
func (p Plan) lastLease() netip.Addr  { return p.guest(250) }

func (p Plan) guest(x byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 118, p.n, x}) }
func (p Plan) local(x byte) netip.Addr { return netip.AddrFrom4([4]byte{127, 118, p.n, x}) }
