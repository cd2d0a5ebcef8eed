package system

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/vic-engine/vic/pkg/iprange"
	"github.com/vic-engine/vic/pkg/spec"
)

// A TrustedLink is a network card on a container network, which others than the
// VCH's containers are on too, and how far they are trusted.
type TrustedLink struct {
	Link  string // the card's interface
	Level spec.Trust
	// Peers are the ranges that TrustPeers lets in.
	Peers []string
	// Ports are the published ones, "80/tcp".
	Ports []string
	// DHCP: the card has a lease to keep, at any level.
	DHCP bool
}

// TrustTable is the name of the table that holds what cards between closed and
// open let in.
const TrustTable = "vic_trust"

// trustChain sees all that comes in, also what the guest forwards: after
// connection tracking (priority -200), and before anybody in the guest translates
// ports (-100).
const (
	trustChain    = "in"
	trustPriority = -150
)

// TrustRule is one rule of TrustTable: what comes in at Link and is all that the
// rule says is accepted, or dropped.
type TrustRule struct {
	Link   string
	Reply  bool          // of a connection that goes on, or belongs to one
	From   iprange.Range // IPv4 sources; zero: any
	Proto  string        // "tcp" or "udp"; empty: any
	Port   uint16        // destination, with Proto
	Accept bool
}

// TrustRules are the rules of all cards. A closed card has none: its filter is
// Closed, which is nearer to the wire; an open one needs none. Nothing is said of
// what goes out: from TrustOutbound on, all of it may.
func TrustRules(links []TrustedLink) ([]TrustRule, error) {
	var out []TrustRule
	var errs []error
	for _, l := range links {
		switch l.Level {
		case spec.TrustClosed, spec.TrustOpen:
			continue
		case spec.TrustOutbound, spec.TrustPeers, spec.TrustPublished:
		default:
			errs = append(errs, fmt.Errorf("%s: %w", l.Link, l.Level.Validate()))
			continue
		}
		out = append(out, TrustRule{Link: l.Link, Reply: true, Accept: true})
		if l.Level == spec.TrustPeers {
			for _, text := range l.Peers {
				r, err := iprange.Parse(text)
				errs = append(errs, err)
				out = append(out, TrustRule{Link: l.Link, From: r, Accept: true})
			}
		}
		if l.Level == spec.TrustPublished {
			for _, text := range l.Ports {
				proto, port, err := parsePort(text)
				errs = append(errs, err)
				out = append(out, TrustRule{Link: l.Link, Proto: proto, Port: port, Accept: true})
			}
		}
		out = append(out, TrustRule{Link: l.Link})
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return out, nil
}

// parsePort reads "80/tcp".
func parsePort(text string) (proto string, port uint16, err error) {
	n, proto, ok := strings.Cut(text, "/")
	v, perr := strconv.ParseUint(n, 10, 16)
	if !ok || perr != nil || v == 0 || proto != "tcp" && proto != "udp" {
		return "", 0, fmt.Errorf("port %q: want one like 80/tcp", text)
	}
	return proto, uint16(v), nil
}

// Closed is the filter of a closed card: no frame passes, in or out, not even one
// that a process made itself. A lease is kept all the same: requests go to
// everybody on the wire, and nowhere else.
func (l TrustedLink) Closed() Ruleset {
	r := Ruleset{Link: l.Link}
	if !l.DHCP {
		return r
	}
	// IPv4 without options (RFC 791), UDP (RFC 768) between the ports of RFC 2131.
	head := []Match{{etherType(), []byte{0x08, 0x00}}, {Field{"@ll,112,8", "integer", 14, 1}, []byte{0x45}}, {Field{"ip protocol", "inet_proto", 23, 1}, []byte{17}}}
	ports := Field{"@ll,272,32", "integer", 34, 4}
	r.Rules = []FilterRule{
		{Chain: chainIn, Head: append(head[:3:3], Match{ports, []byte{0, 67, 0, 68}})},
		{Chain: chainOut, Head: append(head[:3:3], Match{Field{"ip daddr", "ipv4_addr", 30, 4}, []byte{255, 255, 255, 255}}, Match{ports, []byte{0, 68, 0, 67}})},
	}
	return r
}

// subnetOf is the subnet of a card's own address, as a range of peers.
func subnetOf(cidr string) []string {
	p, err := netip.ParsePrefix(cidr)
	if err != nil {
		return nil
	}
	return []string{p.Masked().String()}
}

// PeersOf are the ranges that TrustPeers lets in: those that were given, or else
// the subnet of the card's address. No address yet: nobody.
func PeersOf(given []string, address string) []string {
	if len(given) > 0 {
		return given
	}
	return subnetOf(address)
}

// String is the rule as `nft list` would show it.
func (r TrustRule) String() string {
	w := []string{fmt.Sprintf("iifname %q", r.Link)}
	if r.Reply {
		w = append(w, "ct state established,related")
	}
	if r.From.From.IsValid() {
		w = append(w, "ip saddr "+r.From.String())
	}
	if r.Proto != "" {
		w = append(w, fmt.Sprintf("%s dport %d", r.Proto, r.Port))
	}
	if r.Accept {
		return strings.Join(append(w, "accept"), " ")
	}
	return strings.Join(append(w, "drop"), " ")
}

// TrustText is the whole table as `nft list` would show it.
func TrustText(rules []TrustRule) string {
	var b strings.Builder
	fmt.Fprintf(&b, "table inet %s {\n\tchain %s {\n\t\ttype filter hook prerouting priority %d; policy accept;\n", TrustTable, trustChain, trustPriority)
	for _, r := range rules {
		fmt.Fprintf(&b, "\t\t%s\n", r)
	}
	b.WriteString("\t}\n}\n")
	return b.String()
}
