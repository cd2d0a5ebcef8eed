package lab

import (
	"fmt"
	"math"
	"os"
	"path"
	"slices"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/simulator/esx"
	"github.com/vmware/govmomi/vim25/types"
)

// plan is what a spec asks for, checked and made explicit: the simulator gets
// device changes that it can't trip over, and the lab does the files.
type plan struct {
	l       *Lab
	c       *simulator.Context
	dc      *simulator.Datacenter
	home    object.DatastorePath // the VM's .vmx
	name    string
	devices object.VirtualDeviceList // as they will be; copies
	keys    map[int32]int32          // a new device's key in the spec: its real one

	changes []types.BaseVirtualDeviceConfigSpec // for the simulator
	create  []newDisk
	extend  []newDisk
	destroy []string                                        // files of disks to delete
	parents map[int32]*types.VirtualDiskFlatVer2BackingInfo // hidden from the simulator
}

// newDisk is a disk file to make or to grow.
type newDisk struct {
	path     string // on this computer
	ds       *simulator.Datastore
	capacity int64
	thin     bool
	parent   string // on this computer, of a child disk
	key      int32  // of a device that grows
}

// devices turns a spec's device changes into a plan. have are the VM's devices.
func (l *Lab) plan(c *simulator.Context, dc *simulator.Datacenter, home object.DatastorePath, name string,
	have []types.BaseVirtualDevice, in []types.BaseVirtualDeviceConfigSpec) (*plan, types.BaseMethodFault) {
	p := &plan{l: l, c: c, dc: dc, home: home, name: name, devices: slices.Clone(have), keys: map[int32]int32{},
		parents: map[int32]*types.VirtualDiskFlatVer2BackingInfo{}}
	for i, ch := range in {
		if ch == nil || ch.GetVirtualDeviceConfigSpec() == nil || ch.GetVirtualDeviceConfigSpec().Device == nil ||
			ch.GetVirtualDeviceConfigSpec().Device.GetVirtualDevice() == nil {
			return nil, invalidDevice(i, "device")
		}
	}
	// Removals make room, controllers come before what hangs on them.
	for pass := range 3 {
		for i, ch := range in {
			s := *ch.GetVirtualDeviceConfigSpec()
			_, controller := s.Device.(types.BaseVirtualController)
			want := 2
			if s.Operation == types.VirtualDeviceConfigSpecOperationRemove {
				want = 0
			} else if controller {
				want = 1
			}
			if want != pass {
				continue
			}
			if f := p.change(i, &s); f != nil {
				return nil, f
			}
		}
	}
	return p, nil
}

func (p *plan) change(i int, s *types.VirtualDeviceConfigSpec) types.BaseMethodFault {
	if _, fault := p.l.storagePolicies.asked(i, s); fault != nil {
		return fault
	}
	switch s.Operation {
	case types.VirtualDeviceConfigSpecOperationAdd:
		return p.add(i, s)
	case types.VirtualDeviceConfigSpecOperationEdit:
		return p.edit(i, s)
	case types.VirtualDeviceConfigSpecOperationRemove:
		return p.remove(i, s)
	}
	return invalidDevice(i, "operation")
}

func (p *plan) remove(i int, s *types.VirtualDeviceConfigSpec) types.BaseMethodFault {
	key := s.Device.GetVirtualDevice().Key
	old := p.devices.FindByKey(key)
	if old == nil {
		return invalidDevice(i, "device.key")
	}
	if _, ok := old.(types.BaseVirtualController); ok {
		for _, d := range p.devices {
			if d.GetVirtualDevice().ControllerKey == key {
				return invalidDevice(i, "device.key")
			}
		}
	}
	if d, ok := old.(*types.VirtualDisk); ok && s.FileOperation == types.VirtualDeviceConfigSpecFileOperationDestroy {
		if b, ok := d.Backing.(types.BaseVirtualDeviceFileBackingInfo); ok {
			f, fault := p.file(b.GetVirtualDeviceFileBackingInfo().FileName)
			if fault != nil {
				return fault
			}
			p.destroy = append(p.destroy, f)
		}
	}
	s.Device, s.FileOperation = old, ""
	p.devices = slices.DeleteFunc(p.devices, func(d types.BaseVirtualDevice) bool { return d.GetVirtualDevice().Key == key })
	p.changes = append(p.changes, s)
	return nil
}

