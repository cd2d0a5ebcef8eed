package enginetest

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/vic-engine/vic/pkg/docker/engine"
	"github.com/vic-engine/vic/pkg/spec"

	"github.com/containerd/errdefs"
)

var _ engine.Networks = (*Fake)(nil)

// firstPort is the first host port that is given when any will do.
const firstPort = 32768

// Networks implements engine.PortLayer.
func (f *Fake) Networks() []spec.Network {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.networks()
}

// networks gives the default bridge and what was made. Called with mu held.
func (f *Fake) networks() []spec.Network {
	return append([]spec.Network{{
		ID: "b1" + fmt.Sprintf("%062d", 1), Name: "bridge", Driver: "bridge", Subnet: "172.16.0.0/16", Gateway: "172.16.0.1", PortGroup: "VCH Bridge",
		Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Builtin: true,
	}}, f.nets...)
}

// CreateNetwork implements engine.Networks.
func (f *Fake) CreateNetwork(ctx context.Context, n spec.Network) (spec.Network, error) {
	if err := ctx.Err(); err != nil {
		return n, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if n.Subnet == "" {
		n.Subnet = fmt.Sprintf("172.%d.0.0/16", 17+len(f.nets))
	}
	p, err := netip.ParsePrefix(n.Subnet)
	if err != nil {
		return n, fmt.Errorf("subnet %s: %w", n.Subnet, errdefs.ErrInvalidArgument)
	}
	if n.Gateway == "" {
		n.Gateway = p.Masked().Addr().Next().String()
	}
	if n.IPv6 {
		if n.Subnet6 == "" {
			n.Subnet6 = fmt.Sprintf("fd00:0:0:%d::/64", 1+len(f.nets))
		}
		p6, err := netip.ParsePrefix(n.Subnet6)
		if err != nil {
			return n, fmt.Errorf("subnet %s: %w", n.Subnet6, errdefs.ErrInvalidArgument)
		}
		n.Gateway6 = cmp.Or(n.Gateway6, p6.Addr().Next().String())
	}
	for _, o := range f.networks() {
		if o.Name == n.Name {
			return n, fmt.Errorf("network with name %s already exists: %w", n.Name, errdefs.ErrAlreadyExists)
		}
		if netip.MustParsePrefix(o.Subnet).Overlaps(p) {
			return n, fmt.Errorf("Pool overlaps with other one on this address space: %w", errdefs.ErrPermissionDenied)
		}
	}
	n.PortGroup = "VCH Bridge"
	f.nets = append(f.nets, n)
	return n, nil
}

// RemoveNetwork implements engine.Networks.
func (f *Fake) RemoveNetwork(_ context.Context, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.containers {
		if slices.ContainsFunc(c.view.Container.Endpoints, func(e spec.Endpoint) bool { return e.NetworkID == id }) {
			return fmt.Errorf("network %s has active endpoints: %w", id, errdefs.ErrPermissionDenied)
		}
	}
	n := len(f.nets)
	f.nets = slices.DeleteFunc(slices.Clone(f.nets), func(o spec.Network) bool { return o.ID == id })
	if len(f.nets) == n {
		return fmt.Errorf("network %s: %w", id, errdefs.ErrNotFound)
	}
	return nil
}

// Connect implements engine.Networks.
func (f *Fake) Connect(_ context.Context, id string, e spec.Endpoint) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, err := f.get(id)
	if err != nil {
		return err
	}
	if err := f.lease(&e, id, 1+len(f.containers)); err != nil {
		return err
	}
	if eps := c.view.Container.Endpoints; len(eps) > 0 && e.Trust == "" {
		e.MAC = eps[0].MAC
	}
	c.view.Container.Endpoints = arrange(append(slices.Clone(c.view.Container.Endpoints), e))
	return nil
}

