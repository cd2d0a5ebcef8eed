package names

import (
	"context"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/sirupsen/logrus"
)

// All of 127.0.0.0/8 is this machine, so that a test has gateways and
// containers with addresses of their own.
func loopView(network, gate string, records ...Record) View {
	a := netip.MustParseAddr(gate)
	return View{Network: network, Listen: a, Subnet: netip.PrefixFrom(a, 24).Masked(), Records: records}
}

func record(owner, addr string, names ...string) Record {
	return Record{Owner: owner, Names: append(names, owner), Addrs: []netip.Addr{netip.MustParseAddr(addr)}, PTR: owner + ".net"}
}

func quiet() *logrus.Entry {
	l := logrus.New()
	l.SetOutput(io.Discard)
	return logrus.NewEntry(l)
}

func start(t *testing.T, upstreams func() []string, views ...View) *Server {
	t.Helper()
	return run(t, New(Config{Port: AnyPort, Log: quiet(), Upstreams: upstreams}), views...)
}

// run runs a server until the test ends, and wants no goroutine of it left.
func run(t *testing.T, s *Server, views ...View) *Server {
	t.Helper()
	before := runtime.NumGoroutine()
	if err := s.Set(views); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ran; err != nil {
			t.Errorf("Run: %v", err)
		}
		within(t, "goroutines end", func() bool { return runtime.NumGoroutine() <= before })
	})
	within(t, "the server listens", func() bool { return len(s.Addrs()) == len(views) })
	return s
}

// patience bounds what must happen; it only ends tests that fail.
const patience = time.Minute

// within waits for a state.
func within(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	end := time.After(patience)
	for !is() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("not so after 5 s: %s", what)
		}
	}
}

// at is where a gateway listens.
func at(t *testing.T, s *Server, gate string) netip.AddrPort {
	t.Helper()
	for _, a := range s.Addrs() {
		if a.Addr().String() == gate {
			return a
		}
	}
	t.Fatalf("nothing listens on %s", gate)
	return netip.AddrPort{}
}

// ask asks as a container with an address of its own.
func ask(t *testing.T, network, from string, server netip.AddrPort, q *dns.Msg) *dns.Msg {
	t.Helper()
	d := &net.Dialer{}
	if network == "udp" {
		d.LocalAddr = &net.UDPAddr{IP: net.ParseIP(from)}
	} else {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	c := &dns.Client{Net: network, Dialer: d, Timeout: patience}
	m, _, err := c.Exchange(q, server.String())
	if err != nil {
		t.Fatalf("ask %s for %s: %v", server, q.Question[0].Name, err)
	}
	return m
}

func query(name string) *dns.Msg { return new(dns.Msg).SetQuestion(name, dns.TypeA) }

// fakeUpstream is a DNS server on both ways, and counts questions.
type fakeUpstream struct {
	addr  string
	asked atomic.Int64
	tcp   atomic.Int64
}

func startUpstream(t *testing.T, answer func(u *fakeUpstream, q *dns.Msg, tcp bool) *dns.Msg) *fakeUpstream {
	t.Helper()
	u := &fakeUpstream{}
	ctx, cancel := context.WithCancel(context.Background())
	pc, l, err := sockets(ctx, netip.MustParseAddr("127.0.0.1"), 0)
	if err != nil {
		t.Fatal(err)
	}
	u.addr = l.Addr().String()
	g := &gateway{cancel: cancel, ended: make(chan struct{})}
	for _, srv := range []*dns.Server{{PacketConn: pc}, {Listener: l}} {
		tcp := srv.Listener != nil
		srv.Handler = dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
			u.asked.Add(1)
			if tcp {
				u.tcp.Add(1)
			}
			if m := answer(u, q, tcp); m != nil {
				_ = w.WriteMsg(m)
			}
		})
		g.serve(srv)
	}
	t.Cleanup(g.close)
	return u
}

