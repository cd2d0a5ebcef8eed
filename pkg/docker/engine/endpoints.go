package engine

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"unicode"

	"github.com/vic-engine/vic/pkg/spec"
)

// EndpointRequest is what a user may ask of a container's place on a network,
// in Docker's JSON (EndpointSettings).
type EndpointRequest struct {
	IPAMConfig *struct {
		IPv4Address, IPv6Address string
		LinkLocalIPs             []string
	}
	Links      []string
	Aliases    []string
	MacAddress string
	DriverOpts map[string]string
	GwPriority int
}

// Words of Docker for containers without a network.
const (
	textNoneMode = "container cannot be connected to multiple networks with one of the networks in private (none) mode"
	textHostMode = "not supported: host networking (--network host): a container is a virtual machine with a network of its own"
)

// endpoints puts the container of a request on its networks: those of
// NetworkingConfig, or the one of the network mode. The first has the default
// route and the published ports.
func endpoints(r *Request, in buildInput) (eps []spec.Endpoint, hosts, warnings []string, err error) {
	mode := r.HostConfig.NetworkMode
	ports, warnings, portErr := wantedPorts(&r.HostConfig, r.Config.ExposedPorts, in.portsInUse)
	wanted, err := wantedNetworks(r, in.Networks)
	if err = errors.Join(err, portErr); err != nil || len(wanted) == 0 {
		return nil, nil, warnings, err
	}
	var errs []error
	// Docker's client puts links on the default bridge into HostConfig, others
	// into the endpoint; either may come from other clients.
	var legacy []string
	main := max(0, slices.IndexFunc(wanted, func(w *wantedEndpoint) bool { return w.is(mode) }))
	var nets []candidate
	for i, w := range wanted {
		nets = append(nets, w.network)
		if i == main {
			w.Links = append(slices.Clone(w.Links), r.HostConfig.Links...)
		}
		if w.network.isDefault {
			legacy, w.Links = w.Links, nil
		}
		ep, err := w.endpoint(in.find)
		errs = append(errs, err)
		eps = append(eps, ep)
		if len(ep.Aliases) > 0 && ep.Trust != "" {
			warnings = append(warnings, fmt.Sprintf("aliases have no effect on network %s: names there are not the VCH's", ep.Network))
		}
	}
	hosts, err = legacyLinks(legacy, in)
	errs = append(errs, err, shareMAC(eps, r.Config.MacAddress))
	// The first bridge network has a way out if any has. Kept on one without, they
	// are published as soon as the container is connected to one with.
	more, err := placePorts(eps, nets, ports)
	warnings, errs = append(warnings, more...), append(errs, err)
	if !slices.ContainsFunc(wanted, func(w *wantedEndpoint) bool { return w.network.IPv6 && !w.network.Internal }) {
		for _, p := range ports {
			if strings.Contains(p.HostIP, ":") {
				warnings = append(warnings, fmt.Sprintf("port %d/%s is published on %s, which has no effect while the container is on no network with IPv6", p.Port, p.Proto, p.HostIP))
			}
		}
	}
	return eps, hosts, warnings, errors.Join(errs...)
}

func portTexts(ports []PublishedPort) []string {
	var out []string
	for _, p := range ports {
		out = append(out, p.String())
	}
	return out
}

// candidate is a network as a request may name it.
type candidate struct {
	spec.Network
	isDefault bool
}

func (c candidate) is(ref string) bool {
	return c.Name == ref || c.ID == ref || c.isDefault && isDefaultNetwork(ref) || len(ref) >= 12 && strings.HasPrefix(c.ID, ref)
}

// wantedEndpoint is one network of a request.
type wantedEndpoint struct {
	EndpointRequest
	network candidate
}

func (w *wantedEndpoint) is(ref string) bool { return w.network.is(ref) }

