package install

import (
	"sort"
	"strings"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/guestinfo"
)

// Device keys of a new VM, by which its devices name their controllers.
// vSphere gives its own afterwards. Disks and NICs have negative ones, as new
// devices should.
const (
	keyIDE  = 200
	keySCSI = 1000
)

// keyCreatedDir is where the appliance remembers the topmost folder of the
// image store's path that create had to make, so that delete removes no other.
const keyCreatedDir = "vic./created/dir"

// Files in the appliance's folder.
const (
	applianceISO = "appliance.iso"
	bootstrapISO = "bootstrap.iso"
	consoleLog   = "console.log"
)

// ApplianceSpec is the appliance's VM: pure. Its paths assume that vSphere puts
// it into a folder of its name; ApplianceUpdate corrects them if it did not.
func ApplianceSpec(c Config) (types.VirtualMachineConfigSpec, error) {
	extra, err := applianceKeys(c)
	if err != nil {
		return types.VirtualMachineConfigSpec{}, err
	}
	ds := "[" + c.Datastore.Name + "]"
	devices := object.VirtualDeviceList{
		&types.VirtualIDEController{VirtualController: types.VirtualController{VirtualDevice: types.VirtualDevice{Key: keyIDE}}},
		&types.ParaVirtualSCSIController{VirtualSCSIController: types.VirtualSCSIController{
			SharedBus:         types.VirtualSCSISharingNoSharing,
			VirtualController: types.VirtualController{VirtualDevice: types.VirtualDevice{Key: keySCSI}},
		}},
		cdrom(-1, keyIDE, c.VCH.HomeDir),
		&types.VirtualDisk{
			VirtualDevice: types.VirtualDevice{
				Key: -2, ControllerKey: keySCSI, UnitNumber: types.NewInt32(0),
				Backing: &types.VirtualDiskFlatVer2BackingInfo{
					VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: ds},
					DiskMode:                     string(types.VirtualDiskModePersistent),
					ThinProvisioned:              types.NewBool(true),
				},
			},
			CapacityInKB:    ScratchMB * 1024,
			CapacityInBytes: ScratchMB << 20,
		},
		serial(-3, c.VCH.HomeDir),
	}
	for i, n := range c.NICs {
		devices = append(devices, nic(int32(-10-i), n))
	}
	var changes []types.BaseVirtualDeviceConfigSpec
	for _, d := range devices {
		s := &types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationAdd, Device: d}
		if _, ok := d.(*types.VirtualDisk); ok {
			s.FileOperation = types.VirtualDeviceConfigSpecFileOperationCreate
		}
		changes = append(changes, s)
	}
	return types.VirtualMachineConfigSpec{
		Name:       c.VCH.Name,
		Annotation: "Virtual Container Host " + c.VCH.Name + ", made by vic-machine " + c.VCH.Version + ". Remove it with vic-machine delete.",
		GuestId:    string(types.VirtualMachineGuestOsIdentifierOther3xLinux64Guest),
		Firmware:   string(types.GuestOsDescriptorFirmwareTypeBios),
		Files:      &types.VirtualMachineFileInfo{VmPathName: ds},
		NumCPUs:    1,
		MemoryMB:   c.EndpointMB,
		// The scratch disk is never bootable.
		BootOptions:  &types.VirtualMachineBootOptions{BootOrder: []types.BaseVirtualMachineBootOptionsBootableDevice{&types.VirtualMachineBootOptionsBootableCdromDevice{}}},
		DeviceChange: changes,
		ExtraConfig:  extra,
	}, nil
}

// Made is what vSphere decided when it made the appliance.
type Made struct {
	VM      types.ManagedObjectReference
	HomeDir string   // "[ds] VCH001"
	MACs    []string // of Config.NICs, in that order
	Devices object.VirtualDeviceList
}

// Learn takes what vSphere decided into the configuration. Pure.
func (c Config) Learn(m Made) Config {
	c.VCH.VM = m.VM.Value
	c.VCH.HomeDir = m.HomeDir
	c.VCH.BootstrapISO = m.HomeDir + "/" + bootstrapISO
	nets := c.VCH.Networks
	c.VCH.Networks = map[string]specNetwork{}
	for role, n := range nets {
		c.VCH.Networks[role] = n
	}
	for i, n := range c.NICs {
		for _, role := range n.Roles {
			net := c.VCH.Networks[role]
			if i < len(m.MACs) {
				net.MAC = m.MACs[i]
			}
			c.VCH.Networks[role] = net
		}
	}
	return c
}

