package system

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
)

// admits is what the kernel does with a frame: a field behind its end is in no rule.
func (r Ruleset) admits(chain string, frame []byte) bool {
	field := func(f Field) ([]byte, bool) {
		if end := int(f.Offset + f.Len); end <= len(frame) {
			return frame[f.Offset:end], true
		}
		return nil, false
	}
	in := func(s FilterSet) bool {
		var e []byte
		for _, f := range s.Fields {
			v, ok := field(f)
			if !ok {
				return false
			}
			e = append(e, v...)
		}
		i := slices.IndexFunc(r.Sets, func(o FilterSet) bool { return o.Name == s.Name })
		return slices.ContainsFunc(r.Sets[i].Elements, func(o []byte) bool { return bytes.Equal(o, e) })
	}
	return slices.ContainsFunc(r.Rules, func(rule FilterRule) bool {
		return rule.Chain == chain && !slices.ContainsFunc(rule.Head, func(m Match) bool {
			v, ok := field(m.Field)
			return !ok || !bytes.Equal(v, m.Value)
		}) && !slices.ContainsFunc(rule.Sets, func(s FilterSet) bool { return !in(s) })
	})
}

func ip6(s string) []byte { return netip.MustParseAddr(s).AsSlice() }

// packet6 is a frame of IPv6.
func packet6(t *testing.T, from, src string, next byte, payload ...[]byte) []byte {
	t.Helper()
	mac, err := net.ParseMAC(from)
	if err != nil {
		t.Fatal(err)
	}
	body := slices.Concat(payload...)
	return slices.Concat([]byte{0x33, 0x33, 0, 0, 0, 1}, mac, []byte{0x86, 0xdd, 0x60, 0, 0, 0, 0, byte(len(body)), next, 255}, ip6(src), ip6("fd00:17::2"), body)
}

func option(kind byte, mac string) []byte {
	hw, err := net.ParseMAC(mac)
	if err != nil {
		panic(err)
	}
	return append([]byte{kind, 1}, hw...)
}

