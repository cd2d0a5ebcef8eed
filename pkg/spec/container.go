package spec

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"time"
)

// FormatVersion is the version of the key format in which a Container is kept
// in its VM's configuration (guestinfo./version).
const FormatVersion = 1

// Container is everything that is kept of one container: what the port layer
// needs to build its VM, what the guest needs to run it, and what the engine
// needs to answer `docker inspect` after the VCH was lost.
type Container struct {
	// ID is 64 lower-case hex digits; it is also the name of the VM's folder.
	ID string
	// Name is the Docker name without the leading slash.
	Name string
	// Repo is the image reference as the user gave it ("hello-world").
	Repo string
	// ImageID is the digest of the image's config ("sha256:…").
	ImageID string
	// Layers are the diff ids of the image, bottom first.
	Layers []string
	// Created is when the container was made, UTC.
	Created time.Time
	// Hostname is what the guest sets; empty means the first 12 digits of ID.
	Hostname   string
	Domainname string
	Labels     map[string]string
	// Annotations hold what only the Docker engine understands, each value an
	// opaque text (JSON of the create request, for one). Hidden from the guest.
	Annotations map[string]string

	// VCH is the UUID of the VCH that owns the container. Hidden from the guest.
	VCH string

	Resources Resources
	// Limits are what the guest itself holds the container's processes to.
	Limits Limits
	// Process is the container's own process, the session whose id is ID.
	Process Process
	// Root is how the root filesystem is put together.
	Root Root
	// Mounts are volumes and tmpfs mounts by destination order.
	Mounts []Mount
	// Endpoints are its places on networks, first the one with the default route.
	// Those of one port group share a NIC and have its MAC.
	Endpoints []Endpoint
	// NetworkFilter makes the guest drop, from before its process starts, what
	// does not come from somebody whom a NetworkUpdate names. Set when the
	// container is made while the VCH has several bridge networks.
	NetworkFilter bool
	// NetworkPolicy makes the guest let nothing pass once its process runs, before
	// a NetworkUpdate has brought the rules of policies that concern it.
	NetworkPolicy bool
	// DNS is written to /etc/resolv.conf.
	DNS DNS
	// Hosts are extra lines of /etc/hosts, "name:address" as Docker spells it.
	Hosts []string
	// NoLog keeps nothing of the process's output (--log-driver none).
	NoLog bool

	// AuthorizedKey is the engine's SSH public key in authorized_keys form: the
	// only key that tether accepts on the control line.
	AuthorizedKey string
}

// Resources of a containerVM. Zero values mean the defaults.
type Resources struct {
	CPUs     int   // virtual CPUs; 0 is DefaultCPUs
	MemoryMB int64 // MiB; 0 is DefaultMemoryMB
	// CPULimitMHz caps the VM's CPU use on vSphere; 0 is unlimited.
	CPULimitMHz int64
	CPUShares   int64
	// ReservationMB is memory that vSphere keeps for the VM, in MiB.
	ReservationMB int64
	// Resize: the VM has more CPUs or memory than is said here, since it ran when
	// that was asked for. Its next start gives it what is said here.
	Resize bool
}

// Size is what a guest has got while it ran.
type Size struct {
	CPUs     int   `json:",omitempty"`
	MemoryMB int64 `json:",omitempty"` // MiB
	// Ahead: it has not got it yet. The guest says whether it could use MemoryMB
	// more than it has.
	Ahead bool `json:",omitempty"`
}

// Defaults of a containerVM. MinMemoryMB boots: the boot loader, the kernel and the
// unpacked initramfs do not fit into 80 MiB (TestLeastMemory of tether).
const (
	DefaultCPUs     = 1
	DefaultMemoryMB = 256
	MinMemoryMB     = 96
)

