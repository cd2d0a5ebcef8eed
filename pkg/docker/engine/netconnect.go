package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/vic-engine/vic/pkg/spec"

	"github.com/containerd/errdefs"
)

// NetworkConnect puts a container, running or not, on another network.
func (e *Engine) NetworkConnect(ctx context.Context, network, container string, r EndpointRequest) error {
	v, n, err := e.findBoth(network, container)
	if err != nil {
		return err
	}
	c := &v.Container
	if n.Name == noNetwork || hasNoNIC(e.storedOf(v).host, c) {
		return invalid(textNoneMode)
	}
	for _, ep := range c.Endpoints {
		if ep.NetworkID == n.ID {
			return forbidden("endpoint with name %s already exists in network %s", c.Name, n.Name)
		}
	}
	if r.MacAddress != "" && !isExternal(n) {
		return notImplemented("not supported: a MAC address for one more network (--mac-address): all bridge networks of a container share one network card")
	}
	first := e.pl.Networks()
	w := &wantedEndpoint{EndpointRequest: r, network: candidate{n, len(first) > 0 && first[0].ID == n.ID}}
	if w.network.isDefault && len(r.Links) > 0 {
		return notImplemented("not supported: links of a container that is there already on the default bridge network (connect --link)")
	}
	ep, err := w.endpoint(e.find)
	if err != nil {
		return err
	}
	if ep.Ports, err = e.portsToConnect(v, n); err != nil {
		return err
	}
	if e.nets == nil {
		return notImplemented("not supported: connecting a container to another network (network connect): this VCH has no way to do it")
	}
	ctx, cancel := e.detach(ctx)
	defer cancel()
	if err := e.nets.Connect(ctx, c.ID, ep); err != nil {
		if errdefs.IsAlreadyExists(err) {
			return forbidden("endpoint with name %s already exists in network %s", c.Name, n.Name)
		}
		return err
	}
	if isRunning(v) {
		e.post(e.networkEvent(n, "connect", c.ID))
	}
	return nil
}

// The host ports that are chosen when any will do.
const firstAnyPort, lastAnyPort = 32768, 60999

// portsToConnect are the ports of a container on one more network. On a bridge
// network they are only needed when it was on none for a while, and so has none:
// otherwise the port layer moves those that it has.
func (e *Engine) portsToConnect(v spec.View, n spec.Network) ([]string, error) {
	bridged := slices.ContainsFunc(v.Container.Endpoints, func(ep spec.Endpoint) bool { return ep.Trust == "" })
	if bridged && !isExternal(n) {
		return nil, nil
	}
	s := e.storedOf(v)
	ports, _, err := wantedPorts(&s.host, s.Config.ExposedPorts, e.portsInUse)
	if err != nil || len(ports) == 0 {
		return nil, err
	}
	if isExternal(n) {
		if !opensPorts(n.Trust) {
			return nil, nil
		}
		return openedPorts(ports), nil
	}
	used := e.portsInUse()
	for i := range ports {
		for n := firstAnyPort; n <= lastAnyPort && ports[i].HostPort == 0; n++ {
			if key := fmt.Sprintf("%d/%s", n, ports[i].Proto); !used[key] {
				used[key], ports[i].HostPort = true, n
			}
		}
	}
	return portTexts(ports), nil
}

// NetworkDisconnect takes a container off a network. force makes no difference:
// there are no endpoints without a container.
func (e *Engine) NetworkDisconnect(ctx context.Context, network, container string, _ bool) error {
	v, n, err := e.findBoth(network, container)
	if err != nil {
		return err
	}
	c := &v.Container
	if n.Name == noNetwork && hasNoNIC(e.storedOf(v).host, c) {
		return notImplemented("not supported: taking a container off network none: a containerVM that was made without a network card gets none later")
	}
	if !slices.ContainsFunc(c.Endpoints, func(ep spec.Endpoint) bool { return ep.NetworkID == n.ID }) {
		return notConnected(c.ID, n.Name)
	}
	if e.nets == nil {
		return notImplemented("not supported: disconnecting a container from a network (network disconnect): this VCH has no way to do it")
	}
	ctx, cancel := e.detach(ctx)
	defer cancel()
	if err := e.nets.Disconnect(ctx, c.ID, n.ID); err != nil {
		if errdefs.IsNotFound(err) {
			return notConnected(c.ID, n.Name)
		}
		return err
	}
	e.post(e.networkEvent(n, "disconnect", c.ID))
	return nil
}

func notConnected(id, network string) error {
	return notFound("container %s is not connected to network %s", id, network)
}

// findBoth resolves a container and a network, in Docker's order.
func (e *Engine) findBoth(network, container string) (spec.View, spec.Network, error) {
	v, err := e.find(container)
	if err != nil {
		return v, spec.Network{}, err
	}
	e.mu.Lock()
	t := e.tracked[v.Container.ID]
	removing := t != nil && t.removing
	e.mu.Unlock()
	if removing || v.Status.Phase == spec.PhaseRemoving || v.Status.Phase == spec.PhaseDead {
		return v, spec.Network{}, conflict("Container %s is marked for removal and cannot be connected or disconnected to the network", v.Container.ID)
	}
	if network == "host" {
		return v, spec.Network{}, notImplemented("%s", textHostMode)
	}
	n, err := e.findNetwork(network)
	return v, n, err
}

// hasNoNIC tells a container that was made without a network.
func hasNoNIC(h HostConfig, c *spec.Container) bool {
	return len(c.Endpoints) == 0 && h.NetworkMode == noNetwork
}

// checkLinks makes sure, before a start, that what a container is linked to on
// the default bridge runs.
func (e *Engine) checkLinks(v spec.View) error {
	nets := e.pl.Networks()
	if len(nets) == 0 || !slices.ContainsFunc(v.Container.Endpoints, func(ep spec.Endpoint) bool { return ep.NetworkID == nets[0].ID }) {
		return nil
	}
	h := e.storedOf(v).host
	if !isDefaultNetwork(h.NetworkMode) && h.NetworkMode != nets[0].Name {
		return nil
	}
	for _, l := range h.Links {
		name, alias, err := splitLink(l)
		if err != nil {
			return err
		}
		to, err := e.find(name)
		if err != nil {
			return fmt.Errorf("could not get container for %s: %w", name, err)
		}
		if !isRunning(to) {
			return conflict("Cannot link to a non running container: /%s AS /%s/%s", to.Container.Name, strings.TrimPrefix(v.Container.Name, "/"), alias)
		}
	}
	return nil
}
