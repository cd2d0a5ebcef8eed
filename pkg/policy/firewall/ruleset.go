package firewall

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/spec"
)

// Table is the name of the table, of family inet.
const Table = "vic_policy"

// Hooks are where packets are judged.
type Hooks byte

const (
	// Guest judges what comes in and what goes out.
	Guest Hooks = iota
	// Router judges what passes through, in either direction.
	Router
)

// A Ruleset is the table as values. Every packet is judged by the connection that
// it belongs to, as that began: who began it, with whom, at which port. So answers
// pass with it, and a connection that is there already is cut when a rule comes
// that denies it. Loopback is not concerned. What denies answers as a closed port
// does, so that nobody waits.
type Ruleset struct {
	Hooks Hooks
	// Closed lets nothing pass, whatever Rules are.
	Closed bool
	Sets   []Set
	Rules  []Rule
}

// Set is a set of addresses of one family, sorted.
type Set struct {
	Name      string
	V6        bool
	Addresses []netip.Addr
}

// Rule is a rule as the kernel has it: of one family, and one range of ports.
type Rule struct {
	Family Family
	// From and To are names of sets; empty: any.
	From, To string
	// Proto is the number of the protocol (IANA), 0 any.
	Proto byte
	Ports spec.PortRange // First 0: all
	Deny  bool
}

// Family is the family of a rule's addresses.
type Family byte

// The families; Both goes with rules without addresses.
const (
	Both Family = 0
	V4   Family = 4
	V6   Family = 6
)

// Protocol numbers, IANA.
const (
	protoICMP   = 1
	protoTCP    = 6
	protoUDP    = 17
	protoICMPv6 = 58
)

// dynamicPorts is where the ports begin that clients are given: Linux gives from
// 32768 (ip_local_port_range of ip-sysctl.rst), IANA's begin higher.
const dynamicPorts = 32768

// Check refuses rules that have no meaning, ErrInvalidArgument: nothing is enforced
// of what is not understood as a whole.
func Check(rules []spec.PolicyRule) error {
	for _, r := range rules {
		if !slices.Contains([]string{"tcp", "udp", "icmp", "any"}, r.Proto) {
			return fmt.Errorf("%s: protocol %q: %w", r.Name, r.Proto, errdefs.ErrInvalidArgument)
		}
		for _, p := range r.Ports {
			if p.First == 0 || p.Last < p.First || r.Proto != "tcp" && r.Proto != "udp" {
				return fmt.Errorf("%s: ports %s of %s: %w", r.Name, p, r.Proto, errdefs.ErrInvalidArgument)
			}
		}
		for _, a := range slices.Concat(r.From, r.To) {
			if !a.IsValid() || a.IsUnspecified() {
				return fmt.Errorf("%s: %s is nobody's address: %w", r.Name, a, errdefs.ErrInvalidArgument)
			}
		}
	}
	return nil
}

// New makes the ruleset of resolved rules. Their order stays.
func New(hooks Hooks, rules []spec.PolicyRule) Ruleset {
	r := Ruleset{Hooks: hooks}
	for _, p := range rules {
		ports := p.Ports
		if len(ports) == 0 {
			ports = []spec.PortRange{{}}
		}
		for _, f := range families(p) {
			from, to := r.set(f, p.From), r.set(f, p.To)
			for _, ports := range ports {
				r.Rules = append(r.Rules, Rule{Family: f, From: from, To: to, Proto: number(p.Proto, f), Ports: ports, Deny: p.Deny})
			}
		}
	}
	return r
}

// families are those of which both sides of a rule have addresses.
func families(p spec.PolicyRule) []Family {
	if len(p.From) == 0 && len(p.To) == 0 && p.Proto != "icmp" {
		return []Family{Both}
	}
	var out []Family
	for _, f := range []Family{V4, V6} {
		if (len(p.From) == 0 || len(of(f, p.From)) > 0) && (len(p.To) == 0 || len(of(f, p.To)) > 0) {
			out = append(out, f)
		}
	}
	return out
}

