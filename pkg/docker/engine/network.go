package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/vic-engine/vic/pkg/spec"
)

// noNetwork is Docker's network for containers without a NIC.
const noNetwork = "none"

// NetworkInfo is a network as clients see it.
type NetworkInfo struct {
	spec.Network
	// Members are the containers on it, running or not.
	Members []*Info
	// Rules of policies concern it; one network's inspection has them, no list.
	Rules []PolicyRule
}

// DerivedID makes an id that stays the same for what has none in vSphere.
func DerivedID(kind, of string) string {
	h := sha256.Sum256([]byte(kind + " " + of))
	return hex.EncodeToString(h[:])
}

// allNetworks are those of the port layer, the default one first, and none.
func (e *Engine) allNetworks() []spec.Network {
	list := slices.Clone(e.pl.Networks())
	if len(list) > 0 {
		list[0].Builtin = true
	}
	return append(list, spec.Network{
		ID: DerivedID("network", noNetwork), Name: noNetwork, Driver: "null", Created: time.Unix(0, 0).UTC(), Builtin: true,
	})
}

// findNetwork resolves an id, a name or an unambiguous prefix of an id.
func (e *Engine) findNetwork(ref string) (spec.Network, error) {
	all := e.allNetworks()
	for _, match := range []func(spec.Network) bool{
		func(n spec.Network) bool { return n.ID == ref },
		func(n spec.Network) bool { return n.Name == ref },
		func(n spec.Network) bool { return ref != "" && strings.HasPrefix(n.ID, ref) },
	} {
		var found []spec.Network
		for _, n := range all {
			if match(n) {
				found = append(found, n)
			}
		}
		switch len(found) {
		case 0:
		case 1:
			return found[0], nil
		default:
			return spec.Network{}, invalid("network %s is ambiguous (%d matches found based on ID prefix)", ref, len(found))
		}
	}
	return spec.Network{}, notFound("network %s not found", ref)
}

// members are the containers of each network, by the network's id.
func (e *Engine) members() (map[string][]*Info, error) {
	list, err := e.List(ListOptions{All: true})
	if err != nil {
		return nil, err
	}
	out := map[string][]*Info{}
	none := DerivedID("network", noNetwork)
	for _, i := range list {
		if len(i.Container.Endpoints) == 0 && i.Host.NetworkMode == noNetwork {
			out[none] = append(out[none], i)
		}
		for _, ep := range i.Container.Endpoints {
			out[ep.NetworkID] = append(out[ep.NetworkID], i)
		}
	}
	return out, nil
}

// NetworkInspect gives one network.
func (e *Engine) NetworkInspect(ref string) (NetworkInfo, error) {
	n, err := e.findNetwork(ref)
	if err != nil {
		return NetworkInfo{}, err
	}
	m, err := e.members()
	return NetworkInfo{Network: n, Members: m[n.ID], Rules: e.policyRules(n.Name, m[n.ID])}, err
}

// NetworkList gives the networks that the filters select, the default one
// first and none last.
func (e *Engine) NetworkList(f Filters) ([]NetworkInfo, error) {
	if err := f.check("dangling", "driver", "id", "label", "name", "scope", "type"); err != nil {
		return nil, err
	}
	for _, v := range f["type"] {
		if v != "custom" && v != "builtin" {
			return nil, invalid("invalid filter: 'type'='%s'", v)
		}
	}
	dangling, err := f.boolean("dangling", false)
	if err != nil {
		return nil, err
	}
	m, err := e.members()
	if err != nil {
		return nil, err
	}
	part := func(key, s string) bool {
		return !f.has(key) || slices.ContainsFunc(f[key], func(v string) bool { return strings.Contains(s, v) })
	}
	out := []NetworkInfo{}
	for _, n := range e.allNetworks() {
		kind := "custom"
		if n.Builtin {
			kind = "builtin"
		}
		if !part("name", n.Name) || !part("id", n.ID) || !f.exact("driver", n.Driver) || !f.exact("scope", "local") || !f.exact("type", kind) || !f.labels(n.Labels) {
			continue
		}
		if f.has("dangling") && dangling != (!n.Builtin && len(m[n.ID]) == 0) {
			continue
		}
		out = append(out, NetworkInfo{Network: n, Members: m[n.ID]})
	}
	return out, nil
}

