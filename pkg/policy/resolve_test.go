package policy

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vic-engine/vic/pkg/spec"
)

// member is "name key=value… net:address…".
func member(text string) Member {
	m := Member{Labels: map[string]string{}, Addresses: map[string][]netip.Addr{}}
	for i, w := range strings.Fields(text) {
		n, a, at := strings.Cut(w, ":")
		k, v, label := strings.Cut(w, "=")
		switch {
		case i == 0:
			m.ID, m.Name = "id-"+w, w
		case label:
			m.Labels[k] = v
		case at && a == "":
			m.Addresses[n] = nil
		case at:
			m.Addresses[n] = append(m.Addresses[n], netip.MustParseAddr(a))
		}
	}
	return m
}

func members(list ...string) []Member {
	var out []Member
	for _, text := range list {
		out = append(out, member(text))
	}
	return out
}

// policyOf is "name[@network] rule; rule…".
func policyOf(t *testing.T, text string) Policy {
	t.Helper()
	head, rules, _ := strings.Cut(text, " ")
	name, network, _ := strings.Cut(head, "@")
	list, err := ParseRules(rules)
	if err != nil {
		t.Fatal(err)
	}
	return Policy{Name: name, Network: network, Rules: list}
}

func setOf(t *testing.T, policies ...string) Set {
	t.Helper()
	var out []Policy
	for _, p := range policies {
		out = append(out, policyOf(t, p))
	}
	return NewSet(out...)
}

// short is rules in few words.
func short(rules []spec.PolicyRule) string {
	var out []string
	side := func(list []netip.Addr) string {
		if len(list) == 0 {
			return "any"
		}
		return strings.Trim(fmt.Sprint(list), "[]")
	}
	for _, r := range rules {
		out = append(out, fmt.Sprintf("%s %s%v %s > %s", verb(r.Deny), r.Proto, r.Ports, side(r.From), side(r.To)))
	}
	return strings.Join(out, "\n")
}

