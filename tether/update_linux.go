package tether

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/tether/system"
)

// peersWait is how long a process that may hear of nobody waits to be told of its
// peers. An engine that is up tells them as soon as the line is.
const peersWait = 5 * time.Second

// awaitPeers lets the engine name the peers of a filtered container first, and send
// the rules of its policies, so that the process finds both when it starts.
func (c *Container) awaitPeers(ctx context.Context) {
	c.updating.Lock()
	filtered := c.spec.NetworkFilter && slices.ContainsFunc(c.spec.Endpoints, func(e spec.Endpoint) bool { return e.Trust == "" })
	alone := !filtered && (!c.spec.NetworkPolicy || len(c.spec.Endpoints) == 0)
	c.updating.Unlock()
	if alone {
		return
	}
	wait := time.NewTimer(peersWait)
	defer wait.Stop()
	select {
	case <-c.updated:
	case <-c.end.asked:
	case <-ctx.Done():
	case <-wait.C:
		c.log.Warn("nobody has named this container's peers: it starts without them")
	}
}

// updateNetwork makes the networks as the engine wants them, whatever they were.
// What comes while the guest boots waits until the boot has done its part.
func (c *Container) updateNetwork(ctx context.Context, u spec.NetworkUpdate) error {
	select {
	case <-c.networked:
	case <-ctx.Done():
		return ctx.Err()
	}
	c.updating.Lock()
	defer c.updating.Unlock()
	begin := time.Now()
	configs, err := endpointConfigs(u.Endpoints)
	if err != nil {
		return err
	}
	wanted, leased, err := c.cards(ctx, configs)
	if err != nil {
		return err
	}
	if u.Filter {
		if err := c.filter(configs, u); err != nil {
			return err
		}
	}
	// Before a new card is up, and after one that goes is down.
	if err := errors.Join(c.nics.leave(configs), c.nics.guard()); err != nil {
		return err
	}
	if u.Policed {
		if err := c.police(u); err != nil {
			return err
		}
	}
	added, err := c.placeAll(wanted)
	if err != nil {
		return err
	}
	for _, n := range leased {
		if err := n.link.Up(); err != nil {
			return fmt.Errorf("network %s: %w", n.cfg.name(), err)
		}
		c.nics.startLease(n)
	}
	c.nics.awaitLeases(ctx, leased)
	// Peers of a trust level are those of the address that it has now.
	if err := errors.Join(c.nics.guard(), c.nics.routes()); err != nil {
		return err
	}
	if !u.Filter {
		for _, n := range c.nics.list {
			if n.cfg.Trust != "" {
				continue
			}
			if err := n.filter.Remove(); err != nil {
				return err
			}
		}
	}
	if !u.Policed {
		if err := c.firewall.Remove(); err != nil {
			return err
		}
	}
	c.spec.Endpoints, c.spec.DNS, c.spec.Hosts = u.Endpoints, u.DNS, u.Hosts
	if err := c.rewriteHostFiles(); err != nil {
		return err
	}
	if !c.announced {
		added = c.nics.placed()
	}
	c.announce(added)
	if len(leased) > 0 {
		c.reportAddresses() // nobody else knows them
	} else {
		c.wg.Go(c.reportAddresses) // the engine gave them: it does not wait for that
	}
	c.told.Do(func() { close(c.updated) })
	c.log.WithField("addresses", c.nics.own()).WithField("filter", u.Filter).WithField("peers", len(u.Peers)).WithField("rules", len(u.Policy)).
		WithField(spec.FieldDuration, time.Since(begin).Round(100*time.Microsecond)).Info("networks set")
	return nil
}

