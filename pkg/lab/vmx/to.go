package vmx

import (
	"fmt"
	"path"
	"regexp"
	"sort"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"
)

// ToSpec turns the lines of the .vmx at home into a spec that creates the VM
// anew. Device keys are negative, so that whoever creates it numbers them; the
// IDE and SIO controllers, which every VM has, are referred to by the keys that
// vSphere gives them (200, 201 and 400).
func ToSpec(kv map[string]string, home object.DatastorePath) (types.VirtualMachineConfigSpec, error) {
	r := &reader{kv: kv, home: home, used: map[string]bool{}, next: -1}
	spec := types.VirtualMachineConfigSpec{
		Name:         r.get("displayName"),
		GuestId:      guestID(r.get("guestOS")),
		Uuid:         dashed(r.get("uuid.bios")),
		InstanceUuid: dashed(r.get("vc.uuid")),
		Firmware:     r.get("firmware"),
		Annotation:   r.get("annotation"),
		NumCPUs:      r.number("numvcpus", 1),
		MemoryMB:     int64(r.number("memSize", 32)),
		Files:        &types.VirtualMachineFileInfo{VmPathName: home.String()},
	}
	if v := r.get("virtualHW.version"); v != "" {
		spec.Version = "vmx-" + v
	}
	if n := r.number("cpuid.coresPerSocket", 0); n > 0 {
		spec.NumCoresPerSocket = &n
	}
	for key, to := range map[string]**bool{"vcpu.hotadd": &spec.CpuHotAddEnabled, "mem.hotadd": &spec.MemoryHotAddEnabled} {
		if r.get(key) != "" {
			*to = types.NewBool(r.true(key))
		}
	}
	if strings.HasPrefix(r.get("bios.bootOrder"), "cdrom") {
		spec.BootOptions = &types.VirtualMachineBootOptions{BootOrder: []types.BaseVirtualMachineBootOptionsBootableDevice{
			&types.VirtualMachineBootOptionsBootableCdromDevice{}}}
	}
	for _, k := range []string{".encoding", "config.version", "virtualHW.productCompatibility", "pciBridge0.present",
		"vmci0.present", "floppy0.present", "nvram"} {
		r.get(k)
	}
	r.scsi()
	r.ide()
	r.nics()
	r.serials()
	for _, d := range r.devices {
		spec.DeviceChange = append(spec.DeviceChange, &types.VirtualDeviceConfigSpec{
			Operation: types.VirtualDeviceConfigSpecOperationAdd, Device: d})
	}
	keys := make([]string, 0, len(kv))
	for k := range kv {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for _, k := range keys {
		if !r.used[k] && !r.ofDevice(k) {
			spec.ExtraConfig = append(spec.ExtraConfig, &types.OptionValue{Key: k, Value: kv[k]})
		}
	}
	return spec, r.err
}

type reader struct {
	kv      map[string]string
	home    object.DatastorePath
	used    map[string]bool // keys that became hardware or settings
	devices object.VirtualDeviceList
	next    int32
	err     error
}

func (r *reader) get(key string) string {
	r.used[key] = true
	return r.kv[key]
}

func (r *reader) true(key string) bool { return strings.EqualFold(r.get(key), "TRUE") }

func (r *reader) number(key string, def int32) int32 {
	s := r.get(key)
	if s == "" {
		return def
	}
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil {
		r.fail(key, s)
		return def
	}
	return int32(n)
}

func (r *reader) fail(key, value string) {
	if r.err == nil {
		r.err = fmt.Errorf("%s = %q: %w", key, value, errdefs.ErrInvalidArgument)
	}
}

func (r *reader) key() int32 {
	r.next--
	return r.next
}

// managed are the keys FromVM makes for a device. Others with a device's prefix
// are extra configuration, like serial0.hardwareFlowControl.
var managed = regexp.MustCompile(`^(scsi\d+|(scsi|ide)\d+:\d+|ethernet\d+|serial\d+)\.(present|virtualDev|pciSlotNumber|startConnected|` +
	`allowGuestConnectionControl|deviceType|fileName|mode|addressType|address|generatedAddress|uptCompatibility|wakeOnPcktRcv|networkName|` +
	`dvs\.(switchId|portgroupId|portId)|fileType|network\.endPoint|pipe\.endPoint|vspc|yieldOnMsrRead)$`)

func (r *reader) ofDevice(key string) bool { return managed.MatchString(key) }

// path is the inverse of writer.file.
func (r *reader) path(name string) string {
	if rest, ok := strings.CutPrefix(name, "/vmfs/volumes/"); ok {
		ds, p, _ := strings.Cut(rest, "/")
		return (&object.DatastorePath{Datastore: ds, Path: p}).String()
	}
	return (&object.DatastorePath{Datastore: r.home.Datastore, Path: path.Join(path.Dir(r.home.Path), name)}).String()
}

func (r *reader) base(prefix string, v *types.VirtualDevice) {
	v.Key = r.key()
	v.Connectable = &types.VirtualDeviceConnectInfo{
		StartConnected:    !strings.EqualFold(r.get(prefix+".startConnected"), "FALSE"),
		AllowGuestControl: !strings.EqualFold(r.get(prefix+".allowGuestConnectionControl"), "FALSE"),
	}
	if r.kv[prefix+".pciSlotNumber"] != "" {
		v.SlotInfo = &types.VirtualDevicePciBusSlotInfo{PciSlotNumber: r.number(prefix+".pciSlotNumber", 0)}
	}
}

func (r *reader) scsi() {
	for bus := int32(0); bus < 4; bus++ {
		p := fmt.Sprintf("scsi%d", bus)
		if !r.true(p + ".present") {
			continue
		}
		var c types.BaseVirtualSCSIController
		switch r.get(p + ".virtualDev") {
		case "pvscsi":
			c = &types.ParaVirtualSCSIController{}
		case "lsisas1068":
			c = &types.VirtualLsiLogicSASController{}
		case "buslogic":
			c = &types.VirtualBusLogicController{}
		default:
			c = &types.VirtualLsiLogicController{}
		}
		v := c.GetVirtualSCSIController()
		v.BusNumber, v.SharedBus = bus, types.VirtualSCSISharingNoSharing
		v.Key = r.key()
		if r.kv[p+".pciSlotNumber"] != "" {
			v.SlotInfo = &types.VirtualDevicePciBusSlotInfo{PciSlotNumber: r.number(p+".pciSlotNumber", 0)}
		}
		r.devices = append(r.devices, c.(types.BaseVirtualDevice))
		for unit := int32(0); unit < 65; unit++ {
			r.disk(fmt.Sprintf("%s:%d", p, unit), v.Key, unit)
		}
	}
}

func (r *reader) disk(p string, controller, unit int32) {
	if !r.true(p+".present") || r.get(p+".fileName") == "" {
		return
	}
	d := &types.VirtualDisk{}
	r.base(p, &d.VirtualDevice)
	d.Connectable = nil
	d.ControllerKey, d.UnitNumber = controller, &unit
	mode := strings.ReplaceAll(r.get(p+".mode"), "-", "_")
	if mode == "" {
		mode = "persistent"
	}
	d.Backing = &types.VirtualDiskFlatVer2BackingInfo{DiskMode: mode, ThinProvisioned: types.NewBool(true),
		VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: r.path(r.get(p + ".fileName"))}}
	r.devices = append(r.devices, d)
}

