package system

import (
	"bytes"
	"errors"
	"fmt"
	"math/bits"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// A Filter says which frames a network card lets in and out, where the networks
// of many containers share one layer 2. In: IPv4 and ARP of the peers, each from
// its own addresses, and of the gateway, which routes for any address. Out: only
// what has the card's own addresses, so that nobody in the guest can speak for
// another. So it is with IPv6 where the card has it, see filter6.go. All else is
// dropped: tagged frames too. It sees frames, not
// connections: who is no peer any more is cut off at once, and loopback is not
// concerned. Who may administer the guest's network (--privileged, NET_ADMIN) may
// take the guest's own filter away; the others' remain.
type Filter struct {
	Link string // the card's interface
	MAC  string // the card's own
	// Addresses are the card's own, with or without prefix length.
	Addresses  []string
	GatewayMAC string // empty: there is no gateway yet
	Peers      []Peer
}

// Peer is another card on the same layer 2.
type Peer struct {
	MAC       string
	Addresses []string
}

// A Ruleset is a Filter in the terms of nftables, which say best what it does: rules
// that stay as they are, and the sets that they look into. What is not accepted is
// dropped. A LinkFilter brings it into the kernel.
type Ruleset struct {
	Link  string
	Sets  []FilterSet
	Rules []FilterRule
}

// FilterSet is a named set whose elements are values of Fields, one after another.
type FilterSet struct {
	Name     string
	Fields   []Field
	Elements [][]byte // sorted, none twice
}

// FilterRule accepts a frame that has Head and whose Fields of each set, if there are
// any, are in it.
type FilterRule struct {
	Chain string
	Head  []Match
	Sets  []FilterSet // without elements
}

// Match is a field with one value.
type Match struct {
	Field Field
	Value []byte
}

// Field is a part of a frame. The offset is from the beginning of the frame, for
// all of them: where the kernel believes the network header to be is, for a frame
// from a raw socket, up to its sender.
type Field struct {
	Name        string
	Kind        string // nftables' name of its type
	Offset, Len uint32
}

// The chains of a Ruleset.
const (
	chainIn  = "in"
	chainOut = "out"
)

// Offsets of Ethernet (IEEE 802.3), IPv4 (RFC 791) and ARP (RFC 826).
func etherSource() Field { return Field{"ether saddr", "ether_addr", 6, 6} }
func etherType() Field   { return Field{"ether type", "ether_type", 12, 2} }
func ipSource() Field    { return Field{"ip saddr", "ipv4_addr", 26, 4} }
func arpKind() Field     { return Field{"@ll,112,48", "integer", 14, 6} }
func arpHardware() Field { return Field{"arp saddr ether", "ether_addr", 22, 6} }
func arpAddress() Field  { return Field{"arp saddr ip", "ipv4_addr", 28, 4} }

// Ruleset gives the rules and sets of f, or says what is wrong with it.
func (f Filter) Ruleset() (Ruleset, error) {
	r := Ruleset{Link: f.Link}
	var errs []error
	mac := func(s string) []byte {
		m, err := net.ParseMAC(s)
		if err == nil && (len(m) != 6 || m[0]&1 != 0) {
			err = fmt.Errorf("%s is not the address of a card", s)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("filter on %s: %w", f.Link, err))
			return nil
		}
		return m
	}
	var own, ownARP, peers, peersARP, gateway, gatewayARP [][]byte
	var six filter6
	self := mac(f.MAC)
	ips, ips6 := f.ips(f.Addresses, &errs)
	for _, ip := range ips {
		own = append(own, slices.Concat(self, ip))
		ownARP = append(ownARP, slices.Concat(self, self, ip))
	}
	six.own.add(self, ips6)
	for _, p := range f.Peers {
		m := mac(p.MAC)
		if bytes.Equal(m, self) {
			continue // nobody else has it
		}
		ips, ips6 := f.ips(p.Addresses, &errs)
		for _, ip := range ips {
			peers = append(peers, slices.Concat(m, ip))
			peersARP = append(peersARP, slices.Concat(m, m, ip))
		}
		six.peers.add(m, ips6)
	}
	if f.GatewayMAC != "" {
		m := mac(f.GatewayMAC)
		gateway, gatewayARP = append(gateway, m), append(gatewayARP, slices.Concat(m, m))
	}
	if len(errs) > 0 {
		return Ruleset{}, errors.Join(errs...)
	}
	ipv4 := []Match{{etherType(), []byte{0x08, 0x00}}}
	// Ethernet's ARP for IPv4: the fields are where they are only in that.
	arp := []Match{{etherType(), []byte{0x08, 0x06}}, {arpKind(), []byte{0, 1, 0x08, 0, 6, 4}}}
	add := func(chain, name string, head []Match, elements [][]byte, fields ...Field) {
		r.Rules = append(r.Rules, FilterRule{Chain: chain, Head: head, Sets: []FilterSet{r.set(name, elements, fields...)}})
	}
	add(chainIn, "peers", ipv4, peers, etherSource(), ipSource())
	add(chainIn, "gateway", ipv4, gateway, etherSource())
	add(chainIn, "peers_arp", arp, peersARP, etherSource(), arpHardware(), arpAddress())
	// The gateway asks with any of its addresses, and it has many.
	add(chainIn, "gateway_arp", arp, gatewayARP, etherSource(), arpHardware())
	add(chainOut, "own", ipv4, own, etherSource(), ipSource())
	add(chainOut, "own_arp", arp, ownARP, etherSource(), arpHardware(), arpAddress())
	if len(six.own.pairs) > 0 {
		r.six(six, gatewayARP)
	}
	return r, nil
}

