package install

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/vic-engine/vic/pkg/iprange"
	"github.com/vic-engine/vic/pkg/spec"
)

// The flags of container networks; all name them by their port group.
const (
	flagNetwork  = "--container-network"
	flagGateway  = "--container-network-gateway"
	flagIPRange  = "--container-network-ip-range"
	flagNetDNS   = "--container-network-dns"
	flagFirewall = "--container-network-firewall"
)

// Prefix lengths of a container network's subnet.
const minSubnet, maxSubnet = 8, 30

// ContainerNetworkOptions are port groups for containers, as typed: each
// "PORTGROUP:VALUE", where the value is what follows the last colon.
type ContainerNetworkOptions struct {
	// Networks give each its name in Docker; without one it is the port group's.
	Networks []string
	// Gateways have the subnet's length, "pg:10.2.0.1/16"; a network without one
	// has DHCP.
	Gateways []string
	IPRanges []string // iprange.Parse
	DNS      []string
	// Firewalls are trust levels.
	Firewalls []string
}

// ParseContainerNetworks reads the options, in the order of Networks, or says
// all that is wrong with them. Pure: whether the port groups exist is not known
// here.
func ParseContainerNetworks(o ContainerNetworkOptions) ([]spec.ContainerNetwork, []Issue) {
	p := networkParser{}
	for _, text := range o.Networks {
		p.network(text)
	}
	p.each(flagGateway, o.Gateways, p.gateway)
	p.each(flagIPRange, o.IPRanges, p.ipRange)
	p.each(flagNetDNS, o.DNS, p.dns)
	p.each(flagFirewall, o.Firewalls, p.firewall)
	for i := range p.list {
		n := &p.list[i]
		if n.Gateway == "" && len(n.Ranges) > 0 {
			p.is.addf(flagIPRange, "%q has a range and no gateway: give %s %s:ADDRESS/LENGTH, or leave the range out for DHCP", n.PortGroup, flagGateway, n.PortGroup)
		}
		if n.Trust == "" {
			n.Trust = spec.TrustPublished
		}
	}
	p.overlaps()
	return p.list, p.is.list
}

type networkParser struct {
	list []spec.ContainerNetwork
	is   issues
}

func (p *networkParser) network(text string) {
	n := spec.ContainerNetwork{PortGroup: text, Name: text}
	if pg, alias, ok := cutLast(text); ok && alias != "" {
		n.PortGroup, n.Name = pg, alias
	} else if ok {
		n.PortGroup, n.Name = pg, pg
	}
	switch {
	case n.PortGroup == "":
		p.is.addf(flagNetwork, "%q names no port group: want PORTGROUP:NAME", text)
		return
	case !labelPattern.MatchString(n.Name):
		p.is.addf(flagNetwork, "%q: Docker cannot call a network %q: give it a name of letters, digits, dots, dashes and underscores (%s:NAME)", text, n.Name, n.PortGroup)
	case slices.Contains([]string{"bridge", "host", "none", "default"}, n.Name):
		p.is.addf(flagNetwork, "%q: the name %q is Docker's own: choose another (%s:NAME)", text, n.Name, n.PortGroup)
	}
	for _, o := range p.list {
		if o.Name == n.Name {
			p.is.addf(flagNetwork, "%q: the name %q is given twice", text, n.Name)
		}
		if o.PortGroup == n.PortGroup {
			p.is.addf(flagNetwork, "%q: the port group is given twice", text)
			return
		}
	}
	p.list = append(p.list, n)
}

// each gives set the network and the value of every text of a flag.
func (p *networkParser) each(flag string, texts []string, set func(n *spec.ContainerNetwork, text, value string)) {
	for _, text := range texts {
		pg, value, ok := cutLast(text)
		if !ok || pg == "" || value == "" {
			p.is.addf(flag, "%q: want PORTGROUP:VALUE", text)
			continue
		}
		i := slices.IndexFunc(p.list, func(n spec.ContainerNetwork) bool { return n.PortGroup == pg })
		if i < 0 {
			var have []string
			for _, n := range p.list {
				have = append(have, n.PortGroup)
			}
			p.is.choose(have, flag, "%q: %q is the port group of no %s", text, pg, flagNetwork)
			continue
		}
		set(&p.list[i], text, value)
	}
}

func (p *networkParser) gateway(n *spec.ContainerNetwork, text, value string) {
	if n.Gateway != "" {
		p.is.addf(flagGateway, "%q: %q has a gateway already, %s", text, n.PortGroup, n.Gateway)
		return
	}
	g, err := netip.ParsePrefix(value)
	if err != nil || !g.Addr().Is4() || g.Bits() < minSubnet || g.Bits() > maxSubnet {
		p.is.addf(flagGateway, "%q: want an IPv4 address with the subnet's length, /%d to /%d, like %s:10.2.0.1/16", text, minSubnet, maxSubnet, n.PortGroup)
		return
	}
	all, a := iprange.Of(g), g.Addr()
	if a == all.From || a == all.To || a.IsLoopback() || a.IsMulticast() || a.IsLinkLocalUnicast() {
		p.is.addf(flagGateway, "%q: %s is not the address of a router", text, a)
		return
	}
	n.Gateway = g.String()
}

