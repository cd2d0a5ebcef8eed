//go:build vm

package tether_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/sirupsen/logrus"
	"golang.org/x/crypto/ssh"

	"github.com/vic-engine/vic/isos"
	"github.com/vic-engine/vic/pkg/guestinfo"
	"github.com/vic-engine/vic/pkg/lab/machine"
	"github.com/vic-engine/vic/pkg/lab/qemu/qemutest"
	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/portlayer/attach"
)

const (
	macA, macB, macC = "00:50:56:00:00:0a", "00:50:56:00:00:0b", "00:50:56:00:00:0c"
	macG, macX       = "00:50:56:00:00:fe", "00:50:56:00:00:66" // the gateway, and nobody
	one, two         = "172.17.0.", "172.18.0."                 // two networks
	outside          = "198.51.100.7"
)

// neighbour is a running containerVM on a wire.
type neighbour struct {
	t       *testing.T
	vm      *qemutest.VM
	session *attach.Session
	mac     string
}

func (n neighbour) update(u spec.NetworkUpdate) {
	n.t.Helper()
	if err := n.session.Network(n.t.Context(), u); err != nil {
		n.t.Fatal(err)
	}
}

// run runs a command line in the container.
func (n neighbour) run(args ...string) (string, int) {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), limit)
	defer cancel()
	var out together
	exit, err := n.session.Exec(ctx, fmt.Sprint("e", time.Now().UnixNano()), spec.Process{Path: args[0], Args: args[1:], Env: []string{"PATH=/bin"}},
		spec.Streams{Stdout: &out, Stderr: &out}, nil)
	if err != nil {
		n.t.Fatal(err)
	}
	return out.text.String(), exit.Code
}

// together takes what two streams write.
type together struct {
	mu   sync.Mutex // guards text
	text strings.Builder
}

func (w *together) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(b)
}

func (n neighbour) reaches(ip string) bool {
	n.t.Helper()
	_, code := n.run("busybox", "ping", "-c", "1", "-W", "3", ip)
	return code == 0
}

func signerOf(t *testing.T) ssh.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// start boots a container on the wire that waits for its peers.
func start(t *testing.T, w *wire, mac string, forge bool, endpoints ...spec.Endpoint) neighbour {
	t.Helper()
	signer := signerOf(t)
	c := container(`while :; do sleep 1; done`)
	c.AuthorizedKey = string(ssh.MarshalAuthorizedKey(signer.PublicKey()))
	c.Endpoints, c.NetworkFilter, c.NetworkPolicy = endpoints, true, true
	c.DNS.Servers = []string{one + "1"}
	d := disks(t)
	if forge {
		d[1] = imageWith(t, busybox(t), forger(t))
	}
	vm := qemutest.Boot(t, qemutest.Options{ISO: built.bootstrap, Console: 2, GuestInfo: keys(t, c), Network: w, Disks: d,
		NICs: []machine.NIC{{Network: "VCH Bridge", MAC: mac, Slot: 192}}})
	_ = output(t, vm)
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	s, err := concentrator(t, vm, signer).Session(ctx, c.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Correct(ctx, 0, true); err != nil { // its process waits for that
		t.Fatal(err)
	}
	return neighbour{t, vm, s, mac}
}

// forger is a layer with the program that sends any frame.
func forger(t *testing.T) func() (io.ReadCloser, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "forge")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", file, "./testdata/forge")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	program, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: "forge", Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(program))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(program); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil }
}

func endpoint(network, mac, ip string) spec.Endpoint {
	gateway := netip.MustParsePrefix(ip + "/16").Masked().Addr().Next()
	return spec.Endpoint{Network: network, MAC: mac, IP: ip + "/16", Gateway: gateway.String()}
}

