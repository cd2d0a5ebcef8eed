package install

import (
	"sort"

	"github.com/vmware/govmomi/vim25/types"
)

// Site is what the target has, as far as create needs to know: a copy, read
// once. Resolve decides on it without asking again.
type Site struct {
	// VCenter is false on a standalone ESXi host.
	VCenter bool
	Product string // "VMware ESXi 8.0.2 build-…"
	// SelfAddress is where the target says it can be reached: what the
	// appliance must use when the administrator's own way is a loopback address.
	SelfAddress string
	// ManagedBy is the address of the vCenter that manages a standalone host.
	ManagedBy string

	Datacenter  Object   // the one to use; zero when it could not be told
	Datacenters []string // names of all
	VMFolder    Object   // the datacenter's root folder of VMs

	Computes   []Compute
	Datastores []Datastore
	Networks   []Network
	Switches   []string // standard switches of a standalone host
	// Folders and VMs are names in VMFolder; VMs the names of all in the datacenter.
	Folders []string
	VMs     []string
	// HomeExists tells that the image datastore has a folder of the VCH's name.
	HomeExists bool
	// MissingDir is the topmost folder of the image store's path that does not
	// exist, without datastore; empty when all do.
	MissingDir string
	// SerialLicense tells that network serial ports are licensed.
	SerialLicense bool
}

// Object is one object of the inventory.
type Object struct {
	Ref  types.ManagedObjectReference
	Path string // "/ha-datacenter/host/esxi01"
	Name string
}

// Compute is a host on its own or a cluster.
type Compute struct {
	Object
	Cluster bool
	DRS     bool
	Root    Object // its root resource pool
	Pools   []Pool // all pools below Root, at any depth
	Hosts   []Host
}

// Pool is a resource pool.
type Pool struct {
	Object
	Parent types.ManagedObjectReference
}

// Host is one ESXi host.
type Host struct {
	Object
	// Up tells that it is connected and not in maintenance mode.
	Up              bool
	FirewallEnabled bool
	// SerialOut tells that its firewall lets VMs dial out to the concentrator.
	SerialOut bool
}

// Datastore of the datacenter.
type Datastore struct {
	Object
	Free       int64 // bytes
	Accessible bool
	// Hosts see the datastore.
	Hosts []types.ManagedObjectReference
}

// NetworkKind tells port groups apart.
type NetworkKind int

// The kinds of network a NIC can be on.
const (
	Standard NetworkKind = iota
	Distributed
	Opaque
)

// Network is a port group.
type Network struct {
	Object
	Kind   NetworkKind
	Uplink bool // of a distributed switch: not for VMs
	// Switch and Key say how a NIC is backed by a distributed port group.
	Switch, Key string
	// Opaque networks have an id and a type instead.
	OpaqueID, OpaqueType string
	Hosts                []types.ManagedObjectReference
}

func (s Site) network(name string) (Network, bool) {
	for _, n := range s.Networks {
		if n.Name == name || n.Path == name {
			return n, true
		}
	}
	return Network{}, false
}

func (s Site) networkNames(keep func(Network) bool) []string {
	var out []string
	for _, n := range s.Networks {
		if !n.Uplink && (keep == nil || keep(n)) {
			out = append(out, n.Name)
		}
	}
	return sorted(out)
}

func (s Site) datastoreNames() []string {
	var out []string
	for _, d := range s.Datastores {
		if d.Accessible {
			out = append(out, d.Name)
		}
	}
	return sorted(out)
}

// computePaths are values that --compute-resource takes.
func (s Site) computePaths() []string {
	var out []string
	for _, c := range s.Computes {
		out = append(out, c.Path)
		for _, p := range c.Pools {
			out = append(out, p.Path)
		}
	}
	return sorted(out)
}

// compute finds the host, cluster or pool that name or path means, and the
// pool to work below. found counts the matches.
func (s Site) compute(want string) (c Compute, parent Object, found int) {
	for _, x := range s.Computes {
		if want == "" || x.Name == want || x.Path == want {
			c, parent = x, x.Root
			found++
		}
		if want == "" {
			continue
		}
		if x.Root.Path == want {
			c, parent = x, x.Root
			found++
		}
		for _, p := range x.Pools {
			if p.Name == want || p.Path == want {
				c, parent = x, p.Object
				found++
			}
		}
	}
	return c, parent, found
}

func sorted(s []string) []string {
	sort.Strings(s)
	return s
}

func has(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}
