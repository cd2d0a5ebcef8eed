//go:build vm

package tether_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/crypto/ssh"

	"github.com/vic-engine/vic/pkg/lab/machine"
	"github.com/vic-engine/vic/pkg/lab/qemu/qemutest"
	"github.com/vic-engine/vic/pkg/spec"
)

const (
	macE, macD = "00:50:56:00:00:0e", "00:50:56:00:00:0d" // cards on two container networks
	direct     = "10.9.0.5"                               // the container there
	router     = "10.9.0.1"
	peer       = "10.9.1.7" // of the range of peers
	near       = "10.9.2.7" // of the subnet only
	leased     = "10.8.0.20"
)

// dhcpServer answers on a wire while it is on.
type dhcpServer struct {
	off     atomic.Bool
	granted atomic.Int32
	asked   atomic.Int32
	changed chan struct{} // of one: something was asked
}

// answer gives the reply to a frame, if it is one of DHCP.
func (d *dhcpServer) answer(f []byte) []byte {
	if len(f) < 42 || f[12] != 8 || f[13] != 0 || f[23] != 17 || binary.BigEndian.Uint16(f[36:]) != 67 {
		return nil
	}
	m, err := dhcpv4.FromBytes(f[42:])
	if err != nil {
		return nil
	}
	defer func() {
		select {
		case d.changed <- struct{}{}:
		default:
		}
	}()
	d.asked.Add(1)
	if d.off.Load() {
		return nil
	}
	kind := dhcpv4.MessageTypeOffer
	if m.MessageType() == dhcpv4.MessageTypeRequest {
		kind = dhcpv4.MessageTypeAck
	}
	r, err := dhcpv4.NewReplyFromRequest(m, dhcpv4.WithMessageType(kind), dhcpv4.WithYourIP(net.ParseIP(leased)), dhcpv4.WithServerIP(net.ParseIP("10.8.0.1")),
		dhcpv4.WithNetmask(net.CIDRMask(16, 32)), dhcpv4.WithRouter(net.ParseIP("10.8.0.1")), dhcpv4.WithLeaseTime(10),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.ParseIP("10.8.0.1"))))
	if err != nil {
		return nil
	}
	if kind == dhcpv4.MessageTypeAck {
		d.granted.Add(1)
	}
	b := r.ToBytes()
	udp := binary.BigEndian.AppendUint16([]byte{0, 67, 0, 68}, uint16(8+len(b)))
	return ipv4(macG, "10.8.0.1", m.ClientHWAddr.String(), "255.255.255.255", 17, append(append(udp, 0, 0), b...))
}

// await waits for something that a request may bring about.
func (d *dhcpServer) await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	late := time.After(limit)
	for !ok() {
		select {
		case <-d.changed:
		case <-late:
			t.Fatalf("%s: asked %d times, granted %d", what, d.asked.Load(), d.granted.Load())
		}
	}
}

// ipv4 is a datagram in a frame.
func ipv4(from, src, to, dst string, proto byte, payload []byte) []byte {
	h := slices.Concat([]byte{0x45, 0, 0, 0, 0, 1, 0, 0, 64, proto, 0, 0}, ip4(src), ip4(dst))
	binary.BigEndian.PutUint16(h[2:], uint16(20+len(payload)))
	binary.BigEndian.PutUint16(h[10:], checksum(h))
	return slices.Concat([]byte(hw(to)), []byte(hw(from)), []byte{0x08, 0}, h, payload)
}

// syn asks for a connection to a port of the container's card.
func syn(src string, from, to uint16) []byte {
	tcp := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, from), to)
	tcp = append(tcp, 0, 0, 0, 1, 0, 0, 0, 0, 5<<4, 2, 0xff, 0xff, 0, 0, 0, 0)
	sum := checksum(slices.Concat(ip4(src), ip4(direct), []byte{0, 6, 0, byte(len(tcp))}, tcp))
	binary.BigEndian.PutUint16(tcp[16:], sum)
	return ipv4(macG, src, macE, direct, 6, tcp)
}

// answered tells whether a frame is of the connection that syn asked for, from
// the asked port back.
func answered(f []byte, src string, from, to uint16) bool {
	return len(f) >= 40 && f[23] == 6 && bytes.Equal(f[30:34], ip4(src)) && binary.BigEndian.Uint16(f[34:]) == to && binary.BigEndian.Uint16(f[36:]) == from
}

