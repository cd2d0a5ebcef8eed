//go:build vm

package tether_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/spec"
)

// policies lets A talk to B under rules that one of them enforces.
func policies(t *testing.T, a, b neighbour, forA, forB spec.NetworkUpdate) {
	const mine, other = one + "2", one + "3"
	group := []netip.Addr{netip.MustParseAddr(mine), netip.MustParseAddr(other)}
	port := func(n uint16) []spec.PortRange { return []spec.PortRange{{First: n, Last: n}} }
	deny := func(n uint16) spec.PolicyRule {
		return spec.PolicyRule{Name: "deny", Deny: true, Proto: "tcp", Ports: port(n), From: group, To: group}
	}
	policed := func(u spec.NetworkUpdate, rules ...spec.PolicyRule) spec.NetworkUpdate {
		u.Policed, u.Policy = true, rules
		return u
	}
	b.must(t, "sh", "-c", "echo page >/data/page")
	for _, p := range []string{"80", "81"} {
		b.must(t, "busybox", "httpd", "-p", p, "-h", "/data")
	}
	web := func(port string) (string, bool) {
		out, _ := a.run("sh", "-c", `printf 'GET /page HTTP/1.0\r\n\r\n' | busybox nc -w 5 `+other+" "+port)
		return out, strings.Contains(out, "200 OK")
	}
	refused := func(when string) {
		t.Helper()
		if out, ok := web("80"); ok || !strings.Contains(out, "refused") {
			t.Errorf("%s: port 80 is not refused: %s", when, out)
		}
		if out, ok := web("81"); !ok {
			t.Errorf("%s: port 81: %s", when, out)
		}
		if !a.reaches(other) || !b.reaches(mine) {
			t.Errorf("%s: no ping", when)
		}
	}
	// A connection over which B speaks is there before anybody follows connections.
	b.must(t, "sh", "-c", "(while echo x; do busybox usleep 100000; done | busybox nc -l -p 82) >/dev/null 2>&1 &")
	a.must(t, "sh", "-c", "busybox sleep 1000 | busybox nc "+other+" 82 >/data/got 2>/dev/null &")
	grows := func() bool {
		_, code := a.run("sh", "-c", "n=$(busybox wc -c </data/got); busybox usleep 700000; [ $(busybox wc -c </data/got) -gt $n ]")
		return code == 0
	}
	if out, ok := web("80"); !ok || !grows() && !grows() {
		t.Fatalf("no connection without rules: %s", out)
	}
	a.update(policed(forA, deny(80)))
	refused("A alone")
	if !grows() {
		t.Error("a rule has cut a connection that it does not concern")
	}
	a.update(policed(forA, deny(80), deny(82)))
	if grows() {
		t.Error("a rule has not cut a connection that was there")
	}
	a.update(forA)
	if _, ok := web("80"); !ok {
		t.Error("rules stay when there are none any more")
	}
	b.update(policed(forB, deny(80)))
	refused("B alone")
	all := spec.PolicyRule{Name: "all", Deny: true, Proto: "any", From: group, To: group}
	b.update(policed(forB, spec.PolicyRule{Name: "first", Proto: "tcp", Ports: port(80), From: group[:1], To: group[1:]}, all))
	if out, ok := web("80"); !ok {
		t.Errorf("what an earlier rule allows: %s", out)
	}
	if _, ok := web("81"); ok || a.reaches(other) || b.reaches(mine) || !b.reaches(other) {
		t.Error("what a later rule denies passes, or loopback does not")
	}
	bad := policed(forB, spec.PolicyRule{Deny: true, Proto: "any", From: []netip.Addr{{}}})
	if err := b.session.Network(t.Context(), bad); !errdefs.IsInvalidArgument(err) {
		t.Error("a rule of nobody was taken")
	}
	b.update(forB)
	if !a.reaches(other) {
		t.Error("rules stay when there are none any more")
	}
}
