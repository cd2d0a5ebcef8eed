package names

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"github.com/sirupsen/logrus"
)

// retryInterval is how soon an address that could not be listened on is tried
// again.
const retryInterval = 2 * time.Second

// Server answers on the gateway addresses of all networks. Make one with New.
type Server struct {
	port    int
	log     *logrus.Entry
	forward *forwarder
	table   atomic.Pointer[table]
	turn    atomic.Uint32
	stats   struct{ questions, local, cached, forwarded, failed, refused atomic.Uint64 }

	mu   sync.Mutex              // guards what is below; held while sockets open and close
	ctx  context.Context         // of Run; nil while it does not run
	open map[netip.Addr]*gateway // by the address listened on
	told map[netip.Addr]string   // errors that were logged
}

// New gives a server that knows nothing and does not listen before Run.
func New(cfg Config) *Server {
	s := &Server{port: cfg.Port, log: cfg.Log, open: map[netip.Addr]*gateway{}, told: map[netip.Addr]string{}}
	switch s.port {
	case 0:
		s.port = 53
	case AnyPort:
		s.port = 0
	}
	if s.log == nil {
		s.log = logrus.NewEntry(logrus.StandardLogger())
	}
	s.forward = &forwarder{
		upstreams: cfg.Upstreams, own: s.own, timeout: tryTimeout, total: totalTimeout,
		cache: newCache(time.Now), limits: newLimits(maxForwards, maxClientForwards),
	}
	s.table.Store(&table{})
	return s
}

// Set replaces everything that the server knows. When it returns, questions are
// answered by the new views, gateways that are gone are closed and new ones
// listened on; the others were not disturbed. Before Run it only keeps the
// views. An error tells of views that are not served: those in conflict with
// another, and those whose address is not there yet, which Run tries again.
func (s *Server) Set(views []View) error {
	t, err := newTable(views)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.table.Store(t)
	if s.ctx == nil {
		return err
	}
	return errors.Join(err, s.listen())
}

// Run serves until ctx is done; all is closed when it returns. It may run once.
func (s *Server) Run(ctx context.Context) error {
	s.mu.Lock()
	s.ctx = ctx
	s.retry()
	s.mu.Unlock()
	tick := time.NewTicker(retryInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			s.mu.Lock()
			defer s.mu.Unlock()
			s.ctx = nil
			for _, g := range s.open {
				g.close()
			}
			clear(s.open)
			return nil
		case <-tick.C:
			s.mu.Lock()
			s.retry()
			s.mu.Unlock()
		}
	}
}

// Addrs are the addresses listened on now, in order.
func (s *Server) Addrs() []netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []netip.AddrPort
	for _, g := range s.open {
		out = append(out, g.addr)
	}
	slices.SortFunc(out, netip.AddrPort.Compare)
	return out
}

// Stats of the server since it was made.
func (s *Server) Stats() Stats {
	return Stats{
		Questions: s.stats.questions.Load(), Local: s.stats.local.Load(), Cached: s.stats.cached.Load(),
		Forwarded: s.stats.forwarded.Load(), Failed: s.stats.failed.Load(), Refused: s.stats.refused.Load(),
	}
}

// retry listens where it can and logs a failure once. Called with mu held.
func (s *Server) retry() {
	if err := s.listen(); err == nil {
		clear(s.told)
	}
}

// listen makes the open gateways those of the table. Called with mu held.
func (s *Server) listen() error {
	t := s.table.Load()
	for a, g := range s.open {
		if t.listen[a] == nil || g.dead() {
			g.close()
			delete(s.open, a)
		}
	}
	var errs []error
	for _, v := range t.views {
		if s.open[v.Listen] != nil {
			continue
		}
		g, err := openGateway(s.ctx, v.Listen, s.port, s.serve)
		if err != nil {
			err = fmt.Errorf("names of network %s: %w", v.Network, err)
			if s.told[v.Listen] != err.Error() {
				s.told[v.Listen] = err.Error()
				s.log.WithError(err).Warn("cannot serve names yet; trying again")
			}
			errs = append(errs, err)
			continue
		}
		s.open[v.Listen] = g
		s.log.WithField("address", g.addr.String()).Info("serving names of network " + v.Network)
	}
	return errors.Join(errs...)
}

// own: an upstream that is one of our gateways would ask us what we ask it.
func (s *Server) own(a netip.AddrPort) bool {
	return s.table.Load().listen[a.Addr()] != nil && (s.port == 0 || int(a.Port()) == s.port)
}

// serve gives the answer to one question.
func (s *Server) serve(ctx context.Context, req *dns.Msg, listen, from netip.Addr) *dns.Msg {
	s.stats.questions.Add(1)
	m, fate := s.table.Load().answer(req, listen, from, int(s.turn.Add(1)%(1<<16)))
	switch fate {
	case answered:
		s.stats.local.Add(1)
		return m
	case refused:
		s.stats.refused.Add(1)
		return m
	}
	m, cached, err := s.forward.ask(ctx, req, from)
	if err != nil {
		s.stats.failed.Add(1)
		s.log.WithError(err).WithField("client", from.String()).Debug("no answer for " + req.Question[0].Name)
		return failure(req, dns.RcodeServerFailure)
	}
	if cached {
		s.stats.cached.Add(1)
	} else {
		s.stats.forwarded.Add(1)
	}
	return m
}
