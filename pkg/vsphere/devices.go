package vsphere

import (
	"sort"
	"strings"

	"github.com/vmware/govmomi/vim25/types"
)

// Keys of the controllers that the device functions below use. They are those
// that vSphere itself gives.
const (
	ideKey    = 200
	sioKey    = 400
	pvscsiKey = 1000
	diskKey   = 2000
	cdromKey  = 3000
	nicKey    = 4000
	serialKey = 9000
)

// FirstPCISlot and PCISlotStep are the slot numbers of a VM's NICs: 192, 224, …
// They order the NICs inside the guest whatever the order of the devices.
const (
	FirstPCISlot = 192
	PCISlotStep  = 32
)

// PCISlot is the slot number of the n-th NIC, from 0.
func PCISlot(n int) int { return FirstPCISlot + n*PCISlotStep }

// SCSIUnit is the unit on a SCSI controller of the n-th disk, from 0: the
// controller itself sits on unit 7.
func SCSIUnit(n int) int {
	if n >= 7 {
		return n + 1
	}
	return n
}

// MaxDisks is how many disks fit on one SCSI controller.
const MaxDisks = 15

// IDE gives the first IDE controller, for the CD-ROM drive.
func IDE() types.BaseVirtualDevice {
	return &types.VirtualIDEController{VirtualController: types.VirtualController{
		VirtualDevice: types.VirtualDevice{Key: ideKey}, BusNumber: 0,
	}}
}

// PVSCSI gives the first SCSI controller.
func PVSCSI() types.BaseVirtualDevice {
	return &types.ParaVirtualSCSIController{VirtualSCSIController: types.VirtualSCSIController{
		SharedBus:         types.VirtualSCSISharingNoSharing,
		VirtualController: types.VirtualController{VirtualDevice: types.VirtualDevice{Key: pvscsiKey}, BusNumber: 0},
	}}
}

// CDROM gives the drive ide0:0 with an ISO ("[ds] folder/file.iso") in it.
func CDROM(iso string, ds types.ManagedObjectReference) types.BaseVirtualDevice {
	return &types.VirtualCdrom{VirtualDevice: types.VirtualDevice{
		Key: cdromKey, ControllerKey: ideKey, UnitNumber: types.NewInt32(0),
		Backing:     &types.VirtualCdromIsoBackingInfo{VirtualDeviceFileBackingInfo: file(iso, ds)},
		Connectable: connected(),
	}}
}

// Disk is one disk on the first SCSI controller.
type Disk struct {
	Path string // "[ds] folder/file.vmdk"; may be empty for a new disk
	Unit int
	// Mode is how writes are kept; empty is persistent.
	Mode types.VirtualDiskMode
	// CapacityKB is needed for a new disk only.
	CapacityKB int64
}

// Device gives the disk as a device, thin. Whether it is made is up to the
// operation: AddNew makes it, Add takes it as it is.
func (d Disk) Device(ds types.ManagedObjectReference) types.BaseVirtualDevice {
	mode := d.Mode
	if mode == "" {
		mode = types.VirtualDiskModePersistent
	}
	return &types.VirtualDisk{
		VirtualDevice: types.VirtualDevice{
			Key: int32(diskKey + d.Unit), ControllerKey: pvscsiKey, UnitNumber: types.NewInt32(int32(d.Unit)),
			Backing: &types.VirtualDiskFlatVer2BackingInfo{
				VirtualDeviceFileBackingInfo: file(d.Path, ds),
				DiskMode:                     string(mode),
				ThinProvisioned:              types.NewBool(true),
			},
		},
		CapacityInKB: d.CapacityKB,
	}
}

// NIC gives the n-th vmxnet3 network card, from 0. mac empty: vSphere makes one.
func NIC(n int, backing types.BaseVirtualDeviceBackingInfo, mac string) types.BaseVirtualDevice {
	card := types.VirtualEthernetCard{
		VirtualDevice: types.VirtualDevice{
			Key: int32(nicKey + n), Backing: backing, Connectable: connected(),
			SlotInfo: &types.VirtualDevicePciBusSlotInfo{PciSlotNumber: int32(PCISlot(n))},
		},
		AddressType:             string(types.VirtualEthernetCardMacTypeGenerated),
		WakeOnLanEnabled:        types.NewBool(false),
		UptCompatibilityEnabled: types.NewBool(true),
	}
	if mac != "" {
		card.AddressType, card.MacAddress = string(types.VirtualEthernetCardMacTypeManual), strings.ToLower(mac)
	}
	return &types.VirtualVmxnet3{VirtualVmxnet: types.VirtualVmxnet{VirtualEthernetCard: card}}
}