func (r *reader) ide() {
	for bus := int32(0); bus < 2; bus++ {
		for unit := int32(0); unit < 2; unit++ {
			p := fmt.Sprintf("ide%d:%d", bus, unit)
			if !r.true(p + ".present") {
				continue
			}
			if r.kv[p+".deviceType"] == "ide-hardDisk" {
				r.disk(p, 200+bus, unit)
				continue
			}
			d := &types.VirtualCdrom{}
			r.base(p, &d.VirtualDevice)
			d.ControllerKey, d.UnitNumber = 200+bus, types.NewInt32(unit)
			d.Backing = &types.VirtualCdromRemotePassthroughBackingInfo{}
			if r.get(p+".deviceType") == "cdrom-image" {
				d.Backing = &types.VirtualCdromIsoBackingInfo{VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{
					FileName: r.path(r.get(p + ".fileName"))}}
			}
			r.devices = append(r.devices, d)
		}
	}
}

func (r *reader) nics() {
	for n := 0; n < 10; n++ {
		p := fmt.Sprintf("ethernet%d", n)
		if !r.true(p + ".present") {
			continue
		}
		var card types.BaseVirtualEthernetCard
		switch r.get(p + ".virtualDev") {
		case "e1000":
			card = &types.VirtualE1000{}
		case "e1000e":
			card = &types.VirtualE1000e{}
		default:
			card = &types.VirtualVmxnet3{}
		}
		c := card.GetVirtualEthernetCard()
		r.base(p, &c.VirtualDevice)
		switch r.get(p + ".addressType") {
		case "static":
			c.AddressType, c.MacAddress = string(types.VirtualEthernetCardMacTypeManual), r.get(p+".address")
		case "vpx":
			c.AddressType, c.MacAddress = string(types.VirtualEthernetCardMacTypeAssigned), r.get(p+".generatedAddress")
		default:
			c.AddressType, c.MacAddress = string(types.VirtualEthernetCardMacTypeGenerated), r.get(p+".generatedAddress")
		}
		if v := r.get(p + ".uptCompatibility"); v != "" {
			c.UptCompatibilityEnabled = types.NewBool(strings.EqualFold(v, "TRUE"))
		}
		if r.true(p + ".wakeOnPcktRcv") {
			c.WakeOnLanEnabled = types.NewBool(true)
		}
		if id := r.get(p + ".dvs.switchId"); id != "" {
			c.Backing = &types.VirtualEthernetCardDistributedVirtualPortBackingInfo{Port: types.DistributedVirtualSwitchPortConnection{
				SwitchUuid: id, PortgroupKey: r.get(p + ".dvs.portgroupId"), PortKey: r.get(p + ".dvs.portId")}}
		} else {
			c.Backing = &types.VirtualEthernetCardNetworkBackingInfo{VirtualDeviceDeviceBackingInfo: types.VirtualDeviceDeviceBackingInfo{
				DeviceName: r.get(p + ".networkName")}}
		}
		r.devices = append(r.devices, card.(types.BaseVirtualDevice))
	}
}

