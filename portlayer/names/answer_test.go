package names

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

var (
	frontGate = netip.MustParseAddr("172.18.0.1")
	backGate  = netip.MustParseAddr("172.19.0.1")
	deepGate  = netip.MustParseAddr("172.20.0.1")
	deepGate6 = netip.MustParseAddr("fd00:20::1")
)

// testViews: web on front, api on front and back, db on back and, as an alias,
// several on back; box on deep alone, which is internal and has IPv6 too.
func testViews() []View {
	addrs := func(s ...string) (out []netip.Addr) {
		for _, a := range s {
			out = append(out, netip.MustParseAddr(a))
		}
		return out
	}
	deep := []Record{
		{Owner: "box", Names: []string{"box"}, Addrs: addrs("172.20.0.2", "fd00:20::2"), PTR: "box.deep"},
		{Owner: "db1", Names: []string{"db1"}, Addrs: addrs("172.20.0.3"), PTR: "db1.deep"},
	}
	return []View{
		{
			Network: "front", Listen: frontGate, Subnet: netip.MustParsePrefix("172.18.0.0/16"), Search: []string{"lab.Example."},
			Records: []Record{
				{Owner: "web", Names: []string{"Web", "0123456789ab", "www"}, Addrs: addrs("172.18.0.2"), PTR: "web.front"},
				{Owner: "api", Names: []string{"api"}, Addrs: addrs("172.18.0.3"), PTR: "api.front"},
				{For: "web", Names: []string{"database", "www"}, Addrs: addrs("172.18.0.9")},
			},
		},
		{
			Network: "back", Listen: backGate, Subnet: netip.MustParsePrefix("172.19.0.0/16"),
			Records: []Record{
				{Owner: "api", Names: []string{"api"}, Addrs: addrs("172.19.0.3"), PTR: "api.back"},
				{Owner: "db1", Names: []string{"db1", "db"}, Addrs: addrs("172.19.0.4"), PTR: "db1.back"},
				{Owner: "db2", Names: []string{"db2", "db"}, Addrs: addrs("172.19.0.5"), PTR: "db2.back"},
				{Owner: "db3", Names: []string{"db3", "db"}, Addrs: addrs("172.19.0.6")},
			},
		},
		{Network: "deep", Listen: deepGate, Subnet: netip.MustParsePrefix("172.20.0.0/16"), Internal: true, Records: deep},
		{Network: "deep", Listen: deepGate6, Subnet: netip.MustParsePrefix("fd00:20::/64"), Internal: true, Records: deep},
	}
}

