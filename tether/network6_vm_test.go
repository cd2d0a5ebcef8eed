//go:build vm

package tether_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/vic-engine/vic/pkg/spec"
)

const (
	one6, two6 = "fd00:17::", "fd00:18::" // the two networks' other addresses
	linkB      = "fe80::250:56ff:fe00:b"  // what B's card gives itself
	outside6   = "2001:db8::7"
)

// endpoint6 is an endpoint with IPv6.
func endpoint6(network, mac, ip, ip6 string) spec.Endpoint {
	e := endpoint(network, mac, ip)
	e.IP6, e.Gateway6 = ip6+"/64", netip.MustParsePrefix(ip6+"/64").Masked().Addr().Next().String()
	return e
}

func ip6(s string) []byte { return netip.MustParseAddr(s).AsSlice() }

// icmp6 is a frame with an ICMPv6 message, whose checksum is filled in.
func icmp6(from, src, to, dst string, message ...[]byte) []byte {
	m := slices.Concat(message...)
	binary.BigEndian.PutUint16(m[2:], checksum(slices.Concat(ip6(src), ip6(dst), []byte{0, 0, 0, byte(len(m)), 0, 0, 0, 58}, m)))
	return slices.Concat([]byte(hw(to)), []byte(hw(from)), []byte{0x86, 0xdd, 0x60, 0, 0, 0, 0, byte(len(m)), 58, 255}, ip6(src), ip6(dst), m)
}

// asks is a neighbour's question, answers an answer that replaces what is known.
func asks(from, src, said, to, target string) []byte {
	return icmp6(from, src, to, target, []byte{135, 0, 0, 0, 0, 0, 0, 0}, ip6(target), []byte{1, 1}, []byte(hw(said)))
}

func answers(from, src, said, to, dst, target string) []byte {
	return icmp6(from, src, to, dst, []byte{136, 0, 0, 0, 0x60, 0, 0, 0}, ip6(target), []byte{2, 1}, []byte(hw(said)))
}

// advertises is what a router says of itself and of a network (RFC 4861, 4.2).
func advertises(from, src, to, dst, prefix string) []byte {
	return icmp6(from, src, to, dst, []byte{134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0},
		[]byte{3, 4, 64, 0xc0, 0, 0, 0x0e, 0x10, 0, 0, 0x0e, 0x10, 0, 0, 0, 0}, ip6(prefix), []byte{1, 1}, []byte(hw(from)))
}

func ping6(from, src, to, dst, text string) []byte {
	if len(text)%2 == 1 {
		text += " "
	}
	return icmp6(from, src, to, dst, []byte{128, 0, 0, 0, 0x12, 0x34, 0, 1}, []byte(text))
}

// six is TestNetworks with IPv6: given to and taken from guests that run.
func six(t *testing.T, w *wire, a, b, c neighbour, base func(...spec.Peer) spec.NetworkUpdate, forA spec.NetworkUpdate) {
	const addrA, addrB, addrC = one6 + "2", one6 + "3", two6 + "2"
	if out := a.must(t, "ip", "-6", "addr", "show", "dev", "eth0"); strings.Contains(out, "inet6") {
		t.Errorf("a card without IPv6 has\n%s", out)
	}
	for _, n := range []struct {
		who      neighbour
		endpoint spec.Endpoint
		peers    []spec.Peer
	}{
		{a, endpoint6("one", macA, one+"2", addrA), []spec.Peer{{MAC: macB, Addresses: []string{one + "3", addrB}}}},
		{b, endpoint6("one", macB, one+"3", addrB), []spec.Peer{{MAC: macA, Addresses: []string{one + "2", addrA}}}},
		{c, endpoint6("two", macC, two+"2", addrC), nil},
	} {
		u := base(n.peers...)
		u.Endpoints = []spec.Endpoint{n.endpoint}
		mark := w.mark()
		n.who.update(u)
		text, _, _ := strings.Cut(n.endpoint.IP6, "/")
		w.wait(t, n.who.mac, mark, "word of its address", slices.Concat(ip6(text), []byte{2, 1}, []byte(hw(n.who.mac))))
	}
	reaches := func(n neighbour, ip string) bool {
		_, code := n.run("busybox", "ping6", "-c", "1", "-W", "3", ip)
		return code == 0
	}
	if !reaches(a, addrB) || !reaches(b, addrA) || !reaches(a, linkB+"%eth0") || !reaches(a, addrA) {
		t.Error("peers do not reach each other")
	}
	if _, code := c.run("busybox", "ping6", "-c", "1", "-W", "1", addrA); code == 0 {
		t.Error("another network's member reaches it")
	}
	text := a.must(t, "sh", "-c", "cat /etc/hosts; ip -6 addr; ip -6 route")
	for _, want := range []string{addrA + "\t" + containerID[:12], "inet6 " + addrA + "/64", "default via " + one6 + "1 dev eth0"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "tentative") {
		t.Errorf("it waits for its addresses:\n%s", text)
	}
	t.Run("forged frames are not accepted", func(t *testing.T) { notAccepted6(t, w, a) })
	t.Run("forged frames do not leave", func(t *testing.T) { notSent6(t, w, c) })

	// Without the filter the forged answer is believed: it is the filter that helps.
	open := base()
	open.Filter, open.Endpoints = false, []spec.Endpoint{endpoint6("one", macA, one+"2", addrA)}
	a.update(open)
	w.put(answers(macX, addrB, macX, macA, addrA, addrB))
	w.sentinel(t, 99)
	if out := a.must(t, "ip", "-6", "neigh"); !strings.Contains(out, macX) {
		t.Errorf("nobody would have believed it:\n%s", out)
	}
	a.update(forA)
	if out := a.must(t, "sh", "-c", "ip -6 addr show dev eth0; ip -6 route; cat /etc/hosts"); strings.Contains(out, one6) || strings.Contains(out, "eth0") && strings.Contains(out, "inet6 ") {
		t.Errorf("after it is off:\n%s", out)
	}
}

