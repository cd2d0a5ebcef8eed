package vmx

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// FromVM renders a VM's configuration as the lines of its .vmx.
func FromVM(m *mo.VirtualMachine) map[string]string {
	c := m.Config
	kv := map[string]string{
		".encoding":                      "UTF-8",
		"config.version":                 "8",
		"virtualHW.version":              strings.TrimPrefix(c.Version, "vmx-"),
		"virtualHW.productCompatibility": "hosted",
		"displayName":                    c.Name,
		"guestOS":                        guestOS(c.GuestId),
		"uuid.bios":                      spaced(c.Uuid),
		"vc.uuid":                        spaced(c.InstanceUuid),
		"firmware":                       c.Firmware,
		"numvcpus":                       number(c.Hardware.NumCPU),
		"memSize":                        number(c.Hardware.MemoryMB),
		"annotation":                     c.Annotation,
		"pciBridge0.present":             "TRUE",
		"vmci0.present":                  "TRUE",
		"floppy0.present":                "FALSE",
		"bios.bootOrder":                 bootOrder(c.BootOptions),
		"nvram":                          strings.TrimSuffix(path.Base(vmxPath(c)), ".vmx") + ".nvram",
	}
	if p := c.Hardware.NumCoresPerSocket; p != nil && *p > 1 {
		kv["cpuid.coresPerSocket"] = number(*p)
	}
	for key, on := range map[string]*bool{"vcpu.hotadd": c.CpuHotAddEnabled, "mem.hotadd": c.MemoryHotAddEnabled} {
		if on != nil {
			kv[key] = boolean(*on)
		}
	}
	w := &writer{kv: kv, devs: c.Hardware.Device}
	w.home.FromString(c.Files.VmPathName)
	for _, d := range c.Hardware.Device {
		w.device(d)
	}
	for _, o := range c.ExtraConfig { // the hardware's own lines win
		v := o.GetOptionValue()
		if _, taken := kv[v.Key]; !taken && ValidKey(v.Key) == nil {
			kv[v.Key] = fmt.Sprint(v.Value)
		}
	}
	return kv
}

type writer struct {
	kv          map[string]string
	devs        object.VirtualDeviceList
	home        object.DatastorePath // of the .vmx
	nic, serial int
}

// file names a file the way ESXi does: relative in the VM's own folder, else by
// its absolute path.
func (w *writer) file(name string) string {
	var p object.DatastorePath
	if !p.FromString(name) {
		return name
	}
	if p.Datastore == w.home.Datastore && path.Dir(p.Path) == path.Dir(w.home.Path) {
		return path.Base(p.Path)
	}
	return "/vmfs/volumes/" + p.Datastore + "/" + p.Path
}

// slot is "scsi0:1": the device's place on its controller.
func (w *writer) slot(v *types.VirtualDevice, kind string) string {
	bus, unit := int32(0), int32(0)
	switch c := w.devs.FindByKey(v.ControllerKey).(type) {
	case *types.VirtualIDEController:
		kind, bus = "ide", c.BusNumber
	case *types.VirtualAHCIController:
		kind, bus = "sata", c.BusNumber
	case *types.VirtualNVMEController:
		kind, bus = "nvme", c.BusNumber
	case types.BaseVirtualController:
		bus = c.GetVirtualController().BusNumber
	}
	if v.UnitNumber != nil {
		unit = *v.UnitNumber
	}
	return fmt.Sprintf("%s%d:%d", kind, bus, unit)
}

func (w *writer) set(prefix string, kv ...string) {
	for i := 0; i+1 < len(kv); i += 2 {
		w.kv[prefix+"."+kv[i]] = kv[i+1]
	}
}

func (w *writer) connection(p string, v *types.VirtualDevice) {
	w.set(p, "present", "TRUE")
	if c := v.Connectable; c != nil {
		if !c.StartConnected {
			w.set(p, "startConnected", "FALSE")
		}
		if !c.AllowGuestControl {
			w.set(p, "allowGuestConnectionControl", "FALSE")
		}
	}
	if s, ok := v.SlotInfo.(*types.VirtualDevicePciBusSlotInfo); ok {
		w.set(p, "pciSlotNumber", number(s.PciSlotNumber))
	}
}

func (w *writer) device(d types.BaseVirtualDevice) {
	v := d.GetVirtualDevice()
	switch x := d.(type) {
	case types.BaseVirtualSCSIController:
		p := fmt.Sprintf("scsi%d", x.GetVirtualSCSIController().BusNumber)
		w.connection(p, v)
		w.set(p, "virtualDev", scsiName(d))
	case *types.VirtualDisk:
		w.disk(x)
	case *types.VirtualCdrom:
		p := w.slot(v, "ide")
		w.connection(p, v)
		w.set(p, "deviceType", "atapi-cdrom")
		if b, ok := x.Backing.(*types.VirtualCdromIsoBackingInfo); ok {
			w.set(p, "deviceType", "cdrom-image", "fileName", w.file(b.FileName))
		}
	case types.BaseVirtualEthernetCard:
		w.ethernet(x, cardName(d))
	case *types.VirtualSerialPort:
		w.serialPort(x)
	}
}