// cards are the places that each card shall have, and the cards that are new and
// shall have a lease. One on the bridge that no endpoint is on any more has no
// place.
func (c *Container) cards(ctx context.Context, configs []nicConfig) (wanted map[*nic][]place, leased []*nic, err error) {
	wanted = map[*nic][]place{}
	for _, n := range c.nics.list {
		if !n.cfg.DHCP && n.cfg.Trust == "" {
			wanted[n] = nil
		}
	}
	for _, cfg := range configs {
		n := c.nics.byMAC(cfg.MAC)
		switch {
		case n == nil:
			if n, err = c.nics.adopt(ctx, cfg); err != nil {
				return nil, nil, err
			}
		case cfg.DHCP != n.cfg.DHCP:
			return nil, nil, fmt.Errorf("network %s: whether it has a lease is not changed while the container runs: %w", cfg.name(), errdefs.ErrFailedPrecondition)
		case (cfg.Trust == "") != (n.cfg.Trust == ""):
			return nil, nil, fmt.Errorf("network %s: the card %s is not on the bridge and on a container network: %w", cfg.name(), cfg.MAC, errdefs.ErrFailedPrecondition)
		default:
			c.nics.mu.Lock()
			n.cfg.Trust, n.cfg.Peers, n.cfg.Ports = cfg.Trust, cfg.Peers, cfg.Ports
			c.nics.mu.Unlock()
		}
		switch {
		case !cfg.DHCP:
			wanted[n] = cfg.Places
		case n.stop == nil:
			leased = append(leased, n)
		}
	}
	return wanted, leased, nil
}

func (c *Container) placeAll(wanted map[*nic][]place) (map[*nic][]string, error) {
	added := map[*nic][]string{}
	for n, places := range wanted {
		if err := n.ipv6(places); err != nil {
			return nil, err
		}
		if err := n.link.Up(); err != nil {
			return nil, err
		}
		var err error
		if added[n], err = c.nics.place(n, places); err != nil {
			return nil, err
		}
	}
	return added, nil
}

// filter makes every card on the bridge drop what u does not allow. There is no
// going on without it.
func (c *Container) filter(configs []nicConfig, u spec.NetworkUpdate) error {
	if err := c.load(system.Filtering); err != nil {
		return fmt.Errorf("network filter: %w", err)
	}
	peers := make([]system.Peer, 0, len(u.Peers))
	for _, p := range u.Peers {
		peers = append(peers, system.Peer{MAC: p.MAC, Addresses: p.Addresses})
	}
	own := map[*nic][]string{}
	for _, cfg := range configs {
		n := c.nics.byMAC(cfg.MAC)
		if n == nil && cfg.MAC == "" { // named by its place alone, at the boot
			return fmt.Errorf("network filter: network %s has no address of its card: %w", cfg.name(), errdefs.ErrInvalidArgument)
		}
		own[n] = append(cfg.addresses(), cfg.addresses6()...)
	}
	for _, n := range c.nics.list {
		if n.cfg.DHCP || n.cfg.Trust != "" {
			continue
		}
		rules, err := system.Filter{Link: n.link.Name, MAC: n.link.MAC, Addresses: own[n], GatewayMAC: u.GatewayMAC, Peers: peers}.Ruleset()
		if err != nil {
			return fmt.Errorf("network filter: %w: %w", err, errdefs.ErrInvalidArgument)
		}
		if err := n.filter.Set(rules); err != nil {
			return fmt.Errorf("network filter: %w", err)
		}
	}
	return nil
}

// hostTexts are the three files that Docker manages.
func (c *Container) hostTexts() map[string]string {
	return map[string]string{
		"hostname": hostnameOf(c.spec) + "\n",
		"hosts": system.Hosts(system.HostsConfig{Hostname: hostnameOf(c.spec), Domainname: c.spec.Domainname,
			Addresses: c.nics.own(), Extra: c.spec.Hosts, Gateway: c.nics.gateway()}),
		"resolv.conf": c.resolvConf(),
	}
}

// rewriteHostFiles follows a change of networks. As Docker does, it keeps lines that
// somebody added to hosts, and leaves a resolv.conf that somebody changed.
func (c *Container) rewriteHostFiles() error {
	for name, text := range c.hostTexts() {
		if text == c.written[name] {
			continue
		}
		file := filepath.Join(etcDir, name)
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		before, current := c.written[name], string(b)
		switch {
		case name == "hosts":
			err = system.Rewrite(file, system.MergeHosts(current, before, text))
		case current == before:
			err = system.Rewrite(file, text)
		default:
			c.log.WithField("file", "/etc/"+name).Warn("changed in the container, left as it is")
			continue
		}
		if err != nil {
			return err
		}
		c.written[name] = text
	}
	return nil
}