// ipRange needs the gateways, which are read before.
func (p *networkParser) ipRange(n *spec.ContainerNetwork, text, value string) {
	r, err := iprange.Parse(value)
	if err != nil {
		p.is.addf(flagIPRange, "%s", Plain(err))
		return
	}
	if g, err := netip.ParsePrefix(n.Gateway); err == nil && !r.Within(g.Masked()) {
		p.is.addf(flagIPRange, "%q is not within the subnet %s of the gateway", text, g.Masked())
		return
	}
	for _, o := range n.Ranges {
		if other, err := iprange.Parse(o); err == nil && other.Overlaps(r) {
			p.is.addf(flagIPRange, "%q overlaps %s", text, o)
			return
		}
	}
	n.Ranges = append(n.Ranges, value)
}

func (p *networkParser) dns(n *spec.ContainerNetwork, text, value string) {
	a, err := netip.ParseAddr(value)
	if err != nil || !a.Is4() || a.IsUnspecified() {
		p.is.addf(flagNetDNS, "%q: want the IPv4 address of a name server", text)
		return
	}
	n.DNS = append(n.DNS, a.String())
}

func (p *networkParser) firewall(n *spec.ContainerNetwork, text, value string) {
	level := spec.Trust(strings.ToLower(value))
	if err := level.Validate(); err != nil {
		var names []string
		for _, l := range spec.TrustLevels() {
			names = append(names, string(l))
		}
		p.is.choose(names, flagFirewall, "%q is no trust level", text)
		return
	}
	if n.Trust != "" && n.Trust != level {
		p.is.addf(flagFirewall, "%q: %q has the level %s already", text, n.PortGroup, n.Trust)
		return
	}
	n.Trust = level
}

// overlaps refuses subnets that a container could not tell apart.
func (p *networkParser) overlaps() {
	bridge := netip.PrefixFrom(netip.MustParsePrefix(DefaultBridgeRange).Addr(), DefaultBridgeWidth)
	for i, n := range p.list {
		a, err := netip.ParsePrefix(n.Gateway)
		if err != nil {
			continue
		}
		if a.Overlaps(bridge) {
			p.is.addf(flagGateway, "%s of %q overlaps the VCH's bridge network %s", n.Gateway, n.PortGroup, bridge)
		}
		for _, o := range p.list[:i] {
			if b, err := netip.ParsePrefix(o.Gateway); err == nil && a.Overlaps(b) {
				p.is.addf(flagGateway, "%s of %q overlaps %s of %q", n.Gateway, n.PortGroup, o.Gateway, o.PortGroup)
			}
		}
	}
}

// cutLast cuts at the last colon: port groups may have some, values have none.
func cutLast(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

// containerNetworks finds their port groups.
func (r *resolver) containerNetworks() {
	list, _ := ParseContainerNetworks(r.o.ContainerNetworks) // checkValues has said what is wrong
	bridge := r.c.VCH.Networks[roleBridge].PortGroup
	usable := func(n Network) bool { return n.Name != bridge }
	for i, want := range list {
		n, ok := r.s.network(want.PortGroup)
		switch {
		case !ok:
			r.is.choose(r.s.networkNames(usable), flagNetwork, "%q does not exist", want.PortGroup)
		case n.Name == bridge:
			r.is.choose(r.s.networkNames(usable), flagNetwork, "%q is the bridge network, which only the VCH routes", want.PortGroup)
		case n.Uplink:
			r.is.choose(r.s.networkNames(usable), flagNetwork, "%q is an uplink port group, which VMs cannot use", want.PortGroup)
		case r.c.VCenter && r.found && !r.sees(n.Hosts):
			r.is.choose(r.s.networkNames(usable), flagNetwork, "%q is on no usable host of %s", want.PortGroup, r.c.Compute.Path)
		default:
			if r.c.VCenter && n.Kind == Standard && len(r.c.Compute.Hosts) > 1 {
				r.warn("Container network " + want.Name + ": " + n.Name + " is no distributed port group: every host of the cluster must have it")
			}
			list[i].PortGroup = n.Name // it may have been given by its path
			r.say("Container network " + containerNetworkLine(list[i]))
		}
	}
	r.c.VCH.ContainerNetworks = list
}

// containerNetworkLine is a container network in words.
func containerNetworkLine(n spec.ContainerNetwork) string {
	s := fmt.Sprintf("%s: port group %s, ", n.Name, n.PortGroup)
	if n.Gateway == "" {
		s += "DHCP"
	} else {
		s += "gateway " + n.Gateway
	}
	if len(n.Ranges) > 0 {
		s += ", addresses " + strings.Join(n.Ranges, " ")
	}
	if len(n.DNS) > 0 {
		s += ", DNS " + strings.Join(n.DNS, " ")
	}
	return s + ", firewall " + string(n.Trust)
}
