package names

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/miekg/dns"
)

// table is all views, made ready to be asked. It is never changed.
type table struct {
	views  []*index
	listen map[netip.Addr]*index
	owners map[string][]*index // the views that a container is on
}

// index is one view.
type index struct {
	View
	names  map[string][]netip.Addr
	links  map[string]map[string][]netip.Addr // by who sees them
	askers map[netip.Addr]string              // owners
	ptr    map[netip.Addr]string
}

// newTable refuses views that cannot be told apart and those without a subnet,
// since they would answer anybody. The table that it gives has the others.
func newTable(views []View) (*table, error) {
	t := &table{listen: map[netip.Addr]*index{}, owners: map[string][]*index{}}
	var errs []error
	for _, v := range views {
		v.Listen = v.Listen.Unmap()
		if !v.Listen.IsValid() || !v.Subnet.IsValid() {
			errs = append(errs, fmt.Errorf("network %s: names without a gateway or subnet: %w", v.Network, errdefs.ErrInvalidArgument))
			continue
		}
		if other := t.listen[v.Listen]; other != nil {
			errs = append(errs, fmt.Errorf("networks %s and %s have one gateway %s: %w", other.Network, v.Network, v.Listen, errdefs.ErrInvalidArgument))
			continue
		}
		x := newIndex(v)
		t.views = append(t.views, x)
		t.listen[v.Listen] = x
		for _, r := range v.Records {
			if r.For == "" && r.Owner != "" && !slices.Contains(t.owners[r.Owner], x) {
				t.owners[r.Owner] = append(t.owners[r.Owner], x)
			}
		}
	}
	return t, errors.Join(errs...)
}

func newIndex(v View) *index {
	x := &index{
		View: v, names: map[string][]netip.Addr{}, links: map[string]map[string][]netip.Addr{},
		askers: map[netip.Addr]string{}, ptr: map[netip.Addr]string{},
	}
	for _, r := range v.Records {
		names := x.names
		if r.For != "" {
			if x.links[r.For] == nil {
				x.links[r.For] = map[string][]netip.Addr{}
			}
			names = x.links[r.For]
		}
		for _, n := range r.Names {
			n = canonical(n)
			for _, a := range r.Addrs {
				if a = a.Unmap(); n != "" && a.IsValid() && !slices.Contains(names[n], a) {
					names[n] = append(names[n], a)
				}
			}
		}
		if r.For != "" {
			continue
		}
		for _, a := range r.Addrs {
			a = a.Unmap()
			x.askers[a] = r.Owner
			if _, ok := dns.IsDomainName(r.PTR); ok && r.PTR != "" {
				x.ptr[a] = dns.Fqdn(r.PTR)
			}
		}
	}
	return x
}

// canonical is the form that names are compared in.
func canonical(name string) string {
	return strings.ToLower(strings.TrimSuffix(name, "."))
}

// asker is who asks: a container, or somebody of the network that is none.
type asker struct {
	owner string
	views []*index // the one that was asked first
}

// asker gives nil for somebody who may not ask at this gateway.
func (t *table) asker(listen, from netip.Addr) *asker {
	x := t.listen[listen]
	if x == nil || !x.Subnet.Contains(from) {
		return nil
	}
	a := &asker{owner: x.askers[from], views: []*index{x}}
	for _, v := range t.owners[a.owner] {
		if v != x {
			a.views = append(a.views, v)
		}
	}
	return a
}

// internal: none of the asker's networks has a way out.
func (a *asker) internal() bool {
	return !slices.ContainsFunc(a.views, func(x *index) bool { return !x.Internal })
}

// addresses finds a name on the asker's networks, links first.
func (a *asker) addresses(name string) ([]netip.Addr, bool) {
	for _, x := range a.views {
		for _, n := range x.forms(name) {
			if a.owner != "" {
				if addrs, ok := x.links[a.owner][n]; ok {
					return addrs, true
				}
			}
			if addrs, ok := x.names[n]; ok {
				return addrs, true
			}
		}
	}
	return nil, false
}

// forms are the names that a question may mean on a network.
func (x *index) forms(name string) []string {
	forms := []string{name}
	for _, suffix := range append([]string{x.Network}, x.Search...) {
		if n, ok := strings.CutSuffix(name, "."+canonical(suffix)); ok && suffix != "" {
			forms = append(forms, n)
		}
	}
	return forms
}

// host finds the name of an address. mine tells that it is an address of the
// asker's networks.
func (a *asker) host(addr netip.Addr) (name string, mine bool) {
	for _, x := range a.views {
		if n, ok := x.ptr[addr]; ok {
			return n, true
		}
		mine = mine || x.Subnet.Contains(addr)
	}
	return "", mine
}