func (p *plan) edit(i int, s *types.VirtualDeviceConfigSpec) types.BaseMethodFault {
	v := s.Device.GetVirtualDevice()
	at := slices.IndexFunc(p.devices, func(d types.BaseVirtualDevice) bool { return d.GetVirtualDevice().Key == v.Key })
	if at < 0 {
		return invalidDevice(i, "device.key")
	}
	old := p.devices[at]
	o := old.GetVirtualDevice()
	if fmt.Sprintf("%T", old) != fmt.Sprintf("%T", s.Device) {
		return invalidDevice(i, "device")
	}
	v.ControllerKey, v.UnitNumber = o.ControllerKey, o.UnitNumber
	if v.SlotInfo == nil {
		v.SlotInfo = o.SlotInfo
	}
	if v.Backing == nil {
		v.Backing = o.Backing
	}
	if v.Connectable == nil {
		v.Connectable = o.Connectable
	}
	if o.DeviceInfo != nil { // the simulator makes the summary anew
		v.DeviceInfo = &types.Description{Label: o.DeviceInfo.GetDescription().Label}
	}
	s.FileOperation = ""
	switch x := s.Device.(type) {
	case *types.VirtualDisk:
		if f := p.editDisk(i, x, old.(*types.VirtualDisk)); f != nil {
			return f
		}
	case types.BaseVirtualEthernetCard:
		card := x.GetVirtualEthernetCard()
		if f := p.network(i, card); f != nil {
			return f
		}
		if card.MacAddress == "" {
			card.MacAddress, card.AddressType = old.(types.BaseVirtualEthernetCard).GetVirtualEthernetCard().MacAddress,
				old.(types.BaseVirtualEthernetCard).GetVirtualEthernetCard().AddressType
		}
		if f := p.mac(i, card); f != nil {
			return f
		}
	case *types.VirtualCdrom:
		if f := p.cdrom(i, x); f != nil {
			return f
		}
	case *types.VirtualSerialPort:
		if f := p.serial(i, x); f != nil {
			return f
		}
	}
	p.devices[at] = s.Device
	p.changes = append(p.changes, s)
	return nil
}

func (p *plan) add(i int, s *types.VirtualDeviceConfigSpec) types.BaseMethodFault {
	v := s.Device.GetVirtualDevice()
	if key := builtIn(s.Device); key != 0 { // every VM has it: the spec's is that one
		p.keys[v.Key] = key
		return nil
	}
	if k, ok := p.keys[v.ControllerKey]; ok && v.ControllerKey != 0 {
		v.ControllerKey = k
	}
	temp := v.Key
	var fault types.BaseMethodFault
	switch x := s.Device.(type) {
	case types.BaseVirtualSCSIController:
		fault = p.addSCSI(i, x.GetVirtualSCSIController())
	case types.BaseVirtualController:
		p.key(v, 15000)
	case *types.VirtualDisk:
		fault = p.addDisk(i, s, x)
	case *types.VirtualCdrom:
		if fault = p.place(i, v, 2); fault == nil {
			p.key(v, 3000+(v.ControllerKey-200)*2+*v.UnitNumber)
			fault = p.cdrom(i, x)
		}
	case types.BaseVirtualEthernetCard:
		fault = p.addCard(i, x.GetVirtualEthernetCard())
	case *types.VirtualSerialPort:
		v.ControllerKey = 400
		v.UnitNumber = nil
		if fault = p.place(i, v, 32); fault == nil {
			p.key(v, 9000+*v.UnitNumber)
			fault = p.serial(i, x)
		}
	default:
		p.key(v, 12000)
	}
	if fault != nil {
		return fault
	}
	if temp != 0 {
		p.keys[temp] = v.Key
	}
	p.label(s.Device)
	p.devices = append(p.devices, s.Device)
	p.changes = append(p.changes, s)
	return nil
}

// label names a device as vSphere's clients show it: "Hard disk 1".
func (p *plan) label(d types.BaseVirtualDevice) {
	kind, from := "", 1
	switch d.(type) {
	case *types.VirtualDisk:
		kind = "Hard disk"
	case types.BaseVirtualEthernetCard:
		kind = "Network adapter"
	case *types.VirtualCdrom:
		kind = "CD/DVD drive"
	case *types.VirtualSerialPort:
		kind = "Serial port"
	case types.BaseVirtualSCSIController:
		kind, from = "SCSI controller", 0
	default:
		return
	}
	used := map[string]bool{}
	for _, o := range p.devices {
		if i := o.GetVirtualDevice().DeviceInfo; i != nil {
			used[i.GetDescription().Label] = true
		}
	}
	for n := from; ; n++ {
		if l := fmt.Sprintf("%s %d", kind, n); !used[l] {
			d.GetVirtualDevice().DeviceInfo = &types.Description{Label: l}
			return
		}
	}
}

// builtIn is the key of a device that every VM has, 0 for others.
func builtIn(d types.BaseVirtualDevice) int32 {
	switch x := d.(type) {
	case *types.VirtualIDEController:
		if x.BusNumber == 1 {
			return esx.VirtualMachineDefaultDeviceIDEControllerBus1.Key
		}
		return esx.VirtualMachineDefaultDeviceIDEControllerBus0.Key
	case *types.VirtualPS2Controller:
		return esx.VirtualMachineDefaultDevicePS2Controller.Key
	case *types.VirtualPCIController:
		return esx.VirtualMachineDefaultDevicePCIController.Key
	case *types.VirtualSIOController:
		return esx.VirtualMachineDefaultDeviceSIOController.Key
	case *types.VirtualKeyboard:
		return esx.VirtualMachineDefaultDeviceVirtualKeyboard.Key
	case *types.VirtualPointingDevice:
		return esx.VirtualMachineDefaultDeviceVirtualPointingDevice.Key
	case *types.VirtualMachineVideoCard:
		return esx.VirtualMachineDefaultDeviceVideoCard.Key
	case *types.VirtualMachineVMCIDevice:
		return esx.VirtualMachineDefaultDeviceVMCIDevice.Key
	}
	return 0
}

