package engine

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/vic-engine/vic/pkg/spec"
)

// PortBinding is one place on the VCH where a port is published.
type PortBinding struct {
	HostIP   string `json:"HostIp"`
	HostPort string
}

// PublishedPort is a port of a container and where the VCH publishes it.
type PublishedPort struct {
	HostIP   string // empty: all addresses; 0.0.0.0 and ::: all of that kind
	HostPort int    // 0: any, chosen by the port layer
	Port     int
	Proto    string
}

// String is the form of spec.Endpoint.Ports: "8080:80/tcp", "80/tcp" for any
// port, "192.0.2.1:8080:80/tcp" and "192.0.2.1::80/tcp" with an address,
// "[fd00::1]:8080:80/tcp" with one of IPv6.
func (p PublishedPort) String() string {
	host := ""
	if p.HostPort != 0 {
		host = strconv.Itoa(p.HostPort)
	}
	switch {
	case strings.Contains(p.HostIP, ":"):
		host = "[" + p.HostIP + "]:" + host + ":"
	case p.HostIP != "":
		host = p.HostIP + ":" + host + ":"
	case host != "":
		host += ":"
	}
	return fmt.Sprintf("%s%d/%s", host, p.Port, p.Proto)
}

// ParsePublishedPort reads what String writes.
func ParsePublishedPort(s string) (PublishedPort, error) {
	rest, proto, _ := strings.Cut(s, "/")
	if proto == "" {
		proto = "tcp"
	}
	p := PublishedPort{Proto: proto}
	if in, ok := strings.CutPrefix(rest, "["); ok {
		if p.HostIP, rest, ok = strings.Cut(in, "]:"); !ok || !strings.Contains(p.HostIP, ":") || strings.Count(rest, ":") != 1 {
			return p, invalid("invalid port specification: %q", s)
		}
	}
	parts := strings.Split(rest, ":")
	inside, host := parts[len(parts)-1], ""
	switch len(parts) {
	case 1:
	case 2:
		host = parts[0]
	case 3:
		p.HostIP, host = parts[0], parts[1]
	default:
		return p, invalid("invalid port specification: %q", s)
	}
	var err error
	if p.Port, err = portNumber(inside); err != nil || p.Port == 0 {
		return p, invalid("invalid port specification: %q", s)
	}
	if host != "" {
		if p.HostPort, err = portNumber(host); err != nil {
			return p, invalid("invalid port specification: %q", s)
		}
	}
	return p, nil
}

func portNumber(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	return int(n), err
}

// portRange reads "80" or "80-82".
func portRange(s string) (from, to int, err error) {
	a, b, ranged := strings.Cut(s, "-")
	if from, err = portNumber(a); err != nil {
		return 0, 0, err
	}
	to = from
	if ranged {
		if to, err = portNumber(b); err == nil && to < from {
			err = errors.New("it ends before it begins")
		}
	}
	return from, to, err
}

// PublishedPorts are the ports of a container that the VCH publishes while it
// runs. A port for which none was chosen yet has HostPort 0.
func PublishedPorts(c *spec.Container) []PublishedPort {
	var out []PublishedPort
	for _, ep := range c.Endpoints {
		if ep.Gateway == "" || ep.Trust != "" {
			continue // an internal network, or one that the VCH is not on
		}
		for _, s := range ep.Ports {
			if p, err := ParsePublishedPort(s); err == nil {
				out = append(out, p)
			}
		}
	}
	return out
}

