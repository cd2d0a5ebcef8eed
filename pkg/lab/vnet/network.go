package vnet

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/sirupsen/logrus"
)

// MTU of every network, in bytes.
const MTU = 1500

// Domain is the DNS domain of the lab; the gateway answers for it alone.
const Domain = "lab.test"

// Forward makes a guest's TCP port reachable on this computer: at its alias, under
// the port Local (default Guest).
type Forward struct{ Guest, Local uint16 }

func (f Forward) local() uint16 { return cmp.Or(f.Local, f.Guest) }

// DefaultForwards are the VCH's ports: Docker with and without TLS, admin page,
// serial concentrator and, moved, SSH.
func DefaultForwards() []Forward {
	return []Forward{{Guest: 2375}, {Guest: 2376}, {Guest: 2378}, {Guest: 8080}, {Guest: 22, Local: 2222}}
}

// Config of a Network.
type Config struct {
	// Plan has the external network's addresses; default 10.118.0.0/24. The
	// leases in Dir must be of it. Its alias range is the caller's to Claim.
	Plan Plan
	// Dir keeps the leases; empty: they are forgotten with the process.
	Dir string
	// External are the port groups with the uplink, all of them one switch;
	// default "VM Network".
	External []string
	// Forwards are offered besides DefaultForwards.
	Forwards []Forward
	// Names are more names of the domain, without it, and their addresses.
	// registry, vcenter, esxi01 and host are there anyway and mean Plan.Host.
	Names map[string]netip.Addr
	// NoForwards keeps this computer's ports free; the alias range is not used
	// then.
	NoForwards bool
	Log        *logrus.Entry // required
}

// Network is all the switches of a lab.
type Network struct {
	log      *logrus.Entry
	plan     Plan
	external []string
	uplink   *layer2
	gw       *gateway
	dhcp     *dhcpServer
	fwd      *forwards
	names    map[string]netip.Addr

	mu       sync.Mutex // guards what follows
	switches map[string]*layer2
	policies map[string]*policy // by port group
}

// New makes the network; DHCP, DNS and forwards begin with Run.
func New(cfg Config) (*Network, error) {
	if cfg.Log == nil {
		return nil, fmt.Errorf("network: no log: %w", errdefs.ErrInvalidArgument)
	}
	if len(cfg.External) == 0 {
		cfg.External = []string{"VM Network"}
	}
	names := map[string]netip.Addr{"gateway": cfg.Plan.Gateway()}
	for _, n := range []string{"registry", "vcenter", "esxi01", "host"} {
		names[n] = cfg.Plan.Host()
	}
	for n, a := range cfg.Names {
		if !a.Is4() {
			return nil, fmt.Errorf("network: name %s: %s is no IPv4 address: %w", n, a, errdefs.ErrInvalidArgument)
		}
		names[n] = a
	}
	file := ""
	if cfg.Dir != "" {
		file = filepath.Join(cfg.Dir, "leases.json")
	}
	book, err := loadLeases(file, cfg.Plan)
	if err != nil {
		return nil, err
	}
	n := &Network{log: cfg.Log, plan: cfg.Plan, external: slices.Clone(cfg.External), names: names, uplink: newLayer2(), switches: map[string]*layer2{},
		policies: map[string]*policy{}}
	for _, name := range cfg.External {
		n.switches[name] = n.uplink
	}
	if n.gw, err = newGateway(n.uplink, cfg.Plan, cfg.Log); err != nil {
		return nil, err
	}
	n.dhcp = &dhcpServer{log: cfg.Log, plan: cfg.Plan, book: book}
	if n.gw.ends, err = n.gw.services(n.dhcp, names); err != nil {
		return nil, err
	}
	var ports []Forward
	if !cfg.NoForwards {
		ports = append(DefaultForwards(), cfg.Forwards...)
	}
	n.fwd = newForwards(ports, n.gw, book, cfg.Log)
	n.fwd.off = cfg.NoForwards
	n.dhcp.granted = n.fwd.granted
	return n, nil
}

// Run serves DHCP, DNS and the gateway until ctx ends. NICs may be connected
// before it; they should be gone when it ends.
func (n *Network) Run(ctx context.Context) error {
	return n.gw.run(ctx, n.fwd.close)
}

// Connect puts a NIC on the switch of portGroup until conn or ctx ends, and closes
// conn. mac is the NIC's own address.
func (n *Network) Connect(ctx context.Context, portGroup, macAddr string, conn net.Conn) error {
	hw, err := net.ParseMAC(macAddr)
	if err != nil || len(hw) != 6 {
		_ = conn.Close()
		return fmt.Errorf("connect NIC to %s: MAC address %q: %w", portGroup, macAddr, errdefs.ErrInvalidArgument)
	}
	n.mu.Lock()
	s := n.switches[portGroup]
	if s == nil {
		s = newLayer2()
		n.switches[portGroup] = s
	}
	pol := n.policyOf(portGroup)
	n.mu.Unlock()
	log := n.log.WithFields(logrus.Fields{"network": portGroup, "mac": hw.String()})
	p := newPort(conn, hw.String())
	p.hw, p.policy = mac(hw), pol
	if s == n.uplink {
		p.watch = n.fwd.watcher(p)
		n.fwd.attach(p)
		defer n.fwd.release(p)
		// A guest that ran before this process did has its address already.
		n.dhcp.book.connected(hw.String(), true)
		defer n.dhcp.book.connected(hw.String(), false)
		if a, ok := n.dhcp.book.lookup(hw.String()); ok {
			p.send(arpRequest(gatewayMAC, n.plan.Gateway(), a))
		}
	}
	log.Debug("NIC connected")
	err = p.run(ctx, s)
	log.WithField("lost", p.lost.Load()).Debug("NIC disconnected")
	if forged := p.forged.Load(); forged > 0 {
		log.WithField("frames", forged).Warn("guest sent from other addresses than its NIC's; its port group rejects that")
	}
	if err != nil {
		return fmt.Errorf("NIC %s on %s: %w", hw, portGroup, err)
	}
	return nil
}

// Dial connects as the lab's host: to guests of the external network by their
// address or its alias on this computer, to the lab's names, and to anything else
// as this computer does.
func (n *Network) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	ap, err := n.resolve(addr)
	if err == nil && n.plan.Subnet().Contains(ap.Addr()) && ap.Addr() != n.plan.Host() {
		c, err := n.gw.dial(ctx, ap)
		if err != nil {
			return nil, err // a nil *conn must not become a net.Conn
		}
		return c, nil
	}
	if err == nil && ap.Addr() == n.plan.Host() {
		addr = netip.AddrPortFrom(loopback, ap.Port()).String()
	}
	return new(net.Dialer).DialContext(ctx, network, addr)
}

// resolve fails for what is not this network's.
func (n *Network) resolve(addr string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if short, ok := cutDomain(host); ok {
		if a, ok := n.names[short]; ok {
			host = a.String()
		}
	}
	ap, err := netip.ParseAddrPort(net.JoinHostPort(host, port))
	if err != nil {
		return ap, err
	}
	a := ap.Addr().Unmap()
	if g, ok := n.plan.GuestAddress(a); ok {
		a = g
	}
	return netip.AddrPortFrom(a, ap.Port()), nil
}