func rr(t testing.TB, s string) dns.RR {
	t.Helper()
	r, err := dns.NewRR(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestServesEachNetwork(t *testing.T) {
	s := start(t, nil,
		loopView("front", "127.18.0.1", record("web", "127.18.0.2"), record("one", "127.18.0.3")),
		loopView("back", "127.19.0.1", record("web", "127.19.0.2")))
	for _, network := range []string{"udp", "tcp"} {
		for _, c := range []struct{ gate, from, want string }{
			{"127.18.0.1", "127.18.0.3", "NOERROR web. 600 IN A 127.18.0.2"},
			{"127.19.0.1", "127.19.0.9", "NOERROR web. 600 IN A 127.19.0.2"},
			{"127.19.0.1", "127.18.0.3", "REFUSED"},
		} {
			if got := show(ask(t, network, c.from, at(t, s, c.gate), query("web.")), answered); got != c.want {
				t.Errorf("%s asks %s by %s: got %s, want %s", c.from, c.gate, network, got, c.want)
			}
		}
	}
	if got := s.Stats(); got.Questions != 6 || got.Local != 4 || got.Refused != 2 {
		t.Errorf("counted %+v", got)
	}
}

func TestSetDoesNotDisturbTheOthers(t *testing.T) {
	front, back := loopView("front", "127.18.0.1", record("web", "127.18.0.2")), loopView("back", "127.19.0.1")
	s := start(t, nil, front, back)
	port, gone := at(t, s, "127.18.0.1"), at(t, s, "127.19.0.1")
	conn, err := dns.Dial("tcp", port.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	front.Subnet = netip.MustParsePrefix("127.0.0.0/8")
	front.Records = []Record{record("renamed", "127.18.0.2")}
	if err := s.Set([]View{loopView("new", "127.20.0.1", record("n", "127.20.0.2")), front}); err != nil {
		t.Fatal(err)
	}
	if at(t, s, "127.18.0.1") != port {
		t.Error("the gateway that stays was opened again")
	}
	// The connection from before sees the new name.
	if err := conn.WriteMsg(query("renamed.")); err != nil {
		t.Fatal(err)
	}
	if m, err := conn.ReadMsg(); err != nil || len(m.Answer) != 1 {
		t.Errorf("on the old connection: %v %v", m, err)
	}
	if got := show(ask(t, "udp", "127.18.0.2", port, query("web.")), answered); got != "SERVFAIL" {
		t.Errorf("the old name: %s", got)
	}
	if got := show(ask(t, "udp", "127.20.0.9", at(t, s, "127.20.0.1"), query("n.")), answered); !strings.Contains(got, "127.20.0.2") {
		t.Errorf("on the new network: %s", got)
	}
	// What is gone is free again.
	pc, l, err := sockets(context.Background(), gone.Addr(), int(gone.Port()))
	if err != nil {
		t.Fatal(err)
	}
	pc.Close()
	l.Close()
}

func TestAddressNotThereYet(t *testing.T) {
	s := start(t, nil, loopView("front", "127.18.0.1", record("web", "127.18.0.2")))
	missing := View{Network: "later", Listen: netip.MustParseAddr("192.0.2.1"), Subnet: netip.MustParsePrefix("192.0.2.0/24")}
	err := s.Set([]View{missing, loopView("front", "127.18.0.1", record("two", "127.18.0.2"))})
	if err == nil || !strings.Contains(err.Error(), "network later") {
		t.Errorf("error %v", err)
	}
	if got := show(ask(t, "udp", "127.18.0.3", at(t, s, "127.18.0.1"), query("two.")), answered); !strings.Contains(got, "127.18.0.2") {
		t.Errorf("the network whose address is there: %s", got)
	}
}

func TestTakenPortIsTriedAgain(t *testing.T) {
	pc, l, err := sockets(context.Background(), netip.MustParseAddr("127.18.0.1"), 0)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	s := New(Config{Port: pc.LocalAddr().(*net.UDPAddr).Port, Log: quiet()})
	if err := s.Set([]View{loopView("front", "127.18.0.1", record("web", "127.18.0.2"))}); err != nil {
		t.Fatalf("before Run nothing is listened on: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	defer func() { cancel(); <-ran }()
	within(t, "the failure is seen", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return len(s.told) == 1 })
	pc.Close()
	within(t, "the server listens", func() bool { return len(s.Addrs()) == 1 })
}

func TestForwards(t *testing.T) {
	u := startUpstream(t, func(u *fakeUpstream, q *dns.Msg, tcp bool) *dns.Msg {
		m := new(dns.Msg).SetReply(q)
		switch name := canonical(q.Question[0].Name); {
		case name == "large.example" && !tcp:
			m.Truncated = true
		case name == "large.example":
			for range 100 {
				m.Answer = append(m.Answer, rr(t, "large.example. 60 IN TXT \""+strings.Repeat("x", 40)+"\""))
			}
		case name == "none.example":
			m.Rcode = dns.RcodeNameError
			m.Ns = []dns.RR{rr(t, "example. 60 IN SOA ns.example. root.example. 1 2 3 4 60")}
		default:
			m.Answer = []dns.RR{rr(t, q.Question[0].Name+" 60 IN A 192.0.2.7")}
		}
		if opt := q.IsEdns0(); opt != nil {
			m.SetEdns0(1232, opt.Do())
		}
		return m
	})
	s := start(t, func() []string { return []string{u.addr} }, loopView("front", "127.18.0.1"))
	gate := at(t, s, "127.18.0.1")
	for range 2 { // the second time from the cache
		q := query("wWw.Example.")
		if got := show(ask(t, "udp", "127.18.0.2", gate, q), answered); !strings.HasPrefix(got, "NOERROR wWw.Example.") || !strings.HasSuffix(got, "192.0.2.7") {
			t.Errorf("got %s", got)
		}
		if got := show(ask(t, "udp", "127.18.0.2", gate, query("none.example.")), answered); got != "NXDOMAIN" {
			t.Errorf("got %s", got)
		}
	}
	if n := u.asked.Load(); n != 2 {
		t.Errorf("the upstream was asked %d times, want 2", n)
	}
	large := query("large.example.")
	large.Question[0].Qtype = dns.TypeTXT
	m := ask(t, "udp", "127.18.0.2", gate, large)
	if m.Compress = true; !m.Truncated || m.Len() > dns.MinMsgSize {
		t.Errorf("by UDP: truncated %v, %d bytes", m.Truncated, m.Len())
	}
	if m := ask(t, "tcp", "127.18.0.2", gate, large); m.Truncated || len(m.Answer) != 100 {
		t.Errorf("by TCP: truncated %v, %d records", m.Truncated, len(m.Answer))
	}
	if u.tcp.Load() == 0 {
		t.Error("the upstream was not asked by TCP")
	}
	secure := query("secure.example.")
	secure.SetEdns0(1232, true)
	if m := ask(t, "udp", "127.18.0.2", gate, secure); m.IsEdns0() == nil || !m.IsEdns0().Do() {
		t.Errorf("EDNS was lost: %v", m)
	}
	if st := s.Stats(); st.Cached != 2 || st.Failed != 0 {
		t.Errorf("counted %+v", st)
	}
}

func TestInternalNetworksAskNobody(t *testing.T) {
	u := startUpstream(t, func(_ *fakeUpstream, q *dns.Msg, _ bool) *dns.Msg { return new(dns.Msg).SetReply(q) })
	v := loopView("deep", "127.18.0.1", record("web", "127.18.0.2"))
	v.Internal = true
	s := start(t, func() []string { return []string{u.addr} }, v)
	gate := at(t, s, "127.18.0.1")
	if got := show(ask(t, "udp", "127.18.0.2", gate, query("secret.example.")), answered); got != "SERVFAIL" {
		t.Errorf("got %s", got)
	}
	if got := show(ask(t, "udp", "127.18.0.2", gate, query("web.")), answered); !strings.Contains(got, "127.18.0.2") {
		t.Errorf("got %s", got)
	}
	if u.asked.Load() != 0 {
		t.Error("the question went out")
	}
}

func TestUpstreamsInTurn(t *testing.T) {
	bad := startUpstream(t, func(_ *fakeUpstream, q *dns.Msg, _ bool) *dns.Msg {
		return new(dns.Msg).SetRcode(q, dns.RcodeServerFailure)
	})
	liar := startUpstream(t, func(_ *fakeUpstream, q *dns.Msg, _ bool) *dns.Msg {
		m := new(dns.Msg).SetReply(q)
		m.Question[0].Name = "other.example."
		return m
	})
	good := startUpstream(t, func(_ *fakeUpstream, q *dns.Msg, _ bool) *dns.Msg {
		m := new(dns.Msg).SetReply(q)
		m.Answer = []dns.RR{rr(t, q.Question[0].Name+" 60 IN A 192.0.2.7")}
		return m
	})
	var list atomic.Value
	list.Store([]string{bad.addr, liar.addr, good.addr})
	s := start(t, func() []string { return list.Load().([]string) }, loopView("front", "127.18.0.1"))
	gate := at(t, s, "127.18.0.1")
	for _, name := range []string{"a.example.", "b.example."} {
		if got := show(ask(t, "udp", "127.18.0.2", gate, query(name)), answered); !strings.Contains(got, "192.0.2.7") {
			t.Errorf("%s: %s", name, got)
		}
	}
	if bad.asked.Load() != 1 || liar.asked.Load() != 1 || good.asked.Load() != 2 {
		t.Errorf("asked %d, %d, %d times: want the one that answered asked first", bad.asked.Load(), liar.asked.Load(), good.asked.Load())
	}
	for _, c := range [][]string{nil, {bad.addr}, {liar.addr}, {gate.String()}, {"not an address"}} {
		list.Store(c)
		if got := show(ask(t, "udp", "127.18.0.2", gate, query("c.example.")), answered); got != "SERVFAIL" {
			t.Errorf("upstreams %v: %s, want SERVFAIL", c, got)
		}
	}
}

// TestSilentUpstream shows that one that says nothing is passed over, that too
// many questions at once fail at once, and that closing waits for nobody.
func TestSilentUpstream(t *testing.T) {
	silent := startUpstream(t, func(*fakeUpstream, *dns.Msg, bool) *dns.Msg { return nil })
	good := startUpstream(t, func(_ *fakeUpstream, q *dns.Msg, _ bool) *dns.Msg {
		m := new(dns.Msg).SetReply(q)
		m.Answer = []dns.RR{rr(t, q.Question[0].Name+" 60 IN A 192.0.2.7")}
		return m
	})
	s := New(Config{Port: AnyPort, Log: quiet(), Upstreams: func() []string { return []string{silent.addr, good.addr} }})
	s.forward.timeout = 50 * time.Millisecond
	gate := at(t, run(t, s, loopView("front", "127.18.0.1")), "127.18.0.1")
	// On a slow machine the other one may be too late too, at first.
	within(t, "the other's answer", func() bool {
		return strings.Contains(show(ask(t, "udp", "127.18.0.2", gate, query("a.example.")), answered), "192.0.2.7")
	})

	s = New(Config{Port: AnyPort, Log: quiet(), Upstreams: func() []string { return []string{silent.addr} }})
	s.forward.limits = newLimits(3, 2)
	s.forward.timeout, s.forward.total = time.Hour, time.Hour
	gate = at(t, run(t, s, loopView("front", "127.18.0.1")), "127.18.0.1")
	d := net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP("127.18.0.2")}}
	nc, err := d.Dial("udp", gate.String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	conn := &dns.Conn{Conn: nc}
	before := silent.asked.Load()
	for _, name := range []string{"x.example.", "y.example."} {
		if err := conn.WriteMsg(query(name)); err != nil {
			t.Fatal(err)
		}
	}
	within(t, "two questions wait", func() bool { return silent.asked.Load() == before+2 })
	if got := show(ask(t, "udp", "127.18.0.2", gate, query("z.example.")), answered); got != "SERVFAIL" {
		t.Errorf("over the limit: %s", got)
	}
	// Another asker is not held up; the end of the test closes while it waits.
	nc2, err := (&net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP("127.18.0.3")}}).Dial("udp", gate.String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc2.Close()
	if err := (&dns.Conn{Conn: nc2}).WriteMsg(query("other.example.")); err != nil {
		t.Fatal(err)
	}
	within(t, "another's question is asked", func() bool { return silent.asked.Load() == before+3 })
}

func TestConnectionsAreLimited(t *testing.T) {
	s := start(t, nil, loopView("front", "127.0.0.1"))
	gate := at(t, s, "127.0.0.1")
	var conns []net.Conn
	for range maxClientConns {
		c, err := net.Dial("tcp", gate.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns = append(conns, c)
	}
	over, err := net.Dial("tcp", gate.String())
	if err != nil {
		t.Fatal(err)
	}
	defer over.Close()
	if _, err := over.Read(make([]byte, 1)); err == nil {
		t.Error("one connection too many is served")
	}
	conns[0].Close()
	within(t, "there is room again", func() bool {
		c, err := net.Dial("tcp", gate.String())
		if err != nil {
			return false
		}
		defer c.Close()
		co := &dns.Conn{Conn: c}
		if co.WriteMsg(query("web.")) != nil {
			return false
		}
		_, err = co.ReadMsg()
		return err == nil
	})
}

// TestManyAtOnce asks and changes at once, for the race detector.
func TestManyAtOnce(t *testing.T) {
	u := startUpstream(t, func(_ *fakeUpstream, q *dns.Msg, _ bool) *dns.Msg {
		m := new(dns.Msg).SetReply(q)
		m.Answer = []dns.RR{rr(t, q.Question[0].Name+" 60 IN A 192.0.2.7")}
		return m
	})
	front := loopView("front", "127.18.0.1", record("web", "127.18.0.2"))
	s := start(t, func() []string { return []string{u.addr} }, front)
	gate := at(t, s, "127.18.0.1")
	var wg sync.WaitGroup
	for _, name := range []string{"web.", "www.example.", "web.", "2.0.18.127.in-addr.arpa."} {
		wg.Go(func() {
			for range 20 {
				m, err := dnsClient("127.18.0.3").exchange(query(name), gate)
				if err != nil || m.Rcode != dns.RcodeSuccess {
					t.Errorf("%s: %v %v", name, m, err)
				}
			}
		})
	}
	wg.Go(func() {
		for i := range 20 {
			views := []View{front}
			if i%2 == 0 {
				views = append(views, loopView("back", "127.19.0.1"))
			}
			if err := s.Set(views); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
}

type dnsClient string

func (from dnsClient) exchange(q *dns.Msg, server netip.AddrPort) (*dns.Msg, error) {
	c := &dns.Client{Dialer: &net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(string(from))}}, Timeout: patience}
	m, _, err := c.Exchange(q, server.String())
	return m, err
}
