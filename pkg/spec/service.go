package spec

import (
	"io"
	"time"
)

// Streams are the client's side of an attach or exec. Nil means not attached.
type Streams struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Joined is called once, when the streams are connected to the process (or
	// wait for its start), so that nothing written after can be missed.
	Joined func()
	// StdinOnce closes the process's stdin when Stdin ends.
	StdinOnce bool
}

// LogOptions bound what Logs gives.
type LogOptions struct {
	Follow       bool
	Since, Until time.Time
	Tail         int // entries (lines) from the end; negative: all
	Stdout       bool
	Stderr       bool
}

// Network is one scope that containers can be on.
type Network struct {
	// ID is 64 hex digits, Driver "bridge" (a subnet on the VCH's bridge port
	// group) or "external" (a port group of its own).
	ID, Name, Driver string
	// Subnet, IPRange and Gateway are IPv4; IPRange is the part of Subnet that
	// addresses are given from, empty: all of it.
	Subnet, IPRange, Gateway string
	// IPv6 is set on a network that has it besides; the others are its Subnet6,
	// IPRange6 and Gateway6. Without a Subnet6 one is chosen.
	IPv6                        bool
	Subnet6, IPRange6, Gateway6 string
	// Reserved and Reserved6 are addresses that no container gets, by what they
	// are for (Docker's auxiliary addresses).
	Reserved, Reserved6 map[string]string
	PortGroup           string
	// Chosen and Chosen6 are set when the user gave the subnet: then containers
	// may ask for addresses, as Docker has it.
	Chosen, Chosen6 bool
	// Internal networks have no way out.
	Internal bool
	// Attachable is shown as the user gave it; it has no effect without Swarm.
	Attachable bool
	Created    time.Time
	Labels     map[string]string
	Options    map[string]string // as the user gave them
	// Ranges, DNS and Trust are those of a container network; see
	// ContainerNetwork. Without Subnet, its addresses come from DHCP.
	Ranges []string `json:",omitempty"`
	DNS    []string `json:",omitempty"`
	Trust  Trust    `json:",omitempty"`
	// Builtin networks came with the VCH and cannot be removed.
	Builtin bool
}

// Volume is one volume of one store.
type Volume struct {
	Name   string
	Driver string // "vsphere", or "local" when it was asked for by that name
	Store  string // label of its store, "default"
	// Source is the disk's datastore path, or host:/path on NFS.
	Source string
	Type   MountType // MountVolume or MountNFS
	FSType string    // "ext4", "xfs"; empty on NFS
	// Share is the NFS share that it is a folder of, "nfs://host/path"; empty: it is a disk.
	Share string
	// MountOptions are what a guest must know besides Source to mount it (NFS).
	MountOptions string
	// Capacity and Allocated are bytes; 0 when not known, as always on NFS.
	Capacity, Allocated int64
	// Policy is the storage policy that was asked for, by name and by vSphere's id;
	// empty: its datastore's default.
	Policy, PolicyID string
	// Access is "read-write", or "read-only" when nobody may write.
	Access string
	// DiskMode is vSphere's mode of the disk in a container that writes.
	DiskMode string
	Created  time.Time
	Labels   map[string]string
	Options  map[string]string // as the user gave them
	// Anonymous volumes were made for a container and go with `rm -v`.
	Anonymous bool
	// Unavailable says why its store cannot be reached now; empty: it can.
	Unavailable string
}

// VolumeRequest asks for a volume. Options are Docker's driver options; their
// names are compared without case ("Capacity", "size").
type VolumeRequest struct {
	Name      string // empty: 64 hex digits are made
	Driver    string
	Options   map[string]string
	Labels    map[string]string
	Anonymous bool
}

// Capacity is what the VCH may use and has used.
type Capacity struct {
	CPUs            int
	CPUMHz          int64
	MemoryBytes     int64
	ProductName     string // "VMware ESXi 8.0.2 build-…"
	ProductVersion  string
	StorageCapacity int64 // bytes of the image datastore
	StorageFree     int64
	Datastore       string
	Pool            string
}

// StartError is returned by Start when the guest could not run the program.
type StartError struct {
	Code int // ExitNotFound, ExitNotExecutable, ExitRefused or ExitGuestFailed
	Msg  string
}

func (e *StartError) Error() string { return e.Msg }

// PullOptions of one pull.
type PullOptions struct {
	Platform string // "linux/amd64"; empty is the VCH's own
	Credentials
	Progress func(Progress)
}

// Progress of one layer in Docker's words.
type Progress struct {
	ID             string // short layer id, empty for the whole
	Status         string // "Pulling fs layer", "Downloading", "Download complete", "Extracting", "Pull complete", "Already exists", …
	Current, Total int64
}

// Image is one image of the store.
type Image struct {
	ID          string   // "sha256:…" of the config
	RepoTags    []string // "busybox:latest"
	RepoDigests []string // "busybox@sha256:…"
	Created     time.Time
	Size        int64 // bytes of all layers, uncompressed
	Layers      []string
	// LayerSizes are the uncompressed bytes of each of Layers, for `docker
	// history`; empty when they are not known.
	LayerSizes []int64
	// Config is the image configuration as the registry has it (JSON).
	Config []byte
	// Pulled is when the image came into the store.
	Pulled time.Time
	// Digest is, of what a pull gives, that of the manifest or index which the name
	// led to. An image may have come by several: see RepoDigests.
	Digest string
}
