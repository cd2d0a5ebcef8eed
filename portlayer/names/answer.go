package names

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// ttl of containers' records in seconds, as Docker's.
const ttl = 600

// fate is what becomes of a question.
type fate int

const (
	answered fate = iota // the message is the answer
	refused              // it is, and the asker had no right to ask
	forward              // others must be asked; there is no message
)

// answer decides about one question that came to the gateway address listen.
// turn, another number each time, rotates several addresses of one name.
func (t *table) answer(req *dns.Msg, listen, from netip.Addr, turn int) (*dns.Msg, fate) {
	if req.Response || req.Opcode != dns.OpcodeQuery {
		return failure(req, dns.RcodeNotImplemented), answered
	}
	if len(req.Question) != 1 {
		return failure(req, dns.RcodeFormatError), answered
	}
	if opt := req.IsEdns0(); opt != nil && opt.Version() != 0 {
		return failure(req, dns.RcodeBadVers), answered
	}
	a := t.asker(listen, from)
	if a == nil {
		return failure(req, dns.RcodeRefused), refused
	}
	q := req.Question[0]
	if q.Qclass != dns.ClassINET || (meta(q.Qtype) && q.Qtype != dns.TypeANY) {
		return failure(req, dns.RcodeNotImplemented), answered
	}
	name := canonical(q.Name)
	if addrs, ok := a.addresses(name); ok {
		m := local(req)
		for i := range addrs {
			if rr := address(q, addrs[(i+turn)%len(addrs)]); rr != nil {
				m.Answer = append(m.Answer, rr)
			}
		}
		return m, answered
	}
	if addr, ok := reverse(name); ok && (q.Qtype == dns.TypePTR || q.Qtype == dns.TypeANY) {
		if host, mine := a.host(addr); mine {
			m := local(req)
			if host == "" {
				m.Rcode = dns.RcodeNameError
				return m, answered
			}
			m.Answer = []dns.RR{&dns.PTR{Hdr: header(q, dns.TypePTR), Ptr: host}}
			return m, answered
		}
	}
	if a.internal() {
		return failure(req, dns.RcodeServerFailure), answered
	}
	return nil, forward
}

// meta types ask for no records that could be passed on (RFC 6895, 3.1).
func meta(t uint16) bool {
	return t == dns.TypeOPT || t == 0 || (t >= 128 && t <= 255)
}

// address is the record of one address, nil when q asks for another kind.
func address(q dns.Question, a netip.Addr) dns.RR {
	switch {
	case a.Is4() && (q.Qtype == dns.TypeA || q.Qtype == dns.TypeANY):
		return &dns.A{Hdr: header(q, dns.TypeA), A: a.AsSlice()}
	case a.Is6() && (q.Qtype == dns.TypeAAAA || q.Qtype == dns.TypeANY):
		return &dns.AAAA{Hdr: header(q, dns.TypeAAAA), AAAA: a.AsSlice()}
	}
	return nil
}

func header(q dns.Question, t uint16) dns.RR_Header {
	return dns.RR_Header{Name: q.Name, Rrtype: t, Class: dns.ClassINET, Ttl: ttl}
}

// local is an answer of our own, still without records.
func local(req *dns.Msg) *dns.Msg {
	m := new(dns.Msg).SetReply(req)
	m.Authoritative, m.RecursionAvailable = true, true
	return edns(m, req)
}

func failure(req *dns.Msg, code int) *dns.Msg {
	m := new(dns.Msg).SetRcode(req, code)
	m.RecursionAvailable = true
	return edns(m, req)
}

// udpSize is what we take and send in one datagram at most: it fits any path
// without fragments (DNS flag day 2020).
const udpSize = 1232

// edns gives an answer the OPT record that it must have when the question had
// one, and else none. What it says is for one hop and not passed on, nor is a
// signature of the hop before.
func edns(m, req *dns.Msg) *dns.Msg {
	extra := m.Extra[:0:0]
	for _, rr := range m.Extra {
		if t := rr.Header().Rrtype; t != dns.TypeOPT && t != dns.TypeTSIG {
			extra = append(extra, rr)
		}
	}
	m.Extra = extra
	if opt := req.IsEdns0(); opt != nil {
		m.SetEdns0(udpSize, opt.Do())
	}
	return m
}

// fit makes the answer small enough for the way it goes.
func fit(m, req *dns.Msg, tcp bool) *dns.Msg {
	size := dns.MaxMsgSize
	if !tcp {
		size = dns.MinMsgSize
		if opt := req.IsEdns0(); opt != nil {
			size = max(size, min(int(opt.UDPSize()), udpSize))
		}
	}
	m.Truncate(size)
	return m
}

// reverse reads the address in a name of in-addr.arpa or ip6.arpa, which is
// canonical. Names of whole networks are none.
func reverse(name string) (netip.Addr, bool) {
	if s, ok := strings.CutSuffix(name, ".in-addr.arpa"); ok {
		parts := strings.Split(s, ".")
		if len(parts) != 4 {
			return netip.Addr{}, false
		}
		var b [4]byte
		for i, p := range parts {
			n, err := strconv.ParseUint(p, 10, 8)
			if err != nil {
				return netip.Addr{}, false
			}
			b[3-i] = byte(n)
		}
		return netip.AddrFrom4(b), true
	}
	s, ok := strings.CutSuffix(name, ".ip6.arpa")
	if !ok || len(s) != 63 {
		return netip.Addr{}, false
	}
	var b [16]byte
	for i := range 32 {
		n, err := strconv.ParseUint(s[2*i:2*i+1], 16, 8)
		if err != nil || (i < 31 && s[2*i+1] != '.') {
			return netip.Addr{}, false
		}
		b[15-i/2] |= byte(n) << (4 * (i % 2))
	}
	return netip.AddrFrom16(b).Unmap(), true
}