// trustCase is what a level lets through.
type trustCase struct {
	level spec.Trust
	// in are "source:port" that are let in; all others of probes are not.
	in  []string
	out bool
}

func trustCases() []trustCase {
	return []trustCase{
		{spec.TrustOpen, probes(), true}, // first: it learns who has which address
		{spec.TrustPublished, []string{peer + ":80", near + ":80", outside + ":80"}, true},
		{spec.TrustPeers, []string{peer + ":80", peer + ":81"}, true},
		{spec.TrustOutbound, nil, true},
		{spec.TrustClosed, nil, false},
	}
}

func probes() []string {
	var out []string
	for _, who := range []string{peer, near, outside} {
		out = append(out, who+":80", who+":81")
	}
	return out
}

// TestTrustLevels is a container on the bridge and on two container networks, one
// with DHCP: what its firewall there lets in and out, told from frames.
func TestTrustLevels(t *testing.T) {
	server := &dhcpServer{changed: make(chan struct{}, 1)}
	w := newWire(macG, one+"1", router, peer, near)
	w.dhcp = server.answer
	bridge := endpoint("one", macA, one+"2")
	ext := spec.Endpoint{Network: "direct", MAC: macE, IP: direct + "/16", Gateway: router, Ports: []string{"80/tcp"}, Peers: []string{"10.9.1.0/24"}, Trust: spec.TrustClosed}
	dhcp := spec.Endpoint{Network: "dhcp", MAC: macD, Trust: spec.TrustClosed}
	signer := signerOf(t)
	c := container(`while :; do sleep 1; done`)
	c.AuthorizedKey = string(ssh.MarshalAuthorizedKey(signer.PublicKey()))
	c.Endpoints = []spec.Endpoint{bridge, ext, dhcp}
	d := disks(t)
	d[1] = imageWith(t, busybox(t), forger(t))
	vm := qemutest.Boot(t, qemutest.Options{ISO: built.bootstrap, Console: 2, GuestInfo: keys(t, c), Network: w, Disks: d, NICs: []machine.NIC{
		{Network: "VCH Bridge", MAC: macA, Slot: 192}, {Network: "direct", MAC: macE, Slot: 224}, {Network: "dhcp", MAC: macD, Slot: 256}}})
	_ = output(t, vm)
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	s, err := concentrator(t, vm, signer).Session(ctx, c.ID)
	if err != nil {
		t.Fatal(err)
	}
	n := neighbour{t, vm, s, macE}
	if _, err := s.Release(ctx); err != nil {
		t.Fatal(err)
	}
	update := func(level spec.Trust) spec.NetworkUpdate {
		e := ext
		e.Trust = level
		return spec.NetworkUpdate{Endpoints: []spec.Endpoint{bridge, e, dhcp}}
	}
	t.Run("from the boot on", func(t *testing.T) { trusted(t, w, n, trustCases()[4]) })
	for _, c := range trustCases() {
		t.Run(string(c.level), func(t *testing.T) {
			n.update(update(c.level))
			trusted(t, w, n, c)
		})
	}
	t.Run("a level that is none", func(t *testing.T) {
		if err := n.session.Network(t.Context(), update("shut")); !errdefs.IsInvalidArgument(err) {
			t.Errorf("accepted: %v", err)
		}
		trusted(t, w, n, trustCases()[4])
	})
	t.Run("routes", func(t *testing.T) {
		text := n.must(t, "sh", "-c", "ip rule; ip route show table 101; ip route")
		for _, want := range []string{"from " + direct + " lookup 101", "10.9.0.0/16 dev eth1 scope link", "default via " + router + " dev eth1"} {
			if !strings.Contains(text, want) {
				t.Errorf("no %q in\n%s", want, text)
			}
		}
	})
	t.Run("a client of the bridge whose own network is another card's", func(t *testing.T) {
		const client = "10.9.2.99"
		mark := w.mark()
		w.put(ping(macG, client, macA, one+"2", "over the bridge"))
		w.wait(t, macA, mark, "a reply by the way that it came", []byte("over the bridge"))
	})
	t.Run("DHCP server gone and back", func(t *testing.T) {
		if st := n.status(t); st.Addresses["dhcp"] != leased+"/16" || st.Addresses["direct"] != direct+"/16" {
			t.Errorf("addresses reported: %v", st.Addresses)
		}
		before := server.granted.Load()
		server.await(t, "renewal", func() bool { return server.granted.Load() > before })
		server.off.Store(true)
		asked := server.asked.Load()
		server.await(t, "requests while nobody answers", func() bool { return server.asked.Load() > asked+3 })
		if text := n.must(t, "ip", "addr", "show", "eth2"); !strings.Contains(text, "inet "+leased+"/16") {
			t.Errorf("it has lost its address:\n%s", text)
		}
		before = server.granted.Load()
		server.off.Store(false)
		server.await(t, "a lease from the server that is back", func() bool { return server.granted.Load() > before })
		if text := n.must(t, "ip", "addr", "show", "eth2"); !strings.Contains(text, "inet "+leased+"/16") {
			t.Errorf("it has not its address again:\n%s", text)
		}
	})
}