// SerialURI gives the n-th serial port, from 0, as a client of uri
// ("tcp://host:port").
func SerialURI(n int, uri string) types.BaseVirtualDevice {
	return serial(n, &types.VirtualSerialPortURIBackingInfo{VirtualDeviceURIBackingInfo: types.VirtualDeviceURIBackingInfo{
		ServiceURI: uri, Direction: string(types.VirtualDeviceURIBackingOptionDirectionClient),
	}})
}

// SerialFile gives the n-th serial port, from 0, written to a file
// ("[ds] folder/file.log"). The key answer.msg.serial.file.open makes that file
// grow over power cycles, see FileSerialKey.
func SerialFile(n int, path string, ds types.ManagedObjectReference) types.BaseVirtualDevice {
	return serial(n, &types.VirtualSerialPortFileBackingInfo{VirtualDeviceFileBackingInfo: file(path, ds)})
}

// FileSerialKey with value FileSerialAppend answers the question that ESXi asks
// at power-on when a serial port's file exists.
const (
	FileSerialKey    = "answer.msg.serial.file.open"
	FileSerialAppend = "Append"
)

func serial(n int, backing types.BaseVirtualDeviceBackingInfo) types.BaseVirtualDevice {
	return &types.VirtualSerialPort{
		VirtualDevice: types.VirtualDevice{
			Key: int32(serialKey + n), ControllerKey: sioKey, UnitNumber: types.NewInt32(int32(n)),
			Backing: backing, Connectable: connected(),
		},
		YieldOnPoll: true,
	}
}

func connected() *types.VirtualDeviceConnectInfo {
	return &types.VirtualDeviceConnectInfo{StartConnected: true, Connected: true, AllowGuestControl: false}
}

// file names a file; without a reference, its path says which datastore it is on.
func file(path string, ds types.ManagedObjectReference) types.VirtualDeviceFileBackingInfo {
	if ds.Value == "" {
		return types.VirtualDeviceFileBackingInfo{FileName: path}
	}
	return types.VirtualDeviceFileBackingInfo{FileName: path, Datastore: &ds}
}

// Add puts a device into a spec; its files exist already.
func Add(d types.BaseVirtualDevice) types.BaseVirtualDeviceConfigSpec {
	return &types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationAdd, Device: d}
}

// AddWithPolicy is Add of a disk, which gets the storage policy with that id; empty:
// it keeps what it has.
func AddWithPolicy(d types.BaseVirtualDevice, id string) types.BaseVirtualDeviceConfigSpec {
	s := &types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationAdd, Device: d}
	if id != "" {
		s.Profile = []types.BaseVirtualMachineProfileSpec{&types.VirtualMachineDefinedProfileSpec{ProfileId: id}}
	}
	return s
}

// AddNew puts a device into a spec and makes its files.
func AddNew(d types.BaseVirtualDevice) types.BaseVirtualDeviceConfigSpec {
	return &types.VirtualDeviceConfigSpec{
		Operation: types.VirtualDeviceConfigSpecOperationAdd, Device: d,
		FileOperation: types.VirtualDeviceConfigSpecFileOperationCreate,
	}
}

// Remove takes a device out of a VM and keeps its files.
func Remove(d types.BaseVirtualDevice) types.BaseVirtualDeviceConfigSpec {
	return &types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationRemove, Device: d}
}

// ExtraConfig gives keys in the form of a spec, sorted. An empty value deletes
// its key.
func ExtraConfig(keys map[string]string) []types.BaseOptionValue {
	names := make([]string, 0, len(keys))
	for k := range keys {
		names = append(names, k)
	}
	sort.Strings(names)
	out := make([]types.BaseOptionValue, 0, len(keys))
	for _, k := range names {
		out = append(out, &types.OptionValue{Key: k, Value: keys[k]})
	}
	return out
}

// BootFromCD is the boot order of our VMs.
func BootFromCD() *types.VirtualMachineBootOptions {
	return &types.VirtualMachineBootOptions{
		BootOrder: []types.BaseVirtualMachineBootOptionsBootableDevice{&types.VirtualMachineBootOptionsBootableCdromDevice{}},
	}
}
