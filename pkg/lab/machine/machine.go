package machine

import "context"

// Machine is a VM's hardware at power-on: a private copy.
type Machine struct {
	ID       string // managed object id, "vm-42"
	Name     string
	UUID     string // BIOS UUID; the guest sees it in SMBIOS
	Dir      string // the VM's folder on this computer
	CPUs     int
	MemoryMB int64
	// MaxCPUs and MaxMemoryMB are what the VM can grow to while it runs; not more
	// than it has: it cannot.
	MaxCPUs     int
	MaxMemoryMB int64
	CDROM       string // ISO file, empty without one
	Disks       []Disk
	NICs        []NIC
	Serials     []Serial
}

// Disk is one SCSI disk on PVSCSI controller Bus.
type Disk struct {
	Path      string // the .vmdk descriptor
	Bus, Unit int
	// Extent is the file of all the disk's sectors, one after the other; empty
	// for a disk that is more than one such file. Only a disk with it can grow
	// while the VM runs.
	Extent string
	// Nonpersistent disks are shared: opened read-only, writes of the guest go
	// to a redo log that ends with the power cycle.
	Nonpersistent bool
	ReadOnly      bool
}

// NIC is one vmxnet3 network card.
type NIC struct {
	Network string // name of the port group
	MAC     string
	Slot    int // PCI slot number as in ethernetN.pciSlotNumber: 192, 224, …
}

// Serial is one UART, in the order ttyS0, ttyS1, …
type Serial struct {
	// File is where a file-backed port appends what the guest writes.
	File string
	// URI is "tcp://host:port" of a network port; Server tells who listens.
	URI    string
	Server bool
}

// Hypervisor starts VMs. Start returns when the VM runs; an error is the
// reason for the task's fault and leaves nothing running.
type Hypervisor interface {
	Start(ctx context.Context, m Machine, g Guest) (Instance, error)
	// Adopt takes over a VM that an earlier process of the lab started, or
	// fails if it is not running any more.
	Adopt(ctx context.Context, m Machine, g Guest) (Instance, error)
}

// Instance is a running VM.
type Instance interface {
	PID() int
	// Done is closed when the VM is off; Err then says how it ended (nil:
	// the guest powered off or Kill was called).
	Done() <-chan struct{}
	Err() error
	Kill()        // power off at once
	Reset() error // hard reset
	// ShutdownGuest and RebootGuest ask the guest's tools.
	ShutdownGuest() error
	RebootGuest() error
	// Usage is host CPU time and memory of the VM.
	Usage() (Usage, error)
}

// HotPlug changes the hardware of a running VM: an Instance that has it, can.
// What fails leaves the hardware as it was. ErrNotImplemented: not with this
// device; ErrUnavailable: the guest did not let go of it in time.
type HotPlug interface {
	// GrowDisk makes the extent of a disk that the VM has longer, to capacity
	// bytes, and tells the guest. The descriptor is the caller's.
	GrowDisk(ctx context.Context, d Disk, capacity int64) error
	AddDisk(ctx context.Context, d Disk) error
	RemoveDisk(ctx context.Context, d Disk) error
	AddNIC(ctx context.Context, n NIC) error
	// RemoveNIC returns when the guest's driver has let go of the card.
	RemoveNIC(ctx context.Context, n NIC) error
}

// HotAdd lets a running VM grow: an Instance that has it, can.
type HotAdd interface {
	// Grow gives the VM CPUs and memory until it has so much in all, and never
	// takes any away. ErrResourceExhausted: more than the VM can have, or this
	// computer, and both are as they were.
	Grow(ctx context.Context, cpus int, memoryMB int64) error
}

// Usage of a running VM.
type Usage struct {
	CPUSeconds  float64
	MemoryBytes int64
}

// Guest is what a running VM may say to vSphere: the host's side of guest RPC.
// Calls may block on the simulator's locks, and come from any goroutine.
type Guest interface {
	// InfoGet and InfoSet are the RPCI info-get and info-set of guestinfo keys,
	// named with the "guestinfo." prefix. InfoSet of a key that begins
	// "guestinfo./" is refused with an error.
	InfoGet(key string) (string, bool)
	InfoSet(key, value string) error
	// Tools reports that the guest's tools run, or no longer do.
	Tools(running bool)
	// Addresses reports every NIC's addresses (CIDR form) by MAC.
	Addresses(nics []GuestNIC)
	// Hostname reports the guest's name.
	Hostname(name string)
}

// GuestNIC is what the guest says of one NIC.
type GuestNIC struct {
	MAC       string
	Addresses []string // CIDR form
}
