package vmx

import (
	"flag"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

var update = flag.Bool("update", false, "rewrite testdata")

const id = "2cf7f483bf6e7f32daa53f51ca388d5fb153f78d3a74d313318099086638ad58"

// container is the articles' example, as the lab's inventory has it.
func container() *mo.VirtualMachine {
	home := "[mydatastore] " + id + "/"
	unit := types.NewInt32
	ide := &types.VirtualIDEController{}
	ide.Key, ide.BusNumber = 200, 0
	scsi := &types.ParaVirtualSCSIController{}
	scsi.Key, scsi.BusNumber = 1000, 0
	cd := &types.VirtualCdrom{}
	cd.Key, cd.ControllerKey, cd.UnitNumber = 3000, 200, unit(0)
	cd.Connectable = &types.VirtualDeviceConnectInfo{StartConnected: true, AllowGuestControl: true}
	cd.Backing = &types.VirtualCdromIsoBackingInfo{VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: "[mydatastore] VCH001/bootstrap.iso"}}
	disk := func(n int32, name, mode string) *types.VirtualDisk {
		d := &types.VirtualDisk{}
		d.Key, d.ControllerKey, d.UnitNumber = 2000+n, 1000, unit(n)
		d.Backing = &types.VirtualDiskFlatVer2BackingInfo{DiskMode: mode, VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: name}}
		return d
	}
	nic := &types.VirtualVmxnet3{}
	nic.Key, nic.ControllerKey, nic.UnitNumber, nic.AddressType, nic.MacAddress = 4000, 100, unit(7), "generated", "00:0c:29:aa:bb:cc"
	nic.Connectable = &types.VirtualDeviceConnectInfo{StartConnected: true, AllowGuestControl: true}
	nic.SlotInfo = &types.VirtualDevicePciBusSlotInfo{PciSlotNumber: 192}
	nic.UptCompatibilityEnabled = types.NewBool(true)
	nic.Backing = &types.VirtualEthernetCardNetworkBackingInfo{VirtualDeviceDeviceBackingInfo: types.VirtualDeviceDeviceBackingInfo{DeviceName: "VCH Bridge"}}
	line := &types.VirtualSerialPort{YieldOnPoll: true}
	line.Key, line.ControllerKey = 9000, 400
	line.Connectable = &types.VirtualDeviceConnectInfo{StartConnected: true}
	line.Backing = &types.VirtualSerialPortURIBackingInfo{VirtualDeviceURIBackingInfo: types.VirtualDeviceURIBackingInfo{Direction: "client", ServiceURI: "tcp://10.118.0.10:8080"}}
	out := &types.VirtualSerialPort{YieldOnPoll: true}
	out.Key, out.ControllerKey = 9001, 400
	out.Connectable = &types.VirtualDeviceConnectInfo{StartConnected: true}
	out.Backing = &types.VirtualSerialPortFileBackingInfo{VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: home + "output.log"}}
	kv := func(k, v string) types.BaseOptionValue { return &types.OptionValue{Key: k, Value: v} }
	return &mo.VirtualMachine{Config: &types.VirtualMachineConfigInfo{
		Name: id, Version: "vmx-21", GuestId: "otherLinux64Guest", Firmware: "bios",
		Uuid: "564d5208-9a1b-4f3f-9c1a-0a27e3c6f001", InstanceUuid: "501e1b0c-30c9-4bb1-8a6e-0f3f4a7d1002",
		Files:       types.VirtualMachineFileInfo{VmPathName: home + id + ".vmx"},
		BootOptions: &types.VirtualMachineBootOptions{BootOrder: []types.BaseVirtualMachineBootOptionsBootableDevice{&types.VirtualMachineBootOptionsBootableCdromDevice{}}},
		Hardware: types.VirtualHardware{NumCPU: 1, MemoryMB: 256, Device: []types.BaseVirtualDevice{ide, scsi, cd,
			disk(0, home+id+".vmdk", "persistent"), disk(1, "[mydatastore] VIC/42/images/busybox.vmdk", "independent_nonpersistent"), nic, line, out}},
		ExtraConfig: []types.BaseOptionValue{
			kv("serial0.hardwareFlowControl", "TRUE"),
			kv("guestinfo./common/name", "jolly_panini"),
			kv("guestinfo./sessions|"+id+"/common/name", "jolly_panini"),
			kv("guestinfo./sessions|"+id+"/cmd/Path", "/hello"),
			kv("guestinfo./sessions|"+id+"/cmd/Args", `["/bin/sh","-c","echo a | wc # é"]`),
			kv("guestinfo./repo", "hello-world"),
			kv("ethernet0.networkName", "not this one"),
		},
	}}
}

