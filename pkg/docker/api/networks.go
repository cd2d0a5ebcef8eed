package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/vic-engine/vic/pkg/docker/engine"
	"github.com/vic-engine/vic/pkg/spec"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/server/httputils"
	"github.com/docker/docker/api/types/network"
)

func (s *server) networkRoutes() []route {
	return []route{
		{http.MethodGet, "/networks", s.getNetworks},
		{http.MethodGet, "/networks/", s.getNetworks},
		{http.MethodGet, "/networks/{id:.+}", s.getNetwork},
		{http.MethodPost, "/networks/create", s.postNetworkCreate},
		{http.MethodPost, "/networks/{id:.*}/connect", s.postNetworkConnect},
		{http.MethodPost, "/networks/{id:.*}/disconnect", s.postNetworkDisconnect},
		{http.MethodPost, "/networks/prune", s.postNetworksPrune},
		{http.MethodDelete, "/networks/{id:.*}", s.deleteNetwork},
	}
}

// networkInspect is a network in Docker's words; its containers only if asked.
func networkInspect(n engine.NetworkInfo, containers bool) network.Inspect {
	i := network.Inspect{
		Name: n.Name, ID: n.ID, Created: n.Created, Scope: "local", Driver: n.Driver, EnableIPv4: n.Subnet != "" || n.Trust != "", EnableIPv6: n.IPv6, Internal: n.Internal, Attachable: n.Attachable,
		IPAM:   network.IPAM{Driver: "default", Options: map[string]string{}, Config: []network.IPAMConfig{}},
		Labels: mapOrEmpty(n.Labels), Options: map[string]string{}, Containers: map[string]network.EndpointResource{},
	}
	if n.Subnet != "" {
		i.IPAM.Config = append(i.IPAM.Config, network.IPAMConfig{Subnet: n.Subnet, IPRange: n.IPRange, Gateway: n.Gateway, AuxAddress: n.Reserved})
	}
	if n.IPv6 {
		i.IPAM.Config = append(i.IPAM.Config, network.IPAMConfig{Subnet: n.Subnet6, IPRange: n.IPRange6, Gateway: n.Gateway6, AuxAddress: n.Reserved6})
	}
	for k, v := range n.Options {
		i.Options[k] = v
	}
	if n.PortGroup != "" {
		i.Options["vsphere.portgroup"] = n.PortGroup
	}
	if n.Trust != "" {
		i.Options["vsphere.firewall"] = string(n.Trust)
		if len(n.Ranges) > 0 {
			i.Options["vsphere.ip-range"] = strings.Join(n.Ranges, " ")
		}
		if n.Subnet == "" {
			i.IPAM.Driver = "dhcp"
		}
	}
	if !containers {
		return i
	}
	for _, r := range n.Rules {
		key, value := policyOption(r)
		i.Options[key] = value
	}
	// As in Docker, those that run.
	for _, m := range n.Members {
		ep := networks(*m)[n.Name]
		if ep == nil || !m.State.Running {
			continue
		}
		r := network.EndpointResource{Name: m.Container.Name, EndpointID: ep.EndpointID, MacAddress: ep.MacAddress}
		if ep.IPAddress != "" {
			r.IPv4Address = fmt.Sprintf("%s/%d", ep.IPAddress, ep.IPPrefixLen)
		}
		if ep.GlobalIPv6Address != "" {
			r.IPv6Address = fmt.Sprintf("%s/%d", ep.GlobalIPv6Address, ep.GlobalIPv6PrefixLen)
		}
		i.Containers[m.Container.ID] = r
	}
	return i
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
	list, err := s.e.NetworkList(f)
	if err != nil {
		return err
	}
	out := []network.Inspect{}
	for _, n := range list {
		out = append(out, networkInspect(n, false))
	}
	return httputils.WriteJSON(w, http.StatusOK, out)
}

// getNetwork takes verbose, which tells more of Swarm's networks only.
func (s *server) getNetwork(_ context.Context, w http.ResponseWriter, r *http.Request, vars map[string]string) error {
	if err := parseForm(r); err != nil {
		return err
	}
	if v := r.Form.Get("verbose"); v != "" {
		if _, err := strconv.ParseBool(v); err != nil {
			return badRequest("invalid value for verbose: %s", v)
		}
	}
	if scope := r.Form.Get("scope"); scope != "" && scope != "local" {
		return fmt.Errorf("network %s not found%w", vars["id"], hidden{errdefs.ErrNotFound})
	}
	n, err := s.e.NetworkInspect(vars["id"])
	if err != nil {
		return err
	}
	return httputils.WriteJSON(w, http.StatusOK, networkInspect(n, true))
}

func (s *server) postNetworkCreate(ctx context.Context, w http.ResponseWriter, r *http.Request, _ map[string]string) error {
	if err := httputils.CheckForJSON(r); err != nil {
		return err
	}
	var q network.CreateRequest
	if err := decodeJSON(r.Body, &q); err != nil {
		return err
	}
	// CheckDuplicate needs nothing: two networks never have the same name here.
	n, err := networkOf(&q)
	if err != nil {
		return err
	}
	made, err := s.e.NetworkCreate(ctx, n)
	if err != nil {
		return err
	}
	return httputils.WriteJSON(w, http.StatusCreated, &network.CreateResponse{ID: made.ID})
}

