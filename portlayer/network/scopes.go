package network

import (
	"cmp"
	"fmt"
	"maps"
	"math/bits"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/policy"
	"github.com/vic-engine/vic/pkg/spec"
)

// minWidth and maxWidth bound the prefix lengths of subnets: what is shorter is
// a slip of the pen, what is longer has no room for a gateway and a container.
const (
	minWidth = 8
	maxWidth = 30
)

// names of networks, as Docker has them.
var nameOK = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]*$`)

// Create adds a bridge network that is pending until Commit, or Drop. What n
// leaves open (subnet, gateway) is chosen, its ID must be there. A name that is taken: ErrAlreadyExists; a subnet that
// overlaps another: ErrPermissionDenied, as Docker has it; no subnet left:
// ErrResourceExhausted.
func Create(s State, n spec.Network) (State, spec.Network, error) {
	if err := s.checkName(n); err != nil {
		return s, n, err
	}
	if n.Driver != "" && n.Driver != "bridge" {
		return s, n, fmt.Errorf("network driver %q: a network that is made here is a bridge%w", n.Driver, hidden{errdefs.ErrInvalidArgument})
	}
	n.Chosen = n.Subnet != ""
	if n.Subnet == "" {
		if n.IPRange != "" || n.Gateway != "" || len(n.Reserved) > 0 {
			return s, n, fmt.Errorf("network %s: --ip-range, --gateway and --aux-address need a --subnet%w", n.Name, hidden{errdefs.ErrInvalidArgument})
		}
		p, err := s.freeSubnet()
		if err != nil {
			return s, n, fmt.Errorf("network %s: %w", n.Name, err)
		}
		n.Subnet = p.String()
	}
	n, err := s.choose6(n)
	if err != nil {
		return s, n, err
	}
	n.Driver, n.PortGroup, n.Builtin = "bridge", s.Scopes[s.Default].Net.PortGroup, false
	sc, err := newScope(n)
	if err != nil {
		return s, n, err
	}
	for _, p := range sc.subnets() {
		if by := s.overlap(p); by != "" {
			return s, n, fmt.Errorf("Pool overlaps with other one on this address space: %s is used by %s%w", p, by, hidden{errdefs.ErrPermissionDenied})
		}
	}
	return s.withPending(sc), sc.Net, nil
}

func (s State) withPending(sc Scope) State {
	s.pending = maps.Clone(s.pending)
	if s.pending == nil {
		s.pending = map[string]Scope{}
	}
	s.pending[sc.Net.ID] = sc
	return s
}

// Commit makes a pending network one that containers can be on.
func Commit(s State, id string) State {
	sc, ok := s.pending[id]
	if !ok {
		return s
	}
	return Drop(s, id).with(sc)
}

// Drop forgets a pending network.
func Drop(s State, id string) State {
	s.pending = maps.Clone(s.pending)
	delete(s.pending, id)
	return s
}

// Load adds a network that was kept.
func Load(s State, n spec.Network) (State, error) {
	if err := s.checkName(n); err != nil {
		return s, err
	}
	sc, err := newScope(n)
	if err != nil {
		return s, err
	}
	for _, p := range sc.subnets() {
		if by := s.overlap(p); by != "" {
			return s, fmt.Errorf("network %s: subnet %s is used by %s%w", n.Name, p, by, hidden{errdefs.ErrConflict})
		}
	}
	// The port group is the VCH's, which may have another since.
	sc.Net.PortGroup = s.Scopes[s.Default].Net.PortGroup
	return s.with(sc), nil
}

// Remove takes a network without containers away: it is pending until Drop, or
// Commit when it stays after all. With containers it is
// ErrPermissionDenied; nameOf says what they are called.
func Remove(s State, network string, nameOf func(id string) string) (State, spec.Network, error) {
	sc, err := s.find(network)
	if err != nil {
		return s, spec.Network{}, err
	}
	if sc.external() {
		return s, sc.Net, fmt.Errorf("%s is a container network, port group %q, that was given when the VCH was made and cannot be removed%w", sc.Net.Name, sc.Net.PortGroup, hidden{errdefs.ErrPermissionDenied})
	}
	if sc.Net.Builtin {
		return s, sc.Net, fmt.Errorf("%s is a pre-defined network and cannot be removed%w", sc.Net.Name, hidden{errdefs.ErrPermissionDenied})
	}
	if len(sc.Leases) > 0 {
		var who []string
		for _, id := range sc.Leases {
			who = append(who, fmt.Sprintf("name:%q id:%q", nameOf(id), short(id)))
		}
		slices.Sort(who)
		return s, sc.Net, fmt.Errorf("error while removing network: network %s has active endpoints (%s)%w",
			sc.Net.Name, strings.Join(slices.Compact(who), ", "), hidden{errdefs.ErrPermissionDenied})
	}
	s.Scopes = maps.Clone(s.Scopes)
	delete(s.Scopes, sc.Net.Name)
	return s.withPending(sc), sc.Net, nil
}

func short(id string) string { return id[:min(12, len(id))] }

// Find gives a network by name or id.
func (s State) Find(network string) (spec.Network, error) {
	sc, err := s.find(network)
	return sc.Net, err
}

func (s State) checkName(n spec.Network) error {
	switch {
	case n.Name == "" || !nameOK.MatchString(n.Name):
		return fmt.Errorf("invalid network name %q: only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed%w", n.Name, hidden{errdefs.ErrInvalidArgument})
	case n.Name == "none" || n.Name == "host" || n.Name == "default":
		return fmt.Errorf("operation is not permitted on predefined %s network%w", n.Name, hidden{errdefs.ErrPermissionDenied})
	case n.ID == "":
		return fmt.Errorf("network %s has no id%w", n.Name, hidden{errdefs.ErrInvalidArgument})
	}
	for _, sc := range s.all() {
		if sc.Net.Name == n.Name {
			return fmt.Errorf("network with name %s already exists%w", n.Name, hidden{errdefs.ErrAlreadyExists})
		}
		if sc.Net.ID == n.ID {
			return fmt.Errorf("network with id %s already exists%w", n.ID, hidden{errdefs.ErrAlreadyExists})
		}
	}
	for _, d := range s.Damaged {
		if d.Name == n.Name {
			return fmt.Errorf("network with name %s already exists; its file %s.json is damaged, remove it from the image datastore to use the name again%w", n.Name, d.ID, hidden{errdefs.ErrAlreadyExists})
		}
	}
	return nil
}

// all are the networks that there are and that are pending, in the order of
// their ids.
func (s State) all() []Scope {
	out := slices.AppendSeq(slices.Collect(maps.Values(s.Scopes)), maps.Values(s.pending))
	slices.SortFunc(out, func(a, b Scope) int { return cmp.Compare(a.Net.ID, b.Net.ID) })
	return out
}

// overlap names what a subnet overlaps; empty: nothing.
func (s State) overlap(p netip.Prefix) string {
	for _, sc := range s.all() {
		if sc.Subnet.Overlaps(p) || sc.Six.Subnet.Overlaps(p) {
			return "network " + sc.Net.Name
		}
	}
	for _, d := range s.Damaged {
		if d.Subnet.Overlaps(p) || d.Subnet6.Overlaps(p) {
			return "network " + d.Name + ", whose file is damaged"
		}
	}
	for _, u := range s.Used {
		if u.Overlaps(p) {
			return "a network of the VCH itself"
		}
	}
	return ""
}

// subnets are those that a network has.
func (sc Scope) subnets() []netip.Prefix {
	if sc.Net.IPv6 {
		return []netip.Prefix{sc.Subnet, sc.Six.Subnet}
	}
	return []netip.Prefix{sc.Subnet}
}

// freeSubnet is the next subnet of the pool that overlaps nothing.
func (s State) freeSubnet() (netip.Prefix, error) {
	p := netip.PrefixFrom(s.pool.Addr(), s.width)
	for p.IsValid() && s.pool.Contains(p.Addr()) {
		if s.overlap(p) == "" {
			return p, nil
		}
		p = after(p)
	}
	return p, fmt.Errorf("could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network (range %s, width %d)%w",
		s.pool, s.width, hidden{errdefs.ErrResourceExhausted})
}

// after is the subnet that follows; not valid after the last.
func after(p netip.Prefix) netip.Prefix {
	a := p.Addr().As4()
	n := uint32(a[0])<<24 | uint32(a[1])<<16 | uint32(a[2])<<8 | uint32(a[3])
	n, over := bits.Add32(n, 1<<(32-p.Bits()), 0)
	if over != 0 {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}), p.Bits())
}

// newScope checks a network and fills in its gateway.
func newScope(n spec.Network) (Scope, error) {
	bad := func(format string, args ...any) (Scope, error) {
		return Scope{}, fmt.Errorf("network %s: %s%w", n.Name, fmt.Sprintf(format, args...), hidden{errdefs.ErrInvalidArgument})
	}
	subnet, err := netip.ParsePrefix(n.Subnet)
	if err != nil || !subnet.Addr().Is4() {
		return bad("subnet %q is not an IPv4 network", n.Subnet)
	}
	subnet = subnet.Masked()
	if a := subnet.Addr(); subnet.Bits() < minWidth || subnet.Bits() > maxWidth || a.IsLoopback() || a.IsMulticast() || a.IsLinkLocalUnicast() {
		return bad("subnet %s cannot be used, want a unicast network of /%d to /%d", subnet, minWidth, maxWidth)
	}
	sc := Scope{Net: n, Subnet: subnet, Range: subnet, Gateway: subnet.Addr().Next()}
	if n.IPRange != "" {
		r, err := netip.ParsePrefix(n.IPRange)
		if err != nil || !r.Addr().Is4() || r.Bits() < subnet.Bits() || !subnet.Contains(r.Addr()) {
			return bad("address range %q is not within the subnet %s", n.IPRange, subnet)
		}
		sc.Range = r.Masked()
		sc.Net.IPRange = sc.Range.String()
	}
	sc.Reserved = map[netip.Addr]bool{}
	for name, text := range n.Reserved {
		a, err := netip.ParseAddr(text)
		if err != nil || !subnet.Contains(a) {
			return bad("reserved address %s=%s is not within the subnet %s", name, text, subnet)
		}
		sc.Reserved[a] = true
	}
	if n.Gateway != "" {
		g, err := parseAddr(n.Gateway)
		if err != nil || !subnet.Contains(g) || g == subnet.Addr() || !subnet.Contains(g.Next()) {
			return bad("gateway %q is not an address of the subnet %s", n.Gateway, subnet)
		}
		sc.Gateway = g
	} else {
		for sc.Reserved[sc.Gateway] {
			sc.Gateway = sc.Gateway.Next()
		}
	}
	if sc.Reserved[sc.Gateway] || !subnet.Contains(sc.Gateway.Next()) {
		return bad("no address is left for the gateway")
	}
	if sc.Policies, err = policy.FromLabels(n.Name, n.Labels); err != nil {
		return Scope{}, fmt.Errorf("network %s: %w", n.Name, err)
	}
	sc.Net.Subnet, sc.Net.Gateway = subnet.String(), sc.Gateway.String()
	sc.next = sc.Range.Addr()
	return sc.withSix()
}