func TestOrder(t *testing.T) {
	s := setOf(t, "b@n allow any from any to any; 5 deny tcp from any to any", "a@n deny udp from any to any", "vch deny icmp from any to any; 2000 deny any from any to any", "a@m allow icmp from any to any")
	var got []string
	for _, b := range s {
		got = append(got, b.Name())
	}
	want := []string{"policy b of network n, rule 2", "policy vch of the VCH, rule 1", "policy a of network m, rule 1",
		"policy a of network n, rule 1", "policy b of network n, rule 1", "policy vch of the VCH, rule 2"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestFor(t *testing.T) {
	all := members("f1 tier=front n:10.0.0.1 m:10.1.0.1", "f2 tier=front n:10.0.0.2", "b1 tier=back n:10.0.0.3", "o1 tier=front m:10.1.0.4", "six tier=back n:10.0.0.6 n:fd00::6", "off x=y")
	for _, c := range []struct {
		what, policy string
		who          int // in all
		want         string
	}{
		{"within a group", "p@n deny tcp/80 from tier=front to tier=front", 0, "deny tcp[80] 10.0.0.1 10.0.0.2 > 10.0.0.1 10.0.0.2"},
		{"not of another network", "p@n deny tcp/80 from tier=front to tier=front", 3, ""},
		{"not of another group", "p@n deny tcp/80 from tier=front to tier=front", 2, ""},
		{"who sends names itself", "p@n deny udp from tier=front to tier=back", 1, "deny udp[] 10.0.0.2 > 10.0.0.3 10.0.0.6 fd00::6"},
		{"who hears names itself", "p@n deny udp from tier=front to tier=back", 4, "deny udp[] 10.0.0.1 10.0.0.2 > 10.0.0.6 fd00::6"},
		{"of all networks", "p deny any from tier=front to tier=front", 0, "deny any[] 10.0.0.1 10.0.0.2 10.1.0.1 10.1.0.4 > 10.0.0.1 10.0.0.2 10.1.0.1 10.1.0.4"},
		{"of all networks, one side", "p deny any from tier=front to tier=back", 0, "deny any[] any > 10.0.0.3 10.0.0.6 fd00::6"},
		{"any hears", "p@n deny any from tier=back to any", 2, "deny any[] 10.0.0.3 10.0.0.6 fd00::6 > any"},
		{"any hears, others too", "p@n deny any from tier=back to any", 1, "deny any[] 10.0.0.3 10.0.0.6 fd00::6 > 10.0.0.2"},
		{"any to any stays on its network", "p@n deny icmp from any to any", 0, "deny icmp[] 10.0.0.1 > any\ndeny icmp[] any > 10.0.0.1"},
		{"any to any", "p allow icmp from any to any", 0, "allow icmp[] any > any"},
		{"without a network", "p allow icmp from any to any", 5, ""},
		{"nobody to talk to", "p@n deny any from tier=front to tier=nobody", 0, ""},
		{"only who has both labels", "p@n deny any from tier=front,app to tier=back", 0, ""},
	} {
		if got := short(setOf(t, c.policy).For(all[c.who], all)); got != c.want {
			t.Errorf("%s: %s\ngot  %s\nwant %s", c.what, c.policy, got, c.want)
		}
	}
	s := setOf(t, "p@n deny any from tier=front to tier=nobody")
	if !s.Concerns(all[0]) || s.Concerns(all[2]) || s.Concerns(all[3]) {
		t.Error("who is concerned by a group that is empty now")
	}
	// A member that is not among those that run yet is told as if it was.
	if got := short(setOf(t, "p@n deny any from tier=front to tier=front").For(all[0], all[1:2])); got != "deny any[] 10.0.0.1 10.0.0.2 > 10.0.0.1 10.0.0.2" {
		t.Errorf("one that starts: %s", got)
	}
	if got := short(setOf(t, "p@n deny icmp from any to any", "q deny udp from tier=back to tier=front").All(all)); got !=
		"deny udp[] 10.0.0.3 10.0.0.6 fd00::6 > 10.0.0.1 10.0.0.2 10.1.0.1 10.1.0.4\n"+
			"deny icmp[] 10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.6 fd00::6 > any\ndeny icmp[] any > 10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.6 fd00::6" {
		t.Errorf("a router: %s", got)
	}
}

func TestTrace(t *testing.T) {
	w := World{
		Set: setOf(t, "web@shop deny tcp/80 from tier=front to tier=front; allow tcp/1-100 from any to tier=back; deny tcp from tier=front to tier=back",
			"vch 10 deny udp/53 from locked to any; 11 allow udp from locked to any"),
		Members: members("f1 tier=front shop:10.0.0.2", "f2 tier=front shop:10.0.0.3 deep:10.1.0.3", "b1 tier=back shop:10.0.0.4", "far other:10.2.0.2 six:fd00::1", "six six:fd00::2",
			"in deep:10.1.0.4", "lock locked=1 shop:10.0.0.9", "alone x=y"),
		Networks: []spec.Network{{Name: "shop", Driver: "bridge", Subnet: "10.0.0.0/16", Gateway: "10.0.0.1"}, {Name: "deep", Driver: "bridge", Subnet: "10.1.0.0/16", Gateway: "10.1.0.1", Internal: true},
			{Name: "other", Driver: "external", Subnet: "10.2.0.0/16", Gateway: "10.2.0.1"}},
	}
	for _, c := range []struct{ flow, want string }{
		{"f1 f2 tcp 80", "denied: source guest, out: denied by policy web of network shop, rule 1 (deny tcp/80 from tier=front to tier=front) 10.0.0.2>10.0.0.3 shop"},
		{"f1 f2 tcp 81", "allowed: default: no rule concerns it: what is not denied is allowed () 10.0.0.2>10.0.0.3 shop"},
		{"f1 b1 tcp 80", "allowed: destination guest, in: allowed by policy web of network shop, rule 2 (allow tcp/1-100 from any to tier=back) 10.0.0.2>10.0.0.4 shop"},
		{"f1 b1 tcp 443", "denied: source guest, out: denied by policy web of network shop, rule 3 (deny tcp from tier=front to tier=back) 10.0.0.2>10.0.0.4 shop"},
		{"f1 10.0.0.3 tcp 80", "denied: source guest, out: denied by policy web of network shop, rule 1 (deny tcp/80 from tier=front to tier=front) 10.0.0.2>10.0.0.3 shop"},
		{"f1 f1 tcp 80", "allowed: default: no rule concerns it: what is not denied is allowed () 10.0.0.2>10.0.0.2 shop"},
		{"f1 far tcp 80", "denied: network isolation: no common network: f1 is on shop, far is on other, six; the VCH does not route between networks, and guests let in only peers of a common one () >"},
		{"f1 10.2.0.2 icmp", "denied: network isolation: 10.2.0.2 is of far on network other, which f1 is not on; the VCH does not route between networks, and guests let in only peers of a common one () >"},
		{"far 10.2.0.1 udp 53", "allowed: default: no rule concerns it: what is not denied is allowed; what the guests themselves let in on this network besides is not traced () 10.2.0.2>10.2.0.1 other"},
		{"far six icmp", "allowed: default: no rule concerns it: what is not denied is allowed () fd00::1>fd00::2 six"},
		{"f1 fd00::2 icmp", "denied: network isolation: fd00::2 is of six on network six, which f1 is not on; the VCH does not route between networks, and guests let in only peers of a common one () >"},
		{"f1 2001:db8::1 icmp", "denied: network isolation: f1 is on no network with a way out (shop) () >2001:db8::1"},
		{"f1 alone icmp", "denied: network isolation: no common network: f1 is on shop, alone is on none; the VCH does not route between networks, and guests let in only peers of a common one () >"},
		{"f1 gone tcp 80", "denied: state of the containers: the destination does not run () >"},
		{"gone f1 tcp 80", "denied: state of the containers: the source does not run () >"},
		{"f1 10.0.0.77 tcp 80", "denied: state of the containers: no container that runs has this address of network shop () >10.0.0.77 shop"},
		{"f1 10.0.0.1 udp 53", "allowed: default: no rule concerns it: what is not denied is allowed () 10.0.0.2>10.0.0.1 shop"},
		{"lock 10.0.0.1 udp 53", "denied: source guest, out: denied by policy vch of the VCH, rule 1 (10 deny udp/53 from locked to any) 10.0.0.9>10.0.0.1 shop"},
		{"lock 192.0.2.1 udp 54", "allowed: source guest, out: allowed by policy vch of the VCH, rule 2 (11 allow udp from locked to any) 10.0.0.9>192.0.2.1"},
		{"f1 10.1.0.1 icmp", "denied: network isolation: 10.1.0.1 is the VCH on network deep, which f1 is not on; the VCH does not route between networks, and guests let in only peers of a common one () >"},
		{"in 192.0.2.1 tcp 443", "denied: network isolation: in is on no network with a way out (deep) () >192.0.2.1"},
		{"f2 192.0.2.1 tcp 443", "allowed: default: no rule concerns it: what is not denied is allowed () 10.0.0.3>192.0.2.1"},
	} {
		words := strings.Fields(c.flow + " 0")
		f := Flow{From: "id-" + words[0], Proto: words[2]}
		if a, err := netip.ParseAddr(words[1]); err == nil {
			f.Address = a
		} else {
			f.To = "id-" + words[1]
		}
		_, _ = fmt.Sscan(words[3], &f.Port)
		tr := w.Trace(f)
		verdict := "denied"
		if tr.Allowed {
			verdict = "allowed"
		}
		got := strings.TrimSpace(fmt.Sprintf("%s: %s: %s (%s) %s>%s %s", verdict, tr.Point, tr.Reason, tr.Rule, tr.Source, tr.Destination, tr.Network))
		if got != c.want {
			t.Errorf("%s\ngot  %s\nwant %s", c.flow, got, c.want)
		}
	}
}