// networkOf turns a create request into a network, or says what this version
// does not have.
func networkOf(q *network.CreateRequest) (spec.Network, error) {
	n := spec.Network{Name: q.Name, Driver: q.Driver, Internal: q.Internal, Attachable: q.Attachable, Labels: q.Labels, Options: q.Options}
	four, err := enabled(q.EnableIPv4, q.Options, "com.docker.network.enable_ipv4", true)
	if err != nil {
		return n, err
	}
	if n.IPv6, err = enabled(q.EnableIPv6, q.Options, "com.docker.network.enable_ipv6", false); err != nil {
		return n, err
	}
	switch {
	case !four:
		return n, missing("networks without IPv4 (--ipv4=false)")
	case q.Scope == "swarm":
		return n, missing("Swarm networks (--scope swarm): a VCH is no Swarm")
	case q.Scope != "" && q.Scope != "local":
		return n, badRequest("invalid scope %q: want local", q.Scope)
	case q.Ingress:
		return n, missing("Swarm's ingress network (--ingress): a VCH is no Swarm")
	case q.ConfigOnly:
		return n, missing("networks that hold a configuration only (--config-only)")
	case q.ConfigFrom != nil && q.ConfigFrom.Network != "":
		return n, missing("taking a network's configuration from another one (--config-from)")
	case q.IPAM == nil:
		return n, nil
	case q.IPAM.Driver != "" && q.IPAM.Driver != "default":
		return n, missing(fmt.Sprintf("IPAM driver %q (--ipam-driver): the VCH gives the addresses itself", q.IPAM.Driver))
	case len(q.IPAM.Options) > 0:
		return n, missing("IPAM driver options (--ipam-opt)")
	}
	if err := network.ValidateIPAM(q.IPAM, true); err != nil {
		return n, badRequest("%v", err)
	}
	for _, c := range q.IPAM.Config {
		// ValidateIPAM has parsed it.
		six := strings.Contains(c.Subnet, ":")
		switch {
		case six && !n.IPv6:
			return n, badRequest("an IPv6 subnet (--subnet %s) of a network without IPv6: add --ipv6", c.Subnet)
		case six && n.Subnet6 != "" || !six && n.Subnet != "":
			return n, missing("a second subnet of one kind of a network (--subnet " + c.Subnet + ")")
		case six:
			n.Subnet6, n.IPRange6, n.Gateway6, n.Reserved6 = c.Subnet, c.IPRange, c.Gateway, c.AuxAddress
		default:
			n.Subnet, n.IPRange, n.Gateway, n.Reserved = c.Subnet, c.IPRange, c.Gateway, c.AuxAddress
		}
	}
	return n, nil
}

// enabled is what a request asks for with a field or, without that, with a driver
// option.
func enabled(field *bool, options map[string]string, option string, usual bool) (bool, error) {
	v, ok := options[option]
	switch {
	case field != nil:
		return *field, nil
	case !ok:
		return usual, nil
	}
	on, err := strconv.ParseBool(v)
	if err != nil {
		return false, badRequest("driver-opt %q is not a valid bool", option)
	}
	return on, nil
}

func (s *server) postNetworkConnect(ctx context.Context, w http.ResponseWriter, r *http.Request, vars map[string]string) error {
	if err := httputils.CheckForJSON(r); err != nil {
		return err
	}
	var q network.ConnectOptions
	if err := decodeJSON(r.Body, &q); err != nil {
		return err
	}
	var want engine.EndpointRequest
	if q.EndpointConfig != nil {
		if err := convert(q.EndpointConfig, &want); err != nil {
			return badRequest("%v", err)
		}
	}
	if err := s.e.NetworkConnect(ctx, vars["id"], q.Container, want); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

func (s *server) postNetworkDisconnect(ctx context.Context, w http.ResponseWriter, r *http.Request, vars map[string]string) error {
	if err := httputils.CheckForJSON(r); err != nil {
		return err
	}
	var q network.DisconnectOptions
	if err := decodeJSON(r.Body, &q); err != nil {
		return err
	}
	if err := s.e.NetworkDisconnect(ctx, vars["id"], q.Container, q.Force); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

func (s *server) postNetworksPrune(ctx context.Context, w http.ResponseWriter, r *http.Request, _ map[string]string) error {
	if err := parseForm(r); err != nil {
		return err
	}
	f, err := formFilters(r)
	if err != nil {
		return err
	}
	gone, err := s.e.NetworkPrune(ctx, f)
	if err != nil {
		return err
	}
	return httputils.WriteJSON(w, http.StatusOK, &network.PruneReport{NetworksDeleted: gone})
}

func (s *server) deleteNetwork(ctx context.Context, w http.ResponseWriter, _ *http.Request, vars map[string]string) error {
	if err := s.e.NetworkRemove(ctx, vars["id"]); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
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
