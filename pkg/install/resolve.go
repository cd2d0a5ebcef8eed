package install

import (
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/spec"
)

// Roles of networks, keys of spec.VCH.Networks.
const (
	roleExternal   = "external"
	roleBridge     = "bridge"
	roleClient     = "client"
	roleManagement = "management"
)

// PCI slots of the appliance's NICs, by which the guest tells them apart.
const firstSlot, slotStep = 192, 32

// Config is a VCH to be made: every wish checked against the site. It is what
// the plan is made of.
type Config struct {
	VCH spec.VCH

	VCenter    bool
	Standalone bool // a host without cluster
	Datacenter Object
	VMFolder   Object // where the VM, or on vCenter its folder, goes
	Compute    Compute
	// Parent is the pool below which the VCH's own is made. OwnPool is false
	// where the cluster has no DRS and so cannot have pools.
	Parent  Object
	OwnPool bool
	Host    Object // set on a standalone host

	Datastore Datastore
	// ImageDir is the path on the datastore below which VIC/<uuid> lies.
	ImageDir string
	// MakeDir is the topmost folder of ImageDir that does not exist yet.
	MakeDir string

	NICs []NIC
	// MakeBridge has create make a switch and port group of the bridge's name;
	// MakeSwitch is false when the switch is there already.
	MakeBridge, MakeSwitch bool

	MemoryMB, CPUMHz, EndpointMB int64
	KeepOnTimeout                bool
	ApplianceISO, BootstrapISO   string
}

// NIC is one network card of the appliance with the roles that it plays.
type NIC struct {
	Roles   []string
	Network Network
	Slot    int
}

// Finding is a line that tells what was checked.
type Finding struct {
	Warn bool
	Text string
}

// Resolve turns options into a Config, or says everything that is wrong with
// them. Pure: id is the new VCH's UUID. The findings are what create logs.
func Resolve(o CreateOptions, s Site, f files, id, version string) (Config, []Finding, []Issue) {
	r := resolver{o: o, s: s}
	r.c = Config{
		VCenter: s.VCenter, Datacenter: s.Datacenter, VMFolder: s.VMFolder,
		MemoryMB: o.MemoryMB, CPUMHz: o.CPUMHz,
		EndpointMB:    orDefault(o.EndpointMB, DefaultEndpointMB),
		KeepOnTimeout: o.Debug >= KeepOnTimeout,
		ApplianceISO:  o.ApplianceISO, BootstrapISO: o.BootstrapISO,
		VCH: spec.VCH{
			Name: o.Name, UUID: id, Version: version,
			User: o.Target.User, Password: o.Target.Password, Thumbprint: o.Target.Thumbprint,
			Datacenter:  s.Datacenter.Path,
			BridgeRange: DefaultBridgeRange, BridgeWidth: DefaultBridgeWidth,
			RegistryMirrors: o.RegistryMirrors, InsecureRegistries: o.InsecureRegistries, RegistryCAs: f.registryCAs,
			BuilderImage: o.BuilderImage, BuilderMemoryMB: o.BuilderMB, BuilderCPUs: o.BuilderCPUs,
			Debug: o.Debug, DebugKey: f.debugKey, Policies: f.policies, TagLabels: o.TagLabels, DockerSocket: o.DockerSocket,
			BootTimeout:     durationText(o.ContainerBoot),
			DefaultMemoryMB: orDefault(o.ContainerMB, spec.DefaultMemoryMB), DefaultCPUs: spec.DefaultCPUs,
			RootSizeMB: orDefault(o.BaseImageMB, DefaultRootMB),
			Networks:   map[string]spec.VCHNetwork{},
		},
	}
	r.target()
	if r.datacenter() {
		r.compute()
		r.names()
		r.datastore()
		r.volumeStores()
		r.networks()
		r.containerNetworks()
		r.host()
		r.firewall()
		r.license()
		r.drs()
	}
	return r.c, r.findings, r.is.list
}

type resolver struct {
	o        CreateOptions
	s        Site
	c        Config
	found    bool // compute resource is known
	findings []Finding
	is       issues
}

