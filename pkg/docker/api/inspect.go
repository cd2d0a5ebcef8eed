package api

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vic-engine/vic/pkg/docker/engine"
	"github.com/vic-engine/vic/pkg/spec"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/storage"
	"github.com/docker/go-connections/nat"
)

// storageDriver is the driver that info, inspect and images show.
const storageDriver = "vmdk"

// defaultShm is Docker's size of /dev/shm, in bytes.
const defaultShm = 64 << 20

func inspectResponse(i engine.Info) (*container.InspectResponse, error) {
	c := i.Container
	cfg := &container.Config{}
	if err := convert(i.Config, cfg); err != nil {
		return nil, err
	}
	if cfg.Labels == nil {
		cfg.Labels = map[string]string{}
	}
	host, err := hostConfig(i)
	if err != nil {
		return nil, err
	}
	st := i.State
	base := &container.ContainerJSONBase{
		ID: c.ID, Created: c.Created.UTC().Format(time.RFC3339Nano), Path: c.Process.Path, Args: append([]string{}, c.Process.Args...),
		State: &container.State{
			Status: container.ContainerState(st.Status), Running: st.Running, Paused: st.Paused, Restarting: st.Restarting, OOMKilled: st.OOMKilled, Dead: st.Dead,
			Pid: st.Pid, ExitCode: st.ExitCode, Error: st.Error,
			StartedAt: st.StartedAt.UTC().Format(time.RFC3339Nano), FinishedAt: st.FinishedAt.UTC().Format(time.RFC3339Nano),
			Health: health(st.Health),
		},
		Image: c.ImageID, Name: "/" + c.Name, RestartCount: i.RestartCount, Driver: storageDriver, Platform: "linux",
		ExecIDs: i.ExecIDs, HostConfig: host,
		GraphDriver: storage.DriverData{Name: storageDriver, Data: map[string]string{"ImageDisk": c.Root.ImageDisk, "VM": i.Status.VM, "VMName": i.Status.VMName}},
	}
	out := &container.InspectResponse{ContainerJSONBase: base, Mounts: mounts(i), Config: cfg, NetworkSettings: networkSettings(i)}
	return out, nil
}

// hostConfig is the request's, with the defaults that Docker shows.
func hostConfig(i engine.Info) (*container.HostConfig, error) {
	h := &container.HostConfig{}
	if err := json.Unmarshal(i.HostConfig, h); err != nil {
		return nil, fmt.Errorf("host configuration of %s: %w", i.Container.ID, err)
	}
	set := func(p *string, def string) {
		if *p == "" {
			*p = def
		}
	}
	set((*string)(&h.NetworkMode), defaultMode(i.Container))
	set((*string)(&h.RestartPolicy.Name), "no")
	set(&h.LogConfig.Type, "json-file")
	set((*string)(&h.IpcMode), "private")
	set((*string)(&h.CgroupnsMode), "private")
	set(&h.Runtime, engine.Runtime)
	if h.LogConfig.Config == nil {
		h.LogConfig.Config = map[string]string{}
	}
	if !h.Privileged && h.MaskedPaths == nil {
		h.MaskedPaths = engine.DefaultMaskedPaths()
	}
	if !h.Privileged && h.ReadonlyPaths == nil {
		h.ReadonlyPaths = engine.DefaultReadonlyPaths()
	}
	if h.ShmSize == 0 {
		h.ShmSize = defaultShm
	}
	return h, nil
}

func defaultMode(c spec.Container) string {
	if len(c.Endpoints) == 0 {
		return "none"
	}
	return c.Endpoints[0].Network
}

func networkSettings(i engine.Info) *container.NetworkSettings {
	n := &container.NetworkSettings{Networks: networks(i)}
	n.Ports = nat.PortMap{}
	if i.State.Running && !i.State.Restarting {
		n.SandboxID = engine.DerivedID("sandbox", i.Container.ID)
		n.Ports = portMap(i)
	}
	// The fields from before there were networks are about the default one.
	for _, ep := range i.Container.Endpoints {
		if ep.Network == "bridge" {
			e := n.Networks[ep.Network]
			n.EndpointID, n.Gateway, n.IPAddress, n.IPPrefixLen, n.MacAddress = e.EndpointID, e.Gateway, e.IPAddress, e.IPPrefixLen, e.MacAddress
			n.IPv6Gateway, n.GlobalIPv6Address, n.GlobalIPv6PrefixLen = e.IPv6Gateway, e.GlobalIPv6Address, e.GlobalIPv6PrefixLen
		}
	}
	return n
}

