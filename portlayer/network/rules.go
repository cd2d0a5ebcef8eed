package network

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// NAT is the appliance's place on the bridge, as it is wanted: its addresses
// there and what it forwards.
type NAT struct {
	// MAC of the appliance's NIC on the bridge.
	MAC string
	// Local are the appliance's addresses on its other networks: a container that
	// speaks to one of them reaches published ports like anybody outside.
	Local []netip.Addr
	// Networks are all bridge networks.
	Networks []Segment
	// Ports are what is published for running containers.
	Ports []Forward
}

// Segment is one bridge network as the router sees it.
type Segment struct {
	// Gateway is the NIC's address on it, with the subnet's length; Gateway6
	// likewise, not valid without IPv6.
	Gateway, Gateway6 netip.Prefix
	Internal          bool
}

// Forward is one published port and where it goes.
type Forward struct {
	Publication
	To netip.Addr
}

// NATFor gives the place of the appliance on all networks, with the ports that
// are published now. It is on one that is being made already, and on one that is
// being removed still.
func (s State) NATFor(mac string, local []netip.Addr, ports []Forward) NAT {
	n := NAT{MAC: mac, Local: local, Ports: slices.Clone(ports)}
	for _, sc := range s.inOrder(s.all()) {
		if sc.external() {
			continue
		}
		seg := Segment{Gateway: netip.PrefixFrom(sc.Gateway, sc.Subnet.Bits()), Internal: sc.Net.Internal}
		if sc.Net.IPv6 {
			seg.Gateway6 = netip.PrefixFrom(sc.Six.Gateway, sc.Six.Subnet.Bits())
		}
		n.Networks = append(n.Networks, seg)
	}
	slices.SortFunc(n.Ports, func(a, b Forward) int {
		return cmp.Or(cmp.Compare(a.Proto, b.Proto), cmp.Compare(a.HostPort, b.HostPort), a.Host.Compare(b.Host), a.To.Compare(b.To))
	})
	return n
}

// of is the part of n that is IPv4, or IPv6, whose gateways are its Gateway.
func (n NAT) of(v6 bool) NAT {
	out := NAT{MAC: n.MAC}
	for _, a := range n.Local {
		if a.Is6() == v6 {
			out.Local = append(out.Local, a)
		}
	}
	for _, s := range n.Networks {
		if v6 {
			s.Gateway = s.Gateway6
		}
		if s.Gateway6 = (netip.Prefix{}); s.Gateway.IsValid() {
			out.Networks = append(out.Networks, s)
		}
	}
	for _, p := range n.Ports {
		if p.To.Is6() == v6 {
			out.Ports = append(out.Ports, p)
		}
	}
	return out
}

// The chains of our tables.
const (
	chainDNAT    = "prerouting"  // hook, nat: where packets to published ports go
	chainPorts   = "ports"       // published ports
	chainSNAT    = "postrouting" // hook, nat: under which address packets leave
	chainForward = "forward"     // hook, filter: what passes through
	chainInput   = "input"       // hook, filter: what the appliance hears from containers
)

// side is where a packet comes from or goes to.
type side byte

const (
	anywhere side = iota
	onBridge      // the bridge NIC
	outside       // any other
)

// verdict is what is done with a packet.
type verdict string

const (
	accept     verdict = "accept"
	drop       verdict = "drop"
	masquerade verdict = "masquerade"
	dnat       verdict = "dnat"
	jump       verdict = "jump"
	// What a machine says on whose port nobody listens.
	reset        verdict = "reject with tcp reset"
	unreachable  verdict = "reject with icmp port-unreachable"
	unreachable6 verdict = "reject with icmpv6 port-unreachable"
)

// ctMatch is what connection tracking says of a packet.
type ctMatch byte

const (
	ctAny         ctMatch = iota
	ctEstablished         // of a connection that goes on, or belongs to one
	ctDNAT                // of a connection to a published port
)

