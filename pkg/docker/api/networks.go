package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vic-engine/vic/pkg/docker/engine"
	"github.com/vic-engine/vic/pkg/spec"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/server/httputils"
	"github.com/docker/docker/api/types/network"
)

// networkRoutes: the networks that there are can be listed and inspected; none
// can be made in this version.
func (s *server) networkRoutes() []route {
	return []route{
		{http.MethodGet, "/networks", s.getNetworks},
		{http.MethodGet, "/networks/", s.getNetworks},
		{http.MethodGet, "/networks/{id:.+}", s.getNetwork},
		{http.MethodPost, "/networks/create", notSupported("user-defined networks (network create)")},
		{http.MethodPost, "/networks/{id:.*}/connect", notSupported("connecting a container to another network (network connect)")},
		{http.MethodPost, "/networks/{id:.*}/disconnect", notSupported("disconnecting a container from a network (network disconnect)")},
		{http.MethodPost, "/networks/prune", s.postNetworksPrune},
		{http.MethodDelete, "/networks/{id:.*}", s.deleteNetwork},
	}
}

// noNetwork is Docker's network for containers without a NIC.
const noNetwork = "none"

func (s *server) allNetworks() []network.Inspect {
	var out []network.Inspect
	for _, n := range s.e.Networks() {
		i := network.Inspect{
			Name: n.Name, ID: n.ID, Created: n.Created, Scope: "local", Driver: n.Driver, EnableIPv4: true, Internal: n.Internal,
			IPAM:   network.IPAM{Driver: "default", Options: map[string]string{}, Config: []network.IPAMConfig{}},
			Labels: mapOrEmpty(n.Labels), Options: map[string]string{}, Containers: map[string]network.EndpointResource{},
		}
		if n.Subnet != "" {
			i.IPAM.Config = append(i.IPAM.Config, network.IPAMConfig{Subnet: n.Subnet, Gateway: n.Gateway})
		}
		if n.PortGroup != "" {
			i.Options["vsphere.portgroup"] = n.PortGroup
		}
		out = append(out, i)
	}
	return append(out, network.Inspect{
		Name: noNetwork, ID: derivedID("network", noNetwork), Created: time.Unix(0, 0).UTC(), Scope: "local", Driver: "null",
		IPAM:   network.IPAM{Driver: "default", Options: map[string]string{}, Config: []network.IPAMConfig{}},
		Labels: map[string]string{}, Options: map[string]string{}, Containers: map[string]network.EndpointResource{},
	})
}

func mapOrEmpty(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

func (s *server) getNetworks(_ context.Context, w http.ResponseWriter, r *http.Request, _ map[string]string) error {
	if err := parseForm(r); err != nil {
		return err
	}
	f, err := formFilters(r)
	if err != nil {
		return err
	}
	keep, err := networkFilter(f)
	if err != nil {
		return err
	}
	out := []network.Inspect{}
	for _, n := range s.allNetworks() {
		if keep(n, s.usedBy(n.Name)) {
			out = append(out, n)
		}
	}
	return httputils.WriteJSON(w, http.StatusOK, out)
}

func networkFilter(f engine.Filters) (func(network.Inspect, int) bool, error) {
	known := []string{"dangling", "driver", "id", "label", "name", "scope", "type"}
	for k := range f {
		if !slices.Contains(known, k) {
			return nil, badRequest("invalid filter '%s'", k)
		}
	}
	for _, v := range f["type"] {
		if v != "custom" && v != "builtin" {
			return nil, badRequest("invalid filter: 'type'='%s'", v)
		}
	}
	var dangling *bool
	for _, v := range f["dangling"] {
		b, err := strconv.ParseBool(v)
		if err != nil {
			return nil, badRequest("invalid filter 'dangling=%s'", v)
		}
		dangling = &b
	}
	part := func(key, s string) bool {
		return len(f[key]) == 0 || slices.ContainsFunc(f[key], func(v string) bool { return strings.Contains(s, v) })
	}
	whole := func(key, s string) bool { return len(f[key]) == 0 || slices.Contains(f[key], s) }
	return func(n network.Inspect, used int) bool {
		for _, l := range f["label"] {
			k, v, hasValue := strings.Cut(l, "=")
			if got, ok := n.Labels[k]; !ok || (hasValue && got != v) {
				return false
			}
		}
		// All networks are the VCH's own, so none is dangling or custom.
		return part("name", n.Name) && part("id", n.ID) && whole("driver", n.Driver) && whole("scope", n.Scope) && whole("type", "builtin") &&
			(dangling == nil || !*dangling)
	}, nil
}

func (s *server) usedBy(name string) int { return len(s.endpointsOn(name)) }

// endpointsOn gives the running containers of a network, as inspect shows them.
func (s *server) endpointsOn(name string) map[string]network.EndpointResource {
	out := map[string]network.EndpointResource{}
	list, err := s.e.List(engine.ListOptions{Filters: engine.Filters{"network": {name}}})
	if err != nil {
		return out // the filter is our own
	}
	for _, i := range list {
		ep := networks(*i)[name]
		if ep == nil {
			continue
		}
		r := network.EndpointResource{Name: i.Container.Name, EndpointID: ep.EndpointID, MacAddress: ep.MacAddress}
		if ep.IPAddress != "" {
			r.IPv4Address = fmt.Sprintf("%s/%d", ep.IPAddress, ep.IPPrefixLen)
		}
		out[i.Container.ID] = r
	}
	return out
}

func (s *server) findNetwork(ref string) (network.Inspect, error) {
	all := s.allNetworks()
	for _, match := range []func(n network.Inspect) bool{
		func(n network.Inspect) bool { return n.ID == ref },
		func(n network.Inspect) bool { return n.Name == ref },
		func(n network.Inspect) bool { return ref != "" && strings.HasPrefix(n.ID, ref) },
	} {
		var found []network.Inspect
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
			return network.Inspect{}, badRequest("network %s is ambiguous (%d matches found based on ID prefix)", ref, len(found))
		}
	}
	return network.Inspect{}, fmt.Errorf("network %s not found%w", ref, hidden{errdefs.ErrNotFound})
}

func (s *server) getNetwork(_ context.Context, w http.ResponseWriter, r *http.Request, vars map[string]string) error {
	if err := parseForm(r); err != nil {
		return err
	}
	n, err := s.findNetwork(vars["id"])
	if err != nil {
		return err
	}
	if scope := r.Form.Get("scope"); scope != "" && scope != n.Scope {
		return fmt.Errorf("network %s not found%w", vars["id"], hidden{errdefs.ErrNotFound})
	}
	n.Containers = s.endpointsOn(n.Name)
	return httputils.WriteJSON(w, http.StatusOK, n)
}

// postNetworksPrune removes nothing: the VCH's own networks are never unused.
func (s *server) postNetworksPrune(_ context.Context, w http.ResponseWriter, _ *http.Request, _ map[string]string) error {
	return httputils.WriteJSON(w, http.StatusOK, &network.PruneReport{NetworksDeleted: []string{}})
}

func (s *server) deleteNetwork(_ context.Context, _ http.ResponseWriter, _ *http.Request, vars map[string]string) error {
	n, err := s.findNetwork(vars["id"])
	if err != nil {
		return err
	}
	return fmt.Errorf("%s is a pre-defined network and cannot be removed%w", n.Name, hidden{errdefs.ErrPermissionDenied})
}

func drivers(list []spec.Network) []string {
	out := []string{"null"}
	for _, n := range list {
		if !slices.Contains(out, n.Driver) {
			out = append(out, n.Driver)
		}
	}
	slices.Sort(out)
	return out
}
