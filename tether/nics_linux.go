package tether

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/tether/system"
)

// nicConfig is what one NIC shall have.
type nicConfig struct {
	// Names are the networks that it is on: one, or several roles of the
	// appliance.
	Names []string
	// MAC names the card; empty: the card at this one's place in the list.
	MAC     string
	Link    string // name that the interface gets; empty leaves the kernel's
	IP      string // CIDR; empty: DHCP when that is set
	Gateway string
	DNS     []string
	DHCP    bool
	// Places are the networks of a card that is on several, each with an address
	// of its own; then Names, IP, Gateway and DHCP are not used.
	Places []place
	// Metric of the default route; the lowest wins.
	Metric int
	// Trust is set of a card on a container network: what its filter lets through,
	// with what the level needs to know.
	Trust        spec.Trust
	Peers, Ports []string
}

// nics are the VM's interfaces while it runs.
type nics struct {
	log      *logrus.Entry
	hostname string
	// changed is called, from any goroutine, when a NIC has another address.
	changed func()

	// load loads kernel modules; bySource makes replies leave by the card that
	// has their address. Both are a containerVM's.
	load     func(system.Phase) error
	bySource bool

	// ctx and goes are those of leases.
	ctx  context.Context
	goes func(func())

	mu   sync.Mutex // guards list, and cfg and have of its cards, once they are up
	list []*nic

	guarding sync.Mutex // held while filters and routes of several cards are set; guards trust
	trust    system.TrustFilter
	several  bool // cards, at some time
}

type nic struct {
	cfg   nicConfig
	link  *system.Link
	have  system.Lease  // what it has, static or leased
	ready chan struct{} // closed when it has an address or needs none
	// filter is used by who has the nics' turn: the boot, then one update at a time.
	// That of a card on a container network is guard's.
	filter system.LinkFilter
	stop   context.CancelFunc       // of its lease; nil without one
	stale  bool                     // there may be another default route than the one wanted
	six    struct{ known, on bool } // whether it has IPv6, once that was set
}

// up finds the cards and starts them.
func (n *nics) up(ctx context.Context, configs []nicConfig, goes func(func())) error {
	if err := n.find(configs); err != nil {
		return err
	}
	return n.start(ctx, goes)
}

// start brings all links up and sets what is static. Leases are asked for in the
// background, by goroutines of goes.
func (n *nics) start(ctx context.Context, goes func(func())) error {
	n.ctx, n.goes = ctx, goes
	if err := n.guard(); err != nil {
		return err
	}
	for _, c := range n.list {
		cfg := c.cfg
		if len(cfg.Places) > 0 {
			if err := c.ipv6(cfg.Places); err != nil {
				return fmt.Errorf("network %s: %w", cfg.name(), err)
			}
		}
		if err := c.link.Up(); err != nil {
			return fmt.Errorf("network %s: %w", cfg.name(), err)
		}
		switch {
		case len(cfg.Places) > 0:
			if _, err := n.place(c, cfg.Places); err != nil {
				return err
			}
			close(c.ready)
		case cfg.IP != "":
			if err := n.apply(c, system.Lease{Address: cfg.IP, Gateway: cfg.Gateway, DNS: cfg.DNS}); err != nil {
				return fmt.Errorf("network %s: %w", cfg.name(), err)
			}
			close(c.ready)
		case cfg.DHCP:
			n.startLease(c)
		default:
			close(c.ready)
		}
	}
	return n.routes()
}

func (n *nics) startLease(c *nic) {
	ctx, stop := context.WithCancel(n.ctx)
	c.stop = stop
	n.goes(func() { n.lease(ctx, c) })
}

// find looks every NIC up by its address and gives them their names. Names are
// freed first, as the kernel's own order may be another one.
func (n *nics) find(configs []nicConfig) error {
	for i, cfg := range configs {
		var link *system.Link
		var err error
		if cfg.MAC != "" {
			link, err = system.LinkByMAC(cfg.MAC)
		} else {
			link, err = system.LinkAt(i)
		}
		if err != nil {
			return fmt.Errorf("network %s: %w", cfg.name(), err)
		}
		if cfg.Link != "" && link.Name != cfg.Link {
			if err := link.Rename(fmt.Sprintf("nic%d", i)); err != nil {
				return fmt.Errorf("network %s: %w", cfg.name(), err)
			}
		}
		n.list = append(n.list, &nic{cfg: cfg, link: link, ready: make(chan struct{})})
	}
	for _, c := range n.list {
		if c.cfg.Link == "" {
			continue
		}
		if err := c.link.Rename(c.cfg.Link); err != nil {
			return fmt.Errorf("network %s: %w", c.cfg.name(), err)
		}
	}
	return nil
}

