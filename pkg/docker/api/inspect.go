package api

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
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
	"github.com/docker/docker/api/types/mount"
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
			Status: container.ContainerState(st.Status), Running: st.Running, Restarting: st.Restarting, OOMKilled: st.OOMKilled, Dead: st.Dead,
			Pid: st.Pid, ExitCode: st.ExitCode, Error: st.Error,
			StartedAt: st.StartedAt.UTC().Format(time.RFC3339Nano), FinishedAt: st.FinishedAt.UTC().Format(time.RFC3339Nano),
		},
		Image: c.ImageID, Name: "/" + c.Name, RestartCount: i.RestartCount, Driver: storageDriver, Platform: "linux",
		ExecIDs: i.ExecIDs, HostConfig: host,
		GraphDriver: storage.DriverData{Name: storageDriver, Data: map[string]string{"ImageDisk": c.Root.ImageDisk, "VM": i.Status.VM, "VMName": i.Status.VMName}},
	}
	out := &container.InspectResponse{ContainerJSONBase: base, Mounts: mounts(c), Config: cfg, NetworkSettings: networkSettings(i)}
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

func mounts(c spec.Container) []container.MountPoint {
	out := []container.MountPoint{}
	for _, m := range c.Mounts {
		// Docker shows --tmpfs in HostConfig only; volumes are shown here.
		if m.Type == spec.MountTmpfs {
			continue
		}
		out = append(out, container.MountPoint{Type: mount.TypeVolume, Name: m.Name, Source: m.Source, Destination: m.Path, Driver: "vsphere", RW: !m.ReadOnly})
	}
	return out
}

func networkSettings(i engine.Info) *container.NetworkSettings {
	n := &container.NetworkSettings{Networks: networks(i)}
	n.Ports = nat.PortMap{}
	if i.State.Running {
		n.SandboxID = derivedID("sandbox", i.Container.ID)
		for p := range i.Config.ExposedPorts {
			n.Ports[nat.Port(p)] = nil
		}
	}
	if len(i.Container.Endpoints) > 0 {
		ep := n.Networks[i.Container.Endpoints[0].Network]
		n.EndpointID, n.Gateway, n.IPAddress, n.IPPrefixLen, n.MacAddress = ep.EndpointID, ep.Gateway, ep.IPAddress, ep.IPPrefixLen, ep.MacAddress
	}
	return n
}

// networks shows the endpoints; addresses only while the container runs, as
// Docker does.
func networks(i engine.Info) map[string]*network.EndpointSettings {
	out := map[string]*network.EndpointSettings{}
	if len(i.Container.Endpoints) == 0 {
		out["none"] = &network.EndpointSettings{}
		return out
	}
	for _, ep := range i.Container.Endpoints {
		s := &network.EndpointSettings{NetworkID: ep.NetworkID, Aliases: ep.Aliases}
		if i.State.Running && !i.State.Restarting {
			s.EndpointID = derivedID("endpoint", i.Container.ID+ep.Network)
			s.Gateway, s.MacAddress = ep.Gateway, ep.MAC
			addr := i.Status.Addresses[ep.Network]
			if addr == "" {
				addr = ep.IP
			}
			if p, err := netip.ParsePrefix(addr); err == nil {
				s.IPAddress, s.IPPrefixLen = p.Addr().String(), p.Bits()
			}
		}
		out[ep.Network] = s
	}
	return out
}

// derivedID makes an id that stays the same for what has none in vSphere.
func derivedID(kind, of string) string {
	h := sha256.Sum256([]byte(kind + " " + of))
	return hex.EncodeToString(h[:])
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
		NetworkSettings: &container.NetworkSettingsSummary{Networks: networks(i)}, Mounts: mounts(c),
	}
	s.HostConfig.NetworkMode = i.Host.NetworkMode
	if s.HostConfig.NetworkMode == "" {
		s.HostConfig.NetworkMode = defaultMode(c)
	}
	s.HostConfig.Annotations = i.Host.Annotations
	return s
}

// ports shows the exposed ports of a running container.
func ports(i engine.Info) []container.Port {
	out := []container.Port{}
	if !i.State.Running {
		return out
	}
	for p := range i.Config.ExposedPorts {
		number, proto, _ := strings.Cut(p, "/")
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil {
			continue // a range, which Docker does not show either
		}
		if proto == "" {
			proto = "tcp"
		}
		out = append(out, container.Port{PrivatePort: uint16(n), Type: proto})
	}
	sortPorts(out)
	return out
}

func sortPorts(p []container.Port) {
	slices.SortFunc(p, func(a, b container.Port) int {
		return cmp.Or(cmp.Compare(a.PrivatePort, b.PrivatePort), cmp.Compare(a.Type, b.Type))
	})
}
