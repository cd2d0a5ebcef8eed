package install

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/pkg/vsphere"
)

// ReadOptions are those of the verbs that change nothing.
type ReadOptions struct {
	Target  Target
	Force   bool
	Timeout time.Duration
}

// Summary is a VCH as ls and inspect show it. No secret is in it.
type Summary struct {
	VM      string `json:"vm"` // managed object id
	Path    string `json:"path"`
	Name    string `json:"name"`
	UUID    string `json:"uuid,omitempty"`
	Version string `json:"version,omitempty"`
	// Status is Running, Stopped, Starting, or what is wrong.
	Status  string `json:"status"`
	Address string `json:"address,omitempty"`

	DockerHost string            `json:"dockerHost,omitempty"`
	AdminURL   string            `json:"adminURL,omitempty"`
	Pool       string            `json:"pool,omitempty"`
	Folder     string            `json:"folder,omitempty"`
	ImageStore string            `json:"imageStore,omitempty"`
	Networks   map[string]string `json:"networks,omitempty"` // port group by role
	// ContainerNetworks are those of containers besides the bridge.
	ContainerNetworks []ContainerNetworkInfo `json:"containerNetworks,omitempty"`
	// VolumeStores are datastore paths by label.
	VolumeStores map[string]string `json:"volumeStores,omitempty"`
	// DockerSocket says that containers may have the Docker API's socket.
	DockerSocket bool `json:"dockerSocket,omitempty"`
	// Builder is what was chosen for docker build; nil: nothing was.
	Builder    *BuilderInfo    `json:"builder,omitempty"`
	Containers []ContainerInfo `json:"containers,omitempty"`

	endpoint Endpoint
}

// BuilderInfo is what create was told of the VM that docker build runs in. What is
// not set is the engine's default.
type BuilderInfo struct {
	Image    string `json:"image,omitempty"`
	MemoryMB int64  `json:"memoryMB,omitempty"`
	CPUs     int    `json:"cpus,omitempty"`
}

func (b BuilderInfo) line() string {
	var words []string
	if b.Image != "" {
		words = append(words, "image "+b.Image)
	}
	if b.MemoryMB != 0 {
		words = append(words, fmt.Sprintf("%d MB", b.MemoryMB))
	}
	if b.CPUs != 0 {
		words = append(words, fmt.Sprintf("%d CPUs", b.CPUs))
	}
	return "Builder: " + strings.Join(words, ", ")
}

// ContainerNetworkInfo is spec.ContainerNetwork for programs.
type ContainerNetworkInfo struct {
	Name      string     `json:"name"`
	PortGroup string     `json:"portGroup"`
	Gateway   string     `json:"gateway,omitempty"`
	Ranges    []string   `json:"ipRanges,omitempty"`
	DNS       []string   `json:"dns,omitempty"`
	Trust     spec.Trust `json:"firewall"`
}

// ContainerInfo is one containerVM of a VCH.
type ContainerInfo struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	VM      string `json:"vm"`
	Running bool   `json:"running"`
}

// Ls lists the VCHs of a target.
func Ls(ctx context.Context, o ReadOptions, log *logrus.Entry) ([]Summary, error) {
	out := []Summary{}
	err := with(ctx, o, log, func(ctx context.Context, s *vsphere.Session) error {
		list, err := List(ctx, s)
		for _, a := range list {
			out = append(out, a.summary())
		}
		return err
	})
	return out, err
}

// Inspect shows one VCH with its containers.
func Inspect(ctx context.Context, o ReadOptions, name string, log *logrus.Entry) (Summary, error) {
	var out Summary
	err := with(ctx, o, log, func(ctx context.Context, s *vsphere.Session) error {
		a, err := Find(ctx, s, name)
		if err != nil {
			return err
		}
		out = a.summary()
		list, err := containers(ctx, s, a.VCH.UUID)
		for _, c := range list {
			out.Containers = append(out.Containers, ContainerInfo{ID: c.ID, Name: c.Name, VM: c.VM.Value, Running: c.Running})
		}
		return err
	})
	return out, err
}