func (r *resolver) say(text string) { r.findings = append(r.findings, Finding{Text: text}) }
func (r *resolver) warn(text string) {
	r.findings = append(r.findings, Finding{Warn: true, Text: text})
}

// target decides the address that the appliance gets for vSphere.
func (r *resolver) target() {
	if r.s.ManagedBy != "" {
		r.is.addf("--target", "%s is managed by the vCenter at %s: use that as the target", r.o.Target.Host, r.s.ManagedBy)
	}
	if len(r.o.TagLabels) > 0 && !r.s.VCenter {
		r.is.addf("--tag-labels", "%s is a single ESXi host, and tags are vCenter's: leave it out", r.o.Target.Host)
	}
	u := r.o.Target.URL()
	if r.o.Target.Loopback() {
		if r.s.SelfAddress == "" {
			r.is.addf("--target", "%s is a loopback address, and the target does not tell another one that the appliance could use", r.o.Target.Host)
			return
		}
		port := u.Port()
		u.Host = r.s.SelfAddress
		switch {
		case port != "":
			u.Host = net.JoinHostPort(r.s.SelfAddress, port)
		case strings.Contains(r.s.SelfAddress, ":"):
			u.Host = "[" + r.s.SelfAddress + "]"
		}
	}
	r.c.VCH.Target = (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

func (r *resolver) datacenter() bool {
	if r.s.Datacenter.Ref.Value != "" {
		return true
	}
	if want := r.o.Target.Datacenter; want != "" {
		r.is.choose(r.targets(), "--target", "names the datacenter %q, which does not exist", want)
	} else if len(r.s.Datacenters) == 0 {
		r.is.addf("--target", "%s has no datacenter", r.o.Target.Host)
	} else {
		r.is.choose(r.targets(), "--target", "must name one of several datacenters")
	}
	return false
}

func (r *resolver) targets() []string {
	var out []string
	for _, d := range r.s.Datacenters {
		out = append(out, r.o.Target.Host+"/"+d)
	}
	return out
}

func (r *resolver) compute() {
	c, parent, n := r.s.compute(r.o.ComputeResource)
	switch {
	case n == 0 && r.o.ComputeResource != "":
		r.is.choose(r.s.computePaths(), "--compute-resource", "%q does not exist", r.o.ComputeResource)
		return
	case n == 0:
		r.is.addf("--target", "%s has no host or cluster", r.o.Target.Host)
		return
	case n > 1:
		r.is.choose(r.s.computePaths(), "--compute-resource", "must name one of several hosts, clusters or pools")
		return
	}
	up := 0
	for _, h := range c.Hosts {
		if h.Up {
			up++
		}
	}
	if up == 0 {
		r.is.addf("--compute-resource", "%s has no host that is connected and out of maintenance mode", c.Path)
	}
	r.found = true
	r.c.Compute, r.c.Parent = c, parent
	r.c.Standalone = !c.Cluster
	r.c.OwnPool = !c.Cluster || c.DRS
	if r.c.Standalone && len(c.Hosts) == 1 {
		r.c.Host = c.Hosts[0].Object
		r.c.VCH.Host = r.c.Host.Path
	}
	r.c.VCH.Pool = parent.Path
	if r.c.OwnPool {
		r.c.VCH.Pool = parent.Path + "/" + r.o.Name
	}
	r.c.VCH.Folder = r.c.VMFolder.Path
	if r.c.VCenter {
		r.c.VCH.Folder += "/" + r.o.Name
	}
}

// host picks one where vSphere does not place VMs itself: in a cluster without
// DRS.
func (r *resolver) host() {
	if !r.found || r.c.Standalone || r.c.Compute.DRS {
		return
	}
	on := func(h Host, hosts []types.ManagedObjectReference) bool {
		for _, x := range hosts {
			if x == h.Ref {
				return true
			}
		}
		return false
	}
	for _, h := range r.c.Compute.Hosts {
		ok := h.Up && on(h, r.c.Datastore.Hosts)
		for _, n := range r.c.NICs {
			ok = ok && on(h, n.Network.Hosts)
		}
		for _, n := range r.c.VCH.ContainerNetworks {
			if x, found := r.s.network(n.PortGroup); found {
				ok = ok && on(h, x.Hosts)
			}
		}
		if ok {
			r.c.Host = h.Object
			return
		}
	}
	if len(r.is.list) == 0 {
		r.is.addf("--compute-resource", "%s has no DRS, and no host of it has the datastore and all networks", r.c.Compute.Path)
	}
}

// names refuses a VCH whose name is taken.
func (r *resolver) names() {
	if r.o.Name == "" {
		return
	}
	taken := func(what string) {
		r.is.list = append(r.is.list, Issue{Flag: "--name", Class: errAlreadyExists,
			Text: quoteUsed(r.o.Name) + " by " + what + ": choose another, or remove that first (vic-machine delete, if it is a VCH)"})
	}
	switch {
	case has(r.s.VMs, r.o.Name):
		taken("a VM")
	case r.c.VCenter && has(r.s.Folders, r.o.Name):
		taken("a VM folder")
	}
	if r.found && r.c.OwnPool {
		for _, p := range r.c.Compute.Pools {
			if p.Parent == r.c.Parent.Ref && p.Name == r.o.Name {
				taken("the resource pool " + p.Path)
			}
		}
	}
	if r.s.HomeExists {
		r.is.list = append(r.is.list, Issue{Flag: "--name", Class: errAlreadyExists,
			Text: quoteUsed(r.o.Name) + " by a folder of the image datastore: choose another, or remove the folder"})
	}
}

func quoteUsed(name string) string {
	return "The specified VCH name (" + name + ") is already in use"
}

func (r *resolver) datastore() {
	name, dir := SplitImageDatastore(r.o.ImageDatastore)
	names := r.s.datastoreNames()
	if name == "" {
		if len(names) != 1 {
			r.is.choose(names, "--image-datastore", "is missing: more than one datastore could be used")
			return
		}
		name = names[0]
	}
	for _, part := range strings.Split(dir, "/") {
		if part == ".." || part == "." || strings.ContainsAny(part, "[]\\") {
			r.is.addf("--image-datastore", "%q: the path %q cannot be used", r.o.ImageDatastore, dir)
			return
		}
	}
	for _, d := range r.s.Datastores {
		if d.Name != name {
			continue
		}
		r.c.Datastore, r.c.ImageDir, r.c.MakeDir = d, dir, r.s.MissingDir
		if !d.Accessible {
			r.is.choose(names, "--image-datastore", "%q is not accessible", name)
		}
		if r.found && !r.sees(d.Hosts) {
			r.is.choose(names, "--image-datastore", "%q is seen by no usable host of %s", name, r.c.Compute.Path)
		}
		r.c.VCH.ImageStore = dsPath(name, dir)
		r.c.VCH.HomeDir = dsPath(name, r.o.Name)
		r.c.VCH.BootstrapISO = dsPath(name, r.o.Name+"/bootstrap.iso")
		return
	}
	r.is.choose(names, "--image-datastore", "%q does not exist", name)
}

// SplitImageDatastore takes "datastore[/path]", with or without ds://, apart.
func SplitImageDatastore(s string) (name, dir string) {
	s = strings.TrimPrefix(s, "ds://")
	name, dir, _ = strings.Cut(s, "/")
	return name, strings.Trim(dir, "/")
}

func dsPath(ds, dir string) string {
	return (&object.DatastorePath{Datastore: ds, Path: dir}).String()
}

// sees tells whether a usable host of the compute resource is among hosts.
func (r *resolver) sees(hosts []types.ManagedObjectReference) bool {
	for _, h := range r.c.Compute.Hosts {
		for _, x := range hosts {
			if h.Up && h.Ref == x {
				return true
			}
		}
	}
	return false
}

func orDefault(v, d int64) int64 {
	if v == 0 {
		return d
	}
	return v
}

// durationText is a duration as a key holds it; none for zero.
func durationText(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.String()
}
