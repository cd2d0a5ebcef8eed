package policy

import (
	"net/netip"
	"slices"

	"github.com/vic-engine/vic/pkg/spec"
)

// Member is a running container as policies see it.
type Member struct {
	ID, Name string
	Labels   map[string]string
	// Addresses by network, without prefix length. A network whose addresses are
	// not known yet is there without any.
	Addresses map[string][]netip.Addr
	// Route is the network that its default route is on, empty: none.
	Route string
}

// in tells whether the member is in a group of a rule: it has the labels, and is on
// the rule's network, or on any when it has none.
func (m Member) in(b Bound, g Group) bool {
	if b.Network == "" {
		return len(m.Addresses) > 0 && g.Has(m.Labels)
	}
	_, on := m.Addresses[b.Network]
	return on && g.Has(m.Labels)
}

// on are the member's addresses that a rule concerns.
func (m Member) on(network string) []netip.Addr {
	if network != "" {
		return m.Addresses[network]
	}
	var out []netip.Addr
	for _, a := range m.Addresses {
		out = append(out, a...)
	}
	return out
}

// Concerns tells whether a member has to enforce rules of s: one whose groups it
// is in, whoever else is.
func (s Set) Concerns(m Member) bool {
	return slices.ContainsFunc(s, func(b Bound) bool { return m.in(b, b.From) || m.in(b, b.To) })
}

// All is every rule with the addresses of its groups, for a router that all pass.
func (s Set) All(members []Member) []spec.PolicyRule {
	var out []spec.PolicyRule
	for _, b := range s {
		everybody := func(m Member) bool { return m.in(b, Group{}) }
		from, to := side(b, b.From, members), side(b, b.To, members)
		out = append(out, b.resolved(from, to, members, everybody)...)
	}
	return out
}

// For is what concerns one member, in the order in which it is asked. A side that
// can only be the member itself names no others, so that their coming and going
// changes nothing.
func (s Set) For(m Member, members []Member) []spec.PolicyRule {
	var out []spec.PolicyRule
	itself := func(o Member) bool { return o.ID == m.ID }
	all := append(slices.DeleteFunc(slices.Clone(members), itself), m)
	for _, b := range s {
		sends, hears := m.in(b, b.From), m.in(b, b.To)
		if !sends && !hears {
			continue
		}
		from, to := side(b, b.From, all), side(b, b.To, all)
		if !hears {
			from = b.mine(m)
		}
		if !sends {
			to = b.mine(m)
		}
		out = append(out, b.resolved(from, to, []Member{m}, itself)...)
	}
	return out
}

// mine is the side of a rule that is one member alone. It needs no addresses
// where the rule is of all networks.
func (b Bound) mine(m Member) addresses {
	if b.Network == "" {
		return addresses{any: true}
	}
	return addresses{list: m.on(b.Network)}
}

// addresses are one side of a resolved rule.
type addresses struct {
	any  bool
	list []netip.Addr
}

func side(b Bound, g Group, members []Member) addresses {
	if g.Any() {
		return addresses{any: true}
	}
	var a addresses
	for _, m := range members {
		if m.in(b, g) {
			a.list = append(a.list, m.on(b.Network)...)
		}
	}
	slices.SortFunc(a.list, netip.Addr.Compare)
	a.list = slices.Compact(a.list)
	return a
}

// resolved gives the rule with its addresses: none when a side is nobody, and two
// when both sides are any of one network, which then is where either end is.
func (b Bound) resolved(from, to addresses, members []Member, end func(Member) bool) []spec.PolicyRule {
	r := spec.PolicyRule{Name: b.Name(), Deny: b.Deny, Proto: b.Proto, Ports: b.Ports, From: from.list, To: to.list}
	switch {
	case !from.any && len(from.list) == 0, !to.any && len(to.list) == 0:
		return nil
	case !from.any || !to.any || b.Network == "":
		return []spec.PolicyRule{r}
	}
	var list []netip.Addr
	for _, m := range members {
		if end(m) {
			list = append(list, m.on(b.Network)...)
		}
	}
	if len(list) == 0 {
		return nil
	}
	slices.SortFunc(list, netip.Addr.Compare)
	out, in := r, r
	out.From, in.To = list, list
	return []spec.PolicyRule{out, in}
}

// Decide gives the first rule that matches a connection between two addresses;
// port is 0 where the protocol has none.
func Decide(rules []spec.PolicyRule, from, to netip.Addr, proto string, port uint16) (spec.PolicyRule, bool) {
	for _, r := range rules {
		if r.Proto != "any" && r.Proto != proto || !has(r.From, from) || !has(r.To, to) {
			continue
		}
		if len(r.Ports) == 0 || slices.ContainsFunc(r.Ports, func(p spec.PortRange) bool { return p.First <= port && port <= p.Last }) {
			return r, true
		}
	}
	return spec.PolicyRule{}, false
}

func has(list []netip.Addr, a netip.Addr) bool { return len(list) == 0 || slices.Contains(list, a) }