// trusted tries everybody at the container's card, and the container's way out.
func trusted(t *testing.T, w *wire, n neighbour, c trustCase) {
	t.Helper()
	for i, p := range probes() {
		src, text, _ := strings.Cut(p, ":")
		var port uint16
		if _, err := fmt.Sscan(text, &port); err != nil {
			t.Fatal(err)
		}
		from := uint16(40000 + i)
		mark := w.mark()
		w.put(syn(src, from, port))
		got := func() bool {
			return slices.ContainsFunc(w.from(macE, mark), func(f []byte) bool { return answered(f, src, from, port) })
		}
		if slices.Contains(c.in, p) {
			w.until(t, macE+" answers "+p, got)
			continue
		}
		sentinel(t, w, c.level, i)
		if got() {
			t.Errorf("%s: %s was let in", c.level, p)
		}
	}
	out(t, w, n, c)
}

// sentinel is asked after a frame: when it is answered, the frame is dealt with. A
// closed card answers nothing: there the other one is asked.
func sentinel(t *testing.T, w *wire, level spec.Trust, i int) {
	t.Helper()
	mark := w.mark()
	card, own, who := macE, direct, fmt.Sprintf("10.9.3.%d", 1+i)
	if level == spec.TrustClosed {
		w.put(arp(1, macG, macG, "10.9.3.200", broadcast, direct))
		card, own, who = macA, one+"2", fmt.Sprintf("%s%d", one, 100+i)
	}
	w.put(arp(1, macG, macG, who, broadcast, own))
	w.wait(t, card, mark, "an answer to the sentinel", append(hw(macG), ip4(who)...))
	if f := w.from(macE, mark); level == spec.TrustClosed && len(f) > 0 {
		t.Errorf("a closed card sent %x", f)
	}
}

// out lets the container ping somebody by its card, and the answer come in.
func out(t *testing.T, w *wire, n neighbour, c trustCase) {
	t.Helper()
	const far = "198.51.100.9"
	mark := w.mark()
	if !c.out {
		forged := [][]byte{ping(macE, direct, macG, far, "forged: closed"), arp(1, macE, macE, direct, broadcast, router)}
		if text, code := n.run(append([]string{"/forge", "eth1"}, hexes(forged)...)...); code != 0 {
			t.Fatalf("forge: %d %s", code, text)
		}
		if _, code := n.run("busybox", "ping", "-c", "1", "-W", "1", "-I", "eth1", far); code == 0 {
			t.Error("a closed card pings")
		}
		sentinel(t, w, c.level, 90)
		if f := w.from(macE, mark); len(f) > 0 {
			t.Errorf("a closed card sent %x", f)
		}
		return
	}
	done := make(chan int, 1)
	go func() {
		_, code := n.run("busybox", "ping", "-c", "1", "-W", "9", "-I", "eth1", far)
		done <- code
	}()
	var echo []byte
	w.until(t, "an echo request", func() bool {
		for _, f := range w.from(macE, mark) {
			if len(f) > 42 && f[23] == 1 && f[34] == 8 && bytes.Equal(f[30:34], ip4(far)) {
				echo = slices.Clone(f)
				return true
			}
		}
		return false
	})
	icmp := slices.Clone(echo[34 : 14+binary.BigEndian.Uint16(echo[16:])])
	icmp[0], icmp[2], icmp[3] = 0, 0, 0
	binary.BigEndian.PutUint16(icmp[2:], checksum(icmp))
	w.put(ipv4(macG, far, macE, direct, 1, icmp))
	if code := <-done; code != 0 {
		t.Errorf("%s: the answer to what it asked did not come in", c.level)
	}
}
