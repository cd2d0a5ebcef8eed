//go:build vm

package tether_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"
)

// wire is a layer 2 that hides nothing: every frame reaches every card, whatever
// it says, and the test reads all of them and puts its own on it. It answers ARP
// for the gateways' addresses.
type wire struct {
	gateway  net.HardwareAddr
	gateways []netip.Addr
	dhcp     func(frame []byte) []byte // gives the reply to a frame; may be nil

	mu    sync.Mutex // guards what follows
	cards map[net.Conn]string
	seen  []seen
	more  chan struct{} // closed and replaced when seen has grown
}

// seen is a frame from a guest's card.
type seen struct {
	card  string // the card's own address, whatever the frame says
	frame []byte
}

func newWire(gateway string, gateways ...string) *wire {
	w := &wire{gateway: hw(gateway), cards: map[net.Conn]string{}, more: make(chan struct{})}
	for _, g := range gateways {
		w.gateways = append(w.gateways, netip.MustParseAddr(g))
	}
	return w
}

// Connect implements qemu.Network.
func (w *wire) Connect(ctx context.Context, _, mac string, conn net.Conn) error {
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	w.mu.Lock()
	w.cards[conn] = mac
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		delete(w.cards, conn)
		w.mu.Unlock()
		_ = conn.Close()
	}()
	for {
		var head [4]byte
		if _, err := io.ReadFull(conn, head[:]); err != nil {
			return nil
		}
		frame := make([]byte, binary.BigEndian.Uint32(head[:]))
		if _, err := io.ReadFull(conn, frame); err != nil {
			return nil
		}
		w.mu.Lock()
		w.seen = append(w.seen, seen{mac, frame})
		close(w.more)
		w.more = make(chan struct{})
		w.mu.Unlock()
		w.send(conn, frame)
		w.answer(frame)
	}
}

// send gives a frame to all cards but one.
func (w *wire) send(but net.Conn, frame []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for conn := range w.cards {
		if conn != but {
			_, _ = conn.Write(slices.Concat(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame)) // a guest that is gone
		}
	}
}

// put is a frame of the test's.
func (w *wire) put(frame []byte) { w.send(nil, frame) }

// answer is the gateway's part of ARP.
func (w *wire) answer(f []byte) {
	if w.dhcp != nil {
		if reply := w.dhcp(f); reply != nil {
			w.put(reply)
		}
	}
	if len(f) < 42 || !bytes.Equal(f[12:22], arpRequest) {
		return
	}
	who, asks := netip.AddrFrom4([4]byte(f[38:42])), netip.AddrFrom4([4]byte(f[28:32]))
	if slices.Contains(w.gateways, who) {
		w.put(arp(2, w.gateway.String(), w.gateway.String(), who.String(), net.HardwareAddr(f[6:12]).String(), asks.String()))
	}
}

// mark is the place in what was seen so far.
func (w *wire) mark() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.seen)
}

// from are the frames of a card since a mark.
func (w *wire) from(card string, mark int) [][]byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out [][]byte
	for _, s := range w.seen[mark:] {
		if s.card == card {
			out = append(out, s.frame)
		}
	}
	return out
}

// wait waits until a card has sent a frame with text in it, since a mark.
func (w *wire) wait(t *testing.T, card string, mark int, what string, text []byte) {
	t.Helper()
	w.until(t, card+" sends "+what, func() bool {
		return slices.ContainsFunc(w.from(card, mark), func(f []byte) bool { return bytes.Contains(f, text) })
	})
}

// until waits until what was seen is enough.
func (w *wire) until(t *testing.T, what string, enough func() bool) {
	t.Helper()
	late := time.After(limit)
	for {
		w.mu.Lock()
		more := w.more
		w.mu.Unlock()
		if enough() {
			return
		}
		select {
		case <-more:
		case <-late:
			t.Fatalf("in vain: %s", what)
		}
	}
}

func hw(mac string) net.HardwareAddr {
	m, err := net.ParseMAC(mac)
	if err != nil {
		panic(err)
	}
	return m
}

func ip4(s string) []byte { return netip.MustParseAddr(s).AsSlice() }

const broadcast = "ff:ff:ff:ff:ff:ff"

// arpRequest is what an ARP request has from its EtherType on.
var arpRequest = []byte{0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1}

// arp is a frame from a card that says in ARP that sha has spa.
func arp(op byte, from, sha, spa, to, tpa string) []byte {
	return slices.Concat([]byte(hw(to)), []byte(hw(from)), []byte{0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, op}, []byte(hw(sha)), ip4(spa), []byte(hw(to)), ip4(tpa))
}

// ping is an ICMP echo request with a text.
func ping(from, src, to, dst, text string) []byte {
	icmp := append([]byte{8, 0, 0, 0, 0x12, 0x34, 0, 1}, text...)
	if len(icmp)%2 == 1 {
		icmp = append(icmp, ' ')
	}
	binary.BigEndian.PutUint16(icmp[2:], checksum(icmp))
	h := slices.Concat([]byte{0x45, 0, 0, byte(20 + len(icmp)), 0, 1, 0, 0, 64, 1, 0, 0}, ip4(src), ip4(dst))
	binary.BigEndian.PutUint16(h[10:], checksum(h))
	return slices.Concat([]byte(hw(to)), []byte(hw(from)), []byte{0x08, 0}, h, icmp)
}

// tagged puts a frame into a VLAN.
func tagged(frame []byte) []byte {
	return slices.Concat(frame[:12], []byte{0x81, 0, 0, 0}, frame[12:])
}

func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

func hexes(frames [][]byte) []string {
	var out []string
	for _, f := range frames {
		out = append(out, hex.EncodeToString(f))
	}
	return out
}