func testTable(t testing.TB) *table {
	t.Helper()
	x, err := newTable(testViews())
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// show is an answer in one line.
func show(m *dns.Msg, f fate) string {
	if m == nil {
		return map[fate]string{forward: "forward"}[f]
	}
	out := dns.RcodeToString[m.Rcode]
	for _, rr := range m.Answer {
		out += " " + strings.Join(strings.Fields(rr.String()), " ")
	}
	return out
}

func TestAnswer(t *testing.T) {
	for _, c := range []struct {
		name       string
		gate       netip.Addr
		from       string
		question   string
		qtype      uint16
		turn       int
		want, note string
	}{
		{"name", frontGate, "172.18.0.3", "web.", dns.TypeA, 0, "NOERROR web. 600 IN A 172.18.0.2", ""},
		{"case is kept", frontGate, "172.18.0.3", "wEb.", dns.TypeA, 0, "NOERROR wEb. 600 IN A 172.18.0.2", ""},
		{"id", frontGate, "172.18.0.3", "0123456789AB.", dns.TypeA, 0, "NOERROR 0123456789AB. 600 IN A 172.18.0.2", ""},
		{"alias", frontGate, "172.18.0.3", "www.", dns.TypeA, 0, "NOERROR www. 600 IN A 172.18.0.2", ""},
		{"name of the network", frontGate, "172.18.0.3", "web.front.", dns.TypeA, 0, "NOERROR web.front. 600 IN A 172.18.0.2", ""},
		{"another network's", frontGate, "172.18.0.3", "web.back.", dns.TypeA, 0, "forward", ""},
		{"search domain", frontGate, "172.18.0.3", "web.lab.example.", dns.TypeA, 0, "NOERROR web.lab.example. 600 IN A 172.18.0.2", ""},
		{"search of another network", backGate, "172.19.0.4", "db1.lab.example.", dns.TypeA, 0, "forward", ""},
		{"no IPv6", frontGate, "172.18.0.3", "web.", dns.TypeAAAA, 0, "NOERROR", ""},
		{"another type", frontGate, "172.18.0.3", "web.", dns.TypeMX, 0, "NOERROR", ""},
		{"all types", deepGate, "172.20.0.3", "box.", dns.TypeANY, 0, "NOERROR box. 600 IN A 172.20.0.2 box. 600 IN AAAA fd00:20::2", ""},
		{"IPv6", deepGate6, "fd00:20::9", "box.", dns.TypeAAAA, 0, "NOERROR box. 600 IN AAAA fd00:20::2", ""},

		{"several", backGate, "172.19.0.3", "db.", dns.TypeA, 0, "NOERROR db. 600 IN A 172.19.0.4 db. 600 IN A 172.19.0.5 db. 600 IN A 172.19.0.6", ""},
		{"rotated", backGate, "172.19.0.3", "db.", dns.TypeA, 1, "NOERROR db. 600 IN A 172.19.0.5 db. 600 IN A 172.19.0.6 db. 600 IN A 172.19.0.4", ""},

		{"link", frontGate, "172.18.0.2", "database.", dns.TypeA, 0, "NOERROR database. 600 IN A 172.18.0.9", ""},
		{"link before alias", frontGate, "172.18.0.2", "www.", dns.TypeA, 0, "NOERROR www. 600 IN A 172.18.0.9", ""},
		{"link of another", frontGate, "172.18.0.3", "database.", dns.TypeA, 0, "forward", ""},

		{"not on the network", frontGate, "172.18.0.2", "db1.", dns.TypeA, 0, "forward", "web is on front alone"},
		{"asker's other network", frontGate, "172.18.0.3", "db1.", dns.TypeA, 0, "NOERROR db1. 600 IN A 172.19.0.4", ""},
		{"asker's other network by name", frontGate, "172.18.0.3", "db1.back.", dns.TypeA, 0, "NOERROR db1.back. 600 IN A 172.19.0.4", ""},
		{"the network asked goes first", backGate, "172.19.0.3", "api.", dns.TypeA, 0, "NOERROR api. 600 IN A 172.19.0.3", ""},

		{"reverse", frontGate, "172.18.0.3", "2.0.18.172.in-addr.arpa.", dns.TypePTR, 0, "NOERROR 2.0.18.172.in-addr.arpa. 600 IN PTR web.front.", ""},
		{"reverse of nobody", frontGate, "172.18.0.3", "9.9.18.172.in-addr.arpa.", dns.TypePTR, 0, "NXDOMAIN", ""},
		{"reverse on the other network", frontGate, "172.18.0.3", "4.0.19.172.in-addr.arpa.", dns.TypePTR, 0, "NOERROR 4.0.19.172.in-addr.arpa. 600 IN PTR db1.back.", ""},
		{"reverse elsewhere", frontGate, "172.18.0.3", "1.2.0.192.in-addr.arpa.", dns.TypePTR, 0, "forward", ""},
		{"reverse of IPv6", deepGate6, "fd00:20::9", "2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.2.0.0.0.0.D.f.ip6.arpa.", dns.TypePTR, 0, "NOERROR 2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.2.0.0.0.0.D.f.ip6.arpa. 600 IN PTR box.deep.", ""},

		{"unknown, one label", frontGate, "172.18.0.3", "nothing.", dns.TypeA, 0, "forward", "as Docker"},
		{"unknown", frontGate, "172.18.0.3", "www.example.com.", dns.TypeA, 0, "forward", ""},
		{"root", frontGate, "172.18.0.3", ".", dns.TypeNS, 0, "forward", ""},
		{"internal", deepGate, "172.20.0.2", "www.example.com.", dns.TypeA, 0, "SERVFAIL", ""},
		{"internal, reverse elsewhere", deepGate, "172.20.0.2", "1.2.0.192.in-addr.arpa.", dns.TypePTR, 0, "SERVFAIL", ""},
		{"internal, and a network that is not", deepGate, "172.20.0.3", "www.example.com.", dns.TypeA, 0, "forward", ""},

		{"stranger", frontGate, "172.19.0.4", "web.", dns.TypeA, 0, "REFUSED", ""},
		{"stranger, elsewhere", frontGate, "192.0.2.1", "www.example.com.", dns.TypeA, 0, "REFUSED", ""},
		{"no such gateway", netip.MustParseAddr("172.30.0.1"), "172.30.0.2", "web.", dns.TypeA, 0, "REFUSED", ""},
		{"of the network, no container", frontGate, "172.18.0.1", "web.", dns.TypeA, 0, "NOERROR web. 600 IN A 172.18.0.2", ""},
		{"transfer", frontGate, "172.18.0.3", "front.", dns.TypeAXFR, 0, "NOTIMP", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := new(dns.Msg).SetQuestion(c.question, c.qtype)
			m, f := testTable(t).answer(q, c.gate, netip.MustParseAddr(c.from), c.turn)
			if got := show(m, f); got != c.want {
				t.Errorf("%s %s\ngot  %s\nwant %s", c.question, dns.TypeToString[c.qtype], got, c.want)
			}
			if m != nil && (m.Id != q.Id || !m.Response || !m.RecursionAvailable) {
				t.Errorf("header %+v of the answer to %+v", m.MsgHdr, q.MsgHdr)
			}
		})
	}
}