// Rule is one rule of our tables: what it matches, all of it, and what it does.
type Rule struct {
	chain    string
	in, out  side
	src, dst netip.Prefix // not valid: any
	proto    string       // "tcp", "udp", "icmp", "ipv6-icmp"; empty: any
	port     uint16       // destination, 0: any
	ct       ctMatch
	do       verdict
	to       netip.AddrPort // of dnat
	chainTo  string         // of jump
}

// Rules are the whole table of IPv4.
//
// A packet that no rule of a chain decides on passes; what comes from or goes to
// the bridge is always decided.
func Rules(n NAT) []Rule { return rules(n.of(false)) }

// Rules6 are the table of IPv6, the same for the networks that have it. It is
// there also when none has: a guest may speak IPv6 on any.
func Rules6(n NAT) []Rule {
	out := rules(n.of(true))
	for i := range out {
		if out[i].proto == "icmp" {
			out[i].proto = "ipv6-icmp"
		}
		if out[i].do == unreachable {
			out[i].do = unreachable6
		}
	}
	// Who routes IPv6 does it everywhere; the VCH is no router of the others.
	return append(out, Rule{chain: chainForward, in: outside, out: outside, do: drop})
}

func rules(n NAT) []Rule {
	var out []Rule
	if len(n.Ports) > 0 {
		out = append(out, Rule{chain: chainDNAT, in: outside, do: jump, chainTo: chainPorts})
		for _, a := range own(n) {
			if !a.IsLoopback() {
				out = append(out, Rule{chain: chainDNAT, in: onBridge, dst: netip.PrefixFrom(a, a.BitLen()), do: jump, chainTo: chainPorts})
			}
		}
	}
	for _, p := range n.Ports {
		r := Rule{chain: chainPorts, proto: p.Proto, port: p.HostPort, do: dnat, to: netip.AddrPortFrom(p.To, p.Port)}
		if p.Host.IsValid() && !p.Host.IsUnspecified() {
			r.dst = netip.PrefixFrom(p.Host, p.Host.BitLen())
		}
		out = append(out, r)
	}
	for _, s := range n.Networks {
		subnet := s.Gateway.Masked()
		// Else the answer would go past the VCH.
		out = append(out, Rule{chain: chainSNAT, out: onBridge, src: subnet, dst: subnet, ct: ctDNAT, do: masquerade})
		if !s.Internal {
			out = append(out, Rule{chain: chainSNAT, out: outside, src: subnet, do: masquerade})
		}
	}
	out = append(out, forwards(n)...)
	return append(out, inputs(n)...)
}

// own are all addresses of the appliance, also those on the bridge.
func own(n NAT) []netip.Addr {
	out := slices.Clone(n.Local)
	for _, s := range n.Networks {
		out = append(out, s.Gateway.Addr())
	}
	return out
}

func forwards(n NAT) []Rule {
	var out []Rule
	for _, s := range n.Networks {
		if subnet := s.Gateway.Masked(); s.Internal {
			out = append(out,
				Rule{chain: chainForward, in: onBridge, src: subnet, do: drop},
				Rule{chain: chainForward, out: onBridge, dst: subnet, do: drop})
		}
	}
	out = append(out,
		Rule{chain: chainForward, in: onBridge, ct: ctEstablished, do: accept},
		Rule{chain: chainForward, out: onBridge, ct: ctEstablished, do: accept},
		Rule{chain: chainForward, out: onBridge, ct: ctDNAT, do: accept},
		Rule{chain: chainForward, in: onBridge, out: onBridge, do: drop}) // between networks
	for _, s := range n.Networks {
		if !s.Internal {
			out = append(out, Rule{chain: chainForward, in: onBridge, out: outside, src: s.Gateway.Masked(), do: accept})
		}
	}
	return append(out,
		Rule{chain: chainForward, in: onBridge, do: drop}, // a source that is not ours
		Rule{chain: chainForward, out: onBridge, do: drop})
}