// networks shows the endpoints; addresses only while the container runs, as
// Docker does.
func networks(i engine.Info) map[string]*network.EndpointSettings {
	out := map[string]*network.EndpointSettings{}
	if len(i.Container.Endpoints) == 0 && (i.Host.NetworkMode == "none" || i.Config.NetworkDisabled) {
		out["none"] = &network.EndpointSettings{NetworkID: engine.DerivedID("network", "none")}
		return out
	}
	for n, ep := range i.Container.Endpoints {
		s := &network.EndpointSettings{NetworkID: ep.NetworkID, Aliases: ep.Aliases, Links: ep.Links}
		addr := i.Status.Addresses[ep.Network]
		if addr == "" {
			addr = ep.IP
		}
		p, err := netip.ParsePrefix(addr)
		if ep.Static && err == nil {
			s.IPAMConfig = &network.EndpointIPAMConfig{IPv4Address: p.Addr().String()}
		}
		p6, err6 := netip.ParsePrefix(ep.IP6)
		if ep.Static6 && err6 == nil {
			if s.IPAMConfig == nil {
				s.IPAMConfig = &network.EndpointIPAMConfig{}
			}
			s.IPAMConfig.IPv6Address = p6.Addr().String()
		}
		if ep.Network != "bridge" && ep.Trust == "" {
			s.DNSNames = dnsNames(i.Container, n)
		}
		if i.State.Running && !i.State.Restarting {
			s.EndpointID = engine.DerivedID("endpoint", i.Container.ID+ep.Network)
			s.Gateway, s.MacAddress = ep.Gateway, ep.MAC
			if err == nil {
				s.IPAddress, s.IPPrefixLen = p.Addr().String(), p.Bits()
			}
			if err6 == nil {
				s.GlobalIPv6Address, s.GlobalIPv6PrefixLen, s.IPv6Gateway = p6.Addr().String(), p6.Bits(), ep.Gateway6
			}
		}
		out[ep.Network] = s
	}
	return out
}

// dnsNames are the names of a container on a user-defined network, in Docker's
// order.
func dnsNames(c spec.Container, endpoint int) []string {
	out := []string{c.Name}
	names := append(slices.Clone(c.Endpoints[endpoint].Aliases), c.ID[:min(12, len(c.ID))], c.Hostname)
	for _, n := range names {
		if n != "" && !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}

// portMap shows every exposed and published port of a running container.
func portMap(i engine.Info) nat.PortMap {
	out := nat.PortMap{}
	for p := range i.Config.ExposedPorts {
		if !strings.Contains(p, "/") {
			p += "/tcp"
		}
		out[nat.Port(p)] = nil
	}
	six := slices.ContainsFunc(i.Container.Endpoints, func(e spec.Endpoint) bool { return e.Gateway6 != "" })
	for _, p := range i.AllPorts() {
		key := nat.Port(fmt.Sprintf("%d/%s", p.Port, p.Proto))
		out[key] = append(out[key], nat.PortBinding{HostIP: cmp.Or(p.HostIP, "0.0.0.0"), HostPort: strconv.Itoa(p.HostPort)})
		if p.HostIP == "" && six {
			out[key] = append(out[key], nat.PortBinding{HostIP: "::", HostPort: strconv.Itoa(p.HostPort)})
		}
	}
	return out
}

func summary(i engine.Info) *container.Summary {
	c := i.Container
	labels := c.Labels
	if labels == nil {
		labels = map[string]string{}
	}
	s := &container.Summary{
		ID: c.ID, Names: []string{"/" + c.Name}, Image: i.ImageName, ImageID: c.ImageID, Command: i.Command, Created: c.Created.Unix(),
		Ports: ports(i), Labels: labels, State: container.ContainerState(i.State.Status), Status: i.StatusText,
		NetworkSettings: &container.NetworkSettingsSummary{Networks: networks(i)}, Mounts: mounts(i),
	}
	s.HostConfig.NetworkMode = i.Host.NetworkMode
	if s.HostConfig.NetworkMode == "" {
		s.HostConfig.NetworkMode = defaultMode(c)
	}
	s.HostConfig.Annotations = i.Host.Annotations
	return s
}

// ports shows the exposed and published ports of a running container.
func ports(i engine.Info) []container.Port {
	out := []container.Port{}
	if !i.State.Running || i.State.Restarting {
		return out
	}
	for p, bindings := range portMap(i) {
		private, err := strconv.ParseUint(p.Port(), 10, 16)
		if err != nil {
			continue // a range, which Docker does not show either
		}
		c := container.Port{PrivatePort: uint16(private), Type: p.Proto()}
		for _, b := range bindings {
			// It was a number before.
			if public, err := strconv.ParseUint(b.HostPort, 10, 16); err == nil {
				out = append(out, container.Port{IP: b.HostIP, PrivatePort: c.PrivatePort, PublicPort: uint16(public), Type: c.Type})
			}
		}
		if len(bindings) == 0 {
			out = append(out, c)
		}
	}
	sortPorts(out)
	return out
}

func sortPorts(p []container.Port) {
	slices.SortFunc(p, func(a, b container.Port) int {
		return cmp.Or(cmp.Compare(a.PrivatePort, b.PrivatePort), cmp.Compare(a.Type, b.Type), cmp.Compare(a.PublicPort, b.PublicPort), cmp.Compare(a.IP, b.IP))
	})
}