func TestAnswerToOddMessages(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*dns.Msg)
		want   string
	}{
		"answer":        {func(m *dns.Msg) { m.Response = true }, "NOTIMP"},
		"update":        {func(m *dns.Msg) { m.Opcode = dns.OpcodeUpdate }, "NOTIMP"},
		"no question":   {func(m *dns.Msg) { m.Question = nil }, "FORMERR"},
		"two questions": {func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }, "FORMERR"},
		"class":         {func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }, "NOTIMP"},
		"EDNS 1":        {func(m *dns.Msg) { m.SetEdns0(1232, false).IsEdns0().SetVersion(1) }, "BADVERS"},
	} {
		t.Run(name, func(t *testing.T) {
			q := new(dns.Msg).SetQuestion("web.", dns.TypeA)
			c.change(q)
			got := show(testTable(t).answer(q, frontGate, netip.MustParseAddr("172.18.0.3"), 0))
			if got != c.want && !(c.want == "BADVERS" && got == "BADSIG") { // one number, two names
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestEDNSOnlyForWhoHasIt(t *testing.T) {
	for _, with := range []bool{false, true} {
		q := new(dns.Msg).SetQuestion("web.", dns.TypeA)
		if with {
			q.SetEdns0(4096, true)
		}
		m, _ := testTable(t).answer(q, frontGate, netip.MustParseAddr("172.18.0.3"), 0)
		opt := m.IsEdns0()
		if (opt != nil) != with {
			t.Fatalf("EDNS in the question: %v, in the answer: %v", with, opt)
		}
		if with && (!opt.Do() || opt.UDPSize() != udpSize) {
			t.Errorf("OPT %v", opt)
		}
	}
}

func TestFit(t *testing.T) {
	v := View{Network: "big", Listen: frontGate, Subnet: netip.MustParsePrefix("172.18.0.0/16")}
	for i := range 200 {
		v.Records = append(v.Records, Record{Names: []string{"all"}, Addrs: []netip.Addr{netip.AddrFrom4([4]byte{172, 18, 1, byte(i)})}})
	}
	x, err := newTable([]View{v})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		edns  uint16
		tcp   bool
		limit int
		cut   bool
	}{
		{0, false, 512, true}, {100, false, 512, true}, {65535, false, udpSize, true}, {0, true, dns.MaxMsgSize, false},
	} {
		q := new(dns.Msg).SetQuestion("all.", dns.TypeA)
		if c.edns > 0 {
			q.SetEdns0(c.edns, false)
		}
		m, _ := x.answer(q, frontGate, netip.MustParseAddr("172.18.0.9"), 0)
		b, err := fit(m, q, c.tcp).Pack()
		if err != nil {
			t.Fatal(err)
		}
		if len(b) > c.limit || m.Truncated != c.cut || (!c.cut && len(m.Answer) != 200) {
			t.Errorf("%+v: %d bytes, %d addresses, truncated %v", c, len(b), len(m.Answer), m.Truncated)
		}
	}
}

func TestViewsInConflict(t *testing.T) {
	views := testViews()
	views = append(views,
		View{Network: "twin", Listen: frontGate, Subnet: views[0].Subnet},
		View{Network: "open", Listen: netip.MustParseAddr("172.21.0.1")})
	x, err := newTable(views)
	if err == nil || !strings.Contains(err.Error(), "front and twin") || !strings.Contains(err.Error(), "network open") {
		t.Errorf("error %v", err)
	}
	if len(x.views) != 4 {
		t.Errorf("%d views are served, want the 4 good ones", len(x.views))
	}
}

func TestReverse(t *testing.T) {
	for _, s := range []string{"172.18.0.2", "0.0.0.0", "255.255.255.255", "fd00:20::2", "::1", "2001:db8:1234:5678:9abc:def0:1234:5678"} {
		a := netip.MustParseAddr(s)
		name, err := dns.ReverseAddr(s)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := reverse(canonical(name)); !ok || got != a {
			t.Errorf("reverse(%s) = %s %v, want %s", name, got, ok, s)
		}
	}
	for _, s := range []string{
		"", "in-addr.arpa", ".in-addr.arpa", "18.172.in-addr.arpa", "256.0.0.1.in-addr.arpa", "1.2.3.4.5.in-addr.arpa", "+1.2.3.4.in-addr.arpa",
		"ip6.arpa", "0.ip6.arpa", strings.Repeat("g.", 31) + "0.ip6.arpa", strings.Repeat("00", 31) + "0.ip6.arpa", "web",
	} {
		if a, ok := reverse(s); ok {
			t.Errorf("reverse(%q) = %s", s, a)
		}
	}
}

// FuzzPacket gives any bytes to the server as a question and as an upstream's
// answer: whatever comes out can be sent and is not too large.
func FuzzPacket(f *testing.F) {
	for _, name := range []string{"web.", "db.", "2.0.18.172.in-addr.arpa.", "www.example.com.", "."} {
		q := new(dns.Msg).SetQuestion(name, dns.TypeANY)
		b, err := q.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		q.SetEdns0(100, true)
		if b, err = q.Pack(); err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	tab, err := newTable(testViews())
	if err != nil {
		f.Fatal(err)
	}
	asked := new(dns.Msg).SetQuestion("www.example.com.", dns.TypeA)
	f.Fuzz(func(t *testing.T, b []byte) {
		m := new(dns.Msg)
		if m.Unpack(b) != nil {
			return
		}
		sendable := func(a, q *dns.Msg) {
			for _, tcp := range []bool{false, true} {
				out, err := fit(a.Copy(), q, tcp).Pack()
				if err == nil && !tcp && len(out) > udpSize {
					t.Errorf("%d bytes for a datagram", len(out))
				}
			}
		}
		for _, from := range []string{"172.18.0.2", "172.18.0.3", "172.20.0.2", "192.0.2.1"} {
			gate := frontGate
			if strings.HasPrefix(from, "172.20") {
				gate = deepGate
			}
			a, fate := tab.answer(m, gate, netip.MustParseAddr(from), 7)
			if (a == nil) != (fate == forward) {
				t.Fatalf("answer %v, fate %v", a, fate)
			}
			if a != nil {
				sendable(a, m)
				continue
			}
			if gate == deepGate {
				t.Error("forwarded for an internal network")
			}
			if q := question(m); len(q.Question) != 1 || slices.ContainsFunc(q.Extra, func(rr dns.RR) bool { return rr.Header().Rrtype != dns.TypeOPT }) {
				t.Errorf("upstream is asked %v", q)
			}
			keyOf(m)
		}
		c := newCache(fixedClock)
		c.put(keyOf(asked), m)
		sendable(finish(m, asked), asked)
		if kept := c.get(keyOf(asked)); kept != nil {
			sendable(finish(kept, asked), asked)
		}
	})
}