// ApplianceUpdate is the change that completes the appliance once vSphere has
// decided its id, addresses and folder. Pure.
func ApplianceUpdate(c Config, m Made) (types.VirtualMachineConfigSpec, error) {
	assumed := c.VCH.HomeDir
	c = c.Learn(m)
	extra, err := applianceKeys(c)
	if err != nil {
		return types.VirtualMachineConfigSpec{}, err
	}
	spec := types.VirtualMachineConfigSpec{ExtraConfig: extra}
	if assumed == m.HomeDir {
		return spec, nil
	}
	for _, d := range m.Devices {
		switch d := d.(type) {
		case *types.VirtualCdrom:
			d.Backing = cdrom(0, 0, m.HomeDir).Backing
			spec.DeviceChange = append(spec.DeviceChange, edit(d))
		case *types.VirtualSerialPort:
			d.Backing = serial(0, m.HomeDir).Backing
			spec.DeviceChange = append(spec.DeviceChange, edit(d))
		}
	}
	return spec, nil
}

func edit(d types.BaseVirtualDevice) *types.VirtualDeviceConfigSpec {
	return &types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationEdit, Device: d}
}

// applianceKeys are the VM's extraConfig, without any secret: those are written
// only when the appliance has told the key to seal them with.
func applianceKeys(c Config) ([]types.BaseOptionValue, error) {
	v := c.VCH
	v.Password, v.ServerKey, v.AttachKey = "", "", ""
	keys, err := guestinfo.EncodeVCH(v)
	if err != nil {
		return nil, err
	}
	// Power-on must not stop to ask whether to replace the console's file.
	keys["answer.msg.serial.file.open"] = "Append"
	if c.MakeDir != "" {
		keys[keyCreatedDir] = c.MakeDir
	}
	return optionValues(keys), nil
}

func optionValues(keys map[string]string) []types.BaseOptionValue {
	names := make([]string, 0, len(keys))
	for k := range keys {
		names = append(names, k)
	}
	sort.Strings(names)
	var out []types.BaseOptionValue
	for _, k := range names {
		out = append(out, &types.OptionValue{Key: k, Value: keys[k]})
	}
	return out
}

func cdrom(key, controller int32, home string) *types.VirtualCdrom {
	return &types.VirtualCdrom{VirtualDevice: types.VirtualDevice{
		Key: key, ControllerKey: controller, UnitNumber: types.NewInt32(0),
		Backing:     &types.VirtualCdromIsoBackingInfo{VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: home + "/" + applianceISO}},
		Connectable: &types.VirtualDeviceConnectInfo{StartConnected: true, Connected: true, AllowGuestControl: true},
	}}
}

func serial(key int32, home string) *types.VirtualSerialPort {
	return &types.VirtualSerialPort{
		VirtualDevice: types.VirtualDevice{
			Key:         key,
			Backing:     &types.VirtualSerialPortFileBackingInfo{VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: home + "/" + consoleLog}},
			Connectable: &types.VirtualDeviceConnectInfo{StartConnected: true, Connected: true, AllowGuestControl: false},
		},
		YieldOnPoll: true,
	}
}

func nic(key int32, n NIC) *types.VirtualVmxnet3 {
	card := &types.VirtualVmxnet3{}
	card.Key = key
	card.Backing = n.Network.backing()
	card.AddressType = string(types.VirtualEthernetCardMacTypeGenerated)
	card.Connectable = &types.VirtualDeviceConnectInfo{StartConnected: true, Connected: true, AllowGuestControl: true}
	card.SlotInfo = &types.VirtualDevicePciBusSlotInfo{PciSlotNumber: int32(n.Slot)}
	card.UptCompatibilityEnabled = types.NewBool(true)
	return card
}

// backing is how a NIC is on the network.
func (n Network) backing() types.BaseVirtualDeviceBackingInfo {
	switch n.Kind {
	case Distributed:
		return &types.VirtualEthernetCardDistributedVirtualPortBackingInfo{
			Port: types.DistributedVirtualSwitchPortConnection{SwitchUuid: n.Switch, PortgroupKey: n.Key}}
	case Opaque:
		return &types.VirtualEthernetCardOpaqueNetworkBackingInfo{OpaqueNetworkId: n.OpaqueID, OpaqueNetworkType: n.OpaqueType}
	}
	return &types.VirtualEthernetCardNetworkBackingInfo{VirtualDeviceDeviceBackingInfo: types.VirtualDeviceDeviceBackingInfo{DeviceName: n.Name}}
}

// homeOf is the folder of "[ds] VCH001/VCH001.vmx".
func homeOf(vmx string) string {
	if i := strings.LastIndexByte(vmx, '/'); i >= 0 {
		return vmx[:i]
	}
	return vmx
}