// set adds a set, and gives it without its elements.
func (r *Ruleset) set(name string, elements [][]byte, fields ...Field) FilterSet {
	set := FilterSet{Name: name, Fields: fields}
	slices.SortFunc(elements, bytes.Compare)
	full := set
	full.Elements = slices.CompactFunc(elements, bytes.Equal)
	r.Sets = append(r.Sets, full)
	return set
}

// ips are the addresses of list, IPv4 and IPv6.
func (f Filter) ips(list []string, errs *[]error) (four, six [][]byte) {
	for _, s := range list {
		text, _, _ := strings.Cut(s, "/")
		a, err := netip.ParseAddr(text)
		switch {
		case err != nil:
			*errs = append(*errs, fmt.Errorf("filter on %s: %w", f.Link, err))
		case a.IsUnspecified() || a.IsMulticast() || a.Is4In6() || a.Zone() != "":
			*errs = append(*errs, fmt.Errorf("filter on %s: %s is not the address of a card", f.Link, s))
		case a.Is4():
			four = append(four, a.AsSlice())
		default:
			six = append(six, a.AsSlice())
		}
	}
	return four, six
}

// String is the ruleset as `nft list` would show it if it were one of nftables.
func (r Ruleset) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "table netdev vic_%s {\n", r.Link)
	for _, s := range r.Sets {
		fmt.Fprintf(&b, "\tset %s {\n\t\ttype %s\n", s.Name, names(s.Fields, func(f Field) string { return f.Kind }))
		if len(s.Elements) > 0 {
			var list []string
			for _, e := range s.Elements {
				list = append(list, s.element(e))
			}
			fmt.Fprintf(&b, "\t\telements = { %s }\n", strings.Join(list, ", "))
		}
		b.WriteString("\t}\n")
	}
	for _, c := range []struct{ name, hook string }{{chainIn, "ingress"}, {chainOut, "egress"}} {
		fmt.Fprintf(&b, "\tchain %s {\n\t\ttype filter hook %s device \"%s\" priority 0; policy drop;\n", c.name, c.hook, r.Link)
		for _, rule := range r.Rules {
			if rule.Chain != c.name {
				continue
			}
			var words []string
			for _, m := range rule.Head {
				words = append(words, fmt.Sprintf("%s 0x%x", m.Field.Name, m.Value))
			}
			for _, s := range rule.Sets {
				words = append(words, names(s.Fields, func(f Field) string { return f.Name }), "@"+s.Name)
			}
			fmt.Fprintf(&b, "\t\t%s accept\n", strings.Join(words, " "))
		}
		b.WriteString("\t}\n")
	}
	b.WriteString("}\n")
	return b.String()
}

func names(fields []Field, name func(Field) string) string {
	var list []string
	for _, f := range fields {
		list = append(list, name(f))
	}
	return strings.Join(list, " . ")
}

func (s FilterSet) element(e []byte) string {
	var list []string
	for _, f := range s.Fields {
		v := e[:f.Len]
		e = e[f.Len:]
		switch f.Len {
		case 1:
			list = append(list, strconv.Itoa(int(v[0])))
		case 6:
			list = append(list, net.HardwareAddr(v).String())
		default:
			list = append(list, net.IP(v).String())
		}
	}
	return strings.Join(list, " . ")
}

// key is an element as nftables keeps it: each field fills whole registers of
// four bytes.
func (s FilterSet) key(e []byte) []byte {
	var out []byte
	for _, f := range s.Fields {
		out = append(out, e[:f.Len]...)
		e = e[f.Len:]
		out = append(out, make([]byte, (4-f.Len%4)%4)...)
	}
	return out
}

// of gives the rules of one chain and the sets that they look into.
func (r Ruleset) of(chain string) Ruleset {
	out, used := Ruleset{Link: r.Link}, map[string]bool{}
	for _, rule := range r.Rules {
		if rule.Chain != chain {
			continue
		}
		out.Rules = append(out.Rules, rule)
		for _, s := range rule.Sets {
			used[s.Name] = true
		}
	}
	for _, s := range r.Sets {
		if used[s.Name] {
			out.Sets = append(out.Sets, s)
		}
	}
	return out
}

// same tells whether r differs from another ruleset in elements only.
func (r Ruleset) same(as Ruleset) bool {
	return r.Link == as.Link && reflect.DeepEqual(r.Rules, as.Rules) && slices.EqualFunc(r.Sets, as.Sets, func(x, y FilterSet) bool { return x.Name == y.Name })
}

// room is how many elements the set in the kernel can have. There is space for some
// to come.
func (s FilterSet) room() uint32 {
	return max(64, uint32(1)<<bits.Len(uint(2*len(s.Elements))))
}

// fits tells whether r is the same as another ruleset, and there is room for its
// elements in what was made for that.
func (r Ruleset) fits(in Ruleset) bool {
	if !r.same(in) {
		return false
	}
	for i, s := range r.Sets {
		if len(s.Elements) > int(in.Sets[i].room()) {
			return false
		}
	}
	return true
}

// size is the length of an element, in bytes.
func (s FilterSet) size() (n uint32) {
	for _, f := range s.Fields {
		n += f.Len
	}
	return n
}
