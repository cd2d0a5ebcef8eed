package system

import "slices"

// Numbers of protocols and extension headers (IANA, "Assigned Internet Protocol
// Numbers").
const (
	protoHopByHop = 0
	protoTCP      = 6
	protoUDP      = 17
	protoFragment = 44
	protoICMP6    = 58
	protoSCTP     = 132
)

// Types of ICMPv6 (RFC 4861, RFC 3810).
const (
	mldQuery          = 130
	mldReport         = 143
	neighbourQuestion = 135
	neighbourAnswer   = 136
)

// Offsets of IPv6 (RFC 8200), of ICMPv6 behind it (RFC 4443) and of a neighbour's
// question or answer in that, with one option (RFC 4861, 4.3 and 4.4).
func ip6Source() Field  { return Field{"ip6 saddr", "ipv6_addr", 22, 16} }
func ip6Length() Field  { return Field{"ip6 length", "integer", 18, 2} }
func ip6Next() Field    { return Field{"ip6 nexthdr", "inet_proto", 20, 1} }
func icmp6Type() Field  { return Field{"icmpv6 type", "icmpv6_type", 54, 1} }
func ndTarget() Field   { return Field{"icmpv6 taddr", "ipv6_addr", 62, 16} }
func ndOption() Field   { return Field{"@ll,624,16", "integer", 78, 2} }
func ndHardware() Field { return Field{"@ll,640,48", "ether_addr", 80, 6} }

// A hop-by-hop header with the alert for routers that all MLD has (RFC 3810, 5),
// and the message's type behind it.
func hopByHop() Field { return Field{"@ll,432,64", "integer", 54, 8} }
func mldType() Field  { return Field{"@ll,496,8", "integer", 62, 1} }

// What may be in the headers. Of the extension headers only the fragment's: others
// could hide a neighbour's answer, which a kernel takes behind any of them except
// that one (RFC 6980).
func protocols6() [][]byte {
	return [][]byte{{protoTCP}, {protoUDP}, {protoFragment}, {protoSCTP}}
}

// ICMPv6 that any card may send: errors and echo (RFC 4443). Routers' messages and
// redirects (RFC 4861) are none: routes are not learnt from the wire.
func messages6() [][]byte { return [][]byte{{1}, {2}, {3}, {4}, {128}, {129}} }

// filter6 are the elements of the sets of IPv6.
type filter6 struct{ own, peers cards6 }

// cards6 are what cards may have in their frames.
type cards6 struct {
	pairs     [][]byte // of a card and an address
	questions [][]byte // and of the card's address in the question
	answers   [][]byte // and of the address that the answer is about, the same
	full      [][]byte // and of the card's address in the answer
}

// add lets a card have its addresses and, if it has one at all, the link-local one
// that follows from its hardware address.
func (c *cards6) add(mac []byte, ips [][]byte) {
	if len(ips) == 0 || len(mac) != 6 {
		return
	}
	for _, ip := range append(slices.Clone(ips), linkLocal(mac)) {
		c.pairs = append(c.pairs, slices.Concat(mac, ip))
		c.questions = append(c.questions, slices.Concat(mac, ip, mac))
		c.answers = append(c.answers, slices.Concat(mac, ip, ip))
		c.full = append(c.full, slices.Concat(mac, ip, ip, mac))
	}
}

// linkLocal is the address that a card gives itself (RFC 4291, appendix A).
func linkLocal(mac []byte) []byte {
	return []byte{0xfe, 0x80, 0, 0, 0, 0, 0, 0, mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]}
}

// six adds what lets IPv6 in and out. A neighbour's question and answer have one
// option, the card's address, which is that of the frame; an answer is about the
// address that it comes from. Kernels send no others but answers without the
// option. gateway is the gateway's card, twice, as in ARP: it asks with any
// address, and for multicast anybody may (MLD, RFC 3810), which teaches nothing.
func (r *Ruleset) six(f filter6, gateway [][]byte) {
	ether := Match{etherType(), []byte{0x86, 0xdd}}
	icmp := []Match{ether, {ip6Next(), []byte{protoICMP6}}}
	// Behind the option nothing is left that could be another.
	nd := func(length, kind byte, option ...byte) []Match {
		out := append(slices.Clone(icmp), Match{ip6Length(), []byte{0, length}}, Match{icmp6Type(), []byte{kind}})
		if len(option) > 0 {
			out = append(out, Match{ndOption(), option})
		}
		return out
	}
	mld := func(kind byte) []Match {
		return []Match{ether, {ip6Next(), []byte{protoHopByHop}}, {hopByHop(), []byte{protoICMP6, 0, 5, 2, 0, 0, 1, 0}}, {mldType(), []byte{kind}}}
	}
	protocols := r.set("protocols6", protocols6(), ip6Next())
	messages := r.set("messages6", messages6(), icmp6Type())
	add := func(chain string, head []Match, sets ...FilterSet) {
		r.Rules = append(r.Rules, FilterRule{Chain: chain, Head: head, Sets: sets})
	}
	for _, side := range []struct {
		chain, name string
		cards       cards6
	}{{chainIn, "peers", f.peers}, {chainOut, "own", f.own}} {
		pairs := r.set(side.name+"6", side.cards.pairs, etherSource(), ip6Source())
		add(side.chain, []Match{ether}, protocols, pairs)
		add(side.chain, icmp, messages, pairs)
		add(side.chain, nd(32, neighbourQuestion, 1, 1), r.set(side.name+"_ns", side.cards.questions, etherSource(), ip6Source(), ndHardware()))
		add(side.chain, nd(32, neighbourAnswer, 2, 1), r.set(side.name+"_na", side.cards.full, etherSource(), ip6Source(), ndTarget(), ndHardware()))
		add(side.chain, nd(24, neighbourAnswer), r.set(side.name+"_na_short", side.cards.answers, etherSource(), ip6Source(), ndTarget()))
		if side.chain == chainOut {
			add(side.chain, mld(mldReport), pairs)
		}
	}
	var cards [][]byte
	for _, g := range gateway {
		cards = append(cards, g[:6])
	}
	card := r.set("gateway6", cards, etherSource())
	twice := r.set("gateway_nd", gateway, etherSource(), ndHardware())
	add(chainIn, []Match{ether}, protocols, card)
	add(chainIn, icmp, messages, card)
	add(chainIn, nd(32, neighbourQuestion, 1, 1), twice)
	add(chainIn, nd(32, neighbourAnswer, 2, 1), twice)
	add(chainIn, nd(24, neighbourAnswer), card)
	add(chainIn, mld(mldQuery))
}