// wantedPorts gives what a request publishes, in order of the port. inUse tells
// which host ports other containers have ("8080/tcp"); it is asked only for
// ranges, of which the first free port is taken.
func wantedPorts(h *HostConfig, exposed map[string]struct{}, inUse func() map[string]bool) (out []PublishedPort, warnings []string, err error) {
	var errs []error
	for key, bindings := range h.PortBindings {
		number, proto, err := splitPort(key)
		if err == nil && len(bindings) > 0 {
			err = checkProto(key, proto)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, b := range bindings {
			p, w, err := bind(PublishedPort{Port: number, Proto: proto}, b, inUse)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			if w != "" {
				warnings = append(warnings, w)
			}
			if !slices.Contains(out, p) {
				out = append(out, p)
			}
		}
	}
	if h.PublishAllPorts {
		for key := range exposed {
			more, err := exposedPorts(key)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			for _, p := range more {
				if !slices.ContainsFunc(out, func(o PublishedPort) bool { return o.Port == p.Port && o.Proto == p.Proto }) {
					out = append(out, p)
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b PublishedPort) int {
		return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(a.Proto, b.Proto), cmp.Compare(a.HostPort, b.HostPort), cmp.Compare(a.HostIP, b.HostIP))
	})
	slices.Sort(warnings)
	out = mergePorts(out)
	errs = append(errs, checkTwice(out))
	return out, warnings, joinSorted(errs)
}

// splitPort reads "80/tcp" or "80".
func splitPort(s string) (number int, proto string, err error) {
	n, proto, _ := strings.Cut(s, "/")
	if proto == "" {
		proto = "tcp"
	}
	number, err = portNumber(n)
	if err != nil || number == 0 {
		return 0, "", invalid("invalid port specification: %q", n)
	}
	return number, strings.ToLower(proto), nil
}

func checkProto(port, proto string) error {
	switch proto {
	case "tcp", "udp":
		return nil
	case "sctp":
		return notImplemented("not supported: publishing an SCTP port (%s): this version forwards TCP and UDP", port)
	default:
		return invalid("invalid proto: %s", proto)
	}
}

func bind(p PublishedPort, b PortBinding, inUse func() map[string]bool) (PublishedPort, string, error) {
	warning := ""
	if b.HostIP != "" {
		addr, err := netip.ParseAddr(strings.Trim(b.HostIP, "[]"))
		switch {
		case err != nil || addr.Zone() != "" || addr.Is4In6():
			return p, "", invalid("invalid IP address: %s", b.HostIP)
		case addr.IsLoopback():
			warning = fmt.Sprintf("port %d/%s is published on %s of the VCH itself, which no client can reach: leave the address out", p.Port, p.Proto, addr)
		}
		p.HostIP = addr.String()
	}
	if b.HostPort == "" {
		return p, warning, nil
	}
	from, to, err := portRange(b.HostPort)
	if err != nil {
		return p, "", invalid("invalid port specification: %q", b.HostPort)
	}
	p.HostPort = from
	if to > from {
		used := inUse()
		for n := from; n <= to; n++ {
			if !used[fmt.Sprintf("%d/%s", n, p.Proto)] {
				p.HostPort = n
				break
			}
		}
	}
	return p, warning, nil
}

// exposedPorts are the ports of an entry of ExposedPorts for -P. Protocols that
// cannot be published are an error: -P asks for all.
func exposedPorts(s string) ([]PublishedPort, error) {
	n, proto, _ := strings.Cut(s, "/")
	if proto == "" {
		proto = "tcp"
	}
	from, to, err := portRange(n)
	if err != nil || from == 0 {
		return nil, invalid("invalid port specification: %q", n)
	}
	if err := checkProto(s, strings.ToLower(proto)); err != nil {
		return nil, err
	}
	var out []PublishedPort
	for p := from; p <= to; p++ {
		out = append(out, PublishedPort{Port: p, Proto: strings.ToLower(proto)})
	}
	return out, nil
}

// mergePorts leaves out what is published on all addresses of one kind where the same
// is on all of both: some clients ask for each.
func mergePorts(ports []PublishedPort) []PublishedPort {
	var out []PublishedPort
	for _, p := range ports {
		all := p
		all.HostIP = ""
		if (p.HostIP == "0.0.0.0" || p.HostIP == "::") && slices.Contains(ports, all) {
			continue
		}
		out = append(out, p)
	}
	return out
}

// checkTwice finds a host port that is asked for twice by one container.
func checkTwice(ports []PublishedPort) error {
	for i, a := range ports {
		for _, b := range ports[:i] {
			if a.HostPort != 0 && a.HostPort == b.HostPort && a.Proto == b.Proto && (sameHost(a.HostIP, b.HostIP) || sameHost(b.HostIP, a.HostIP)) {
				return conflict("Bind for %s:%d failed: port is already allocated", cmp.Or(a.HostIP, "0.0.0.0"), a.HostPort)
			}
		}
	}
	return nil
}

// sameHost tells whether a is b, or all addresses that b is one of.
func sameHost(a, b string) bool {
	switch a {
	case "", b:
		return true
	case "0.0.0.0":
		return b != "" && !strings.Contains(b, ":")
	case "::":
		return strings.Contains(b, ":")
	}
	return false
}

// joinSorted joins errors in the order of their texts, for those found in maps.
func joinSorted(errs []error) error {
	errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	slices.SortFunc(errs, func(a, b error) int { return cmp.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

// portsInUse are the host ports that containers have, running or not.
func (e *Engine) portsInUse() map[string]bool {
	out := map[string]bool{}
	for _, v := range e.pl.Snapshots() {
		for _, ep := range v.Container.Endpoints {
			if ep.Trust != "" {
				continue
			}
			for _, s := range ep.Ports {
				if p, err := ParsePublishedPort(s); err == nil {
					out[fmt.Sprintf("%d/%s", p.HostPort, p.Proto)] = true
				}
			}
		}
	}
	return out
}
