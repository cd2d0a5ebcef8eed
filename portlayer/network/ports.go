package network

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/spec"
)

// Random host ports are from firstRandom to lastRandom, as Linux has them for
// clients.
const (
	firstRandom = 32768
	lastRandom  = 60999
)

// Publication is one published port of a container.
type Publication struct {
	// Host is the VCH's address that it is published on; not valid: all, 0.0.0.0
	// and ::: all of that kind.
	Host netip.Addr
	// HostPort is 0 when any will do.
	HostPort uint16
	Port     uint16 // of the container
	Proto    string // "tcp" or "udp"
}

// ParsePort reads a published port, "[address:][8080:]80[/tcp]"; an address of
// IPv6 is in brackets.
func ParsePort(text string) (Publication, error) {
	bad := func(why string) (Publication, error) {
		return Publication{}, fmt.Errorf("published port %q: %s%w", text, why, hidden{errdefs.ErrInvalidArgument})
	}
	p := Publication{Proto: "tcp"}
	rest, proto, ok := strings.Cut(text, "/")
	if ok {
		p.Proto = strings.ToLower(proto)
	}
	if p.Proto != "tcp" && p.Proto != "udp" {
		return bad("only tcp and udp can be published")
	}
	var err error
	var host string
	if in, ok := strings.CutPrefix(rest, "["); ok {
		if host, rest, ok = strings.Cut(in, "]:"); !ok || !strings.Contains(host, ":") {
			return bad("an address in brackets is one of IPv6, and a port follows")
		}
		if p.Host, err = netip.ParseAddr(host); err != nil || p.Host.Is4In6() || p.Host.Zone() != "" {
			return bad("the host address is not an IPv6 address")
		}
	}
	parts := strings.Split(rest, ":")
	if len(parts) > 3 || len(parts) > 2 && host != "" {
		return bad("want [address:][port:]port[/protocol]")
	}
	if p.Port, err = port(parts[len(parts)-1]); err != nil || p.Port == 0 {
		return bad("the container's port is not a number from 1 to 65535")
	}
	if len(parts) > 1 {
		if p.HostPort, err = port(parts[len(parts)-2]); err != nil {
			return bad("the host port is not a number from 0 to 65535")
		}
	}
	if len(parts) == 3 && parts[0] != "" {
		if p.Host, err = netip.ParseAddr(parts[0]); err != nil || !p.Host.Is4() {
			return bad("the host address is not an IPv4 address, and one of IPv6 is in brackets")
		}
	}
	return p, nil
}

func port(s string) (uint16, error) {
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(s, 10, 16)
	return uint16(n), err
}

// String is what ParsePort reads.
func (p Publication) String() string {
	s := fmt.Sprintf("%d/%s", p.Port, p.Proto)
	if p.HostPort != 0 {
		s = fmt.Sprintf("%d:%s", p.HostPort, s)
	}
	if p.Host.IsValid() {
		if p.HostPort == 0 {
			s = ":" + s
		}
		host := p.Host.String()
		if p.Host.Is6() {
			host = "[" + host + "]"
		}
		s = host + ":" + s
	}
	return s
}

// conflicts tells whether both cannot be published at once.
func (p Publication) conflicts(o Publication) bool {
	return p.HostPort == o.HostPort && p.Proto == o.Proto && (covers(p.Host, o.Host) || covers(o.Host, p.Host))
}

// covers tells whether a is all addresses that b is.
func covers(a, b netip.Addr) bool {
	return a == b || !a.IsValid() || a.IsUnspecified() && b.IsValid() && a.Is6() == b.Is6()
}

// reserved are the ports of the VCH itself.
func reserved(p Publication) bool {
	switch p.HostPort {
	case 53:
		return true
	case 22, 2375, 2376, 2378, 8080:
		return p.Proto == "tcp"
	}
	return false
}