// TestNetworks is three containers on one layer 2 and two networks: who shares a
// network hears of each other, and nobody else of anybody, whatever is forged.
func TestNetworks(t *testing.T) {
	w := newWire(macG, one+"1", two+"1")
	a := start(t, w, macA, false, endpoint("one", macA, one+"2"))
	b := start(t, w, macB, false, endpoint("one", macB, one+"3"))
	c := start(t, w, macC, true, endpoint("two", macC, two+"2"))
	peerA, peerB := spec.Peer{MAC: macA, Addresses: []string{one + "2"}}, spec.Peer{MAC: macB, Addresses: []string{one + "3"}}
	base := func(peers ...spec.Peer) spec.NetworkUpdate {
		return spec.NetworkUpdate{Filter: true, GatewayMAC: macG, Peers: peers, DNS: spec.DNS{Servers: []string{one + "1"}}}
	}
	forA, forB, forC := base(peerB), base(peerA), base()
	forA.Endpoints = []spec.Endpoint{endpoint("one", macA, one+"2")}
	forB.Endpoints = []spec.Endpoint{endpoint("one", macB, one+"3")}
	forC.Endpoints = []spec.Endpoint{endpoint("two", macC, two+"2")}

	t.Run("before its peers are known", func(t *testing.T) {
		if _, err := a.session.Release(t.Context()); err != nil { // it runs, though nobody told it anything
			t.Fatal(err)
		}
		if out, code := a.run("busybox", "ping", "-c", "1", "-W", "1", one+"3"); code == 0 || !strings.Contains(out, "not permitted") {
			t.Errorf("before it knows the rules of policies it sends: %s", out)
		}
		first := w.mark()
		w.put(arp(1, macB, macB, one+"3", broadcast, one+"2"))
		w.put(arp(1, macG, macG, one+"1", broadcast, one+"2"))
		a.must(t, "busybox", "true")
		if f := w.from(macA, first); len(f) > 0 {
			t.Errorf("before the first update it sent %x", f)
		}
		nobody := base()
		nobody.GatewayMAC, nobody.Endpoints = "", forA.Endpoints
		begin := time.Now()
		a.update(nobody)
		t.Logf("update took %v", time.Since(begin).Round(time.Millisecond))
		// Whoever had its address before may be known by it still.
		a.must(t, "busybox", "true")
		here := slices.Concat([]byte(hw(macA)), ip4(one+"2"), make([]byte, 6), ip4(one+"2"))
		if got := w.from(macA, first); !slices.ContainsFunc(got, func(f []byte) bool { return bytes.Contains(f, here) }) {
			t.Errorf("it does not tell where its address is: %x", got)
		}
		mark := w.mark()
		w.put(arp(1, macB, macB, one+"3", broadcast, one+"2"))
		w.put(arp(1, macG, macG, one+"1", broadcast, one+"2"))
		a.must(t, "busybox", "true")
		begin = time.Now()
		a.update(forA)
		t.Logf("second update took %v", time.Since(begin).Round(time.Millisecond))
		if f := w.from(macA, mark); len(f) > 0 {
			t.Errorf("it sent %x", f)
		}
	})
	b.update(forB)
	c.update(forC)

	t.Run("peers", func(t *testing.T) {
		if !a.reaches(one+"3") || !b.reaches(one+"2") {
			t.Error("peers do not reach each other")
		}
		if !a.reaches("127.0.0.1") || !a.reaches(one+"2") {
			t.Error("it does not reach itself")
		}
		for _, n := range []struct {
			from neighbour
			to   string
		}{{c, one + "2"}, {c, one + "3"}, {a, two + "2"}} {
			if out, code := n.from.run("busybox", "arping", "-f", "-c", "2", "-w", "2", "-I", "eth0", n.to); code == 0 {
				t.Errorf("another network's %s answers: %s", n.to, out)
			}
		}
	})
	t.Run("forged frames are not accepted", func(t *testing.T) { notAccepted(t, w) })
	t.Run("forged frames do not leave", func(t *testing.T) { notSent(t, w, c) })
	t.Run("live update", func(t *testing.T) { liveUpdate(t, w, a, c, forA, forC) })
	t.Run("policies", func(t *testing.T) { policies(t, a, b, forA, forB) })
	t.Run("IPv6", func(t *testing.T) { six(t, w, a, b, c, base, forA) })
	b.update(forB)
	c.update(forC)
	t.Run("refused update", func(t *testing.T) {
		bad := forA
		bad.Peers = []spec.Peer{{MAC: "nonsense", Addresses: []string{one + "9"}}}
		if err := a.session.Network(t.Context(), bad); !errdefs.IsInvalidArgument(err) {
			t.Errorf("nonsense: %v", err)
		}
		bad = forA
		bad.Endpoints = []spec.Endpoint{endpoint("one", macX, one+"2")}
		if err := a.session.Network(t.Context(), bad); !errdefs.IsFailedPrecondition(err) {
			t.Errorf("a card that is not there: %v", err)
		}
		if !a.reaches(one + "3") {
			t.Error("what was refused has changed something")
		}
	})
	t.Run("no filter", func(t *testing.T) {
		open := forA
		open.Filter, open.Peers = false, nil
		a.update(open)
		mark := w.mark()
		w.put(arp(1, macX, macX, one+"99", broadcast, one+"2"))
		w.wait(t, macA, mark, "an answer to a stranger", append(hw(macX), ip4(one+"99")...))
		open = forC
		open.Filter = false
		c.update(open)
		forged := ping(macB, one+"3", macA, one+"2", "forged: by who may")
		c.must(t, "/forge", "eth0", hexes([][]byte{forged})[0])
		w.wait(t, macC, mark, "what was forged", forged)
		c.must(t, "/forge", "-xdp", "eth0")
	})
}

