package engine

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vic-engine/vic/pkg/spec"
)

// isExternal tells a container network: a port group that containers are on
// without the VCH between, so that it translates no ports there.
func isExternal(n spec.Network) bool { return n.Driver == spec.DriverExternal }

// opensPorts tells whether a network's trust level lets anybody in to published
// ports.
func opensPorts(t spec.Trust) bool { return t == spec.TrustPublished || t == spec.TrustOpen }

// placePorts gives the endpoints of a new container, in their order, the ports
// that it publishes: the first bridge network all of them, container networks
// those of the container. What a user asks for that no network can do is an
// error.
func placePorts(eps []spec.Endpoint, networks []candidate, ports []PublishedPort) ([]string, error) {
	if len(ports) == 0 {
		return nil, nil
	}
	bridge := slices.IndexFunc(eps, func(e spec.Endpoint) bool { return e.Trust == "" })
	routed := false // the VCH publishes them
	if bridge >= 0 {
		eps[bridge].Ports = portTexts(ports)
		routed = !networks[bridge].Internal
	}
	var open, shut []string
	peers := false
	for i := range eps {
		t := eps[i].Trust
		switch {
		case t == "":
		case opensPorts(t):
			eps[i].Ports = openedPorts(ports)
			open = append(open, eps[i].Network)
		case t == spec.TrustPeers:
			peers = true
		default:
			shut = append(shut, fmt.Sprintf("%s (%s)", eps[i].Network, t))
		}
	}
	switch {
	case routed:
		return nil, nil
	case len(open) > 0:
		return nil, checkDirect(ports, open[0])
	case peers:
		return []string{"published ports have no effect: the container's networks let their own range in, and nobody else"}, nil
	case len(shut) > 0:
		return nil, invalid("port %d/%s cannot be published: the firewall of network %s lets nothing in", ports[0].Port, ports[0].Proto, strings.Join(shut, ", "))
	}
	return []string{"published ports have no effect while the container is on internal networks only"}, nil
}

// checkDirect refuses what would need the VCH between a container and its
// clients.
func checkDirect(ports []PublishedPort, network string) error {
	for _, p := range ports {
		if p.HostIP != "" && p.HostIP != "0.0.0.0" {
			return invalid("port %d/%s cannot be published on %s: network %s is reached at the container's own address: leave the address out", p.Port, p.Proto, p.HostIP, network)
		}
		if p.HostPort != 0 && p.HostPort != p.Port {
			return invalid("port %d/%s cannot be published as %d: network %s is reached at the container's own ports: publish %d:%d", p.Port, p.Proto, p.HostPort, network, p.Port, p.Port)
		}
	}
	return nil
}

// openedPorts are published ports as a container network has them.
func openedPorts(ports []PublishedPort) []string {
	var out []string
	for _, p := range ports {
		if text := (PublishedPort{Port: p.Port, Proto: p.Proto}).String(); !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	return out
}

// AllPorts are the ports at which a running container is reached: those that the
// VCH publishes, and on container networks the container's own, at its address
// there as far as it is known.
func (i *Info) AllPorts() []PublishedPort {
	out := PublishedPorts(&i.Container)
	for _, ep := range i.Container.Endpoints {
		if ep.Trust == "" {
			continue
		}
		addr := i.Status.Addresses[ep.Network]
		if addr == "" {
			addr = ep.IP
		}
		host, _, _ := strings.Cut(addr, "/")
		for _, s := range ep.Ports {
			if p, err := ParsePublishedPort(s); err == nil {
				p.HostIP, p.HostPort = host, p.Port
				out = append(out, p)
			}
		}
	}
	return out
}
