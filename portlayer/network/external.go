package network

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/iprange"
	"github.com/vic-engine/vic/pkg/spec"
)

// external tells that a scope is a container network: a port group that the VCH
// is not on. Nothing is routed, published or named there.
func (sc Scope) external() bool { return sc.Net.Driver == spec.DriverExternal }

// leased tells that addresses there are the matter of a DHCP server.
func (sc Scope) leased() bool { return !sc.Subnet.IsValid() }

// withContainerNetwork adds a container network that was given when the VCH was
// made.
func (s State) withContainerNetwork(n spec.ContainerNetwork) (State, error) {
	bad := func(format string, args ...any) (State, error) {
		return s, fmt.Errorf("container network %s: %s%w", n.Name, fmt.Sprintf(format, args...), hidden{errdefs.ErrInvalidArgument})
	}
	sum := sha256.Sum256([]byte(s.vch + "/container-network/" + n.Name))
	sc := Scope{Net: spec.Network{
		ID: hex.EncodeToString(sum[:]), Name: n.Name, Driver: spec.DriverExternal, PortGroup: n.PortGroup,
		Ranges: n.Ranges, DNS: n.DNS, Trust: n.Trust, Builtin: true,
	}}
	if err := s.checkName(sc.Net); err != nil {
		return s, err
	}
	if err := n.Trust.Validate(); err != nil {
		return bad("%v", err)
	}
	if n.PortGroup == "" || n.PortGroup == s.Scopes[s.Default].Net.PortGroup {
		return bad("its port group %q must be one, and not the bridge's", n.PortGroup)
	}
	if n.Gateway == "" {
		return s.with(sc), nil
	}
	g, err := netip.ParsePrefix(n.Gateway)
	if err != nil || !g.Addr().Is4() || g.Bits() < minWidth || g.Bits() > maxWidth {
		return bad("gateway %q is not an IPv4 address with a length of /%d to /%d", n.Gateway, minWidth, maxWidth)
	}
	sc.Subnet, sc.Range, sc.Gateway = g.Masked(), g.Masked(), g.Addr()
	sc.Net.Subnet, sc.Net.Gateway, sc.Net.Chosen = sc.Subnet.String(), sc.Gateway.String(), true
	for _, text := range n.Ranges {
		r, err := iprange.Parse(text)
		if err != nil || !r.Within(sc.Subnet) {
			return bad("address range %q is not within %s", text, sc.Subnet)
		}
		sc.Pools = append(sc.Pools, r)
	}
	if len(sc.Pools) == 0 {
		sc.Pools = []iprange.Range{iprange.Of(sc.Subnet)}
	}
	// What Docker shows has one range in CIDR form.
	if len(n.Ranges) == 1 {
		if p, err := netip.ParsePrefix(n.Ranges[0]); err == nil {
			sc.Net.IPRange = p.Masked().String()
		}
	}
	sc.next = sc.Pools[0].From
	return s.with(sc), nil
}

// choosePooled gives the next free address of the pools, from next on.
func (sc Scope) choosePooled() (netip.Addr, error) {
	from := 0
	for i, p := range sc.Pools {
		if p.Contains(sc.next) {
			from = i
		}
	}
	// The pool of next is looked at twice: from next on, and all of it at last.
	for i := range len(sc.Pools) + 1 {
		p := sc.Pools[(from+i)%len(sc.Pools)]
		a := p.From
		if i == 0 && p.Contains(sc.next) {
			a = sc.next
		}
		for ; p.Contains(a); a = a.Next() {
			if _, taken := sc.Leases[a]; sc.usable(sc.four(), a) && !taken {
				return a, nil
			}
		}
	}
	return netip.Addr{}, fmt.Errorf("container network %s has no free address left in %v%w", sc.Net.Name, sc.Pools, hidden{errdefs.ErrResourceExhausted})
}

// pooled tells whether an address may be given to containers: on a bridge
// network every one, on a container network those of its ranges.
func (sc Scope) pooled(a netip.Addr) bool {
	if len(sc.Pools) == 0 {
		return true
	}
	for _, p := range sc.Pools {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// fillExternal completes an endpoint on a container network: a card of its own
// and, where the VCH has the addresses, one of them.
func fillExternal(s State, owner string, sc Scope, e *spec.Endpoint) (State, error) {
	if e.IP6 != "" {
		return s, fmt.Errorf("address %s on network %s: container networks have no IPv6%w", e.IP6, sc.Net.Name, hidden{errdefs.ErrInvalidArgument})
	}
	if sc.leased() && e.IP != "" {
		return s, fmt.Errorf("address %s: addresses on network %s come from DHCP, none can be chosen%w", e.IP, sc.Net.Name, hidden{errdefs.ErrInvalidArgument})
	}
	s, mac, err := externalMAC(s, owner, sc.Net.PortGroup, e.MAC)
	if err != nil {
		return s, err
	}
	e.Network, e.NetworkID, e.PortGroup, e.MAC = sc.Net.Name, sc.Net.ID, sc.Net.PortGroup, mac
	e.Trust, e.Peers, e.Gateway = sc.Net.Trust, sc.Net.Ranges, ""
	if sc.leased() {
		return s, nil
	}
	s, lease, err := Allocate(s, Request{Network: sc.Net.Name, Owner: owner, IP: e.IP})
	if err != nil {
		return s, err
	}
	e.Static = e.Static || e.IP != ""
	e.IP, e.Gateway = lease.Prefix.String(), lease.Gateway.String()
	return s, nil
}

// externalMAC gives a container's card on a container network the address that
// it asks for, or one that follows from the container and the port group. A card
// that the container has there already keeps its address.
func externalMAC(s State, owner, portGroup, want string) (State, string, error) {
	if want != "" {
		return MAC(s, owner, want)
	}
	for n := range 1000 {
		h := sha256.Sum256(fmt.Appendf(nil, "%s/%s/%s/%d", s.vch, owner, portGroup, n))
		mac := net.HardwareAddr{0x00, 0x50, 0x56, h[0] & 0x3f, h[1], h[2]}.String()
		if _, taken := s.macs[mac]; !taken {
			return s.withMAC(mac, owner), mac, nil
		}
	}
	return s, "", fmt.Errorf("no free MAC address%w", hidden{errdefs.ErrResourceExhausted})
}

// Bridged are the endpoints that share the card on the bridge port group.
func Bridged(endpoints []spec.Endpoint) []spec.Endpoint {
	var out []spec.Endpoint
	for _, e := range endpoints {
		if e.Trust == "" {
			out = append(out, e)
		}
	}
	return out
}

// wayOut tells whether an endpoint may have the default route. One with DHCP
// hears of its router when it has its lease.
func wayOut(e spec.Endpoint) bool { return e.Gateway != "" || e.Trust != "" && e.IP == "" }
