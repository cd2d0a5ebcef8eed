package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/lab/machine"
	"github.com/vic-engine/vic/pkg/lab/store"
)

var _ machine.HotPlug = (*fakeInstance)(nil)

// plug is one hot-plug operation: it is noted, or fails as the test says.
func (i *fakeInstance) plug(format string, a ...any) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	what := fmt.Sprintf(format, a...)
	for prefix, err := range i.refuse {
		if strings.HasPrefix(what, prefix) {
			return err
		}
	}
	i.plugged = append(i.plugged, what)
	return nil
}

func (i *fakeInstance) GrowDisk(_ context.Context, d machine.Disk, n int64) error {
	if d.Extent == "" {
		return errdefs.ErrNotImplemented
	}
	if err := i.plug("grow %d:%d %d", d.Bus, d.Unit, n); err != nil {
		return err
	}
	return os.Truncate(d.Extent, n)
}

func (i *fakeInstance) AddDisk(_ context.Context, d machine.Disk) error {
	return i.plug("add disk %d:%d %s", d.Bus, d.Unit, filepath.Base(d.Path))
}

func (i *fakeInstance) RemoveDisk(_ context.Context, d machine.Disk) error {
	return i.plug("remove disk %d:%d", d.Bus, d.Unit)
}

func (i *fakeInstance) AddNIC(_ context.Context, n machine.NIC) error {
	return i.plug("add nic %s %d", n.Network, n.Slot)
}

func (i *fakeInstance) RemoveNIC(_ context.Context, n machine.NIC) error {
	return i.plug("remove nic %d", n.Slot)
}

// did takes what was plugged since the last call.
func (i *fakeInstance) did(t *testing.T, want ...string) {
	t.Helper()
	i.mu.Lock()
	defer i.mu.Unlock()
	if got := strings.Join(i.plugged, "; "); got != strings.Join(want, "; ") {
		t.Errorf("plugged: %s\nwant: %s", got, strings.Join(want, "; "))
	}
	i.plugged = nil
}

func disk(d types.BaseVirtualDevice) *types.VirtualDisk { return d.(*types.VirtualDisk) }

func flat(name string) *types.VirtualDiskFlatVer2BackingInfo {
	return &types.VirtualDiskFlatVer2BackingInfo{DiskMode: "persistent", ThinProvisioned: types.NewBool(true),
		VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: name}}
}