// Process is one process that tether runs: the container's, or one of an exec. What
// is not set is left out of its JSON: it crosses a slow line before each exec.
type Process struct {
	// Path is the program; it is looked up in Env's PATH when it has no slash.
	Path string `json:",omitempty"`
	// Args are the arguments after the program's own name (argv[1:]).
	Args []string `json:",omitempty"`
	// Env entries are KEY=value.
	Env []string `json:",omitempty"`
	// Dir is the working directory; empty is "/".
	Dir string `json:",omitempty"`
	// User is Docker's form: name, uid, name:group or uid:gid.
	User   string   `json:",omitempty"`
	Groups []string `json:",omitempty"` // supplementary, --group-add
	// TTY runs the process on a pseudo terminal.
	TTY bool `json:",omitempty"`
	// OpenStdin keeps stdin open though nobody is attached.
	OpenStdin bool `json:",omitempty"`
	// StdinOnce closes stdin when the first attached client goes.
	StdinOnce bool `json:",omitempty"`
	// Attach makes tether wait for the line before it starts the process, so
	// that the client of `docker run` misses no byte.
	Attach bool `json:",omitempty"`
	// StopSignal is a signal's name ("SIGTERM"); empty is SIGTERM.
	StopSignal string `json:",omitempty"`
	// Rows and Cols are the first size of the terminal; 0 is unset.
	Rows, Cols int      `json:",omitempty"`
	Privileged bool     `json:",omitempty"`
	CapAdd     []string `json:",omitempty"`
	CapDrop    []string `json:",omitempty"`
	// NoNewPrivileges keeps set-user-id programs and file capabilities from giving
	// the process more than it has.
	NoNewPrivileges bool `json:",omitempty"`
	// Rlimits by name without RLIMIT_ ("nofile").
	Rlimits map[string]Rlimit `json:",omitempty"`
}

// Rlimit is one resource limit of a process.
type Rlimit struct{ Soft, Hard int64 }

// Root says which disks make the root filesystem.
type Root struct {
	// ImageDisk is the datastore path of the flattened read-only ext4 disk
	// ("[ds] VIC/…/images/….vmdk"), in the VM at scsi0:1.
	ImageDisk string
	// SizeMB is the capacity of the read-write disk at scsi0:0, in MiB.
	SizeMB int64
	// ReadOnly mounts the joined root read-only.
	ReadOnly bool
	// ImageUnit and UpperUnit are the SCSI units of the two disks on scsi0.
	ImageUnit, UpperUnit int
	ShmSizeBytes         int64
	Sysctls              map[string]string
	// NoShm leaves /dev/shm out (--ipc none).
	NoShm bool
	// MaskedPaths are hidden, ReadonlyPaths made read-only, when OwnPaths is set;
	// otherwise Docker's are, unless the process is privileged.
	OwnPaths                   bool
	MaskedPaths, ReadonlyPaths []string
	// Devices are VMDevices made in /dev, "/dev/fuse" or "/dev/fuse:/dev/other".
	Devices []string
}

// MountType is what kind of filesystem a Mount is.
type MountType string

// The mount types.
const (
	MountVolume MountType = "volume" // a VMDK with a filesystem
	MountTmpfs  MountType = "tmpfs"
	MountNFS    MountType = "nfs"
	// MountSocket is a unix socket of the guest's; each connection to it is carried
	// to the engine over the control line.
	MountSocket MountType = "socket"
)

// IsVolume tells whether a volume is mounted: what a volume store has, by name.
func (t MountType) IsVolume() bool { return t == MountVolume || t == MountNFS }

// Mount is a filesystem below the container's root.
type Mount struct {
	Name   string // of the volume; empty for others
	Type   MountType
	FSType string // of a VMDK volume: "ext4" (also when empty), "xfs"
	// SubPath is a folder of the volume that is mounted instead of its root.
	SubPath  string
	Path     string // destination in the container
	Source   string // datastore path of the disk, host:/path of NFS, or the socket that is asked for
	Unit     int    // SCSI unit on scsi0 of a VMDK volume
	DiskMode string // vSphere's mode of a disk that is written; empty: independent_persistent
	Policy   string // id of the storage policy of a VMDK volume; empty: its datastore's default
	ReadOnly bool
	NoCopy   bool   // do not copy the image's data into a new volume
	Options  string // mount options, comma separated (tmpfs: size=…,mode=…)
}

// Endpoint is a container's place on one network.
type Endpoint struct {
	// Network is the network's name, the map key ("bridge").
	Network string
	// NetworkID is the Docker network id.
	NetworkID string
	// PortGroup is the vSphere network of the NIC.
	PortGroup string
	MAC       string
	// PCISlot is the NIC's slot number: 192, 224, …
	PCISlot int
	// IP is in CIDR form ("172.16.0.2/16"); empty means DHCP.
	IP      string
	Gateway string
	// IP6 and Gateway6 likewise, "fd00::2/64"; empty: none.
	IP6, Gateway6 string
	// Static and Static6: the address was asked for, as `docker inspect` shows.
	Static, Static6 bool
	Aliases         []string
	// Links are other names of other containers on this network, "db:alias".
	Links []string
	// Ports are published ports, "[address:]8080:80/tcp" in Docker's form. What
	// asks for any port ("80/tcp") has one here once the container was made.
	// On a container network they are what its trust level may let in: "80/tcp".
	Ports []string
	// Trust is set on a container network, whose NIC no other endpoint is on, and
	// what the guest's packet filter there lets through.
	Trust Trust
	// Peers are the ranges of addresses ("10.2.1.0/24", "10.2.1.10-10.2.1.99")
	// that TrustPeers lets in; none: the subnet of the NIC's address.
	Peers []string
}