// key numbers a device from first on.
func (p *plan) key(v *types.VirtualDevice, first int32) {
	for v.Key = first; p.devices.FindByKey(v.Key) != nil; v.Key++ {
	}
}

// place finds a device's unit on its controller, which must exist and have
// units below limit.
func (p *plan) place(i int, v *types.VirtualDevice, limit int32) types.BaseMethodFault {
	if _, ok := p.devices.FindByKey(v.ControllerKey).(types.BaseVirtualController); !ok {
		return &types.InvalidController{InvalidDeviceSpec: *invalidDevice(i, "device.controllerKey").(*types.InvalidDeviceSpec), ControllerKey: v.ControllerKey}
	}
	taken := map[int32]bool{}
	if _, ok := p.devices.FindByKey(v.ControllerKey).(types.BaseVirtualSCSIController); ok {
		taken[7] = true // the controller itself
	}
	for _, d := range p.devices {
		if o := d.GetVirtualDevice(); o.ControllerKey == v.ControllerKey && o.UnitNumber != nil {
			taken[*o.UnitNumber] = true
		}
	}
	if v.UnitNumber != nil && *v.UnitNumber >= 0 {
		if taken[*v.UnitNumber] || *v.UnitNumber >= limit {
			return invalidDevice(i, "device.unitNumber")
		}
		return nil
	}
	for u := int32(0); u < limit; u++ {
		if !taken[u] {
			v.UnitNumber = &u
			return nil
		}
	}
	return invalidDevice(i, "device.unitNumber")
}

func (p *plan) addSCSI(i int, x *types.VirtualSCSIController) types.BaseMethodFault {
	used := map[int32]bool{}
	for _, d := range p.devices {
		if s, ok := d.(types.BaseVirtualSCSIController); ok {
			used[s.GetVirtualSCSIController().BusNumber] = true
		}
	}
	if x.BusNumber < 0 || x.BusNumber > 3 || used[x.BusNumber] {
		return invalidDevice(i, "device.busNumber")
	}
	x.ControllerKey, x.UnitNumber = 100, types.NewInt32(3+x.BusNumber)
	if x.SharedBus == "" {
		x.SharedBus = types.VirtualSCSISharingNoSharing
	}
	x.Device = nil
	x.ScsiCtlrUnitNumber = 7
	p.key(&x.VirtualDevice, 1000+x.BusNumber)
	return nil
}

// file is a datastore path's file on this computer.
func (p *plan) file(name string) (string, types.BaseMethodFault) {
	ds, rel, fault := p.l.onDatastore(p.c, p.dc, name)
	if fault != nil {
		return "", fault
	}
	return path.Join(ds.Summary.Url, rel), nil
}

func invalidDevice(i int, property string) types.BaseMethodFault {
	return &types.InvalidDeviceSpec{DeviceIndex: int32(i), InvalidVmConfig: types.InvalidVmConfig{Property: "deviceChange." + property}}
}

// exists tells whether a file is there.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// checkHardware refuses numbers out of vSphere 8's range.
func checkHardware(s *types.VirtualMachineConfigSpec) types.BaseMethodFault {
	if s.NumCPUs < 0 || s.NumCPUs > 768 {
		return &types.InvalidArgument{InvalidProperty: "configSpec.numCPUs"}
	}
	if s.MemoryMB != 0 && (s.MemoryMB < 4 || s.MemoryMB > 24<<20 || s.MemoryMB > math.MaxInt32) {
		return &types.InvalidArgument{InvalidProperty: "configSpec.memoryMB"}
	}
	if n := s.NumCoresPerSocket; n != nil && *n < 0 {
		return &types.InvalidArgument{InvalidProperty: "configSpec.numCoresPerSocket"}
	}
	if s.GuestId != "" && !slices.Contains(simulator.GuestID, types.VirtualMachineGuestOsIdentifier(s.GuestId)) {
		return &types.InvalidArgument{InvalidProperty: "configSpec.guestId"}
	}
	if s.Version != "" {
		if v, err := types.ParseHardwareVersion(s.Version); err != nil || !v.IsSupported() {
			return &types.InvalidArgument{InvalidProperty: "configSpec.version"}
		}
	}
	return firstOf(checkAllocation("configSpec.cpuAllocation", s.CpuAllocation), checkAllocation("configSpec.memoryAllocation", s.MemoryAllocation))
}