func TestGrow(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		vm := r.container("c")
		file := filepath.Join(r.dir("mydatastore"), "c", "c.vmdk")
		size := func(want int64) {
			t.Helper()
			d, err := store.ReadDescriptor(file)
			r.must(err)
			fi, err := os.Stat(store.FlatName(file))
			r.must(err)
			devs, err := vm.Device(r.ctx)
			r.must(err)
			x := disk(devs.FindByKey(2000))
			if d.Capacity() != want || fi.Size() != want || store.Allocated(fi) > 1<<20 || x.CapacityInBytes != want || x.CapacityInKB != want/1024 {
				t.Errorf("descriptor %d, extent %d (%d taken), device %d, %d KB; want %d", d.Capacity(), fi.Size(), store.Allocated(fi),
					x.CapacityInBytes, x.CapacityInKB, want)
			}
			if d.Get("ddb.thinProvisioned") != "1" {
				t.Error("not thin any more")
			}
		}
		edit := func(change func(*types.VirtualDisk)) error {
			devs, err := vm.Device(r.ctx)
			r.must(err)
			d := disk(devs.FindByKey(2000))
			change(d)
			return vm.EditDevice(r.ctx, d)
		}
		dm := object.NewVirtualDiskManager(r.c.Client)
		const gib = 1 << 30
		size(8 * gib)

		// Off. One of the two numbers is enough.
		r.must(edit(func(d *types.VirtualDisk) { d.CapacityInKB = 9 << 20 }))
		size(9 * gib)
		r.must(edit(func(d *types.VirtualDisk) { d.CapacityInBytes, d.CapacityInKB = 10*gib, 0 }))
		size(10 * gib)
		r.wait(dm.ExtendVirtualDisk(r.ctx, "[mydatastore] c/c.vmdk", r.dc, 11<<20, nil))
		size(11 * gib)
		faultIs[*types.InvalidDeviceOperation](t, edit(func(d *types.VirtualDisk) { d.CapacityInKB = 1 << 20 }))
		faultIs[*types.InvalidDeviceOperation](t, edit(func(d *types.VirtualDisk) { d.CapacityInBytes, d.CapacityInKB = 12*gib, 13<<20 }))
		task, err := dm.ExtendVirtualDisk(r.ctx, "[mydatastore] c/c.vmdk", r.dc, 1<<20, nil)
		fails[*types.InvalidArgument](r, task, err)
		size(11 * gib)

		// On.
		r.wait(vm.PowerOn(r.ctx))
		i := r.hv.last(t)
		if i.m.Disks[0].Extent != store.FlatName(file) {
			t.Errorf("extent %q", i.m.Disks[0].Extent)
		}
		r.must(edit(func(d *types.VirtualDisk) { d.CapacityInKB = 12 << 20 }))
		i.did(t, "grow 0:0 12884901888")
		size(12 * gib)
		faultIs[*types.InvalidDeviceOperation](t, edit(func(d *types.VirtualDisk) { d.CapacityInBytes = gib }))
		task, err = dm.ExtendVirtualDisk(r.ctx, "[mydatastore] c/c.vmdk", r.dc, 13<<20, nil)
		fails[*types.FileLocked](r, task, err)
		i.refuse = map[string]error{"grow": errdefs.ErrNotImplemented}
		faultIs[*types.NotSupported](t, edit(func(d *types.VirtualDisk) { d.CapacityInKB = 13 << 20 }))
		r.l.FillDatastore("mydatastore", true)
		faultIs[*types.NoDiskSpace](t, edit(func(d *types.VirtualDisk) { d.CapacityInKB = 13 << 20 }))
		r.l.FillDatastore("mydatastore", false)
		i.did(t)
		size(12 * gib)
		r.wait(vm.PowerOff(r.ctx))

		// A disk whose blocks are all taken at once wants room for them.
		r.l.cfg.DatastoreCapacity = gib
		r.must(edit(func(d *types.VirtualDisk) { d.CapacityInKB = 14 << 20 }))
		thick := flat("")
		thick.ThinProvisioned = types.NewBool(false)
		d := &types.VirtualDisk{CapacityInKB: 1024}
		d.Key, d.ControllerKey, d.Backing = -1, 1000, thick
		r.must(vm.AddDevice(r.ctx, d))
		devs, err := vm.Device(r.ctx)
		r.must(err)
		d = disk(devs.FindByKey(2001))
		d.CapacityInKB = 2 << 20
		faultIs[*types.NoDiskSpace](t, vm.EditDevice(r.ctx, d))
	})
}