func TestFilter6(t *testing.T) {
	const self, gateway, peer, plain, stranger = "00:50:56:00:00:01", "00:50:56:00:00:fe", "00:50:56:00:00:02", "00:50:56:00:00:03", "00:50:56:00:00:66"
	const own, ownLink, peers, peersLink, others = "fd00:17::2", "fe80::250:56ff:fe00:1", "fd00:17::3", "fe80::250:56ff:fe00:2", "2001:db8::1"
	f := Filter{Link: "eth0", MAC: self, Addresses: []string{"172.17.0.2/16", own + "/64"}, GatewayMAC: gateway,
		Peers: []Peer{{peer, []string{"172.17.0.3", peers}}, {plain, []string{"172.17.0.4"}}}}
	r, err := f.Ruleset()
	if err != nil {
		t.Fatal(err)
	}
	f.Addresses = f.Addresses[:1]
	without, err := f.Ruleset()
	if err != nil {
		t.Fatal(err)
	}
	packet := func(from, src string, next byte, payload ...[]byte) []byte {
		return packet6(t, from, src, next, payload...)
	}
	question := func(from, src string, options ...[]byte) []byte {
		return packet(from, src, protoICMP6, []byte{neighbourQuestion, 0, 0, 0, 0, 0, 0, 0}, ip6(own), slices.Concat(options...))
	}
	answer := func(from, src, target string, options ...[]byte) []byte {
		return packet(from, src, protoICMP6, []byte{neighbourAnswer, 0, 0, 0, 0x60, 0, 0, 0}, ip6(target), slices.Concat(options...))
	}
	message := func(kind byte) []byte { return []byte{kind, 0, 0, 0, 0, 0, 0, 0} }
	alert := []byte{protoICMP6, 0, 5, 2, 0, 0, 1, 0}
	hidden := slices.Concat([]byte{protoICMP6, 0, 1, 4, 0, 0, 0, 0}, message(neighbourAnswer), ip6(own), option(2, peer))
	for _, tc := range []struct {
		what  string
		chain string
		frame []byte
		want  bool
	}{
		{"a peer's datagram", chainIn, packet(peer, peers, protoUDP, make([]byte, 8)), true},
		{"a peer's link-local datagram", chainIn, packet(peer, peersLink, protoTCP, make([]byte, 20)), true},
		{"a peer's fragment", chainIn, packet(peer, peers, protoFragment, make([]byte, 16)), true},
		{"a peer's echo", chainIn, packet(peer, peers, protoICMP6, message(128)), true},
		{"a peer's question", chainIn, question(peer, peers, option(1, peer)), true},
		{"a peer's link-local question", chainIn, question(peer, peersLink, option(1, peer)), true},
		{"a peer's answer", chainIn, answer(peer, peers, peers, option(2, peer)), true},
		{"a peer's short answer", chainIn, answer(peer, peers, peers), true},
		{"the gateway's datagram from outside", chainIn, packet(gateway, others, protoTCP, make([]byte, 20)), true},
		{"the gateway's error", chainIn, packet(gateway, others, protoICMP6, message(1)), true},
		{"the gateway's question", chainIn, question(gateway, "fe80::1", option(1, gateway)), true},
		{"the gateway's answer", chainIn, answer(gateway, "fd00:17::1", "fd00:17::1", option(2, gateway)), true},
		{"a question for groups", chainIn, packet(stranger, "fe80::9", protoHopByHop, alert, message(mldQuery)), true},

		{"a peer with another's address", chainIn, packet(peer, others, protoUDP, make([]byte, 8)), false},
		{"a peer with the card's own address", chainIn, packet(peer, own, protoUDP, make([]byte, 8)), false},
		{"a peer's address from another card", chainIn, packet(stranger, peers, protoUDP, make([]byte, 8)), false},
		{"a peer without IPv6", chainIn, packet(plain, "fe80::250:56ff:fe00:3", protoUDP, make([]byte, 8)), false},
		{"a peer's answer for the gateway", chainIn, answer(peer, peers, "fd00:17::1", option(2, peer)), false},
		{"a peer's short answer for the gateway", chainIn, answer(peer, peers, "fd00:17::1"), false},
		{"a peer's answer with another card", chainIn, answer(peer, peers, peers, option(2, gateway)), false},
		{"a peer's answer as the gateway", chainIn, answer(peer, "fd00:17::1", "fd00:17::1", option(2, peer)), false},
		{"a peer's answer with one option more", chainIn, answer(peer, peers, peers, option(2, peer), option(2, gateway)), false},
		{"a stranger's answer for a peer", chainIn, answer(stranger, peers, peers, option(2, stranger)), false},
		{"an answer behind an extension header", chainIn, packet(peer, peers, 60, hidden), false},
		{"an answer behind a hop-by-hop header", chainIn, packet(peer, peers, protoHopByHop, hidden), false},
		{"an answer behind a router's alert", chainIn, packet(peer, peers, protoHopByHop, alert, message(neighbourAnswer), ip6(peers), option(2, stranger)), false},
		{"a peer's question that says another card", chainIn, question(peer, peers, option(1, stranger)), false},
		{"a peer's question as the gateway", chainIn, question(peer, "fd00:17::1", option(1, peer)), false},
		{"a question without a source", chainIn, question(peer, "::", option(1, peer)), false},
		{"a router's advertisement of a peer", chainIn, packet(peer, peersLink, protoICMP6, message(134), make([]byte, 8), option(1, peer)), false},
		{"a router's advertisement of the gateway", chainIn, packet(gateway, "fe80::1", protoICMP6, message(134), make([]byte, 8), option(1, gateway)), false},
		{"a redirect of the gateway", chainIn, packet(gateway, "fe80::1", protoICMP6, message(137), ip6(peers), ip6(others)), false},
		{"another protocol", chainIn, packet(peer, peers, 135, make([]byte, 16)), false},

		{"its own datagram", chainOut, packet(self, own, protoUDP, make([]byte, 8)), true},
		{"its own question", chainOut, question(self, ownLink, option(1, self)), true},
		{"its own answer", chainOut, answer(self, own, own, option(2, self)), true},
		{"its own group", chainOut, packet(self, ownLink, protoHopByHop, alert, message(mldReport)), true},
		{"a datagram of a peer's", chainOut, packet(self, peers, protoUDP, make([]byte, 8)), false},
		{"another card's datagram", chainOut, packet(peer, own, protoUDP, make([]byte, 8)), false},
		{"an answer for a peer", chainOut, answer(self, own, peers, option(2, self)), false},
		{"an answer for a peer, as the peer", chainOut, answer(self, peers, peers, option(2, self)), false},
		{"a router's advertisement", chainOut, packet(self, ownLink, protoICMP6, message(134), make([]byte, 8)), false},
		{"a router's question", chainOut, packet(self, ownLink, protoICMP6, message(133)), false},
		{"a question for groups", chainOut, packet(self, ownLink, protoHopByHop, alert, message(mldQuery)), false},
		{"an answer hidden", chainOut, packet(self, own, 60, hidden), false},
	} {
		if got := r.admits(tc.chain, tc.frame); got != tc.want {
			t.Errorf("%s %s: %v", tc.what, tc.chain, got)
		}
		if without.admits(tc.chain, tc.frame) {
			t.Errorf("%s %s: on a card without IPv6", tc.what, tc.chain)
		}
	}
	frame, err := announcement(self, own)
	if err != nil || !r.admits(chainOut, frame) {
		t.Error(fmt.Sprintf("its own announcement %x does not leave: ", frame), err)
	}
}