func of(f Family, list []netip.Addr) []netip.Addr {
	var out []netip.Addr
	for _, a := range list {
		if a = a.Unmap(); a.Is4() == (f == V4) {
			out = append(out, a.WithZone(""))
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}

// set gives the name of the set of these addresses, one for each content.
func (r *Ruleset) set(f Family, list []netip.Addr) string {
	if len(list) == 0 {
		return ""
	}
	s := Set{V6: f == V6, Addresses: of(f, list)}
	for _, have := range r.Sets {
		if have.V6 == s.V6 && slices.Equal(have.Addresses, s.Addresses) {
			return have.Name
		}
	}
	s.Name = fmt.Sprintf("group%d", len(r.Sets))
	r.Sets = append(r.Sets, s)
	return s.Name
}

func number(proto string, f Family) byte {
	switch {
	case proto == "tcp":
		return protoTCP
	case proto == "udp":
		return protoUDP
	case proto == "icmp" && f == V6:
		return protoICMPv6
	case proto == "icmp":
		return protoICMP
	}
	return 0
}

// hooked are the base chains: the hook, and the card whose packets are not judged.
func (r Ruleset) hooked() []hooked {
	if r.Hooks == Router {
		return []hooked{{"forward", ""}}
	}
	return []hooked{{"input", "iifname"}, {"output", "oifname"}}
}

type hooked struct{ name, loopback string }

// String is the table about as `nft list` shows it.
func (r Ruleset) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "table inet %s {\n", Table)
	for _, s := range r.Sets {
		kind := "ipv4_addr"
		if s.V6 {
			kind = "ipv6_addr"
		}
		var list []string
		for _, a := range s.Addresses {
			list = append(list, a.String())
		}
		fmt.Fprintf(&b, "\tset %s {\n\t\ttype %s\n\t\telements = { %s }\n\t}\n", s.Name, kind, strings.Join(list, ", "))
	}
	for _, h := range r.hooked() {
		policy := "accept"
		if r.Closed {
			policy = "drop"
		}
		fmt.Fprintf(&b, "\tchain %s {\n\t\ttype filter hook %s priority filter; policy %s;\n", h.name, h.name, policy)
		if h.loopback != "" {
			fmt.Fprintf(&b, "\t\t%s \"lo\" accept\n", h.loopback)
		}
		if !r.Closed {
			b.WriteString("\t\tjump judge\n")
		}
		b.WriteString("\t}\n")
	}
	if !r.Closed {
		b.WriteString("\tchain judge {\n")
		for _, line := range []string{
			"tcp flags & rst == rst accept",
			"icmp type destination-unreachable accept",
			"icmpv6 type { destination-unreachable, packet-too-big } accept",
			"ct state invalid drop",
			fmt.Sprintf("ct state new tcp flags & syn == 0 tcp sport < %d tcp dport >= %d ct mark set %#x", dynamicPorts, dynamicPorts, backMark),
			fmt.Sprintf("ct mark %#x goto back", backMark),
		} {
			fmt.Fprintf(&b, "\t\t%s\n", line)
		}
		r.write(&b, "original", "reply")
		b.WriteString("\t}\n\tchain back {\n")
		r.write(&b, "reply", "original")
		b.WriteString("\t}\n\tchain refuse {\n\t\tmeta l4proto tcp reject with tcp reset\n\t\treject with icmpx admin-prohibited\n\t}\n")
	}
	b.WriteString("}\n")
	return b.String()
}

// backMark is the conntrack mark ("vic") of connections that were first seen in an
// answer: they were there before anybody followed them.
const backMark = 0x766963

// write gives the rules of one chain: there is the direction in which connections
// go, back the other. Where addresses are translated, who began one is known from
// there, and with whom it is from back.
func (r Ruleset) write(b *strings.Builder, there, back string) {
	for _, rule := range r.Rules {
		var w []string
		family := "ip"
		if rule.Family == V6 {
			family = "ip6"
		}
		if rule.Proto != 0 {
			w = append(w, fmt.Sprintf("ct protocol %d", rule.Proto))
		}
		if rule.From != "" {
			w = append(w, fmt.Sprintf("ct %s %s saddr @%s", there, family, rule.From))
		}
		if rule.To != "" {
			w = append(w, fmt.Sprintf("ct %s %s saddr @%s", back, family, rule.To))
		}
		if rule.Ports.First != 0 {
			w = append(w, fmt.Sprintf("ct %s proto-src %s", back, rule.Ports))
		}
		verdict := "accept"
		if rule.Deny {
			verdict = "goto refuse"
		}
		fmt.Fprintf(b, "\t\t%s\n", strings.Join(append(w, verdict), " "))
	}
}