// wantedNetworks resolves the networks of a request, in the order of the
// container's endpoints: those with a way out first, by gateway priority, the
// network mode's first, by name.
func wantedNetworks(r *Request, networks []spec.Network) ([]*wantedEndpoint, error) {
	mode := r.HostConfig.NetworkMode
	named := map[string]json.RawMessage{}
	for name, raw := range r.Endpoints {
		named[name] = raw
	}
	switch {
	case mode == "host":
		return nil, notImplemented("%s", textHostMode)
	case strings.HasPrefix(mode, "container:"):
		return nil, notImplemented("not supported: another container's network (--network %s): a container is a virtual machine with a network of its own", mode)
	case r.Config.NetworkDisabled:
		return nil, nil
	case mode == "none":
		delete(named, "none")
		if len(named) > 0 {
			return nil, invalid(textNoneMode)
		}
		return nil, nil
	case len(networks) == 0:
		return nil, internal("this VCH has no container network")
	case len(named) == 0:
		named[mode] = nil
	}
	var out []*wantedEndpoint
	for ref, raw := range named {
		switch ref {
		case "none":
			return nil, invalid(textNoneMode)
		case "host":
			return nil, notImplemented("%s", textHostMode)
		}
		w := &wantedEndpoint{}
		found := false
		for i, n := range networks {
			if c := (candidate{n, i == 0}); !found && c.is(ref) {
				w.network, found = c, true
			}
		}
		if !found {
			// Docker says so at the start, with 404; at a create that would make a
			// client pull the image.
			return nil, invalid("network %s not found", ref)
		}
		if len(raw) > 0 {
			if err := json.Unmarshal(raw, &w.EndpointRequest); err != nil {
				return nil, invalid("invalid JSON: endpoint %s: %v", ref, err)
			}
		}
		if slices.ContainsFunc(out, func(o *wantedEndpoint) bool { return o.network.ID == w.network.ID }) {
			return nil, invalid("network %s is named twice in EndpointsConfig", w.network.Name)
		}
		out = append(out, w)
	}
	slices.SortFunc(out, func(a, b *wantedEndpoint) int {
		return cmp.Or(falseFirst(a.network.Internal, b.network.Internal), cmp.Compare(b.GwPriority, a.GwPriority),
			falseFirst(!a.is(mode), !b.is(mode)), cmp.Compare(a.network.Name, b.network.Name))
	})
	return out, nil
}

func falseFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	default:
		return -1
	}
}

// endpoint checks the settings and makes the endpoint that the port layer is
// asked for. Its IP, if any, is the address wanted, without a prefix length.
func (w *wantedEndpoint) endpoint(find func(string) (spec.View, error)) (spec.Endpoint, error) {
	n := w.network
	ep := spec.Endpoint{Network: n.Name, NetworkID: n.ID, Trust: n.Trust}
	var errs []error
	bad := func(format string, a ...any) { errs = append(errs, invalid(format, a...)) }
	if n.Driver != "" && n.Driver != "bridge" && !isExternal(n.Network) {
		errs = append(errs, notImplemented("not supported: a container on network %s: its driver is %q", n.Name, n.Driver))
	}
	if len(w.Aliases) > 0 && n.isDefault {
		bad("network-scoped aliases are only supported for user-defined networks")
	}
	for _, a := range w.Aliases {
		if !isHostWord(a) {
			bad("invalid network alias: %q", a)
		} else if !slices.Contains(ep.Aliases, a) {
			ep.Aliases = append(ep.Aliases, a)
		}
	}
	if len(w.Links) > 0 && isExternal(n.Network) {
		errs = append(errs, notImplemented("not supported: links on network %s (--link): names there are not the VCH's", n.Name))
	}
	for _, l := range w.Links {
		name, alias, err := splitLink(l)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if find != nil {
			if v, err := find(name); err == nil {
				name = v.Container.Name
			}
		}
		ep.Links = append(ep.Links, name+":"+alias)
	}
	if c := w.IPAMConfig; c != nil {
		if c.IPv6Address != "" {
			addr, err := w.address6(c.IPv6Address)
			errs = append(errs, err)
			ep.IP6, ep.Static6 = addr, true
		}
		if len(c.LinkLocalIPs) > 0 {
			errs = append(errs, notImplemented("not supported: link-local addresses of a container (--link-local-ip)"))
		}
		if c.IPv4Address != "" {
			addr, err := w.address(c.IPv4Address)
			errs = append(errs, err)
			ep.IP, ep.Static = addr, true
		}
	}
	if w.MacAddress != "" {
		mac, err := macAddress(w.MacAddress)
		errs = append(errs, err)
		ep.MAC = mac
	}
	if len(w.DriverOpts) > 0 {
		errs = append(errs, notImplemented("not supported: %s", whyDriverOpts))
	}
	return ep, errors.Join(errs...)
}

const whyDriverOpts = "network driver options"

// macAddress checks a wanted MAC address: vSphere lets people choose from a range
// of its own only, and a VM with another one does not power on.
func macAddress(text string) (string, error) {
	hw, err := net.ParseMAC(text)
	if err != nil || len(hw) != 6 {
		return "", invalid("invalid MAC address: %s", text)
	}
	if hw[0] != 0x00 || hw[1] != 0x50 || hw[2] != 0x56 || hw[3] > 0x3f {
		return "", notImplemented("not supported: MAC address %s (--mac-address): vSphere allows those from 00:50:56:00:00:00 to 00:50:56:3f:ff:ff", text)
	}
	return hw.String(), nil
}

