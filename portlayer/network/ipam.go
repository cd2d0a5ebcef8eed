package network

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/iprange"
	"github.com/vic-engine/vic/pkg/policy"
	"github.com/vic-engine/vic/pkg/spec"
)

// Defaults of the bridge networks of a VCH.
const (
	DefaultRange = "172.16.0.0/12"
	DefaultWidth = 16
	BridgeName   = "bridge"
)

// Scope is one network with addresses of its own.
type Scope struct {
	// Net is what is kept of it; its Name and ID are the scope's. What follows
	// is what it says, parsed.
	Net    spec.Network
	Subnet netip.Prefix
	// Range is the part of Subnet that addresses are chosen from.
	Range netip.Prefix
	// Pools are the parts of Subnet that a container network's addresses are of.
	Pools []iprange.Range
	// Gateway is the VCH's own address on it, on a container network a router's.
	Gateway netip.Addr
	// Six are the same of IPv6, on a network that has it.
	Six Six
	// Reserved addresses are given to nobody.
	Reserved map[netip.Addr]bool
	// Policies are those that its labels say.
	Policies []policy.Policy
	// Leases are the owners (container ids) of addresses, of both kinds.
	Leases map[netip.Addr]string
	// next is where the search for a free address begins, so that an address
	// just given back is not given out at once (others may still know its MAC).
	next netip.Addr
}

// State is all scopes by name. It is a value: functions give a new one.
type State struct {
	Scopes map[string]Scope
	// Default is the network of a container that names none.
	Default string
	// pending networks are being made or removed: nobody can be on them, and
	// their names and subnets are not given to others.
	pending map[string]Scope
	// Damaged are networks whose file cannot be read: their names and subnets,
	// as far as they are known, are not given to others.
	Damaged []Damaged
	// Used are networks of others that new subnets must not overlap.
	Used []netip.Prefix
	// macs are the owners of MAC addresses on the bridge port group.
	macs map[string]string
	// ports are the host ports that containers have, running or not.
	ports map[string][]Publication

	vch   string
	pool  netip.Prefix
	width int
}

// Damaged is what is known of a network whose file cannot be read.
type Damaged struct {
	ID, Name        string
	Subnet, Subnet6 netip.Prefix
	Err             error
}

// Config of the default bridge.
type Config struct {
	// VCH is the UUID that network ids are made from.
	VCH string
	// Range and Width: the pool of bridge networks and the prefix length of
	// each. Empty and 0 are the defaults.
	Range string
	Width int
	// PortGroup is the vSphere network behind the bridge.
	PortGroup string
	Created   time.Time
	// External are the container networks.
	External []spec.ContainerNetwork
	// Used are networks that the VCH is on, which no bridge network may overlap.
	Used []netip.Prefix
}

// New gives the state of a VCH without containers: the default bridge, the
// first network of the range, its first address the gateway.
func New(cfg Config) (State, error) {
	if cfg.Range == "" {
		cfg.Range = DefaultRange
	}
	if cfg.Width == 0 {
		cfg.Width = DefaultWidth
	}
	pool, err := netip.ParsePrefix(cfg.Range)
	if err != nil || !pool.Addr().Is4() {
		return State{}, fmt.Errorf("bridge network range %q: want an IPv4 network like %s%w", cfg.Range, DefaultRange, hidden{errdefs.ErrInvalidArgument})
	}
	if cfg.Width < pool.Bits() || cfg.Width > 29 {
		return State{}, fmt.Errorf("bridge network width %d: want %d to 29 for range %s%w", cfg.Width, pool.Bits(), cfg.Range, hidden{errdefs.ErrInvalidArgument})
	}
	subnet := netip.PrefixFrom(pool.Masked().Addr(), cfg.Width)
	sum := sha256.Sum256([]byte(cfg.VCH + "/" + BridgeName))
	sc, err := newScope(spec.Network{
		ID: hex.EncodeToString(sum[:]), Name: BridgeName, Driver: "bridge", PortGroup: cfg.PortGroup,
		Subnet: subnet.String(), Gateway: subnet.Addr().Next().String(), Created: cfg.Created, Builtin: true,
	})
	if err != nil {
		return State{}, err
	}
	s := State{
		Default: BridgeName, Scopes: map[string]Scope{BridgeName: sc},
		Used: cfg.Used, vch: cfg.VCH, pool: pool.Masked(), width: cfg.Width,
	}
	for _, n := range cfg.External {
		if s, err = s.withContainerNetwork(n); err != nil {
			return State{}, err
		}
	}
	return s, nil
}