// choosePorts gives every published port of a container a host port.
func choosePorts(s State, owner string, ports []string) ([]string, error) {
	if len(ports) == 0 {
		return ports, nil
	}
	used := s.portsOfOthers(owner)
	all := make([]Publication, len(ports))
	for i, text := range ports {
		p, err := ParsePort(text)
		if err != nil {
			return nil, err
		}
		if reserved(p) {
			return nil, fmt.Errorf("published port %q: port %d/%s is used by the VCH itself%w", text, p.HostPort, p.Proto, hidden{errdefs.ErrInvalidArgument})
		}
		all[i] = p
	}
	out := make([]string, len(ports))
	for i := range all {
		if all[i].HostPort == 0 {
			n, err := randomPort(all[i], append(slices.Clone(used), all...))
			if err != nil {
				return nil, err
			}
			all[i].HostPort = n
		}
		out[i] = all[i].String()
	}
	return out, nil
}

func randomPort(p Publication, used []Publication) (uint16, error) {
	const all = lastRandom - firstRandom + 1
	taken := map[uint16]bool{}
	for _, u := range used {
		p.HostPort = u.HostPort
		taken[u.HostPort] = taken[u.HostPort] || p.conflicts(u)
	}
	first := rand.N(all)
	for i := range all {
		if n := uint16(firstRandom + (first+i)%all); !taken[n] {
			return n, nil
		}
	}
	return 0, fmt.Errorf("no host port is left for port %d/%s%w", p.Port, p.Proto, hidden{errdefs.ErrResourceExhausted})
}

func (s State) portsOfOthers(owner string) []Publication {
	var out []Publication
	for o, ports := range s.ports {
		if o != owner {
			out = append(out, ports...)
		}
	}
	return out
}

// withPorts notes the host ports of an owner, so that no other is given them.
func (s State) withPorts(owner string, endpoints []spec.Endpoint) State {
	s.ports = maps.Clone(s.ports)
	if s.ports == nil {
		s.ports = map[string][]Publication{}
	}
	if p := Published(endpoints); len(p) > 0 {
		s.ports[owner] = p
	} else {
		delete(s.ports, owner)
	}
	return s
}

// Published are the ports that a container publishes when it runs.
func Published(endpoints []spec.Endpoint) []Publication {
	var out []Publication
	for _, e := range endpoints {
		for _, text := range e.Ports {
			if p, err := ParsePort(text); err == nil && p.HostPort != 0 && e.Gateway != "" && e.Trust == "" {
				out = append(out, p)
			}
		}
	}
	return out
}

// Conflict finds the first port of mine that is among those of others; the
// error is in Docker's words, about an endpoint's name and id.
func Conflict(mine, others []Publication, name, id string) error {
	for _, p := range mine {
		if !slices.ContainsFunc(others, p.conflicts) {
			continue
		}
		host := "0.0.0.0"
		if p.Host.IsValid() {
			host = p.Host.String()
		}
		return &PortError{fmt.Sprintf("driver failed programming external connectivity on endpoint %s (%s): Bind for %s:%d failed: port is already allocated",
			name, id, host, p.HostPort)}
	}
	return nil
}

// PortError is a host port that another container has. It has no class, as in
// Docker, where it is an error of the server.
type PortError struct{ msg string }

func (e *PortError) Error() string { return e.msg }

// Arrange puts endpoints in the order in which they are kept, first those with a
// way out, and all published ports on the first that is on the bridge. Those of
// container networks stay where they are.
func Arrange(endpoints []spec.Endpoint) []spec.Endpoint {
	out := make([]spec.Endpoint, 0, len(endpoints))
	var ports []string
	for _, e := range endpoints {
		if e.Trust == "" {
			ports = append(ports, e.Ports...)
			e.Ports = nil
		}
		if wayOut(e) {
			out = append(out, e)
		}
	}
	for _, e := range endpoints {
		if !wayOut(e) {
			if e.Trust == "" {
				e.Ports = nil
			}
			out = append(out, e)
		}
	}
	for i := range out {
		if out[i].Trust == "" {
			out[i].Ports = ports
			break
		}
	}
	return out
}
