package tether

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/tether/system"
)

// plugWait is how long a card that vSphere has plugged may take to appear.
const plugWait = 15 * time.Second

// leaseGrace is how long a connect waits for DHCP, so that the address is known when
// it returns. It comes later, if it must.
const leaseGrace = 3 * time.Second

func (n *nics) awaitLeases(ctx context.Context, cards []*nic) {
	ctx, cancel := context.WithTimeout(ctx, leaseGrace)
	defer cancel()
	for _, c := range cards {
		select {
		case <-c.ready:
		case <-ctx.Done():
			return
		}
	}
}

// guard makes the filters of all cards on container networks say what their trust
// levels let through. A card that is not up yet never was without. Where a filter
// cannot be set, what was there stays.
func (n *nics) guard() error {
	n.guarding.Lock()
	defer n.guarding.Unlock()
	cards, links := n.trusted()
	if len(cards) == 0 {
		return n.trust.Set(nil)
	}
	rules, err := system.TrustRules(links)
	if err != nil {
		return fmt.Errorf("firewall of container networks: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	closed := func(l system.TrustedLink) bool { return l.Level == spec.TrustClosed }
	if err := n.loadFilters(slices.ContainsFunc(links, closed), len(rules) > 0); err != nil {
		return fmt.Errorf("firewall of container networks: %w", err)
	}
	// What narrows comes first.
	for i, c := range cards {
		if !closed(links[i]) {
			continue
		}
		if err := c.filter.Set(links[i].Closed()); err != nil {
			return fmt.Errorf("firewall of container network %s (%s): %w", c.cfg.name(), links[i].Level, err)
		}
	}
	if err := n.trust.Set(rules); err != nil {
		return fmt.Errorf("firewall of container networks: %w", err)
	}
	for i, c := range cards {
		if closed(links[i]) {
			continue
		}
		if err := c.filter.Remove(); err != nil {
			return fmt.Errorf("firewall of container network %s (%s): %w", c.cfg.name(), links[i].Level, err)
		}
	}
	return nil
}

func (n *nics) loadFilters(frames, connections bool) error {
	if frames {
		if err := n.load(system.Filtering); err != nil {
			return err
		}
	}
	if connections {
		return n.load(system.Tracking)
	}
	return nil
}

// trusted are the cards on container networks.
func (n *nics) trusted() (cards []*nic, links []system.TrustedLink) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.list {
		if c.cfg.Trust == "" {
			continue
		}
		address := c.have.Address
		for _, p := range c.cfg.Places {
			address = p.IP
		}
		cards = append(cards, c)
		links = append(links, system.TrustedLink{Link: c.link.Name, Level: c.cfg.Trust, Peers: system.PeersOf(c.cfg.Peers, address),
			Ports: c.cfg.Ports, DHCP: c.cfg.DHCP})
	}
	return cards, links
}

// routes lets replies leave by the card that has their address.
func (n *nics) routes() error {
	if !n.bySource {
		return nil
	}
	n.guarding.Lock()
	defer n.guarding.Unlock()
	n.mu.Lock()
	var list []system.Source
	for _, c := range n.list {
		s := system.Source{Link: c.link, Addresses: c.cfg.addresses(), Gateway: c.cfg.gateway()}
		if c.have.Address != "" {
			s.Addresses, s.Gateway = []string{c.have.Address}, c.have.Gateway
		}
		list = append(list, s)
	}
	n.mu.Unlock()
	if len(list) < 2 && !n.several {
		return nil // there never was a choice
	}
	n.several = true
	return system.RouteBySource(list)
}

// plugged finds the card of a network that is new to this guest, which may take a
// moment to appear: one of a container network, or the first on the bridge.
func (n *nics) plugged(ctx context.Context, cfg nicConfig) (*system.Link, error) {
	if cfg.Trust == "" && slices.ContainsFunc(n.list, func(c *nic) bool { return c.cfg.Trust == "" }) {
		return system.LinkByMAC(cfg.MAC)
	}
	ctx, cancel := context.WithTimeout(ctx, plugWait)
	defer cancel()
	return system.AwaitLink(ctx, cfg.MAC)
}

// freeName is a name that no card has.
func (n *nics) freeName() string {
	for i := 0; ; i++ {
		name := fmt.Sprintf("eth%d", i)
		if !slices.ContainsFunc(n.list, func(c *nic) bool { return c.link.Name == name }) {
			return name
		}
	}
}

// leave takes the cards of container networks down that are not wanted any more,
// before they are unplugged.
func (n *nics) leave(wanted []nicConfig) error {
	for _, c := range slices.Clone(n.list) {
		if c.cfg.Trust == "" || slices.ContainsFunc(wanted, func(cfg nicConfig) bool { return c.is(cfg.MAC) }) {
			continue
		}
		if c.stop != nil {
			c.stop()
		}
		if err := c.link.Down(); err != nil {
			return fmt.Errorf("network %s: %w", c.cfg.name(), err)
		}
		// No frame meets it any more; the kernel drops what is left with the card.
		if err := c.filter.Remove(); err != nil {
			return fmt.Errorf("network %s: %w", c.cfg.name(), err)
		}
		n.mu.Lock()
		n.list = slices.DeleteFunc(slices.Clone(n.list), func(o *nic) bool { return o == c })
		n.mu.Unlock()
	}
	return nil
}