// notAccepted forges frames for A, and after each sends one of the gateway, which
// A must answer: what A was to do about the first it has done then.
func notAccepted(t *testing.T, w *wire) {
	const a = one + "2"
	for i, f := range []struct {
		what  string
		frame []byte
	}{
		{"a peer's card with another address", arp(1, macB, macB, one+"9", broadcast, a)},
		{"a peer's address from another card", arp(1, macX, macX, one+"3", broadcast, a)},
		{"a peer's frame that speaks for another card", arp(1, macB, macX, one+"3", broadcast, a)},
		{"another card's frame that speaks for a peer", arp(1, macX, macB, one+"3", broadcast, a)},
		{"the gateway's address from another card", arp(2, macX, macX, one+"1", macA, a)},
		{"another network's member", arp(1, macC, macC, two+"2", broadcast, a)},
		{"a tagged frame", tagged(arp(1, macB, macB, one+"3", broadcast, a))},
		{"a peer's address in a datagram", ping(macX, one+"3", macA, a, "forged")},
		{"a peer's datagram with another address", ping(macB, outside, macA, a, "forged")},
		{"another network's datagram", ping(macC, two+"2", macA, a, "forged")},
		{"a tagged datagram", tagged(ping(macB, one+"3", macA, a, "forged"))},
		{"a broadcast", ping(macX, one+"200", broadcast, a, "forged")},
	} {
		mark := w.mark()
		w.put(f.frame)
		sentinel := fmt.Sprintf("%s%d", one, 100+i)
		w.put(arp(1, macG, macG, sentinel, broadcast, a))
		w.wait(t, macA, mark, "an answer to the gateway", append(hw(macG), ip4(sentinel)...))
		for _, got := range w.from(macA, mark) {
			if !bytes.Contains(got, ip4(sentinel)) {
				t.Errorf("%s: answered with %x", f.what, got)
			}
		}
	}
	mark := w.mark()
	w.put(ping(macG, outside, macA, a, "from outside"))
	w.wait(t, macA, mark, "a reply to a client of the outside", []byte("from outside"))
	w.put(ping(macB, one+"3", macA, a, "from a peer"))
	w.wait(t, macA, mark, "a reply to a peer", []byte("from a peer"))
}

