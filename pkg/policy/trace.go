package policy

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/vic-engine/vic/pkg/spec"
)

// The points at which it is decided whether a packet goes on, in their order on
// its way.
const (
	PointState    = "state of the containers"
	PointNetworks = "network isolation"
	PointSource   = "source guest, out"
	PointDest     = "destination guest, in"
	PointDefault  = "default"
)

// World is what a packet can meet.
type World struct {
	Set      Set
	Members  []Member // those that run
	Networks []spec.Network
}

// Flow is a connection to be traced: from a container to another, or to an address.
type Flow struct {
	// From and To are ids of containers.
	From, To string
	// Address is the destination when To is empty.
	Address netip.Addr
	Proto   string // "tcp", "udp" or "icmp"
	Port    uint16 // of the destination; 0 with icmp
}

// Trace says what becomes of a connection.
type Trace struct {
	Allowed bool `json:"allowed"`
	// Point decided, and why; Rule is the rule that did, if one did.
	Point  string `json:"point"`
	Reason string `json:"reason"`
	Rule   string `json:"rule,omitempty"`
	// Source and Destination are addresses, Network is the one that both are on;
	// empty: not known, or none.
	Source      string `json:"source,omitempty"`
	Destination string `json:"destination,omitempty"`
	Network     string `json:"network,omitempty"`
}

// Trace follows a connection with the rules that guests are sent.
func (w World) Trace(f Flow) Trace {
	from, ok := w.member(f.From)
	if !ok {
		return Trace{Point: PointState, Reason: "the source does not run"}
	}
	if f.To == "" {
		return w.toAddress(f, from)
	}
	to, ok := w.member(f.To)
	if !ok {
		return Trace{Point: PointState, Reason: "the destination does not run"}
	}
	for _, n := range slices.Sorted(maps.Keys(from.Addresses)) {
		for _, dst := range to.Addresses[n] {
			if src, ok := sameFamily(from.Addresses[n], dst); ok {
				return w.between(f, from, &to, Trace{Network: n, Source: src.String(), Destination: dst.String()})
			}
		}
	}
	return isolated(fmt.Sprintf("no common network: %s is on %s, %s is on %s", from.Name, from.networks(), to.Name, to.networks()))
}

func isolated(why string) Trace {
	return Trace{Point: PointNetworks, Reason: why + "; the VCH does not route between networks, and guests let in only peers of a common one"}
}

func (m Member) networks() string {
	if len(m.Addresses) == 0 {
		return "none"
	}
	return strings.Join(slices.Sorted(maps.Keys(m.Addresses)), ", ")
}

func (w World) member(id string) (Member, bool) {
	i := slices.IndexFunc(w.Members, func(m Member) bool { return m.ID == id })
	if i < 0 {
		return Member{}, false
	}
	return w.Members[i], true
}

// toAddress is a connection to an address: of a container, of the VCH, or outside.
func (w World) toAddress(f Flow, from Member) Trace {
	for _, m := range w.Members {
		for n, list := range m.Addresses {
			if !slices.Contains(list, f.Address) {
				continue
			}
			src, ok := sameFamily(from.Addresses[n], f.Address)
			if !ok {
				return isolated(fmt.Sprintf("%s is of %s on network %s, which %s is not on", f.Address, m.Name, n, from.Name))
			}
			return w.between(f, from, &m, Trace{Network: n, Source: src.String(), Destination: f.Address.String()})
		}
	}
	for _, n := range w.Networks {
		p, err := netip.ParsePrefix(n.Subnet)
		if err != nil || !p.Contains(f.Address) {
			continue
		}
		src, ok := sameFamily(from.Addresses[n.Name], f.Address)
		switch {
		case n.Gateway != f.Address.String():
			return Trace{Point: PointState, Destination: f.Address.String(), Network: n.Name,
				Reason: fmt.Sprintf("no container that runs has this address of network %s", n.Name)}
		case !ok:
			return isolated(fmt.Sprintf("%s is the VCH on network %s, which %s is not on", f.Address, n.Name, from.Name))
		}
		return w.between(f, from, nil, Trace{Network: n.Name, Source: src.String(), Destination: f.Address.String()})
	}
	n, ok := w.wayOut(from)
	src, has := sameFamily(from.Addresses[n], f.Address)
	if !ok || !has {
		return Trace{Point: PointNetworks, Destination: f.Address.String(), Reason: fmt.Sprintf("%s is on no network with a way out (%s)", from.Name, from.networks())}
	}
	return w.between(f, from, nil, Trace{Source: src.String(), Destination: f.Address.String()})
}

// sameFamily is the first address of the family of a.
func sameFamily(list []netip.Addr, a netip.Addr) (netip.Addr, bool) {
	i := slices.IndexFunc(list, func(o netip.Addr) bool { return o.Is4() == a.Is4() })
	if i < 0 {
		return netip.Addr{}, false
	}
	return list[i], true
}

// wayOut is the network that a container's packets to the outside take.
func (w World) wayOut(m Member) (string, bool) {
	open := func(name string) bool {
		return len(m.Addresses[name]) > 0 && !slices.ContainsFunc(w.Networks, func(n spec.Network) bool { return n.Name == name && n.Internal })
	}
	if m.Route != "" && open(m.Route) {
		return m.Route, true
	}
	for _, n := range slices.Sorted(maps.Keys(m.Addresses)) {
		if open(n) {
			return n, true
		}
	}
	return "", false
}

// between asks the rules of both guests; to is nil for what is no container.
func (w World) between(f Flow, from Member, to *Member, t Trace) Trace {
	src, dst := netip.MustParseAddr(t.Source), netip.MustParseAddr(t.Destination)
	type guest struct {
		point string
		m     Member
	}
	guests := []guest{{PointSource, from}}
	if to != nil && to.ID != from.ID {
		guests = append(guests, guest{PointDest, *to})
	}
	for _, g := range guests {
		r, ok := Decide(w.Set.For(g.m, w.Members), src, dst, f.Proto, f.Port)
		if !ok || from.ID == f.To {
			continue
		}
		t.Allowed, t.Point, t.Rule = !r.Deny, g.point, w.text(r.Name)
		t.Reason = "denied by " + r.Name
		if t.Allowed {
			t.Reason = "allowed by " + r.Name
		}
		if r.Deny {
			return t
		}
	}
	if t.Point == "" {
		t.Allowed, t.Point, t.Reason = true, PointDefault, "no rule concerns it: what is not denied is allowed"
	}
	if slices.ContainsFunc(w.Networks, func(n spec.Network) bool { return n.Name == t.Network && n.Driver != "bridge" }) {
		t.Reason += "; what the guests themselves let in on this network besides is not traced"
	}
	return t
}

// text is how a rule is spelled, by its name.
func (w World) text(name string) string {
	i := slices.IndexFunc(w.Set, func(b Bound) bool { return b.Name() == name })
	if i < 0 {
		return ""
	}
	return w.Set[i].String()
}