// Disconnect implements engine.Networks.
func (f *Fake) Disconnect(_ context.Context, id, network string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, err := f.get(id)
	if err != nil {
		return err
	}
	eps := slices.DeleteFunc(slices.Clone(c.view.Container.Endpoints), func(e spec.Endpoint) bool { return e.NetworkID == network })
	if len(eps) == len(c.view.Container.Endpoints) {
		return fmt.Errorf("container %s on network %s: %w", id, network, errdefs.ErrNotFound)
	}
	for _, e := range c.view.Container.Endpoints {
		if e.NetworkID == network && len(eps) > 0 && e.Trust == "" && eps[0].Trust == "" {
			eps[0].Ports = append(slices.Clone(eps[0].Ports), e.Ports...)
		}
	}
	c.view.Container.Endpoints = arrange(eps)
	return nil
}

// arrange puts endpoints with a way out first, and all published ports on the first
// that is on the bridge.
func arrange(eps []spec.Endpoint) []spec.Endpoint {
	var ports []string
	for i := range eps {
		if eps[i].Trust == "" {
			ports = append(ports, eps[i].Ports...)
			eps[i].Ports = nil
		}
	}
	slices.SortStableFunc(eps, func(a, b spec.Endpoint) int { return cmp.Compare(btoi(a.Gateway == ""), btoi(b.Gateway == "")) })
	if i := slices.IndexFunc(eps, func(e spec.Endpoint) bool { return e.Trust == "" }); i >= 0 {
		eps[i].Ports = ports
	}
	return eps
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// lease fills in an endpoint: the address wanted or the nth of the network, and
// host ports. Called with mu held.
func (f *Fake) lease(e *spec.Endpoint, owner string, nth int) error {
	all := f.networks()
	i := slices.IndexFunc(all, func(n spec.Network) bool { return n.ID == e.NetworkID })
	if i < 0 {
		return fmt.Errorf("network %s: %w", e.Network, errdefs.ErrNotFound)
	}
	n := all[i]
	var err error
	if e.IP, err = f.address(n, n.Subnet, e.IP, owner, nth); err != nil {
		return err
	}
	if n.IPv6 {
		if e.IP6, err = f.address(n, n.Subnet6, e.IP6, owner, nth); err != nil {
			return err
		}
	}
	e.PortGroup = n.PortGroup
	if !n.Internal {
		e.Gateway, e.Gateway6 = n.Gateway, n.Gateway6
	}
	e.MAC = cmp.Or(e.MAC, fmt.Sprintf("00:50:56:00:00:%02x", nth))
	if e.Trust != "" {
		return nil // its ports are its own
	}
	ports := slices.Clone(e.Ports)
	for i, text := range ports {
		p, err := engine.ParsePublishedPort(text)
		if err != nil {
			return err
		}
		if p.HostPort == 0 {
			p.HostPort = firstPort + f.nextPort
			f.nextPort++
		}
		ports[i] = p.String()
	}
	e.Ports = ports
	return nil
}

// address is the one wanted, or the nth of a subnet. Called with mu held.
func (f *Fake) address(n spec.Network, of, addr, owner string, nth int) (string, error) {
	subnet := netip.MustParsePrefix(of)
	if addr == "" {
		a := subnet.Masked().Addr()
		for range nth {
			a = a.Next()
		}
		for f.holder(n.ID, a.String()) != "" {
			a = a.Next()
		}
		addr = a.String()
	}
	if id := f.holder(n.ID, addr); id != "" && id != owner {
		return "", fmt.Errorf("address %s on network %s is already in use by container %s: %w", addr, n.Name, id, errdefs.ErrConflict)
	}
	return fmt.Sprintf("%s/%d", addr, subnet.Bits()), nil
}

// holder is the container that has an address. Called with mu held.
func (f *Fake) holder(network, addr string) string {
	for id, c := range f.containers {
		for _, o := range c.view.Container.Endpoints {
			if o.NetworkID == network && (strings.HasPrefix(o.IP, addr+"/") || strings.HasPrefix(o.IP6, addr+"/")) {
				return id
			}
		}
	}
	return ""
}
