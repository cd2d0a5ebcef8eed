package network

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/vic-engine/vic/pkg/spec"
)

// Running tells of a container whether its VM is on, or about to be.
func Running(v *spec.View) bool {
	switch v.Status.Phase {
	case spec.PhaseStarting, spec.PhaseRunning, spec.PhaseStopping:
		return true
	}
	return false
}

// Several tells whether there are networks that must be kept apart, one that is being
// made or removed among them.
func (s State) Several() bool {
	bridges := 0
	for _, sc := range s.all() {
		if !sc.external() {
			bridges++
		}
	}
	return bridges > 1
}

// Filters tells whether a container's guest must keep networks apart on its card
// on the bridge.
func (s State) Filters(endpoints []spec.Endpoint) bool {
	return s.Several() && len(Bridged(endpoints)) > 0
}

// Takes tells whether containers are on a network of that name that is not
// known: its file is lost, and another network of the name would not be theirs.
func (s State) Takes(views []*spec.View, name string) bool {
	if _, ok := s.Scopes[name]; ok {
		return false
	}
	for _, v := range views {
		for _, e := range v.Container.Endpoints {
			if e.Network == name {
				return true
			}
		}
	}
	return false
}

// Update is what a guest is told of its networks. views are all containers; what
// does not run is nobody's peer.
func (s State) Update(c *spec.Container, views []*spec.View, gatewayMAC string) spec.NetworkUpdate {
	u := spec.NetworkUpdate{Endpoints: c.Endpoints, DNS: c.DNS, Hosts: c.Hosts}
	if s.Several() {
		u.Filter, u.GatewayMAC, u.Peers = true, gatewayMAC, Peers(c, views)
	}
	return u
}

// Peers are the running containers that share a network with c, each with its
// addresses there, in the order of their MAC addresses.
func Peers(c *spec.Container, views []*spec.View) []spec.Peer {
	on := map[string]bool{}
	for _, e := range Bridged(c.Endpoints) {
		on[e.Network] = true
	}
	var out []spec.Peer
	for _, v := range views {
		if v.Container.ID == c.ID || !Running(v) {
			continue
		}
		var p spec.Peer
		for _, e := range Bridged(v.Container.Endpoints) {
			if !on[e.Network] || e.MAC == "" {
				continue
			}
			for _, a := range addrsOf(e) {
				p.MAC = e.MAC
				p.Addresses = append(p.Addresses, a.String())
			}
		}
		if p.MAC != "" {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b spec.Peer) int { return cmp.Compare(a.MAC, b.MAC) })
	return out
}

// addrsOf are those of an endpoint: IPv4, then IPv6.
func addrsOf(e spec.Endpoint) []netip.Addr {
	var out []netip.Addr
	for _, text := range []string{e.IP, e.IP6} {
		if a, err := parseAddr(text); err == nil {
			out = append(out, a)
		}
	}
	return out
}

// DNS gives the name servers of a container: on networks that were made, the
// VCH's own, which knows containers; on the default one, and on none, those of the
// appliance; on container networks only, the servers of those, or none: the
// guest then takes what DHCP tells it. own are servers that the user asked for;
// they are asked after the VCH's.
func (s State) DNS(endpoints []spec.Endpoint, own, appliance []string) []string {
	var outside []string
	for _, e := range endpoints {
		sc, ok := s.Scopes[e.Network]
		if ok && !sc.external() && e.Network != s.Default {
			return append([]string{sc.Gateway.String()}, own...)
		}
		if ok && sc.external() {
			outside = append(outside, sc.Net.DNS...)
		}
	}
	if len(own) > 0 {
		return own
	}
	if len(endpoints) > 0 && len(Bridged(endpoints)) == 0 {
		return outside
	}
	return appliance
}

// OwnDNS gives those of a container's servers that the user asked for: neither
// the appliance's, nor a gateway, nor a container network's.
func (s State) OwnDNS(servers, appliance []string) []string {
	var out []string
	for _, a := range servers {
		if slices.Contains(appliance, a) || slices.ContainsFunc(s.Networks(), func(n spec.Network) bool {
			return n.Driver != spec.DriverExternal && n.Gateway == a || slices.Contains(n.DNS, a)
		}) {
			continue
		}
		out = append(out, a)
	}
	return out
}