func (w *writer) disk(x *types.VirtualDisk) {
	p := w.slot(&x.VirtualDevice, "scsi")
	w.connection(p, &x.VirtualDevice)
	kind := "scsi-hardDisk"
	if !strings.HasPrefix(p, "scsi") {
		kind = strings.TrimRight(strings.SplitN(p, ":", 2)[0], "0123456789") + "-hardDisk"
	}
	w.set(p, "deviceType", kind)
	if b, ok := x.Backing.(types.BaseVirtualDeviceFileBackingInfo); ok {
		w.set(p, "fileName", w.file(b.GetVirtualDeviceFileBackingInfo().FileName))
	}
	if b, ok := x.Backing.(*types.VirtualDiskFlatVer2BackingInfo); ok && b.DiskMode != "" && b.DiskMode != "persistent" {
		w.set(p, "mode", strings.ReplaceAll(b.DiskMode, "_", "-"))
	}
}

func (w *writer) ethernet(x types.BaseVirtualEthernetCard, kind string) {
	card := x.GetVirtualEthernetCard()
	p := fmt.Sprintf("ethernet%d", w.nic)
	w.nic++
	w.connection(p, &card.VirtualDevice)
	w.set(p, "virtualDev", kind)
	if card.AddressType == string(types.VirtualEthernetCardMacTypeManual) {
		w.set(p, "addressType", "static", "address", card.MacAddress)
	} else {
		addr := "generated"
		if card.AddressType == string(types.VirtualEthernetCardMacTypeAssigned) {
			addr = "vpx"
		}
		w.set(p, "addressType", addr, "generatedAddress", card.MacAddress)
	}
	if card.UptCompatibilityEnabled != nil {
		w.set(p, "uptCompatibility", boolean(*card.UptCompatibilityEnabled))
	}
	if card.WakeOnLanEnabled != nil && *card.WakeOnLanEnabled {
		w.set(p, "wakeOnPcktRcv", "TRUE")
	}
	switch b := card.Backing.(type) {
	case *types.VirtualEthernetCardNetworkBackingInfo:
		w.set(p, "networkName", b.DeviceName)
	case *types.VirtualEthernetCardDistributedVirtualPortBackingInfo:
		w.set(p, "dvs.switchId", b.Port.SwitchUuid, "dvs.portgroupId", b.Port.PortgroupKey, "dvs.portId", b.Port.PortKey)
	}
}

func (w *writer) serialPort(x *types.VirtualSerialPort) {
	p := fmt.Sprintf("serial%d", w.serial)
	w.serial++
	w.connection(p, &x.VirtualDevice)
	w.set(p, "yieldOnMsrRead", boolean(x.YieldOnPoll))
	switch b := x.Backing.(type) {
	case *types.VirtualSerialPortURIBackingInfo:
		w.set(p, "fileType", "network", "fileName", b.ServiceURI, "network.endPoint", b.Direction, "vspc", b.ProxyURI)
	case *types.VirtualSerialPortFileBackingInfo:
		w.set(p, "fileType", "file", "fileName", w.file(b.FileName))
	case *types.VirtualSerialPortPipeBackingInfo:
		w.set(p, "fileType", "pipe", "fileName", b.PipeName, "pipe.endPoint", b.Endpoint)
	}
}

func cardName(d types.BaseVirtualDevice) string {
	switch d.(type) {
	case *types.VirtualE1000:
		return "e1000"
	case *types.VirtualE1000e:
		return "e1000e"
	}
	return "vmxnet3"
}

func scsiName(d types.BaseVirtualDevice) string {
	switch d.(type) {
	case *types.ParaVirtualSCSIController:
		return "pvscsi"
	case *types.VirtualLsiLogicSASController:
		return "lsisas1068"
	case *types.VirtualBusLogicController:
		return "buslogic"
	}
	return "lsilogic"
}

func bootOrder(o *types.VirtualMachineBootOptions) string {
	if o == nil {
		return ""
	}
	var names []string
	for _, b := range o.BootOrder {
		switch b.(type) {
		case *types.VirtualMachineBootOptionsBootableCdromDevice:
			names = append(names, "cdrom")
		case *types.VirtualMachineBootOptionsBootableDiskDevice:
			names = append(names, "hdd")
		case *types.VirtualMachineBootOptionsBootableEthernetDevice:
			names = append(names, "ethernet0")
		case *types.VirtualMachineBootOptionsBootableFloppyDevice:
			names = append(names, "floppy")
		}
	}
	return strings.Join(names, ",")
}

// guestOS is the .vmx spelling of a guest id: otherLinux64Guest is
// "otherlinux-64".
func guestOS(id string) string {
	s := strings.ToLower(strings.TrimSuffix(id, "Guest"))
	if t, ok := strings.CutSuffix(s, "64"); ok && t != "" {
		return strings.TrimSuffix(t, "_") + "-64"
	}
	return s
}

// spaced writes a UUID as .vmx files do: "42 1e 5f … -…".
func spaced(id string) string {
	hex := strings.ReplaceAll(id, "-", "")
	if len(hex) != 32 {
		return id
	}
	var b strings.Builder
	for i := 0; i < 32; i += 2 {
		switch i {
		case 0:
		case 16:
			b.WriteByte('-')
		default:
			b.WriteByte(' ')
		}
		b.WriteString(hex[i : i+2])
	}
	return b.String()
}

func vmxPath(c *types.VirtualMachineConfigInfo) string {
	var p object.DatastorePath
	p.FromString(c.Files.VmPathName)
	return p.Path
}

func number(n int32) string { return strconv.Itoa(int(n)) }

func boolean(b bool) string { return strings.ToUpper(strconv.FormatBool(b)) }
