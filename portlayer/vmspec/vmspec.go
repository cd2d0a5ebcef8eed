package vmspec

import (
	"cmp"
	"fmt"
	"path"

	"github.com/containerd/errdefs"
	"github.com/google/uuid"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/guestinfo"
	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/pkg/vsphere"
)

// The units of a containerVM's own disks on scsi0; volumes follow.
const (
	upperUnit = 0
	imageUnit = 1
	firstUnit = 2 // position of the first volume
)

// MaxNICs is vSphere's limit of network cards per VM.
const MaxNICs = 10

// Names of files in the VM's folder.
const (
	OutputLog  = "output.log"  // container output, framed
	ConsoleLog = "console.log" // kernel messages and tether's log
)

// Env is what Build must know of the place where the VM is made.
type Env struct {
	// Datastore is the name of the datastore of the VM's folder, Ref its object.
	Datastore string
	Ref       types.ManagedObjectReference
	// BootstrapISO is the datastore path of the boot image, on the same
	// datastore or on the one that BootstrapRef names.
	BootstrapISO string
	BootstrapRef types.ManagedObjectReference
	// Line is the URI that serial0 dials, "tcp://address:8080".
	Line string
	// Networks are the NIC backings by port group.
	Networks map[string]types.BaseVirtualDeviceBackingInfo
	// Defaults for what the container leaves open; zero: those of pkg/spec.
	CPUs     int
	MemoryMB int64
}

// Path gives the datastore path of a file in container id's folder, or of the
// folder itself without a name.
func Path(datastore, id string, name ...string) string {
	return fmt.Sprintf("[%s] %s", datastore, path.Join(append([]string{id}, name...)...))
}

// Disk is the datastore path of container id's read-write disk.
func Disk(datastore, id string) string { return Path(datastore, id, id+".vmdk") }

// Arrange gives a container with the places of its hardware filled in: SCSI
// units of its disks, PCI slots of its NICs. Both must be known before the keys
// for the guest are made.
func Arrange(c spec.Container) (spec.Container, error) {
	c.Root.UpperUnit, c.Root.ImageUnit = upperUnit, imageUnit
	c.Mounts = append([]spec.Mount(nil), c.Mounts...)
	if err := arrangeVolumes(c.Mounts); err != nil {
		return c, err
	}
	var err error
	c.Endpoints, err = arrangeNICs(c.Endpoints)
	return c, err
}

// arrangeNICs gives the endpoints of one port group one NIC: its slot and its
// MAC address, which is the first that one of them has.
func arrangeNICs(endpoints []spec.Endpoint) ([]spec.Endpoint, error) {
	out := append([]spec.Endpoint(nil), endpoints...)
	cards := nics(out)
	if len(cards) > MaxNICs {
		return out, fmt.Errorf("container is on %d port groups, a VM can be on %d: %w", len(cards), MaxNICs, errdefs.ErrInvalidArgument)
	}
	for n, card := range cards {
		for i := range out {
			if out[i].PortGroup == card.portGroup {
				out[i].PCISlot, out[i].MAC = vsphere.PCISlot(n), card.mac
			}
		}
	}
	return out, nil
}

// nic is one network card.
type nic struct{ portGroup, mac string }

// nics are the cards that the endpoints are on, in the order of the first use.
func nics(endpoints []spec.Endpoint) []nic {
	var out []nic
next:
	for _, e := range endpoints {
		for i := range out {
			if out[i].portGroup == e.PortGroup {
				out[i].mac = cmp.Or(out[i].mac, e.MAC)
				continue next
			}
		}
		out = append(out, nic{e.PortGroup, e.MAC})
	}
	return out
}

// Build gives the VM of a container that Arrange has been over. Its folder and
// its disks exist when the VM is created.
func Build(c spec.Container, env Env) (types.VirtualMachineConfigSpec, error) {
	keys, err := guestinfo.EncodeContainer(c)
	if err != nil {
		return types.VirtualMachineConfigSpec{}, fmt.Errorf("configuration of container %s: %w", c.ID, err)
	}
	devices, err := devices(c, env)
	if err != nil {
		return types.VirtualMachineConfigSpec{}, err
	}
	for k, v := range fixedKeys() {
		keys[k] = v
	}
	keys[vsphere.MaxCPUsKey] = room(CPUs(c.Resources, env))
	return types.VirtualMachineConfigSpec{
		Name:               c.ID,
		Uuid:               BIOSUUID(c.VCH, c.ID),
		GuestId:            string(types.VirtualMachineGuestOsIdentifierOther3xLinux64Guest),
		AlternateGuestName: "vic container",
		Annotation:         Annotation(c),
		Files:              &types.VirtualMachineFileInfo{VmPathName: Path(env.Datastore, c.ID, c.ID+".vmx")},
		NumCPUs:            CPUs(c.Resources, env),
		MemoryMB:           MemoryMB(c.Resources, env),
		// Both can be set of a VM that is off only, so every VM is made able to grow.
		CpuHotAddEnabled:    types.NewBool(true),
		MemoryHotAddEnabled: types.NewBool(true),
		CpuAllocation:       cpuAllocation(c.Resources),
		MemoryAllocation:    memoryAllocation(c.Resources),
		BootOptions:         vsphere.BootFromCD(),
		Firmware:            string(types.GuestOsDescriptorFirmwareTypeBios),
		DeviceChange:        devices,
		ExtraConfig:         vsphere.ExtraConfig(keys),
	}, nil
}