func TestHotPlug(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		vm := r.container("c")
		r.wait(vm.PowerOn(r.ctx))
		i := r.hv.last(t)
		file := func(name string) string { return filepath.Join(r.dir("mydatastore"), name) }
		vmx := func(want bool, lines ...string) {
			t.Helper()
			b, err := os.ReadFile(file("c/c.vmx"))
			r.must(err)
			for _, l := range lines {
				if strings.Contains(string(b), l) != want {
					t.Errorf("%s: %v, want %v, in\n%s", l, !want, want, b)
				}
			}
		}
		device := func(key int32) types.BaseVirtualDevice {
			devs, err := vm.Device(r.ctx)
			r.must(err)
			return devs.FindByKey(key)
		}

		d := &types.VirtualDisk{CapacityInKB: 2048}
		d.Key, d.ControllerKey, d.Backing = -1, 1000, flat("")
		nic := &types.VirtualVmxnet3{}
		nic.Key, nic.Backing = -2, r.network("VM Network")
		r.must(vm.AddDevice(r.ctx, d, nic))
		i.did(t, "add disk 0:1 c_1.vmdk", "add nic VM Network 224")
		vmx(true, `scsi0:1.fileName = "c_1.vmdk"`, `ethernet1.pciSlotNumber = "224"`)
		if x := device(4001).GetVirtualDevice().Connectable; x == nil || !x.Connected {
			t.Errorf("new card: %+v", x)
		}

		// The lab knows who has the disk, also after its restart.
		dm := object.NewVirtualDiskManager(r.c.Client)
		task, err := dm.DeleteVirtualDisk(r.ctx, "[mydatastore] c/c_1.vmdk", r.dc)
		fails[*types.FileLocked](r, task, err)
		r.stop()
		r.start()
		vm = object.NewVirtualMachine(r.c.Client, vm.Reference())
		dm = object.NewVirtualDiskManager(r.c.Client)
		task, err = dm.DeleteVirtualDisk(r.ctx, "[mydatastore] c/c_1.vmdk", r.dc)
		fails[*types.FileLocked](r, task, err)

		// What the guest keeps stays, and so does all that the call asked for.
		i.refuse = map[string]error{"remove nic": errdefs.ErrUnavailable}
		change := func(devs ...types.BaseVirtualDevice) error {
			var spec types.VirtualMachineConfigSpec
			for _, d := range devs {
				spec.DeviceChange = append(spec.DeviceChange, &types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationRemove, Device: d})
			}
			task, err := vm.Reconfigure(r.ctx, spec)
			if err == nil {
				err = task.Wait(r.ctx)
			}
			return err
		}
		faultIs[*types.InvalidState](t, change(device(2001), device(4001)))
		i.did(t, "remove disk 0:1", "add disk 0:1 c_1.vmdk")
		vmx(true, `scsi0:1.fileName = "c_1.vmdk"`, `ethernet1.pciSlotNumber = "224"`)
		i.refuse = nil

		r.must(change(device(2001), device(4001)))
		i.did(t, "remove disk 0:1", "remove nic 224")
		vmx(false, "scsi0:1", "ethernet1.")
		if device(2001) != nil || device(4001) != nil {
			t.Error("removed devices are there")
		}

		// A disk of a controller of its own, shared; then destroyed by who has it.
		ctl := &types.ParaVirtualSCSIController{}
		ctl.Key, ctl.BusNumber = -1, 1
		d = &types.VirtualDisk{}
		d.Key, d.ControllerKey, d.Backing = -2, -1, flat("[mydatastore] c/c_1.vmdk")
		r.wait(vm.Reconfigure(r.ctx, types.VirtualMachineConfigSpec{DeviceChange: []types.BaseVirtualDeviceConfigSpec{
			&types.VirtualDeviceConfigSpec{Operation: "add", Device: ctl}, &types.VirtualDeviceConfigSpec{Operation: "add", Device: d}}}))
		i.did(t, "add disk 1:0 c_1.vmdk")
		info := r.wait(r.vms.CreateVM(r.ctx, r.containerSpec("other"), r.pool, nil))
		other := object.NewVirtualMachine(r.c.Client, info.Result.(types.ManagedObjectReference))
		r.wait(other.PowerOn(r.ctx))
		d = &types.VirtualDisk{}
		d.Key, d.ControllerKey, d.Backing = -1, 1000, flat("[mydatastore] c/c_1.vmdk")
		faultIs[*types.FileLocked](t, other.AddDevice(r.ctx, d))
		r.hv.last(t).did(t)
		r.must(vm.RemoveDevice(r.ctx, false, device(2064)))
		i.did(t, "remove disk 1:0")
		if exists(file("c/c_1.vmdk")) {
			t.Error("the destroyed disk is there")
		}

		// A file that can't be made takes nothing along.
		i.refuse = map[string]error{"add disk": fmt.Errorf("no slot")}
		d = &types.VirtualDisk{CapacityInKB: 2048}
		d.Key, d.ControllerKey, d.Backing = -1, 1000, flat("[mydatastore] c/new.vmdk")
		faultIs[*types.GenericVmConfigFault](t, vm.AddDevice(r.ctx, d))
		if exists(file("c/new.vmdk")) || exists(file("c/new-flat.vmdk")) {
			t.Error("a disk that could not be added is left")
		}

		// The rest of the hardware changes when the VM is off.
		task, err = vm.Reconfigure(r.ctx, types.VirtualMachineConfigSpec{DeviceChange: []types.BaseVirtualDeviceConfigSpec{
			&types.VirtualDeviceConfigSpec{Operation: "remove", Device: device(9000)}}})
		fails[*types.InvalidPowerState](r, task, err)
	})
}