// notSent lets a hostile process in C send frames that are not C's own.
func notSent(t *testing.T, w *wire, c neighbour) {
	const mine = two + "2"
	v6 := append(append(append([]byte(hw(broadcast)), hw(macC)...), 0x86, 0xdd, 0x60), bytes.Repeat([]byte{0}, 60)...)
	odd := append(append(append([]byte(hw(broadcast)), hw(macC)...), 0x88, 0xb5), "forged by another protocol, long enough"...)
	long := arp(1, macC, macC, mine, broadcast, one+"2")
	long[18] = 8 // the fields are elsewhere then
	frames := [][]byte{
		ping(macC, one+"3", macA, one+"2", "forged: a peer's address"),
		ping(macB, one+"3", macA, one+"2", "forged: a peer's card and address"),
		ping(macB, mine, macA, one+"2", "forged: a peer's card"),
		ping(macG, outside, macA, one+"2", "forged: the gateway"),
		tagged(ping(macC, one+"3", macA, one+"2", "forged: tagged")),
		tagged(ping(macC, mine, macA, one+"2", "forged: tagged, own address")),
		arp(2, macC, macC, one+"1", macA, one+"2"),
		arp(2, macC, macG, mine, macA, one+"2"),
		arp(2, macG, macG, one+"1", macA, one+"2"),
		long, v6, odd,
	}
	own := ping(macC, mine, macG, outside, "its own")
	mark := w.mark()
	out, code := c.run(append([]string{"/forge", "eth0"}, hexes(append(frames, own))...)...)
	if code != 0 || !strings.Contains(out, "sent") {
		t.Fatalf("forge: %d %s", code, out)
	}
	w.wait(t, macC, mark, "what is its own", []byte("its own"))
	for _, got := range w.from(macC, mark) {
		for _, f := range frames {
			if bytes.HasPrefix(got, f) {
				t.Errorf("%x has left", f)
			}
		}
	}
	if out, code := c.run("/forge", "-xdp", "eth0"); code == 0 || !strings.Contains(out, "busy") {
		t.Errorf("a socket past the filter: %d %s", code, out)
	}
	owns := 0
	for _, got := range w.from(macC, mark) {
		if bytes.HasPrefix(got, own) {
			owns++
		}
	}
	t.Logf("its own frame left %d times of 12", owns)
}