func TestGolden(t *testing.T) {
	got := Encode(FromVM(container()))
	file := filepath.Join("testdata", "container.vmx")
	if *update {
		if err := os.WriteFile(file, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

// TestStateMD holds the lines that state.md section 2 names.
func TestStateMD(t *testing.T) {
	kv := FromVM(container())
	for k, want := range map[string]string{
		"guestinfo./common/name":                     "jolly_panini",
		"guestinfo./sessions|" + id + "/common/name": "jolly_panini",
		"guestinfo./sessions|" + id + "/cmd/Path":    "/hello",
		"guestinfo./repo":                            "hello-world",
		"ide0:0.deviceType":                          "cdrom-image",
		"ide0:0.fileName":                            "/vmfs/volumes/mydatastore/VCH001/bootstrap.iso",
		"serial0.fileType":                           "network",
		"serial0.fileName":                           "tcp://10.118.0.10:8080",
		"serial0.network.endPoint":                   "client",
		"serial0.yieldOnMsrRead":                     "TRUE",
		"serial0.allowGuestConnectionControl":        "FALSE",
		"serial0.hardwareFlowControl":                "TRUE",
		"ethernet0.virtualDev":                       "vmxnet3",
		"ethernet0.networkName":                      "VCH Bridge",
		"ethernet0.pciSlotNumber":                    "192",
		"ethernet0.uptCompatibility":                 "TRUE",
		"scsi0.virtualDev":                           "pvscsi",
		"scsi0:0.deviceType":                         "scsi-hardDisk",
		"scsi0:0.fileName":                           id + ".vmdk",
		"scsi0:1.mode":                               "independent-nonpersistent",
	} {
		if kv[k] != want {
			t.Errorf("%s = %q, want %q", k, kv[k], want)
		}
	}
}

// TestThereAndBack makes a VM of a file and a file of that VM.
func TestThereAndBack(t *testing.T) {
	first := FromVM(container())
	kv, err := Decode(Encode(first))
	if err != nil {
		t.Fatal(err)
	}
	var home object.DatastorePath
	home.FromString(container().Config.Files.VmPathName)
	spec, err := ToSpec(kv, home)
	if err != nil {
		t.Fatal(err)
	}
	ide := &types.VirtualIDEController{}
	ide.Key = 200
	m := &mo.VirtualMachine{Config: &types.VirtualMachineConfigInfo{
		Name: spec.Name, Version: spec.Version, GuestId: spec.GuestId, Firmware: spec.Firmware, Uuid: spec.Uuid, InstanceUuid: spec.InstanceUuid,
		Files: *spec.Files, BootOptions: spec.BootOptions, ExtraConfig: spec.ExtraConfig,
		Hardware: types.VirtualHardware{NumCPU: spec.NumCPUs, MemoryMB: int32(spec.MemoryMB), Device: []types.BaseVirtualDevice{ide}}}}
	for _, d := range spec.DeviceChange {
		m.Config.Hardware.Device = append(m.Config.Hardware.Device, d.GetVirtualDeviceConfigSpec().Device)
	}
	again := FromVM(m)
	maps.DeleteFunc(first, func(_, v string) bool { return v == "" })
	maps.DeleteFunc(again, func(_, v string) bool { return v == "" })
	if d := cmp.Diff(first, again); d != "" {
		t.Errorf("-first +again\n%s", d)
	}
}

func TestQuote(t *testing.T) {
	for in, want := range map[string]string{`say "hi"`: "say |22hi|22", "a|b": "a|7Cb", "#x": "|23x", "a\nb": "a|0Ab", "é": "é", "": ""} {
		if got := Quote(in); got != want {
			t.Errorf("Quote(%q) = %q, want %q", in, got, want)
		}
		if back := Unquote(Quote(in)); back != in {
			t.Errorf("%q came back as %q", in, back)
		}
	}
}

func TestBadText(t *testing.T) {
	for _, text := range []string{"novalue", "a = b", `a = "b`, `= "x"`} {
		if kv, err := Decode([]byte(text)); err == nil {
			t.Errorf("%q: %v", text, kv)
		}
	}
	var home object.DatastorePath
	home.FromString("[ds] a/a.vmx")
	if _, err := ToSpec(map[string]string{"memSize": "lots"}, home); err == nil {
		t.Error("memSize = lots is accepted")
	}
	for _, k := range []string{"", " a", "a\nb", `a"b`, "a=b", "#a"} {
		if ValidKey(k) == nil {
			t.Errorf("key %q is accepted", k)
		}
	}
}

func FuzzText(f *testing.F) {
	f.Add("guestinfo./a|b/c", "x | y \"z\"\n\x00é")
	f.Fuzz(func(t *testing.T, k, v string) {
		if v == "" || ValidKey(k) != nil {
			return
		}
		kv, err := Decode(Encode(map[string]string{k: v}))
		if err != nil || kv[k] != v || len(kv) != 1 {
			t.Fatalf("%q = %q came back as %q, %v", k, v, kv, err)
		}
	})
}

func FuzzToSpec(f *testing.F) {
	f.Add(Encode(FromVM(container())))
	var home object.DatastorePath
	home.FromString("[ds] a/a.vmx")
	f.Fuzz(func(_ *testing.T, b []byte) {
		if kv, err := Decode(b); err == nil {
			_, _ = ToSpec(kv, home)
		}
	})
}
