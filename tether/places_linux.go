package tether

import (
	"context"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/tether/system"
)

// place is what a card has on one of its networks; IP6 and Gateway6 may be empty.
type place struct{ Network, IP, Gateway, IP6, Gateway6 string }

// name is for messages.
func (c nicConfig) name() string {
	switch {
	case len(c.Places) > 0:
		return c.Places[0].Network
	case len(c.Names) > 0:
		return c.Names[0]
	}
	return c.MAC
}

// gateway is where the default route of a card on several networks goes: the
// first that has a way out.
func (c nicConfig) gateway() string {
	for _, p := range c.Places {
		if p.Gateway != "" {
			return p.Gateway
		}
	}
	return ""
}

// gateway6 likewise; it may be another network's.
func (c nicConfig) gateway6() string {
	for _, p := range c.Places {
		if p.Gateway6 != "" {
			return p.Gateway6
		}
	}
	return ""
}

func (c nicConfig) addresses() []string {
	var out []string
	for _, p := range c.Places {
		out = append(out, p.IP)
	}
	return out
}

func (c nicConfig) addresses6() []string {
	var out []string
	for _, p := range c.Places {
		if p.IP6 != "" {
			out = append(out, p.IP6)
		}
	}
	return out
}

// endpointConfigs are the NICs of a container: the first has the default route.
// All endpoints of one MAC address are places of one NIC.
func endpointConfigs(endpoints []spec.Endpoint) ([]nicConfig, error) {
	var list []nicConfig
	at := map[string]int{}
	for _, e := range endpoints {
		if err := checkTrust(e); err != nil {
			return nil, fmt.Errorf("network %s: %w: %w", e.Network, err, errdefs.ErrInvalidArgument)
		}
		mac := strings.ToLower(e.MAC)
		if i, shared := at[mac]; shared && mac != "" && (e.Trust != "" || list[i].Trust != "") {
			return nil, fmt.Errorf("network %s: a container network shares its card %s with no other: %w", e.Network, e.MAC, errdefs.ErrInvalidArgument)
		}
		i, shared := at[mac]
		if mac == "" || !shared {
			i = len(list)
			at[mac] = i
			list = append(list, nicConfig{MAC: e.MAC, Link: fmt.Sprintf("eth%d", i), Metric: 100 * i})
		} else if e.IP == "" || list[i].DHCP {
			return nil, fmt.Errorf("network %s: it shares card %s with others and has no address of its own: %w", e.Network, e.MAC, errdefs.ErrInvalidArgument)
		}
		c := &list[i]
		c.Trust, c.Peers = e.Trust, e.Peers
		if e.Trust != "" {
			c.Ports = e.Ports
		}
		if e.IP == "" {
			c.Names, c.DHCP, c.Gateway = []string{e.Network}, true, e.Gateway
			continue
		}
		c.Places = append(c.Places, place{Network: e.Network, IP: e.IP, Gateway: e.Gateway, IP6: e.IP6, Gateway6: e.Gateway6})
	}
	return list, nil
}

// checkTrust finds what its card's filter could not be made of.
func checkTrust(e spec.Endpoint) error {
	if e.Trust == "" {
		return nil
	}
	_, err := system.TrustRules([]system.TrustedLink{{Link: e.Network, Level: e.Trust, Peers: e.Peers, Ports: e.Ports}})
	return err
}

// place gives a card its addresses and its default routes, and returns the
// addresses that are new.
func (n *nics) place(c *nic, places []place) ([]string, error) {
	cfg := c.cfg
	cfg.Places = places
	added, err := c.link.SetAddresses(cfg.addresses())
	if err != nil {
		return nil, fmt.Errorf("network %s: %w", cfg.name(), err)
	}
	added6, err := c.place6(cfg)
	if err != nil {
		return nil, fmt.Errorf("network %s: %w", cfg.name(), err)
	}
	added = append(added, added6...)
	if len(places) > 1 {
		// Who is asked on one network shall not learn the address on another.
		key := "net.ipv4.conf." + strings.ReplaceAll(c.link.Name, ".", "/") + ".arp_announce"
		if err := system.Sysctls(map[string]string{key: "2"}); err != nil {
			return nil, fmt.Errorf("network %s: %w", cfg.name(), err)
		}
	}
	gateway, before := cfg.gateway(), c.cfg.gateway()
	if gateway != "" {
		if err := c.link.SetDefaultRoute(gateway, cfg.Metric); err != nil {
			return nil, fmt.Errorf("network %s: %w", cfg.name(), err)
		}
	}
	if before != gateway || c.stale {
		c.stale = true
		if err := c.link.KeepDefaultRoute(gateway); err != nil {
			return nil, fmt.Errorf("network %s: %w", cfg.name(), err)
		}
		c.stale = false
	}
	n.mu.Lock()
	c.cfg.Places = places
	n.mu.Unlock()
	return added, nil
}

// ipv6 is on, on a card that has addresses of it, and else off: then the card has
// none at all, not even link-local. It is called before the card is up, where it
// would begin to speak at once. On a container network it is left to the kernel and
// to the trust level.
func (c *nic) ipv6(places []place) error {
	if c.cfg.Trust != "" {
		return nil
	}
	on := len(nicConfig{Places: places}.addresses6()) > 0
	if c.six.known && c.six.on == on {
		return nil
	}
	if err := c.link.IPv6(on); err != nil {
		return err
	}
	c.six.known, c.six.on = true, on
	return nil
}

// place6 is the part of IPv6.
func (c *nic) place6(cfg nicConfig) ([]string, error) {
	addresses, gateway := cfg.addresses6(), cfg.gateway6()
	if len(addresses) == 0 {
		return nil, nil // with it off the kernel has removed them, and the routes
	}
	added, err := c.link.SetAddresses6(addresses)
	if err != nil {
		return nil, err
	}
	if gateway != "" {
		if err := c.link.SetDefaultRoute(gateway, cfg.Metric); err != nil {
			return nil, err
		}
	}
	return added, c.link.KeepDefaultRoute6(gateway)
}

// byMAC finds a card that is up.
func (n *nics) byMAC(mac string) *nic {
	for _, c := range n.list {
		if c.is(mac) {
			return c
		}
	}
	return nil
}

func (c *nic) is(mac string) bool { return strings.EqualFold(c.link.MAC, mac) }

// adopt takes a card that the VM has and no network needed so far, or that is
// being plugged. It stays down.
func (n *nics) adopt(ctx context.Context, cfg nicConfig) (*nic, error) {
	if cfg.MAC == "" {
		return nil, fmt.Errorf("network %s: no address of its card: %w", cfg.name(), errdefs.ErrInvalidArgument)
	}
	link, err := n.plugged(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("network %s: %w: %w", cfg.name(), err, errdefs.ErrFailedPrecondition)
	}
	name := n.freeName()
	if err := link.Rename(name); err != nil {
		return nil, fmt.Errorf("network %s: %w", cfg.name(), err)
	}
	c := &nic{link: link, ready: make(chan struct{}), cfg: nicConfig{MAC: cfg.MAC, Link: name, Metric: 100 * len(n.list),
		DHCP: cfg.DHCP, Names: cfg.Names, Gateway: cfg.Gateway, Trust: cfg.Trust, Peers: cfg.Peers, Ports: cfg.Ports}}
	if !cfg.DHCP {
		close(c.ready)
	}
	n.mu.Lock()
	n.list = append(n.list, c)
	n.mu.Unlock()
	return c, nil
}