// lease gets and keeps a lease until ctx ends.
func (n *nics) lease(ctx context.Context, c *nic) {
	log := n.log.WithField(spec.FieldNetwork, c.cfg.name())
	set := func(l system.Lease) {
		if c.cfg.Gateway != "" {
			l.Gateway = c.cfg.Gateway
		}
		if len(c.cfg.DNS) > 0 {
			l.DNS = c.cfg.DNS
		}
		if err := n.apply(c, l); err != nil {
			log.WithError(err).Error("lease not usable")
			return
		}
		if err := errors.Join(n.guard(), n.routes()); err != nil {
			log.WithError(err).Error("network is not as it should be: less is let in than its trust level says, or replies go astray")
		}
		log.WithField("address", l.Address).Info("leased")
	}
	for {
		ask, cancel := context.WithTimeout(ctx, leaseWait)
		l, err := c.link.Request(ask, n.hostname)
		cancel()
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			set(l)
			close(c.ready)
			n.changed()
			c.link.Keep(ctx, l, n.hostname, func(l system.Lease) { set(l); n.changed() }, log)
			return
		}
		log.WithError(err).Warn("still asking")
	}
}

// leaseWait is after how long without a DHCP server the console says so.
const leaseWait = 15 * time.Second

func (n *nics) apply(c *nic, l system.Lease) error {
	if err := c.link.SetAddress(l.Address); err != nil {
		return err
	}
	if l.Gateway != "" {
		if err := c.link.SetDefaultRoute(l.Gateway, c.cfg.Metric); err != nil {
			return err
		}
	}
	n.mu.Lock()
	c.have = l
	n.mu.Unlock()
	return nil
}

// wait returns when every NIC has what it shall have, or with the first that
// has not when ctx ends.
func (n *nics) wait(ctx context.Context) error {
	for _, c := range n.list {
		select {
		case <-c.ready:
		case <-ctx.Done():
			return fmt.Errorf("network %s: no address from DHCP on %s: %w", c.cfg.name(), c.cfg.MAC, ctx.Err())
		}
	}
	return nil
}

// byName are the addresses in CIDR form of all networks that have one.
func (n *nics) byName() map[string]string {
	n.mu.Lock()
	defer n.mu.Unlock()
	m := map[string]string{}
	for _, c := range n.list {
		for _, p := range c.cfg.Places {
			m[p.Network] = p.IP
		}
		if c.have.Address == "" {
			continue
		}
		for _, name := range c.cfg.Names {
			m[name] = c.have.Address
		}
	}
	return m
}

// leases are what the NICs have, in their order.
func (n *nics) leases() []system.Lease {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []system.Lease
	for _, c := range n.list {
		for _, p := range c.cfg.Places {
			out = append(out, system.Lease{Address: p.IP, Gateway: p.Gateway})
			if p.IP6 != "" {
				out = append(out, system.Lease{Address: p.IP6, Gateway: p.Gateway6})
			}
		}
		if c.have.Address != "" {
			out = append(out, c.have)
		}
	}
	return out
}

func (n *nics) own() []string {
	var out []string
	for _, l := range n.leases() {
		out = append(out, l.Address)
	}
	return out
}

func (n *nics) gateway() string {
	for _, l := range n.leases() {
		if l.Gateway != "" {
			return l.Gateway
		}
	}
	return ""
}

func (n *nics) dns() []string {
	var out []string
	seen := map[string]bool{}
	for _, l := range n.leases() {
		for _, d := range l.DNS {
			if !seen[d] {
				seen[d] = true
				out = append(out, d)
			}
		}
	}
	return out
}

func (n *nics) search() []string {
	for _, l := range n.leases() {
		if len(l.Search) > 0 {
			return l.Search
		}
	}
	return nil
}
