package vnet

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
)

// forwards opens a guest's ports on this computer while the guest has a NIC.
type forwards struct {
	ports []Forward
	gw    *gateway
	book  *leaseBook // is told of the addresses
	log   *logrus.Entry
	off   bool // nothing is opened

	ctx    context.Context // ends with close
	cancel context.CancelFunc
	wg     sync.WaitGroup // listeners and connections

	mu     sync.Mutex       // guards what follows
	nics   map[string]*port // by MAC address
	owners map[netip.Addr]*claim
	// published are the ports of guests, by a NIC's MAC address.
	published map[string][]Port
	closed    bool
}

// claim is one address that a NIC showed.
type claim struct {
	by        *port
	ctx       context.Context // ends with the claim, and what it has under way
	cancel    context.CancelFunc
	listeners []net.Listener
	published map[Port]io.Closer
}

// maxClaims of one NIC: a guest may invent addresses.
const maxClaims = 8

func newForwards(ports []Forward, gw *gateway, book *leaseBook, log *logrus.Entry) *forwards {
	f := &forwards{ports: ports, gw: gw, book: book, log: log, nics: map[string]*port{}, owners: map[netip.Addr]*claim{},
		published: map[string][]Port{}}
	// Ends with close, which the network's Run calls.
	f.ctx, f.cancel = context.WithCancel(context.Background())
	return f
}

// watcher looks for the sender's address in what a NIC sends: ARP and IPv4. The
// function is called by the port's reader only.
func (f *forwards) watcher(p *port) func(frame) {
	var last netip.Addr
	return func(fr frame) {
		a, ok := senderOf(fr)
		if !ok || a == last || !f.gw.plan.forGuests(a) {
			return
		}
		last = a
		f.claim(a, p)
	}
}

// attach notes a NIC, release forgets it.
func (f *forwards) attach(p *port) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.nics[p.mac] = p
}

// granted notes that DHCP gave an address.
func (f *forwards) granted(mac string, a netip.Addr) {
	f.mu.Lock()
	p := f.nics[mac]
	f.mu.Unlock()
	if p != nil {
		f.claim(a, p)
	}
}

// senderOf is the address that a frame says it is from.
func senderOf(fr frame) (netip.Addr, bool) {
	b := fr.ethernet()
	var at int
	switch fr.kind() {
	case 0x0806:
		at = ethernetLen + 14 // sender protocol address
	case 0x0800:
		at = ethernetLen + 12
	default:
		return netip.Addr{}, false
	}
	if len(b) < at+4 {
		return netip.Addr{}, false
	}
	return netip.AddrFrom4([4]byte(b[at:])), true
}

// claim notes that p has a; the latest NIC to show an address is its owner.
func (f *forwards) claim(a netip.Addr, p *port) {
	f.book.inUse(a, p.mac)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return
	}
	if c := f.owners[a]; c != nil {
		if c.by != p {
			c.by = p
			f.sync(a, c)
		}
		return
	}
	mine := 0
	for _, c := range f.owners {
		if c.by == p {
			mine++
		}
	}
	if mine >= maxClaims {
		return
	}
	c := &claim{by: p, published: map[Port]io.Closer{}}
	c.ctx, c.cancel = context.WithCancel(f.ctx)
	f.owners[a] = c
	f.log.WithField("address", a.String()).Info("guest has an address")
	for _, fw := range f.ports {
		l, err := f.open(c.ctx, a, fw)
		if err != nil {
			f.log.WithError(err).Warn("guest's port not forwarded")
			continue
		}
		c.listeners = append(c.listeners, l)
	}
	f.sync(a, c)
}

// release closes what p's addresses had open.
func (f *forwards) release(p *port) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.nics[p.mac] == p {
		delete(f.nics, p.mac)
	}
	for a, c := range f.owners {
		if c.by == p {
			f.drop(a, c)
		}
	}
}

// drop is called with mu held.
func (f *forwards) drop(a netip.Addr, c *claim) {
	c.cancel() // first: what begins to dial from now on ends by it, what did before by abortOf
	for _, l := range c.listeners {
		_ = l.Close()
	}
	for _, end := range c.published {
		_ = end.Close()
	}
	delete(f.owners, a)
	f.gw.abortOf(a)
}

// close ends all forwards and waits for them.
func (f *forwards) close() {
	f.cancel()
	f.mu.Lock()
	f.closed = true
	for a, c := range f.owners {
		f.drop(a, c)
	}
	f.mu.Unlock()
	f.wg.Wait()
}

func (f *forwards) open(ctx context.Context, a netip.Addr, fw Forward) (net.Listener, error) {
	host, _ := f.gw.plan.HostAddress(a) // a is of the subnet
	l, err := net.Listen("tcp", netip.AddrPortFrom(host, fw.local()).String())
	if err != nil {
		return nil, fmt.Errorf("forward to %s port %d: %w", a, fw.Guest, err)
	}
	to := netip.AddrPortFrom(a, fw.Guest)
	f.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // closed
			}
			f.wg.Go(func() { f.carry(ctx, c.(*net.TCPConn), to) })
		}
	})
	return l, nil
}

// forwardLimit bounds a forward's connection attempt; a client of a guest that
// does not answer gets a reset.
const forwardLimit = 10 * time.Second

func (f *forwards) carry(ctx context.Context, c *net.TCPConn, to netip.AddrPort) {
	ctx, cancel := context.WithTimeout(ctx, forwardLimit)
	guest, err := f.gw.dial(ctx, to)
	cancel()
	if err != nil {
		f.log.WithError(err).Debug("forward")
		reset(c)
		return
	}
	splice(c, guest)
}

// arpRequest asks who has an address.
func arpRequest(from mac, sender, target netip.Addr) frame {
	f := newFrame(ethernetLen + 28)
	e := f.ethernet()
	for i := range 6 {
		e[i] = 0xff
	}
	copy(e[6:], from[:])
	binary.BigEndian.PutUint16(e[12:], 0x0806)
	a := e[ethernetLen:]
	copy(a, []byte{0, 1, 8, 0, 6, 4, 0, 1}) // Ethernet, IPv4, request
	copy(a[8:], from[:])
	copy(a[14:], sender.AsSlice())
	copy(a[24:], target.AsSlice())
	return f
}