// BIOSUUID is the VM's UUID: always the same for the same container, so that a
// create that was interrupted can be told from a stranger's VM.
func BIOSUUID(vch, id string) string {
	ns, err := uuid.Parse(vch)
	if err != nil {
		ns = uuid.NewSHA1(uuid.NameSpaceOID, []byte(vch))
	}
	return uuid.NewSHA1(ns, []byte(id)).String()
}

// Annotation is what the vSphere client shows as the VM's notes.
func Annotation(c spec.Container) string {
	return fmt.Sprintf("vic container %s\nimage: %s\nVCH: %s", c.Name, c.Repo, c.VCH)
}

// fixedKeys are the same for every containerVM.
func fixedKeys() map[string]string {
	return map[string]string{
		vsphere.FileSerialKey:         vsphere.FileSerialAppend,
		"serial0.hardwareFlowControl": "TRUE",
		"disk.EnableUUID":             "TRUE",
		// Tools are part of tether: nobody is to be asked to install them.
		"tools.remindInstall":  "FALSE",
		"tools.upgrade.policy": "manual",
	}
}

func devices(c spec.Container, env Env) ([]types.BaseVirtualDeviceConfigSpec, error) {
	out := []types.BaseVirtualDeviceConfigSpec{
		vsphere.Add(vsphere.IDE()),
		vsphere.Add(vsphere.PVSCSI()),
		vsphere.Add(vsphere.CDROM(env.BootstrapISO, env.BootstrapRef)),
		vsphere.Add(vsphere.Disk{Path: Disk(env.Datastore, c.ID), Unit: c.Root.UpperUnit}.Device(env.Ref)),
	}
	if c.Root.ImageDisk != "" {
		out = append(out, vsphere.Add(ImageDisk(c, env.Ref)))
	}
	out = append(out, VolumeDisks(c)...)
	for i, n := range nics(c.Endpoints) {
		b, ok := env.Networks[n.portGroup]
		if !ok {
			return nil, fmt.Errorf("no port group %q: %w", n.portGroup, errdefs.ErrNotFound)
		}
		out = append(out, vsphere.Add(vsphere.NIC(i, b, n.mac)))
	}
	return append(out,
		vsphere.Add(vsphere.SerialURI(0, env.Line)),
		vsphere.Add(vsphere.SerialFile(1, Path(env.Datastore, c.ID, OutputLog), env.Ref)),
		vsphere.Add(vsphere.SerialFile(2, Path(env.Datastore, c.ID, ConsoleLog), env.Ref)),
	), nil
}

// ImageDisk is the image's read-only disk as it is in the VM. Independent and
// nonpersistent, it is opened for reading only, so that ESXi lets any number of
// running VMs share it: what a guest writes goes to a log of its own that ends
// with the power cycle.
func ImageDisk(c spec.Container, ds types.ManagedObjectReference) types.BaseVirtualDevice {
	return vsphere.Disk{
		Path: c.Root.ImageDisk, Unit: c.Root.ImageUnit, Mode: types.VirtualDiskModeIndependent_nonpersistent,
	}.Device(ds)
}

func cpuAllocation(r spec.Resources) *types.ResourceAllocationInfo {
	if r.CPULimitMHz == 0 && r.CPUShares == 0 {
		return nil
	}
	a := &types.ResourceAllocationInfo{}
	if r.CPULimitMHz != 0 {
		a.Limit = types.NewInt64(r.CPULimitMHz)
	}
	if r.CPUShares != 0 {
		a.Shares = &types.SharesInfo{Level: types.SharesLevelCustom, Shares: int32(r.CPUShares)}
	}
	return a
}

func memoryAllocation(r spec.Resources) *types.ResourceAllocationInfo {
	if r.ReservationMB == 0 {
		return nil
	}
	return &types.ResourceAllocationInfo{Reservation: types.NewInt64(r.ReservationMB)}
}

// first gives the first value that is not zero.
func first[T int | int64](v ...T) T {
	for _, x := range v {
		if x != 0 {
			return x
		}
	}
	return 0
}