func (r *reader) serials() {
	for n := 0; n < 32; n++ {
		p := fmt.Sprintf("serial%d", n)
		if !r.true(p + ".present") {
			continue
		}
		d := &types.VirtualSerialPort{YieldOnPoll: r.true(p + ".yieldOnMsrRead")}
		r.base(p, &d.VirtualDevice)
		d.ControllerKey = 400
		file := r.get(p + ".fileName")
		switch r.get(p + ".fileType") {
		case "network":
			d.Backing = &types.VirtualSerialPortURIBackingInfo{VirtualDeviceURIBackingInfo: types.VirtualDeviceURIBackingInfo{
				ServiceURI: file, Direction: r.get(p + ".network.endPoint"), ProxyURI: r.get(p + ".vspc")}}
		case "file":
			d.Backing = &types.VirtualSerialPortFileBackingInfo{VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: r.path(file)}}
		case "pipe":
			d.Backing = &types.VirtualSerialPortPipeBackingInfo{Endpoint: r.get(p + ".pipe.endPoint"),
				VirtualDevicePipeBackingInfo: types.VirtualDevicePipeBackingInfo{PipeName: file}}
		default:
			r.fail(p+".fileType", r.kv[p+".fileType"])
			continue
		}
		r.devices = append(r.devices, d)
	}
}

// guestID finds the guest id of a .vmx name, otherGuest for one unknown.
func guestID(name string) string {
	for _, id := range types.VirtualMachineGuestOsIdentifier("").Values() {
		if guestOS(string(id)) == name {
			return string(id)
		}
	}
	return string(types.VirtualMachineGuestOsIdentifierOtherGuest)
}

func dashed(s string) string {
	hex := strings.NewReplacer(" ", "", "-", "").Replace(s)
	if len(hex) != 32 {
		return ""
	}
	return strings.Join([]string{hex[:8], hex[8:12], hex[12:16], hex[16:20], hex[20:]}, "-")
}