// sentinel is a frame of the gateway that A answers: what came before it was seen to.
func (w *wire) sentinel(t *testing.T, n int) {
	t.Helper()
	mark, text := w.mark(), fmt.Sprintf("%s%d", one, n)
	w.put(arp(1, macG, macG, text, broadcast, one+"2"))
	w.wait(t, macA, mark, "an answer to the gateway", append(hw(macG), ip4(text)...))
}

// notAccepted6 forges frames for A, which answers none, and learns nothing.
func notAccepted6(t *testing.T, w *wire, a neighbour) {
	const me, peer, link = one6 + "2", one6 + "3", "fe80::250:56ff:fe00:66"
	for i, f := range []struct {
		what  string
		frame []byte
	}{
		{"a stranger's question", asks(macX, link, macX, macA, me)},
		{"a peer's question from another card", asks(macX, peer, macX, macA, me)},
		{"a peer's question that names another card", asks(macB, peer, macX, macA, me)},
		{"a peer's question with the gateway's address", asks(macB, one6+"1", macB, macA, me)},
		{"a peer's answer from another card", answers(macX, peer, macX, macA, me, peer)},
		{"a peer's answer that names another card", answers(macB, peer, macX, macA, me, peer)},
		{"a peer's answer for the gateway", answers(macB, peer, macB, macA, me, one6+"1")},
		{"a stranger's answer for the gateway", answers(macX, one6+"1", macX, macA, me, one6+"1")},
		{"a router", advertises(macB, linkB, macA, me, "fd00:99::")},
		{"a router to all", advertises(macX, link, "33:33:00:00:00:01", "ff02::1", "fd00:99::")},
		{"a peer's address from another card, echo", ping6(macX, peer, macA, me, "forged 6")},
		{"a peer with another's address", ping6(macB, outside6, macA, me, "forged 6")},
		{"another network's echo", ping6(macC, two6+"2", macA, me, "forged 6")},
		{"a tagged echo", tagged(ping6(macB, peer, macA, me, "forged 6"))},
	} {
		mark := w.mark()
		w.put(f.frame)
		w.sentinel(t, 100+i)
		for _, got := range w.from(macA, mark) {
			// That it hears groups of addresses it says in its own time.
			if bytes.Equal(got[12:14], []byte{0x86, 0xdd}) && got[20] != 0 && !bytes.Contains(got, ip6(linkB)) && !bytes.Contains(got, hw(macB)) {
				t.Errorf("%s: answered with %x", f.what, got)
			}
		}
	}
	text := a.must(t, "sh", "-c", "ip -6 neigh; ip -6 addr; ip -6 route")
	if strings.Contains(text, macX) || strings.Contains(text, "fd00:99") || strings.Contains(text, one6+"1 dev eth0 lladdr") || !strings.Contains(text, peer+" dev eth0 lladdr "+macB) {
		t.Errorf("it has learnt:\n%s", text)
	}
	mark := w.mark()
	w.put(asks(macG, "fe80::250:56ff:fe00:fe", macG, macA, me))
	w.wait(t, macA, mark, "an answer to the gateway's question", slices.Concat([]byte{0x40, 0, 0, 0}, ip6(me)))
	w.put(asks(macG, one6+"1", macG, macA, me)) // its card is known then
	w.put(ping6(macG, outside6, macA, me, "from outside 6"))
	w.put(ping6(macB, peer, macA, me, "from a peer 6"))
	w.wait(t, macA, mark, "a reply to a peer", []byte("from a peer 6"))
	w.wait(t, macA, mark, "a reply to a client of the outside", []byte("from outside 6"))
}

// notSent6 lets a hostile process in C send what is not C's own.
func notSent6(t *testing.T, w *wire, c neighbour) {
	const mine, link = two6 + "2", "fe80::250:56ff:fe00:c"
	behind := ping6(macC, mine, macA, one6+"2", "forged: behind")
	behind[20] = 60 // an extension header
	frames := [][]byte{
		ping6(macC, one6+"3", macA, one6+"2", "forged: a peer's address"),
		ping6(macB, one6+"3", macA, one6+"2", "forged: a peer's card and address"),
		ping6(macG, outside6, macA, one6+"2", "forged: the gateway"),
		tagged(ping6(macC, mine, macA, one6+"2", "forged: tagged")),
		asks(macC, one6+"3", macC, macA, one6+"2"),
		asks(macC, mine, macG, macA, one6+"2"),
		answers(macC, mine, macC, macA, one6+"2", one6+"1"),
		answers(macC, one6+"1", macC, macA, one6+"2", one6+"1"),
		answers(macC, mine, macG, macA, one6+"2", mine),
		advertises(macC, link, "33:33:00:00:00:01", "ff02::1", "fd00:99::"),
		behind,
	}
	own := ping6(macC, mine, macG, outside6, "its own 6")
	mark := w.mark()
	out, code := c.run(append([]string{"/forge", "eth0"}, hexes(append(frames, own))...)...)
	if code != 0 || !strings.Contains(out, "sent") {
		t.Fatalf("forge: %d %s", code, out)
	}
	w.wait(t, macC, mark, "what is its own", []byte("its own 6"))
	for _, got := range w.from(macC, mark) {
		for _, f := range frames {
			if bytes.HasPrefix(got, f) {
				t.Errorf("%x has left", f)
			}
		}
	}
}
