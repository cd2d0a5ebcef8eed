package collector

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vmware/govmomi/vim25/types"
	"github.com/vmware/govmomi/vim25/xml"
)

// The simulator gets the device itself, the event a copy of it, whole and typed.
func TestChangesForEvents(t *testing.T) {
	unit := int32(3)
	disk := &types.VirtualDisk{CapacityInKB: 1024, VirtualDevice: types.VirtualDevice{
		Key: 2003, ControllerKey: 1000, UnitNumber: &unit,
		Backing: &types.VirtualDiskFlatVer2BackingInfo{
			VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: "[ds] a/a.vmdk"}, DiskMode: "persistent",
		},
	}}
	in := &types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationAdd, Device: disk}
	out := ForEvent([]types.BaseVirtualDeviceConfigSpec{in})
	if out[0].GetVirtualDeviceConfigSpec() != in {
		t.Fatal("the simulator gets another change")
	}
	shown := out[0].(*VirtualDeviceConfigSpec).VirtualDeviceConfigSpec
	if d := cmp.Diff(*in, shown); d != "" {
		t.Errorf("event:\n%s", d)
	}
	disk.CapacityInKB, disk.Backing.(*types.VirtualDiskFlatVer2BackingInfo).DiskMode = 1, "x"
	if cmp.Equal(*in, shown) {
		t.Error("the event has the simulator's objects")
	}
	var b bytes.Buffer
	spec := types.VirtualMachineConfigSpec{DeviceChange: out}
	if err := xml.NewEncoder(&b).Encode(spec); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`type="VirtualDeviceConfigSpec"`, `type="VirtualDisk"`, "<capacityInKB>1024<"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %s in %s", want, b.String())
		}
	}
}