// liveUpdate puts A on C's network and takes it off.
func liveUpdate(t *testing.T, w *wire, a, c neighbour, forA, forC spec.NetworkUpdate) {
	const second = two + "9"
	inode, _ := a.run("stat", "-c", "%i", "/etc/hosts", "/etc/resolv.conf")
	if _, code := a.run("sh", "-c", "echo 192.0.2.1 mine >> /etc/hosts"); code != 0 {
		t.Fatal("hosts is not the container's to change")
	}
	both := forA
	both.Endpoints = append(both.Endpoints[:1:1], endpoint("two", macA, second))
	both.Peers = append(both.Peers[:1:1], spec.Peer{MAC: macC, Addresses: []string{two + "2"}})
	both.DNS.Servers, both.Hosts = []string{one + "1", two + "1"}, []string{"db:" + two + "2"}
	forBoth := forC
	forBoth.Peers = []spec.Peer{{MAC: macA, Addresses: []string{second}}}
	c.update(forBoth)
	mark := w.mark()
	for range 2 { // the same again changes nothing
		a.update(both)
	}
	w.wait(t, macA, mark, "word of its address", append(append(append([]byte{}, arpRequest...), hw(macA)...), ip4(second)...))
	if !c.reaches(second) || !a.reaches(two+"2") || !a.reaches(one+"3") {
		t.Error("it is not on both networks")
	}
	text := a.must(t, "sh", "-c", "cat /etc/hosts /etc/resolv.conf; ip addr; ip route")
	for _, want := range []string{one + "2\t" + containerID[:12], second + "\t" + containerID[:12], two + "2\tdb", "192.0.2.1 mine", "nameserver " + two + "1",
		"inet " + second + "/16", "inet " + one + "2/16", "default via " + one + "1 dev eth0"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if st := a.status(t); st.Addresses["two"] != second+"/16" || st.Addresses["one"] != one+"2/16" {
		t.Errorf("addresses reported: %v", st.Addresses)
	}
	if now, _ := a.run("stat", "-c", "%i", "/etc/hosts", "/etc/resolv.conf"); now != inode {
		t.Errorf("the files are other ones: %q, were %q", now, inode)
	}

	only := both
	only.Endpoints = both.Endpoints[1:]
	a.update(only) // the first network goes, and the default route with it
	if id := a.must(t, "ip", "route"); !strings.Contains(id, "default via "+two+"1 dev eth0") || strings.Contains(id, one) {
		t.Errorf("routes:\n%s", id)
	}
	a.update(forA)
	if c.reaches(second) || !a.reaches(one+"3") {
		t.Error("it is still on the other network, or not on its own")
	}
	text = a.must(t, "sh", "-c", "cat /etc/hosts /etc/resolv.conf; ip addr; ip route")
	if strings.Contains(text, two) || !strings.Contains(text, "192.0.2.1 mine") || !strings.Contains(text, "default via "+one+"1 dev eth0") {
		t.Errorf("after it is off:\n%s", text)
	}
	if st := a.status(t); len(st.Addresses) != 1 || st.Addresses["one"] != one+"2/16" {
		t.Errorf("addresses reported: %v", st.Addresses)
	}

	inner := forA
	inner.Endpoints = []spec.Endpoint{{Network: "one", MAC: macA, IP: one + "2/16"}} // no way out
	a.update(inner)
	if id := a.must(t, "ip", "route"); strings.Contains(id, "default") {
		t.Errorf("a way out of an internal network:\n%s", id)
	}
	a.update(forA)
}

func (n neighbour) must(t *testing.T, args ...string) string {
	t.Helper()
	out, code := n.run(args...)
	if code != 0 {
		t.Errorf("%v: %d", args, code)
	}
	return out
}

func (n neighbour) status(t *testing.T) guestinfo.Status {
	t.Helper()
	st, err := guestinfo.DecodeStatus(containerID, n.vm.Guest.Keys())
	if err != nil {
		t.Error(err)
	}
	return st
}

// TestNoFilterNoStart: a guest that cannot filter, or not enforce policies, does not
// run what it shall protect and protect others from.
func TestNoFilterNoStart(t *testing.T) {
	m := isos.Bootstrap()
	for i := range m.Modules {
		if m.Modules[i].Demand != "" {
			m.Modules[i].Demand = "nothing"
		}
	}
	builder, err := isos.New(isos.Config{Root: "..", Log: logrus.NewEntry(logrus.New())})
	if err != nil {
		t.Fatal(err)
	}
	iso, err := builder.Write(t.Context(), m, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	bridge := endpoint("one", macA, one+"2")
	for _, e := range []struct {
		want           string
		endpoint       spec.Endpoint
		filter, policy bool
	}{
		{"network filter", bridge, true, false},
		{"firewall of container networks", spec.Endpoint{Network: "direct", MAC: macA, IP: direct + "/16", Trust: spec.TrustPublished}, false, false},
		{"network policy", bridge, false, true},
	} {
		c := container(`echo runs`)
		c.Endpoints, c.NetworkFilter, c.NetworkPolicy = []spec.Endpoint{e.endpoint}, e.filter, e.policy
		vm := qemutest.Boot(t, qemutest.Options{ISO: iso, Console: 2, GuestInfo: keys(t, c), Network: newWire(macG), Disks: disks(t),
			NICs: []machine.NIC{{Network: "VCH Bridge", MAC: macA, Slot: 192}}})
		out := output(t, vm)
		vm.WaitOff(limit)
		st, err := guestinfo.DecodeStatus(c.ID, vm.Guest.Keys())
		if err != nil || st.Exit.Code != spec.ExitGuestFailed || !strings.Contains(st.Exit.Error, e.want) {
			t.Errorf("reported %+v %v, want %s", st, err, e.want)
		}
		if text := <-out.all; text != "" {
			t.Errorf("it ran: %q", text)
		}
	}
}