// Peer is another VM that a guest may hear of on its networks.
type Peer struct {
	MAC       string
	Addresses []string // without prefix length
}

// NetworkUpdate is everything that may change on the networks of a running
// guest: the guest makes it so, whatever was before. All bridge networks of a
// container share the NIC on the bridge port group; that of a container network
// may be new to the guest, or is about to be unplugged when it is not named.
type NetworkUpdate struct {
	Endpoints []Endpoint
	DNS       DNS
	Hosts     []string
	// Filter makes the guest drop what does not come from Peers on the bridge
	// or through the gateway (the VCH's MAC address, any source). Not set: all
	// is let in, which is so while the VCH has one bridge network only.
	Filter     bool
	GatewayMAC string
	Peers      []Peer
	// Policed is set when policies concern the guest: it enforces Policy, which may
	// be empty for now, on all that it sends and hears.
	Policed bool         `json:",omitempty"`
	Policy  []PolicyRule `json:",omitempty"`
}

// PolicyRule is a rule of microsegmentation as a packet filter needs it: the first
// that matches a connection decides, and what none matches is allowed.
type PolicyRule struct {
	// Name says which rule of which policy it is, for people.
	Name string
	Deny bool
	// Proto is "tcp", "udp", "icmp" or "any".
	Proto string
	// Ports are those of the destination; none: all.
	Ports []PortRange `json:",omitempty"`
	// From and To are addresses without prefix length; none: any.
	From []netip.Addr `json:",omitempty"`
	To   []netip.Addr `json:",omitempty"`
}

// PortRange is all ports from First to Last.
type PortRange struct{ First, Last uint16 }

// String is the range as rules spell it, "80" or "8000-8999".
func (p PortRange) String() string {
	if p.First == p.Last {
		return strconv.Itoa(int(p.First))
	}
	return fmt.Sprintf("%d-%d", p.First, p.Last)
}

// DNS is what /etc/resolv.conf holds.
type DNS struct {
	Servers []string
	Search  []string
	Options []string
}

// ExitStatus is how a process ended.
type ExitStatus struct {
	// Code is the exit code, 128+n for a signal n, 127 and 126 when the
	// program could not be found or executed, 128 when the guest refused what was
	// asked for, 125 when it failed itself.
	Code int `json:",omitempty"`
	// Signal is the number of the signal that ended it, or 0.
	Signal int `json:",omitempty"`
	// Error says why it did not start, in words for the user.
	Error string `json:",omitempty"`
	OOM   bool   `json:",omitempty"`
	// Started and Stopped are guest times, UTC.
	Started, Stopped time.Time `json:",omitzero"`
}

// Exit codes that are the runtime's own, as Docker uses them.
const (
	ExitGuestFailed   = 125
	ExitNotExecutable = 126
	ExitNotFound      = 127
	ExitRefused       = 128 // a user, group, capability or ulimit that is not there
)

// Validate checks what must hold of any container. All problems are joined.
func (c *Container) Validate() error {
	var errs []error
	if len(c.ID) != 64 || !isHex(c.ID) {
		errs = append(errs, fmt.Errorf("container id %q: want 64 lower-case hex digits", c.ID))
	}
	if c.Process.Path == "" {
		errs = append(errs, errors.New("no command specified"))
	}
	if m := c.Resources.MemoryMB; m != 0 && m < MinMemoryMB {
		errs = append(errs, fmt.Errorf("memory of %d MiB: minimum memory limit allowed is %d MiB", m, MinMemoryMB))
	}
	if c.Resources.CPUs < 0 {
		errs = append(errs, fmt.Errorf("number of CPUs %d: want at least 1", c.Resources.CPUs))
	}
	for _, m := range c.Mounts {
		if len(m.Path) == 0 || m.Path[0] != '/' {
			errs = append(errs, fmt.Errorf("mount path %q: must be absolute", m.Path))
		}
	}
	return errors.Join(errs...)
}

func isHex(s string) bool {
	for _, r := range s {
		if (r < '0' || r > '9') && (r < 'a' || r > 'f') {
			return false
		}
	}
	return true
}