func with(ctx context.Context, o ReadOptions, log *logrus.Entry, do func(context.Context, *vsphere.Session) error) error {
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	s, _, err := Connect(ctx, o.Target, o.Force, log)
	if err != nil {
		return err
	}
	defer logout(ctx, s, log)
	return do(ctx, s)
}

func (a Appliance) summary() Summary {
	s := Summary{
		VM: a.VM.Value, Path: a.Path, Name: a.Name, Status: a.status(), Address: a.State.Address,
		UUID: a.VCH.UUID, Version: a.VCH.Version, Pool: a.VCH.Pool, Folder: a.VCH.Folder, ImageStore: a.VCH.ImageStore, VolumeStores: a.VCH.VolumeStores,
		DockerSocket: a.VCH.DockerSocket,
		endpoint:     Endpoint{Off: a.VCH.ServerCert == "", vch: a.VCH.Name},
	}
	if b := (BuilderInfo{Image: a.VCH.BuilderImage, MemoryMB: a.VCH.BuilderMemoryMB, CPUs: a.VCH.BuilderCPUs}); b != (BuilderInfo{}) {
		s.Builder = &b
	}
	if a.VCH.ClientCAs != "" {
		s.endpoint.ClientCAs, s.endpoint.Dir = []byte(a.VCH.ClientCAs), "./"+a.VCH.Name
	}
	for role, n := range a.VCH.Networks {
		if s.Networks == nil {
			s.Networks = map[string]string{}
		}
		s.Networks[role] = n.PortGroup
	}
	for _, n := range a.VCH.ContainerNetworks {
		s.ContainerNetworks = append(s.ContainerNetworks, ContainerNetworkInfo(n))
	}
	if s.Address != "" {
		s.DockerHost, s.AdminURL = s.endpoint.host(s.Address), s.endpoint.adminURL(s.Address)
	}
	return s
}

func (a Appliance) status() string {
	switch {
	case a.Err != nil:
		return "Unreadable: " + Plain(a.Err)
	case a.State.Power != types.VirtualMachinePowerStatePoweredOn:
		return "Stopped"
	case a.State.Engine == engineRunning:
		return "Running"
	case a.State.Engine != "":
		return a.State.Engine
	}
	return "Starting"
}

// Lines are what inspect prints for people.
func (s Summary) Lines() []string {
	lines := []string{
		"VCH ID: " + s.VM,
		"Path: " + s.Path,
		"Version: " + s.Version,
		"Status: " + s.Status,
		"Resource pool: " + s.Pool,
		"Image store: " + s.ImageStore,
	}
	for _, line := range volumeStoreLines(spec.VCH{VolumeStores: s.VolumeStores}) {
		lines = append(lines, "Volume store "+line)
	}
	for _, role := range []string{roleExternal, roleBridge, roleClient, roleManagement} {
		if pg := s.Networks[role]; pg != "" {
			lines = append(lines, fmt.Sprintf("Network %s: %s", role, pg))
		}
	}
	for _, n := range s.ContainerNetworks {
		lines = append(lines, "Container network "+containerNetworkLine(spec.ContainerNetwork(n)))
	}
	if s.DockerSocket {
		lines = append(lines, "Docker socket: containers may bind /var/run/docker.sock")
	}
	if s.Builder != nil {
		lines = append(lines, s.Builder.line())
	}
	running := 0
	for _, c := range s.Containers {
		if c.Running {
			running++
		}
	}
	lines = append(lines, fmt.Sprintf("Containers: %d (%d running)", len(s.Containers), running))
	if s.Address == "" {
		return lines
	}
	lines = append(lines, "Log server:", "  "+s.AdminURL)
	lines = append(lines, s.endpoint.environment(s.Address)...)
	return append(lines, "Connect to docker:", "  "+s.endpoint.command(s.Address)+" info")
}