// Forwards are the published ports of running containers, each to the address of
// the kind that it is published on; what is published on all goes to both.
// claimed gives the ports that a container has been let have.
func Forwards(views []*spec.View, claimed func(id string) []Publication) []Forward {
	var out []Forward
	for _, v := range views {
		if !Running(v) {
			continue
		}
		have := claimed(v.Container.ID)
		to6 := reached6(&v.Container)
		for _, e := range Bridged(v.Container.Endpoints) {
			to, err := parseAddr(e.IP)
			if err != nil || e.Gateway == "" {
				continue
			}
			for _, text := range e.Ports {
				p, err := ParsePort(text)
				if err != nil || !slices.Contains(have, p) {
					continue
				}
				if !p.Host.Is6() {
					out = append(out, Forward{p, to})
				}
				if !p.Host.Is4() && to6.IsValid() {
					out = append(out, Forward{p, to6})
				}
			}
		}
	}
	return out
}

// reached6 is the address at which outside clients reach a container by IPv6: on
// the network of its default route, so that answers come back the same way.
func reached6(c *spec.Container) netip.Addr {
	for _, e := range c.Endpoints {
		if a, err := parseAddr(e.IP6); err == nil && e.Gateway6 != "" {
			return a
		}
	}
	return netip.Addr{}
}

// PortList is how published ports are reported, "80/tcp", each once.
func PortList(f []Forward) []string {
	out := []string{}
	for _, p := range f {
		out = append(out, Publication{Port: p.HostPort, Proto: p.Proto}.String())
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Name is a container on one network as names are looked up there.
type Name struct {
	Owner string
	// For is the only container that knows it so, of a link; empty: all.
	For   string
	Names []string
	Addrs []netip.Addr
	PTR   string
}

// Zone is what names there are on one network.
type Zone struct {
	Network string
	Gateway netip.Addr
	Subnet  netip.Prefix
	// Gateway6 and Subnet6 are not valid without IPv6.
	Gateway6 netip.Addr
	Subnet6  netip.Prefix
	Internal bool
	Names    []Name
}

// Zones are the names of running containers, by network. On the default network
// there are none, as in Docker, but it is listed, so that its containers' other
// questions are answered.
func (s State) Zones(views []*spec.View) []Zone {
	var out []Zone
	for _, n := range s.Networks() {
		sc := s.Scopes[n.Name]
		if sc.external() {
			continue
		}
		z := Zone{Network: n.Name, Gateway: sc.Gateway, Subnet: sc.Subnet, Gateway6: sc.Six.Gateway, Subnet6: sc.Six.Subnet, Internal: n.Internal}
		byName := map[string]Name{}
		if n.Name != s.Default {
			z.Names = namesOn(n.Name, views, byName)
			z.Names = append(z.Names, linksOn(n.Name, views, byName)...)
		} else {
			for _, own := range namesOn(n.Name, views, byName) {
				// The asker must be known on all its networks, without names here.
				z.Names = append(z.Names, Name{Owner: own.Owner, Addrs: own.Addrs})
			}
		}
		out = append(out, z)
	}
	return out
}

func namesOn(network string, views []*spec.View, byName map[string]Name) []Name {
	var out []Name
	for _, v := range views {
		c := &v.Container
		for _, e := range c.Endpoints {
			addrs := addrsOf(e)
			if e.Network != network || len(addrs) == 0 || !Running(v) {
				continue
			}
			n := Name{Owner: c.ID, Names: []string{c.Name, short(c.ID)}, Addrs: addrs, PTR: c.Name + "." + network}
			for _, alias := range append(slices.Clone(e.Aliases), c.Hostname) {
				if alias != "" && !slices.Contains(n.Names, alias) {
					n.Names = append(n.Names, alias)
				}
			}
			out = append(out, n)
			byName[c.Name], byName[c.ID], byName[short(c.ID)] = n, n, n
		}
	}
	slices.SortFunc(out, func(a, b Name) int { return cmp.Compare(a.Owner, b.Owner) })
	return out
}

func linksOn(network string, views []*spec.View, byName map[string]Name) []Name {
	var out []Name
	for _, v := range views {
		for _, e := range v.Container.Endpoints {
			if e.Network != network || !Running(v) {
				continue
			}
			for _, l := range e.Links {
				target, alias, ok := strings.Cut(l, ":")
				if !ok {
					alias = target
				}
				if n, known := byName[strings.TrimPrefix(target, "/")]; known {
					out = append(out, Name{For: v.Container.ID, Names: []string{alias}, Addrs: n.Addrs})
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b Name) int { return cmp.Or(cmp.Compare(a.For, b.For), cmp.Compare(a.Names[0], b.Names[0])) })
	return out
}
