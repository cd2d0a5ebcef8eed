package names

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	// Connections of one gateway, in all and of one asker.
	maxConns       = 128
	maxClientConns = 16
	maxTCPQueries  = 128 // on one connection
	tcpIdle        = 8 * time.Second
	writeTimeout   = 5 * time.Second
	// udpWait only bounds one read of a socket that is read again.
	udpWait = time.Hour
)

// answerer gives the answer to a question that came to the address listen.
type answerer func(ctx context.Context, req *dns.Msg, listen, from netip.Addr) *dns.Msg

// gateway is the two sockets of one address.
type gateway struct {
	addr    netip.AddrPort
	cancel  context.CancelFunc
	servers []*dns.Server
	ended   chan struct{} // closed when a socket stopped serving
	once    sync.Once
	wg      sync.WaitGroup
}

// openGateway listens on both UDP and TCP, or on nothing.
func openGateway(ctx context.Context, a netip.Addr, port int, answer answerer) (*gateway, error) {
	pc, l, err := sockets(ctx, a, port)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	g := &gateway{addr: netip.AddrPortFrom(a, pc.LocalAddr().(*net.UDPAddr).AddrPort().Port()), cancel: cancel, ended: make(chan struct{})}
	handler := func(tcp bool) dns.HandlerFunc {
		return func(w dns.ResponseWriter, req *dns.Msg) {
			from, err := netip.ParseAddrPort(w.RemoteAddr().String())
			if err != nil {
				return
			}
			// An asker that is gone misses its answer: nobody else to tell.
			_ = w.WriteMsg(fit(answer(ctx, req, a, from.Addr().Unmap()), req, tcp))
		}
	}
	idle := func() time.Duration { return tcpIdle }
	g.serve(&dns.Server{PacketConn: pc, UDPSize: udpSize, ReadTimeout: udpWait, Handler: handler(false)})
	g.serve(&dns.Server{
		Listener: &bounded{Listener: l, limits: newLimits(maxConns, maxClientConns)}, Handler: handler(true),
		IdleTimeout: idle, MaxTCPQueries: maxTCPQueries,
	})
	return g, nil
}

// sockets binds both to one port; with port 0 one that is free for both.
func sockets(ctx context.Context, a netip.Addr, port int) (net.PacketConn, net.Listener, error) {
	var lc net.ListenConfig
	var errs []error
	for range 10 {
		pc, err := lc.ListenPacket(ctx, "udp", netip.AddrPortFrom(a, uint16(port)).String())
		if err != nil {
			return nil, nil, err
		}
		l, err := lc.Listen(ctx, "tcp", pc.LocalAddr().String())
		if err == nil {
			return pc, l, nil
		}
		errs = append(errs, err, pc.Close())
		if port != 0 {
			break
		}
	}
	return nil, nil, fmt.Errorf("listen on %s: %w", a, errors.Join(errs...))
}

// serve returns when the server has begun, so that it can be shut down.
func (g *gateway) serve(srv *dns.Server) {
	begun := make(chan struct{})
	begin := sync.OnceFunc(func() { close(begun) })
	srv.NotifyStartedFunc = begin
	g.servers = append(g.servers, srv)
	g.wg.Go(func() {
		defer begin()
		// Why it ended is of no use: it was closed, or is opened again.
		_ = srv.ActivateAndServe()
		g.once.Do(func() { close(g.ended) })
	})
	<-begun
}

// dead tells that a socket ended by itself.
func (g *gateway) dead() bool {
	select {
	case <-g.ended:
		return true
	default:
		return false
	}
}

// close ends what waits for an upstream, and waits for all goroutines.
func (g *gateway) close() {
	g.cancel()
	for _, srv := range g.servers {
		// The only error is that it is down already.
		_ = srv.Shutdown()
	}
	g.wg.Wait()
}

// bounded is a listener that hangs up on connections over the limits.
type bounded struct {
	net.Listener
	limits *limits
}

func (b *bounded) Accept() (net.Conn, error) {
	for {
		c, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		who := netip.Addr{}
		if a, err := netip.ParseAddrPort(c.RemoteAddr().String()); err == nil {
			who = a.Addr().Unmap()
		}
		if b.limits.take(who) {
			return &counted{Conn: c, done: sync.OnceFunc(func() { b.limits.give(who) })}, nil
		}
		c.Close()
	}
}

// counted is given back to its limits when it is closed, which also happens to
// an asker that does not read what it is sent.
type counted struct {
	net.Conn
	done func()
}

func (c *counted) Close() error {
	defer c.done()
	return c.Conn.Close()
}

func (c *counted) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}