// Request asks for an address.
type Request struct {
	Network string // name or id; empty is the default
	Owner   string // container id
	// IP and IP6 are wanted addresses, with or without prefix length; empty: any.
	IP, IP6 string
}

// Lease is an address that was given.
type Lease struct {
	Network, NetworkID, PortGroup string
	Addr                          netip.Addr
	Prefix                        netip.Prefix // Addr with the subnet's length
	// Gateway is not valid on an internal network, which has no way out.
	Gateway netip.Addr
	// Prefix6 and Gateway6 likewise; not valid on a network without IPv6.
	Prefix6  netip.Prefix
	Gateway6 netip.Addr
}

// Allocate gives an address of a network to an owner, and one of IPv6 if the
// network has that. Unknown network: ErrNotFound; a wanted address that is taken:
// ErrConflict, that is not of the network: ErrInvalidArgument; none left:
// ErrResourceExhausted.
func Allocate(s State, r Request) (State, Lease, error) {
	sc, err := s.find(r.Network)
	if err != nil {
		return s, Lease{}, err
	}
	sc, addr, err := sc.give(sc.four(), r.Owner, r.IP)
	if err != nil {
		return s, Lease{}, err
	}
	l := Lease{
		Network: sc.Net.Name, NetworkID: sc.Net.ID, PortGroup: sc.Net.PortGroup, Addr: addr,
		Prefix: netip.PrefixFrom(addr, sc.Subnet.Bits()), Gateway: sc.wayOut(),
	}
	switch {
	case sc.Net.IPv6:
		sc, addr, err = sc.give(sc.six(), r.Owner, r.IP6)
		if err != nil {
			return s, Lease{}, err
		}
		l.Prefix6 = netip.PrefixFrom(addr, sc.Six.Subnet.Bits())
		if !sc.Net.Internal {
			l.Gateway6 = sc.Six.Gateway
		}
	case r.IP6 != "":
		return s, Lease{}, fmt.Errorf("address %s on network %s: the network has no IPv6%w", r.IP6, sc.Net.Name, hidden{errdefs.ErrInvalidArgument})
	}
	return s.with(sc), l, nil
}

// pool is what addresses of one kind are chosen from.
type pool struct {
	subnet, within netip.Prefix
	gateway, next  netip.Addr
}

func (sc Scope) four() pool { return pool{sc.Subnet, sc.Range, sc.Gateway, sc.next} }

// give notes an address of a pool for an owner: the wanted one, or any.
func (sc Scope) give(p pool, owner, want string) (Scope, netip.Addr, error) {
	addr, err := sc.choose(p, want)
	if err != nil {
		return sc, addr, err
	}
	sc.Leases = maps.Clone(sc.Leases)
	if sc.Leases == nil {
		sc.Leases = map[netip.Addr]string{}
	}
	sc.Leases[addr] = owner
	switch {
	case want != "":
	case addr.Is4():
		sc.next = addr.Next()
	default:
		sc.Six.next = addr.Next()
	}
	return sc, addr, nil
}

// Release gives back all addresses of an owner.
func Release(s State, owner string) State {
	for _, sc := range s.Scopes {
		kept := maps.Clone(sc.Leases)
		maps.DeleteFunc(kept, func(_ netip.Addr, o string) bool { return o == owner })
		if len(kept) != len(sc.Leases) {
			sc.Leases = kept
			s = s.with(sc)
		}
	}
	return s.withPorts(owner, nil).withoutMAC(owner)
}

// ReleaseOn gives back an owner's address on one network. What it has on the
// others stays, and so does its MAC address.
func ReleaseOn(s State, owner, network string) State {
	sc, ok := s.Scopes[network]
	if !ok {
		return s
	}
	sc.Leases = maps.Clone(sc.Leases)
	maps.DeleteFunc(sc.Leases, func(_ netip.Addr, o string) bool { return o == owner })
	return s.with(sc)
}