// networkNames are the names that a network may have: they are part of keys of
// a VM's configuration.
var networkNames = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]*$`)

// NetworkCreate makes a bridge network. The subnet's texts have been checked
// against each other by the caller, as Docker's API does it.
func (e *Engine) NetworkCreate(ctx context.Context, n spec.Network) (spec.Network, error) {
	if err := checkNetwork(n); err != nil {
		return spec.Network{}, err
	}
	for _, have := range e.allNetworks() {
		if have.Name == n.Name {
			return spec.Network{}, conflict("network with name %s already exists", n.Name)
		}
	}
	if e.nets == nil {
		return spec.Network{}, notImplemented("not supported: user-defined networks (network create): this VCH has no way to make them")
	}
	var err error
	if n.ID, err = newID(); err != nil {
		return spec.Network{}, err
	}
	n.Created, n.Chosen, n.Chosen6, n.Driver = e.clock.Now().UTC(), n.Subnet != "", n.Subnet6 != "", "bridge"
	// A client that leaves does not leave half a network behind.
	ctx, cancel := e.detach(ctx)
	defer cancel()
	if n, err = e.nets.CreateNetwork(ctx, n); err != nil {
		return spec.Network{}, err
	}
	e.log.WithField("network", n.Name).Info("network created")
	e.post(e.networkEvent(n, "create", ""))
	return n, nil
}

func checkNetwork(n spec.Network) error {
	switch n.Name {
	case "":
		return invalid("invalid name: name is empty")
	case "bridge", "host", noNetwork, "default":
		return forbidden("operation is not permitted on predefined %s network", n.Name)
	}
	if !networkNames.MatchString(n.Name) || len(n.Name) > 128 {
		return invalid("invalid network name (%s), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed, and 128 of them", n.Name)
	}
	switch n.Driver {
	case "", "bridge", "default":
	case "host", "null":
		return forbidden("only one instance of %q network is allowed", n.Driver)
	case "overlay":
		return notImplemented("not supported: network driver \"overlay\": a VCH is no Swarm; its bridge networks reach all hosts of the cluster already")
	case "external":
		return notImplemented("not supported: network driver \"external\": networks of a port group of their own are given to vic-machine create (--container-network), not made by clients")
	default:
		return notImplemented("not supported: network driver %q: this version has bridge networks only", n.Driver)
	}
	for k, v := range n.Options {
		if usual, known := driverOptions[k]; known && !slices.Contains(usual, v) {
			return notImplemented("not supported: network option %s=%s: bridge networks share one port group", k, v)
		}
	}
	if n.Subnet != "" {
		p, err := netip.ParsePrefix(n.Subnet)
		if err != nil || !p.Addr().Is4() {
			return invalid("invalid subnet %s: want an IPv4 network", n.Subnet)
		}
		if p.Bits() > 30 {
			return invalid("invalid subnet %s: there is no room for a gateway and a container", n.Subnet)
		}
	}
	if n.Subnet6 != "" {
		p, err := netip.ParsePrefix(n.Subnet6)
		if err != nil || !p.Addr().Is6() {
			return invalid("invalid subnet %s: want an IPv6 network", n.Subnet6)
		}
		if p.Bits() > 126 {
			return invalid("invalid subnet %s: there is no room for a gateway and a container", n.Subnet6)
		}
	}
	return nil
}

// driverOptions are the options that Docker's bridge driver acts on, with the
// values that ask for what is so anyway. Others are kept and shown, as Docker
// does with those it does not know.
var driverOptions = map[string][]string{
	"com.docker.network.bridge.name":                 nil,
	"com.docker.network.bridge.default_bridge":       {"false"},
	"com.docker.network.bridge.enable_icc":           {"true"},
	"com.docker.network.bridge.enable_ip_masquerade": {"true"},
	"com.docker.network.bridge.host_binding_ipv4":    {"", "0.0.0.0"},
	"com.docker.network.bridge.inhibit_ipv4":         {"false"},
	"com.docker.network.bridge.gateway_mode_ipv4":    {"", "nat"},
	"com.docker.network.bridge.gateway_mode_ipv6":    {"", "nat"},
	"com.docker.network.bridge.trusted_host_interfaces": {
		"",
	},
	"com.docker.network.container_iface_prefix": {"eth"},
	"com.docker.network.driver.mtu":             {"", "0", "1500"},
	"com.docker.network.host_ipv4":              {""},
	"com.docker.network.host_ipv6":              {""},
}

// NetworkRemove removes a network that has no containers.
func (e *Engine) NetworkRemove(ctx context.Context, ref string) error {
	n, err := e.NetworkInspect(ref)
	if err != nil {
		return err
	}
	if isExternal(n.Network) {
		return forbidden("%s is a container network (port group %s), given to vic-machine create with --container-network: it stays as long as the VCH", n.Name, n.PortGroup)
	}
	if n.Builtin {
		return forbidden("%s is a pre-defined network and cannot be removed", n.Name)
	}
	if len(n.Members) > 0 {
		var who []string
		for _, i := range n.Members {
			who = append(who, fmt.Sprintf("name:%q id:%q", i.Container.Name, DerivedID("endpoint", i.Container.ID+n.Name)[:12]))
		}
		slices.Sort(who)
		return forbidden("error while removing network: network %s has active endpoints (%s)", n.Name, strings.Join(who, ", "))
	}
	return e.removeNetwork(ctx, n.Network)
}

func (e *Engine) removeNetwork(ctx context.Context, n spec.Network) error {
	if e.nets == nil {
		return notImplemented("not supported: removing networks: this VCH has no way to change them")
	}
	ctx, cancel := e.detach(ctx)
	defer cancel()
	if err := e.nets.RemoveNetwork(ctx, n.ID); err != nil {
		return err
	}
	e.log.WithField("network", n.Name).Info("network removed")
	e.post(e.networkEvent(n, "destroy", ""))
	return nil
}

// NetworkPrune removes the networks without containers. The filters are until,
// label and label!. It returns the names; one that cannot be removed is logged.
func (e *Engine) NetworkPrune(ctx context.Context, f Filters) ([]string, error) {
	gone, err := e.prune(ctx, f, func() ([]prunable, error) {
		all, err := e.NetworkList(Filters{"dangling": {"true"}})
		var list []prunable
		for _, n := range all {
			list = append(list, prunable{n.Name, n.Created, n.Labels, func() error { return e.removeNetwork(ctx, n.Network) }})
		}
		return list, err
	})
	if err == nil {
		e.pruned("network", 0)
	}
	return gone, err
}

// networkEvent is an event of a network, about a container if not empty.
func (e *Engine) networkEvent(n spec.Network, action, container string) Event {
	attr := map[string]string{"name": n.Name, "type": n.Driver}
	if container != "" {
		attr["container"] = container
	}
	return Event{Type: "network", Action: action, ID: n.ID, Attributes: attr, Time: e.clock.Now()}
}

// recordNetworks tells that a container that started came on its networks, or
// that one that ended left them. Called only from Run.
func (e *Engine) recordNetworks(v spec.View, action string, at time.Time) {
	eps := v.Container.Endpoints
	if len(eps) == 0 && e.storedOf(v).host.NetworkMode == noNetwork {
		eps = []spec.Endpoint{{Network: noNetwork, NetworkID: DerivedID("network", noNetwork)}}
	}
	all := e.allNetworks()
	for _, ep := range eps {
		driver := "bridge"
		for _, n := range all {
			if n.ID == ep.NetworkID {
				driver = n.Driver
			}
		}
		ev := e.networkEvent(spec.Network{ID: ep.NetworkID, Name: ep.Network, Driver: driver}, action, v.Container.ID)
		if !at.IsZero() {
			ev.Time = at
		}
		e.events.add(ev)
	}
}
