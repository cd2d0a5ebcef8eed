package names

import (
	"container/list"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	cacheEntries = 1024
	// cacheBytes of one answer at most: with cacheEntries it bounds the memory.
	cacheBytes = 4096
	// Longest times that an answer is kept; for negative ones RFC 2308, 5
	// finds one to three hours sensible.
	maxTTL         = 24 * time.Hour
	maxNegativeTTL = time.Hour
)

// key is all of a question that may change the answer.
type key struct {
	name                  string
	qtype                 uint16
	recurse, noCheck, dns bool
	edns                  bool
}

func keyOf(req *dns.Msg) key {
	q := req.Question[0]
	k := key{name: canonical(q.Name), qtype: q.Qtype, recurse: req.RecursionDesired, noCheck: req.CheckingDisabled}
	if opt := req.IsEdns0(); opt != nil {
		k.edns, k.dns = true, opt.Do()
	}
	return k
}

// cache keeps answers of upstreams as long as they may be, the least used
// going first. It is bounded and used by many goroutines.
type cache struct {
	now func() time.Time

	mu      sync.Mutex // guards what is below
	entries map[key]*list.Element
	order   list.List // of *entry, last used first
	source  string    // the upstreams that the answers are from
}

type entry struct {
	key           key
	msg           *dns.Msg
	stored, until time.Time
}

func newCache(now func() time.Time) *cache {
	return &cache{now: now, entries: map[key]*list.Element{}}
}

// from tells which upstreams are asked now; answers of others are forgotten.
func (c *cache) from(source string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if source != c.source {
		clear(c.entries)
		c.order.Init()
		c.source = source
	}
}

// get gives a copy of a kept answer with the times it has left, or nil.
func (c *cache) get(k key) *dns.Msg {
	c.mu.Lock()
	defer c.mu.Unlock()
	el := c.entries[k]
	if el == nil {
		return nil
	}
	e, now := el.Value.(*entry), c.now()
	if !now.Before(e.until) {
		c.drop(el)
		return nil
	}
	c.order.MoveToFront(el)
	m := e.msg.Copy()
	age := uint32(now.Sub(e.stored) / time.Second)
	for _, rr := range records(m) {
		h := rr.Header()
		h.Ttl -= min(age, h.Ttl)
	}
	return m
}

// put keeps an answer if it may be kept.
func (c *cache) put(k key, m *dns.Msg) {
	life := lifetime(m)
	if life <= 0 || m.Len() > cacheBytes {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if el := c.entries[k]; el != nil {
		c.drop(el)
	}
	now := c.now()
	c.entries[k] = c.order.PushFront(&entry{key: k, msg: m.Copy(), stored: now, until: now.Add(life)})
	if c.order.Len() > cacheEntries {
		c.drop(c.order.Back())
	}
}

// drop is called with the lock held.
func (c *cache) drop(el *list.Element) {
	delete(c.entries, el.Value.(*entry).key)
	c.order.Remove(el)
}

// lifetime is how long an answer may be kept: as its shortest-lived record, and
// one that says that there is nothing as its SOA tells (RFC 2308, 5), without
// one not at all. Failures and what was cut short are not kept.
func lifetime(m *dns.Msg) time.Duration {
	if m.Truncated || (m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError) {
		return 0
	}
	limit := maxTTL
	if m.Rcode == dns.RcodeNameError || !positive(m) {
		limit = 0
		for _, rr := range m.Ns {
			if soa, ok := rr.(*dns.SOA); ok {
				limit = min(maxNegativeTTL, seconds(soa.Minttl))
			}
		}
	}
	for _, rr := range records(m) {
		limit = min(limit, seconds(rr.Header().Ttl))
	}
	return limit
}

// positive: there is a record of the type that was asked for, not only aliases
// on the way to nothing.
func positive(m *dns.Msg) bool {
	for _, rr := range m.Answer {
		t := rr.Header().Rrtype
		if len(m.Question) == 1 && (t == m.Question[0].Qtype || m.Question[0].Qtype == dns.TypeANY) {
			return true
		}
	}
	return false
}

// seconds of a TTL; one with the highest bit set is 0 (RFC 2181, 8).
func seconds(ttl uint32) time.Duration {
	if ttl > 1<<31-1 {
		return 0
	}
	return time.Duration(ttl) * time.Second
}

// records are those whose TTL is one: all but OPT.
func records(m *dns.Msg) []dns.RR {
	var out []dns.RR
	for _, section := range [][]dns.RR{m.Answer, m.Ns, m.Extra} {
		for _, rr := range section {
			if rr.Header().Rrtype != dns.TypeOPT {
				out = append(out, rr)
			}
		}
	}
	return out
}
