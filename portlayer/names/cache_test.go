package names

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func fixedClock() time.Time { return time.Unix(1_800_000_000, 0) }

// reply makes an upstream's answer from text: records, those after "--" in the
// authority section.
func reply(t testing.TB, rcode int, qname string, qtype uint16, lines ...string) *dns.Msg {
	t.Helper()
	m := new(dns.Msg).SetRcode(new(dns.Msg).SetQuestion(qname, qtype), rcode)
	section := &m.Answer
	for _, l := range lines {
		if l == "--" {
			section = &m.Ns
			continue
		}
		rr, err := dns.NewRR(l)
		if err != nil {
			t.Fatal(err)
		}
		*section = append(*section, rr)
	}
	return m
}

func TestLifetime(t *testing.T) {
	const soa = "example. 900 IN SOA ns.example. root.example. 1 2 3 4 300"
	for _, c := range []struct {
		name  string
		rcode int
		lines []string
		want  time.Duration
	}{
		{"answer", dns.RcodeSuccess, []string{"w. 60 IN A 192.0.2.1"}, time.Minute},
		{"shortest", dns.RcodeSuccess, []string{"w. 60 IN CNAME x.", "x. 5 IN A 192.0.2.1"}, 5 * time.Second},
		{"zero", dns.RcodeSuccess, []string{"w. 0 IN A 192.0.2.1"}, 0},
		{"negative number", dns.RcodeSuccess, []string{"w. 4294967295 IN A 192.0.2.1"}, 0},
		{"very long", dns.RcodeSuccess, []string{"w. 2000000 IN A 192.0.2.1"}, maxTTL},
		{"no name: SOA's minimum", dns.RcodeNameError, []string{"--", soa}, 300 * time.Second},
		{"no name: SOA's TTL", dns.RcodeNameError, []string{"--", strings.Replace(soa, "900", "20", 1)}, 20 * time.Second},
		{"no name: long", dns.RcodeNameError, []string{"--", "example. 90000 IN SOA ns.example. root.example. 1 2 3 4 90000"}, maxNegativeTTL},
		{"no name: no SOA", dns.RcodeNameError, nil, 0},
		{"no data", dns.RcodeSuccess, []string{"--", soa}, 300 * time.Second},
		{"no data behind an alias", dns.RcodeSuccess, []string{"w. 60 IN CNAME x.", "--", soa}, time.Minute},
		{"no data, referral", dns.RcodeSuccess, []string{"--", "example. 900 IN NS ns.example."}, 0},
		{"failure", dns.RcodeServerFailure, []string{"--", soa}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := lifetime(reply(t, c.rcode, "w.", dns.TypeA, c.lines...)); got != c.want {
				t.Errorf("kept for %s, want %s", got, c.want)
			}
		})
	}
	cut := reply(t, dns.RcodeSuccess, "w.", dns.TypeA, "w. 60 IN A 192.0.2.1")
	cut.Truncated = true
	if got := lifetime(cut); got != 0 {
		t.Errorf("an answer that was cut short is kept for %s", got)
	}
}

func TestCacheAges(t *testing.T) {
	now := fixedClock()
	c := newCache(func() time.Time { return now })
	q := new(dns.Msg).SetQuestion("WWW.example.", dns.TypeA)
	k := keyOf(q)
	c.put(k, reply(t, dns.RcodeSuccess, "www.example.", dns.TypeA, "www.example. 60 IN A 192.0.2.1", "www.example. 90 IN A 192.0.2.2"))
	if k != keyOf(new(dns.Msg).SetQuestion("www.example.", dns.TypeA)) {
		t.Error("case makes another question")
	}
	now = now.Add(20500 * time.Millisecond)
	m := c.get(k)
	if m == nil || m.Answer[0].Header().Ttl != 40 || m.Answer[1].Header().Ttl != 70 {
		t.Fatalf("after 20.5 s: %v", m)
	}
	m.Answer[0].Header().Ttl = 1
	if again := c.get(k); again.Answer[0].Header().Ttl != 40 {
		t.Error("what get gave is the cache's own")
	}
	now = now.Add(39500 * time.Millisecond)
	if m := c.get(k); m != nil {
		t.Errorf("after 60 s: %v", m)
	}
	if len(c.entries) != 0 || c.order.Len() != 0 {
		t.Error("the old answer takes room")
	}
}

func TestCacheIsBounded(t *testing.T) {
	c := newCache(fixedClock)
	ask := func(i int) key { return keyOf(new(dns.Msg).SetQuestion(fmt.Sprintf("h%d.", i), dns.TypeA)) }
	for i := range cacheEntries {
		c.put(ask(i), reply(t, dns.RcodeSuccess, "h.", dns.TypeA, "h. 60 IN A 192.0.2.1"))
	}
	c.get(ask(0))
	c.put(ask(cacheEntries), reply(t, dns.RcodeSuccess, "h.", dns.TypeA, "h. 60 IN A 192.0.2.1"))
	if len(c.entries) != cacheEntries || c.order.Len() != cacheEntries {
		t.Errorf("%d answers kept, want %d", len(c.entries), cacheEntries)
	}
	if c.get(ask(0)) == nil || c.get(ask(1)) != nil {
		t.Error("want the least used one gone")
	}
	var lines []string
	for i := range 40 {
		lines = append(lines, fmt.Sprintf("h. 60 IN TXT \"%s%d\"", strings.Repeat("x", 200), i))
	}
	big := keyOf(new(dns.Msg).SetQuestion("big.", dns.TypeTXT))
	c.put(big, reply(t, dns.RcodeSuccess, "h.", dns.TypeTXT, lines...))
	if c.get(big) != nil {
		t.Error("an answer of 8 KB is kept")
	}
}

func TestCacheForgetsOtherUpstreams(t *testing.T) {
	c := newCache(fixedClock)
	k := keyOf(new(dns.Msg).SetQuestion("h.", dns.TypeA))
	c.from("192.0.2.53")
	c.put(k, reply(t, dns.RcodeSuccess, "h.", dns.TypeA, "h. 60 IN A 192.0.2.1"))
	c.from("192.0.2.53")
	if c.get(k) == nil {
		t.Fatal("forgotten though nothing changed")
	}
	c.from("192.0.2.54")
	if c.get(k) != nil {
		t.Error("kept from a server that is not asked any more")
	}
}

func TestKeysDiffer(t *testing.T) {
	q := func(change func(*dns.Msg)) key {
		m := new(dns.Msg).SetQuestion("h.", dns.TypeA)
		change(m)
		return keyOf(m)
	}
	seen := map[key]string{}
	for name, change := range map[string]func(*dns.Msg){
		"plain": func(*dns.Msg) {}, "type": func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeAAAA },
		"EDNS": func(m *dns.Msg) { m.SetEdns0(1232, false) }, "DNSSEC": func(m *dns.Msg) { m.SetEdns0(1232, true) },
		"no recursion": func(m *dns.Msg) { m.RecursionDesired = false }, "no check": func(m *dns.Msg) { m.CheckingDisabled = true },
	} {
		if other, ok := seen[q(change)]; ok {
			t.Errorf("%s and %s share an answer", name, other)
		}
		seen[q(change)] = name
	}
}