// Restore takes back the leases that an existing container has in its
// configuration. An address that another container holds is not taken; the
// error (ErrConflict) names both, and the other leases are restored.
func Restore(s State, owner string, endpoints []spec.Endpoint) (State, error) {
	var clash error
	s = s.withPorts(owner, endpoints)
	for _, e := range endpoints {
		if e.MAC != "" {
			s = s.withMAC(e.MAC, owner)
		}
		sc, ok := s.Scopes[e.Network]
		if !ok {
			continue
		}
		for _, has := range []struct {
			ip string
			of pool
		}{{e.IP, sc.four()}, {e.IP6, sc.six()}} {
			if a, err := parseAddr(has.ip); has.ip == "" || err == nil && sc.Leases[a] == owner {
				continue
			}
			next, _, err := sc.give(has.of, owner, has.ip)
			if err != nil {
				clash = fmt.Errorf("address of container %s: %w", owner, err)
				continue
			}
			sc = next
		}
		s = s.with(sc)
	}
	return s, clash
}

// Networks lists the scopes, the default one first, then the oldest.
func (s State) Networks() []spec.Network {
	out := make([]spec.Network, 0, len(s.Scopes))
	for _, sc := range s.inOrder(slices.Collect(maps.Values(s.Scopes))) {
		out = append(out, sc.Net)
	}
	return out
}

// inOrder sorts networks: the default one is the first, then the oldest.
func (s State) inOrder(list []Scope) []Scope {
	slices.SortFunc(list, func(a, b Scope) int {
		switch {
		case a.Net.Name == s.Default:
			return -1
		case b.Net.Name == s.Default:
			return 1
		}
		return cmp.Or(a.Net.Created.Compare(b.Net.Created), cmp.Compare(a.Net.Name, b.Net.Name))
	})
	return list
}

func (s State) find(network string) (Scope, error) {
	if network == "" || network == "default" {
		network = s.Default
	}
	if sc, ok := s.Scopes[network]; ok {
		return sc, nil
	}
	for _, sc := range s.Scopes {
		if sc.Net.ID == network {
			return sc, nil
		}
	}
	for _, d := range s.Damaged {
		if d.Name == network || d.ID == network {
			return Scope{}, fmt.Errorf("network %s cannot be used, its file is damaged: %w%w", network, d.Err, hidden{errdefs.ErrFailedPrecondition})
		}
	}
	return Scope{}, fmt.Errorf("network %s not found%w", network, hidden{errdefs.ErrNotFound})
}

func (s State) with(sc Scope) State {
	s.Scopes = maps.Clone(s.Scopes)
	s.Scopes[sc.Net.Name] = sc
	return s
}

func (sc Scope) choose(p pool, want string) (netip.Addr, error) {
	if want != "" {
		return sc.wanted(p, want)
	}
	if len(sc.Pools) > 0 {
		return sc.choosePooled()
	}
	a := p.next
	if !p.within.Contains(a) {
		a = p.within.Addr()
	}
	for first := a; ; {
		if _, taken := sc.Leases[a]; sc.usable(p, a) && !taken {
			return a, nil
		}
		if a = a.Next(); !p.within.Contains(a) {
			a = p.within.Addr()
		}
		if a == first {
			return a, fmt.Errorf("network %s (%s) has no free address left%w", sc.Net.Name, p.within, hidden{errdefs.ErrResourceExhausted})
		}
	}
}

func (sc Scope) wanted(p pool, want string) (netip.Addr, error) {
	a, err := parseAddr(want)
	if err != nil {
		return a, err
	}
	if !sc.usable(p, a) || !sc.pooled(a) {
		return a, fmt.Errorf("address %s cannot be used on network %s (%s)%w", a, sc.Net.Name, p.subnet, hidden{errdefs.ErrInvalidArgument})
	}
	if owner, taken := sc.Leases[a]; taken {
		return a, fmt.Errorf("address %s on network %s is already in use by container %s%w", a, sc.Net.Name, owner, hidden{errdefs.ErrConflict})
	}
	return a, nil
}

func (sc Scope) wayOut() netip.Addr {
	if sc.Net.Internal {
		return netip.Addr{}
	}
	return sc.Gateway
}

// usable excludes the network's own address (in IPv6 that of any router), its
// broadcast address, the gateway and what is reserved.
func (sc Scope) usable(p pool, a netip.Addr) bool {
	return a.IsValid() && p.subnet.Contains(a) && a != p.subnet.Masked().Addr() &&
		a != p.gateway && !sc.Reserved[a] && (a.Is6() || p.subnet.Contains(a.Next()))
}

func parseAddr(s string) (netip.Addr, error) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Addr(), nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return a, fmt.Errorf("%q is not an IP address%w", s, hidden{errdefs.ErrInvalidArgument})
	}
	return a, nil
}