// inputs say what the appliance hears of containers: their questions for names,
// pings, and, on the addresses that it has outside, what anybody there may ask
// (Docker's API, metrics). The serial lines of other containers, and the way in
// for debugging, are not for containers. Other ports are closed, as on a machine
// on which nobody listens; internal networks get no answer at all.
func inputs(n NAT) []Rule {
	out := []Rule{
		{chain: chainInput, in: onBridge, ct: ctEstablished, do: accept},
		{chain: chainInput, in: onBridge, proto: "udp", port: 53, do: accept},
		{chain: chainInput, in: onBridge, proto: "tcp", port: 53, do: accept},
		{chain: chainInput, in: onBridge, proto: "icmp", do: accept},
	}
	for _, s := range n.Networks {
		if s.Internal {
			continue
		}
		for _, a := range n.Local {
			if a.IsLoopback() || a.IsLinkLocalUnicast() {
				continue
			}
			for _, port := range forClients() {
				out = append(out, Rule{chain: chainInput, in: onBridge, src: s.Gateway.Masked(), dst: netip.PrefixFrom(a, a.BitLen()), proto: "tcp", port: port, do: accept})
			}
		}
		out = append(out,
			Rule{chain: chainInput, in: onBridge, src: s.Gateway.Masked(), proto: "tcp", do: reset},
			Rule{chain: chainInput, in: onBridge, src: s.Gateway.Masked(), do: unreachable})
	}
	return append(out, Rule{chain: chainInput, in: onBridge, do: drop})
}

// forClients are the ports of the VCH that are for clients of the outer network.
func forClients() []uint16 { return []uint16{2375, 2376, 2378} }

// String is the rule as nft has it, with $bridge for the NIC's name.
func (r Rule) String() string {
	var w []string
	add := func(ok bool, format string, args ...any) {
		if ok {
			w = append(w, fmt.Sprintf(format, args...))
		}
	}
	add(r.in == onBridge, "iifname $bridge")
	add(r.in == outside, "iifname != $bridge")
	add(r.out == onBridge, "oifname $bridge")
	add(r.out == outside, "oifname != $bridge")
	add(r.src.IsValid(), "%s saddr %s", kind(r.src), r.src)
	add(r.dst.IsValid(), "%s daddr %s", kind(r.dst), r.dst)
	add(r.port != 0, "%s dport %d", r.proto, r.port)
	add(r.port == 0 && r.proto != "", "meta l4proto %s", r.proto)
	add(r.ct == ctEstablished, "ct state established,related")
	add(r.ct == ctDNAT, "ct status dnat")
	add(r.do == dnat, "dnat to %s", r.to)
	add(r.do == jump, "jump %s", r.chainTo)
	add(r.do != dnat && r.do != jump, "%s", r.do)
	return strings.Join(w, " ")
}

func kind(p netip.Prefix) string {
	if p.Addr().Is6() {
		return "ip6"
	}
	return "ip"
}

// Text is all rules by chain, for people and tests.
func Text(rules []Rule) string {
	var b strings.Builder
	for _, c := range chains() {
		fmt.Fprintf(&b, "chain %s {\n", c.name)
		if c.hook != "" {
			fmt.Fprintf(&b, "\ttype %s hook %s\n", c.kind, c.hook)
		}
		for _, r := range rules {
			if r.chain == c.name {
				fmt.Fprintf(&b, "\t%s\n", r)
			}
		}
		b.WriteString("}\n")
	}
	return b.String()
}

// chain is one of our chains; no hook: others jump to it.
type chain struct{ name, kind, hook string }

// chains are ordered so that a chain is there before others jump to it.
func chains() []chain {
	return []chain{
		{chainPorts, "", ""},
		{chainDNAT, "nat", "prerouting"},
		{chainSNAT, "nat", "postrouting"},
		{chainForward, "filter", "forward"},
		{chainInput, "filter", "input"},
	}
}