// shareMAC gives all bridge endpoints the one that was asked for: they share a
// NIC. Those of container networks have their own; the container's is the first's.
func shareMAC(eps []spec.Endpoint, ofContainer string) error {
	mac := ""
	if ofContainer != "" {
		m, err := macAddress(ofContainer)
		if err != nil {
			return err
		}
		mac = m
	}
	if first := &eps[0]; first.Trust != "" && mac != "" {
		if first.MAC != "" && first.MAC != mac {
			return invalid("conflicting MAC addresses %s and %s of network %s", mac, first.MAC, first.Network)
		}
		first.MAC, mac = mac, ""
	}
	for _, ep := range eps {
		if ep.Trust != "" {
			continue
		}
		if ep.MAC != "" && mac != "" && ep.MAC != mac {
			return invalid("conflicting MAC addresses %s and %s: all bridge networks of a container share one network card", mac, ep.MAC)
		}
		mac = cmp.Or(mac, ep.MAC)
	}
	for i := range eps {
		if eps[i].Trust == "" {
			eps[i].MAC = mac
		}
	}
	return nil
}

// address checks a wanted address as Docker does.
func (w *wantedEndpoint) address(text string) (string, error) {
	addr, err := netip.ParseAddr(text)
	if err != nil || !addr.Is4() || addr.IsUnspecified() {
		return "", invalid("invalid endpoint settings:\ninvalid IPv4 address: %s", text)
	}
	return w.within(addr, w.network.Chosen, cmp.Or(w.network.IPRange, w.network.Subnet))
}

// address6 likewise.
func (w *wantedEndpoint) address6(text string) (string, error) {
	addr, err := netip.ParseAddr(text)
	if err != nil || !addr.Is6() || addr.Is4In6() || addr.Zone() != "" || addr.IsUnspecified() {
		return "", invalid("invalid endpoint settings:\ninvalid IPv6 address: %s", text)
	}
	if n := w.network; !n.isDefault && !n.IPv6 {
		return "", invalid("invalid endpoint settings:\nnetwork %s has no IPv6 for address %s: make it with --ipv6 and a --subnet", n.Name, text)
	}
	return w.within(addr, w.network.Chosen6, cmp.Or(w.network.IPRange6, w.network.Subnet6))
}

// within checks that an address may be asked for: the subnet was chosen by a user,
// and it or its range has it.
func (w *wantedEndpoint) within(addr netip.Addr, chosen bool, within string) (string, error) {
	if w.network.isDefault {
		return "", invalid("invalid endpoint settings:\nuser specified IP address is supported on user defined networks only")
	}
	if n := w.network; isExternal(n.Network) && n.Subnet == "" {
		return "", invalid("invalid endpoint settings:\nno IP address can be chosen on network %s: its addresses come from DHCP", n.Name)
	}
	if !chosen {
		return "", invalid("invalid endpoint settings:\nuser specified IP address is supported only when connecting to networks with user configured subnets")
	}
	if p, err := netip.ParsePrefix(within); err != nil || !p.Contains(addr) {
		return "", invalid("invalid endpoint settings:\nno configured subnet or ip-range contain the IP address %s", addr)
	}
	return addr.String(), nil
}

// isHostWord tells what may stand in a hosts file and in a key as one word.
func isHostWord(s string) bool {
	return s != "" && len(s) <= 253 && !strings.ContainsFunc(s, func(r rune) bool {
		return r == ':' || r == ',' || r == '|' || r == '#' || unicode.IsSpace(r) || !unicode.IsPrint(r)
	})
}

// splitLink reads "name:alias", "name", and "/name:/container/alias" as Docker
// shows links.
func splitLink(s string) (name, alias string, err error) {
	name, alias, ok := strings.Cut(s, ":")
	if !ok {
		alias = name
	}
	name = strings.TrimPrefix(name, "/")
	alias = alias[strings.LastIndex(alias, "/")+1:]
	if !isHostWord(name) || !isHostWord(alias) {
		return "", "", invalid("bad format for links: %s", s)
	}
	return name, alias, nil
}

// legacyLinks gives the hosts lines of links on the default bridge. A container
// keeps its address as long as it exists, so they stay right.
func legacyLinks(links []string, in buildInput) ([]string, error) {
	var hosts []string
	var errs []error
	for _, l := range links {
		name, alias, err := splitLink(l)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		v, err := in.find(name)
		if err != nil {
			errs = append(errs, invalid("could not get container for %s: %v", name, err))
			continue
		}
		addr := ""
		for _, ep := range v.Container.Endpoints {
			if len(in.Networks) > 0 && ep.NetworkID == in.Networks[0].ID {
				addr, _, _ = strings.Cut(ep.IP, "/")
			}
		}
		if addr == "" {
			errs = append(errs, invalid("Cannot link to /%s, as it does not belong to the default network", v.Container.Name))
			continue
		}
		// As in Docker's line: alias, host name, name.
		names := []string{alias}
		for _, n := range []string{v.Container.Hostname, v.Container.Name} {
			if isHostWord(n) && !slices.Contains(names, n) {
				names = append(names, n)
			}
		}
		for _, n := range names {
			hosts = append(hosts, fmt.Sprintf("%s:%s", n, addr))
		}
	}
	return hosts, errors.Join(errs...)
}
