package names

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"
	"github.com/miekg/dns"
)

const (
	// A resolver in a container gives up after 5 s by default; it should hear
	// of a failure before.
	tryTimeout   = 2 * time.Second
	totalTimeout = 4500 * time.Millisecond
	// Questions that wait for an upstream, in all and of one asker.
	maxForwards       = 256
	maxClientForwards = 32
)

// forwarder asks upstreams.
type forwarder struct {
	upstreams func() []string
	// own tells that an upstream is this server, which must not ask itself.
	own     func(netip.AddrPort) bool
	cache   *cache
	limits  *limits
	timeout time.Duration // of one try
	total   time.Duration // of one question

	// last is the upstream that answered last: it is asked first, so that one
	// that is down costs its timeout once and not for each question.
	last atomic.Value // netip.AddrPort
}

// ask gives an upstream's answer to req, ready to be sent, and whether it came
// from the cache.
func (f *forwarder) ask(ctx context.Context, req *dns.Msg, from netip.Addr) (*dns.Msg, bool, error) {
	servers, err := f.servers()
	if err != nil {
		return nil, false, err
	}
	k := keyOf(req)
	if m := f.cache.get(k); m != nil {
		return finish(m, req), true, nil
	}
	if !f.limits.take(from) {
		return nil, false, fmt.Errorf("too many questions wait for an answer: %w", errdefs.ErrResourceExhausted)
	}
	defer f.limits.give(from)
	ctx, cancel := context.WithTimeout(ctx, f.total)
	defer cancel()
	m, err := f.try(ctx, question(req), servers)
	if err != nil {
		return nil, false, err
	}
	f.cache.put(k, m)
	return finish(m, req), false, nil
}

// servers are the upstreams in the order in which they are asked.
func (f *forwarder) servers() ([]netip.AddrPort, error) {
	var list []netip.AddrPort
	var all []string
	if f.upstreams != nil {
		all = f.upstreams()
	}
	for _, s := range all {
		a, err := upstream(s)
		if err != nil {
			return nil, err
		}
		if !f.own(a) && !slices.Contains(list, a) {
			list = append(list, a)
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("there is no DNS server to ask: %w", errdefs.ErrUnavailable)
	}
	f.cache.from(strings.Join(all, " "))
	if last, ok := f.last.Load().(netip.AddrPort); ok {
		if i := slices.Index(list, last); i > 0 {
			list = append(slices.Clone(list[i:]), list[:i]...)
		}
	}
	return list, nil
}

// upstream reads "192.0.2.53", "192.0.2.53:53", "2001:db8::53" or
// "[2001:db8::53]:53".
func upstream(s string) (netip.AddrPort, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.AddrPortFrom(a.Unmap(), 53), nil
	}
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		return a, fmt.Errorf("DNS server %q: want an address, with or without a port: %w", s, errdefs.ErrInvalidArgument)
	}
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()), nil
}

// question is what an upstream is asked: nothing of the asker but the question,
// with an id of our own.
func question(req *dns.Msg) *dns.Msg {
	m := new(dns.Msg)
	m.Id = dns.Id()
	m.RecursionDesired, m.CheckingDisabled, m.AuthenticatedData = req.RecursionDesired, req.CheckingDisabled, req.AuthenticatedData
	m.Question = slices.Clone(req.Question)
	if opt := req.IsEdns0(); opt != nil {
		m.SetEdns0(udpSize, opt.Do())
	}
	return m
}

// try asks the servers in turn, twice those that say nothing. An answer that is
// neither yes nor no is the result only if no server has a better one.
func (f *forwarder) try(ctx context.Context, q *dns.Msg, servers []netip.AddrPort) (*dns.Msg, error) {
	var bad *dns.Msg
	var errs []error
	for round := 0; round < 2 && bad == nil; round++ {
		for _, s := range servers {
			m, err := f.exchange(ctx, q, s)
			if ctx.Err() != nil {
				return nil, errors.Join(append(errs, ctx.Err())...)
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("ask %s: %w", s, err))
				continue
			}
			if m.Rcode == dns.RcodeSuccess || m.Rcode == dns.RcodeNameError {
				f.last.Store(s)
				return m, nil
			}
			bad = m
		}
	}
	if bad != nil {
		return bad, nil
	}
	return nil, errors.Join(errs...)
}

// exchange asks one server, by TCP when its answer does not fit a datagram.
// Each question has a socket of its own, so that the port is another one each
// time, and only this server's packets reach it.
func (f *forwarder) exchange(ctx context.Context, q *dns.Msg, s netip.AddrPort) (*dns.Msg, error) {
	m, err := f.once(ctx, "udp", q, s)
	if err != nil || !m.Truncated {
		return m, err
	}
	if whole, err := f.once(ctx, "tcp", q, s); err == nil {
		return whole, nil
	}
	return m, nil // half an answer, marked as such, is better than none
}

func (f *forwarder) once(ctx context.Context, network string, q *dns.Msg, s netip.AddrPort) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, network, s.String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	// Whoever closes the server does not wait for the answer.
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	q = q.Copy()
	q.Id = dns.Id()
	c := &dns.Client{Timeout: f.timeout}
	m, _, err := c.ExchangeWithConnContext(ctx, q, &dns.Conn{Conn: conn})
	if err != nil {
		return nil, err
	}
	if !m.Response || len(m.Question) != 1 || m.Question[0].Qtype != q.Question[0].Qtype ||
		m.Question[0].Qclass != q.Question[0].Qclass || canonical(m.Question[0].Name) != canonical(q.Question[0].Name) {
		return nil, fmt.Errorf("the answer is to another question: %w", errdefs.ErrUnavailable)
	}
	return m, nil
}

// finish makes an upstream's answer the one to req.
func finish(m, req *dns.Msg) *dns.Msg {
	m = m.Copy()
	m.Id, m.Opcode, m.Question = req.Id, req.Opcode, req.Question
	m.Authoritative, m.RecursionAvailable = false, true
	m.RecursionDesired, m.CheckingDisabled = req.RecursionDesired, req.CheckingDisabled
	return edns(m, req)
}

// limits count what is in use, in all and by asker.
type limits struct {
	all, each int

	mu   sync.Mutex // guards what is below
	used int
	by   map[netip.Addr]int
}

func newLimits(all, each int) *limits {
	return &limits{all: all, each: each, by: map[netip.Addr]int{}}
}

func (l *limits) take(who netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.used >= l.all || l.by[who] >= l.each {
		return false
	}
	l.used++
	l.by[who]++
	return true
}

func (l *limits) give(who netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.used--
	if l.by[who]--; l.by[who] == 0 {
		delete(l.by, who)
	}
}
