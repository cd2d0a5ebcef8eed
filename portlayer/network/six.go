package network

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/spec"
)

// minWidth6 and maxWidth6 bound the prefix lengths of IPv6 subnets, and width6 is
// that of those that are chosen (RFC 4291, 2.5.1).
const (
	minWidth6 = 16
	maxWidth6 = 126
	width6    = 64
)

// Six is the IPv6 of a network; nothing in it is valid on one without.
type Six struct {
	Subnet, Range netip.Prefix
	Gateway, next netip.Addr
}

func (sc Scope) six() pool { return pool{sc.Six.Subnet, sc.Six.Range, sc.Six.Gateway, sc.Six.next} }

// pool6 is the VCH's own part of the unique local addresses (RFC 4193), where
// subnets are chosen from: the same each time, and hardly that of another VCH.
func (s State) pool6() netip.Prefix {
	sum := sha256.Sum256([]byte(s.vch + "/ula"))
	var a [16]byte
	a[0] = 0xfd
	copy(a[1:6], sum[:])
	return netip.PrefixFrom(netip.AddrFrom16(a), 48)
}

// freeSubnet6 is the next IPv6 subnet of the VCH's own that overlaps nothing.
func (s State) freeSubnet6() (netip.Prefix, error) {
	all := s.pool6()
	a := all.Addr().As16()
	for n := range 1 << (width6 - all.Bits()) {
		binary.BigEndian.PutUint16(a[6:], uint16(n))
		if p := netip.PrefixFrom(netip.AddrFrom16(a), width6); s.overlap(p) == "" {
			return p, nil
		}
	}
	return all, fmt.Errorf("could not find an available, non-overlapping IPv6 address pool among the defaults to assign to the network (range %s, width %d)%w",
		all, width6, hidden{errdefs.ErrResourceExhausted})
}

// choose6 fills in the IPv6 subnet of a network that is made.
func (s State) choose6(n spec.Network) (spec.Network, error) {
	n.Chosen6 = n.Subnet6 != ""
	if !n.IPv6 || n.Chosen6 {
		return n, nil
	}
	if n.IPRange6 != "" || n.Gateway6 != "" || len(n.Reserved6) > 0 {
		return n, fmt.Errorf("network %s: an IPv6 --ip-range, --gateway or --aux-address needs an IPv6 --subnet%w", n.Name, hidden{errdefs.ErrInvalidArgument})
	}
	p, err := s.freeSubnet6()
	if err != nil {
		return n, fmt.Errorf("network %s: %w", n.Name, err)
	}
	n.Subnet6 = p.String()
	return n, nil
}

// withSix checks the IPv6 of a network and fills in its gateway.
func (sc Scope) withSix() (Scope, error) {
	n := sc.Net
	bad := func(format string, args ...any) (Scope, error) {
		return sc, fmt.Errorf("network %s: %s%w", n.Name, fmt.Sprintf(format, args...), hidden{errdefs.ErrInvalidArgument})
	}
	if !n.IPv6 {
		if n.Subnet6 != "" || n.IPRange6 != "" || n.Gateway6 != "" || len(n.Reserved6) > 0 {
			return bad("IPv6 addresses without IPv6 (--ipv6)")
		}
		return sc, nil
	}
	subnet, err := netip.ParsePrefix(n.Subnet6)
	if err != nil || !subnet.Addr().Is6() || subnet.Addr().Is4In6() {
		return bad("subnet %q is not an IPv6 network", n.Subnet6)
	}
	subnet = subnet.Masked()
	if a := subnet.Addr(); subnet.Bits() < minWidth6 || subnet.Bits() > maxWidth6 || a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() || a.IsLinkLocalUnicast() {
		return bad("subnet %s cannot be used, want a unicast network of /%d to /%d that is not link-local", subnet, minWidth6, maxWidth6)
	}
	six := Six{Subnet: subnet, Range: subnet, Gateway: subnet.Addr().Next()}
	if n.IPRange6 != "" {
		r, err := netip.ParsePrefix(n.IPRange6)
		if err != nil || r.Bits() < subnet.Bits() || !subnet.Contains(r.Addr()) {
			return bad("address range %q is not within the subnet %s", n.IPRange6, subnet)
		}
		six.Range = r.Masked()
		sc.Net.IPRange6 = six.Range.String()
	}
	for name, text := range n.Reserved6 {
		a, err := netip.ParseAddr(text)
		if err != nil || !subnet.Contains(a) {
			return bad("reserved address %s=%s is not within the subnet %s", name, text, subnet)
		}
		sc.Reserved[a] = true
	}
	if n.Gateway6 != "" {
		g, err := parseAddr(n.Gateway6)
		if err != nil || !subnet.Contains(g) || g == subnet.Addr() {
			return bad("gateway %q is not an address of the subnet %s", n.Gateway6, subnet)
		}
		six.Gateway = g
	} else {
		for sc.Reserved[six.Gateway] {
			six.Gateway = six.Gateway.Next()
		}
	}
	if sc.Reserved[six.Gateway] || !subnet.Contains(six.Gateway) {
		return bad("no IPv6 address is left for the gateway")
	}
	six.next = six.Range.Addr()
	sc.Six = six
	sc.Net.Subnet6, sc.Net.Gateway6 = subnet.String(), six.Gateway.String()
	return sc, nil
}
