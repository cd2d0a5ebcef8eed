package lab

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"
)

func (r *rig) dir(ds string) string { return filepath.Join(r.cfg.StateDir, "datastores", ds) }

// ls lists a datastore's files, of all folders.
func (r *rig) ls(ds string) []string {
	var out []string
	_ = filepath.WalkDir(r.dir(ds), func(p string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(r.dir(ds), p)
			out = append(out, rel)
		}
		return nil
	})
	return out
}

func TestCreate(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		vm := r.container("c1")
		m := r.read(vm.Reference(), "config", "summary", "name", "network", "datastore", "resourcePool", "layoutEx")
		keys := map[int32]string{}
		for _, d := range m.Config.Hardware.Device {
			v := d.GetVirtualDevice()
			if v.DeviceInfo != nil {
				keys[v.Key] = v.DeviceInfo.GetDescription().Label
			}
		}
		for k, label := range map[int32]string{1000: "SCSI controller 0", 2000: "Hard disk 1", 3000: "CD/DVD drive 1", 4000: "Network adapter 1", 9000: "Serial port 1", 9001: "Serial port 2"} {
			if keys[k] != label {
				t.Errorf("device %d is %q, want %q", k, keys[k], label)
			}
		}
		devs := object.VirtualDeviceList(m.Config.Hardware.Device)
		card := devs.FindByKey(4000).(*types.VirtualVmxnet3)
		want := "00:0c:29:"
		if r.cfg.Mode == ModeVCenter {
			want = "00:50:56:"
		}
		if !strings.HasPrefix(card.MacAddress, want) || slotOf(&card.VirtualDevice) != 192 || !*card.UptCompatibilityEnabled {
			t.Errorf("card %+v", card)
		}
		for _, o := range m.Config.ExtraConfig {
			if o.GetOptionValue().Key == "govcsim" {
				t.Error("the simulator shows in extraConfig")
			}
		}
		if m.Config.ChangeVersion == "" || m.Config.Version != "vmx-21" || len(m.Network) != 1 || len(m.Datastore) != 1 {
			t.Errorf("VM %+v", m)
		}
		if got := strings.Join(r.ls("mydatastore"), " "); got != "VCH001/bootstrap.iso c1/c1-flat.vmdk c1/c1.nvram c1/c1.vmdk c1/c1.vmx c1/vmware.log" {
			t.Errorf("files %s", got)
		}
	})
}

func TestCreateFaults(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		r.container("taken")
		before := strings.Join(r.ls("mydatastore"), " ")
		create := func(spec types.VirtualMachineConfigSpec) (*object.Task, error) {
			return r.vms.CreateVM(r.ctx, spec, r.pool, nil)
		}
		spec := func(change func(*types.VirtualMachineConfigSpec)) types.VirtualMachineConfigSpec {
			s := r.containerSpec("new")
			change(&s)
			return s
		}
		device := func(s *types.VirtualMachineConfigSpec, i int) types.BaseVirtualDevice {
			return s.DeviceChange[i].GetVirtualDeviceConfigSpec().Device
		}
		none := types.ManagedObjectReference{Type: "ResourcePool", Value: "none"}

		task, err := create(r.containerSpec("taken"))
		if f := fails[*types.DuplicateName](r, task, err); f.Name != "taken" {
			t.Errorf("duplicate %+v", f)
		}
		task, err = r.vms.CreateVM(r.ctx, r.containerSpec("new"), object.NewResourcePool(r.c.Client, none), nil)
		fails[*types.ManagedObjectNotFound](r, task, err)
		task, err = r.vms.CreateVM(r.ctx, r.containerSpec("new"), r.pool, object.NewHostSystem(r.c.Client, types.ManagedObjectReference{Type: "HostSystem", Value: "none"}))
		fails[*types.ManagedObjectNotFound](r, task, err)
		task, err = create(spec(func(s *types.VirtualMachineConfigSpec) { s.Files.VmPathName = "[nowhere] new/new.vmx" }))
		fails[*types.InvalidDatastorePath](r, task, err)
		task, err = create(spec(func(s *types.VirtualMachineConfigSpec) { s.Files.VmPathName = "[mydatastore] ../new/new.vmx" }))
		fails[*types.InvalidDatastorePath](r, task, err)
		task, err = create(spec(func(s *types.VirtualMachineConfigSpec) { s.Files = nil }))
		fails[*types.InvalidVmConfig](r, task, err)
		task, err = create(spec(func(s *types.VirtualMachineConfigSpec) { s.Name = "a/b" }))
		fails[*types.InvalidName](r, task, err)
		task, err = create(spec(func(s *types.VirtualMachineConfigSpec) { s.NumCPUs = -1 }))
		fails[*types.InvalidArgument](r, task, err)
		task, err = create(spec(func(s *types.VirtualMachineConfigSpec) { s.GuestId = "templeOS" }))
		fails[*types.InvalidArgument](r, task, err)
		task, err = create(spec(func(s *types.VirtualMachineConfigSpec) {
			device(s, 3).GetVirtualDevice().Backing = &types.VirtualEthernetCardNetworkBackingInfo{
				VirtualDeviceDeviceBackingInfo: types.VirtualDeviceDeviceBackingInfo{DeviceName: "No Such Network"}}
		}))
		fails[*types.InvalidDeviceBacking](r, task, err)
		task, err = create(spec(func(s *types.VirtualMachineConfigSpec) { device(s, 2).GetVirtualDevice().ControllerKey = 77 }))
		fails[*types.InvalidController](r, task, err)
		task, err = create(spec(func(s *types.VirtualMachineConfigSpec) {
			device(s, 2).GetVirtualDevice().UnitNumber = types.NewInt32(7)
		}))
		fails[*types.InvalidDeviceSpec](r, task, err)
		task, err = create(spec(func(s *types.VirtualMachineConfigSpec) {
			s.DeviceChange[2].GetVirtualDeviceConfigSpec().FileOperation = ""
		}))
		fails[*types.FileNotFound](r, task, err)
		task, err = create(spec(func(s *types.VirtualMachineConfigSpec) {
			device(s, 2).GetVirtualDevice().Backing = &types.VirtualDiskSeSparseBackingInfo{}
		}))
		fails[*types.DeviceUnsupportedForVmPlatform](r, task, err)
		task, err = create(spec(func(s *types.VirtualMachineConfigSpec) {
			s.ExtraConfig = []types.BaseOptionValue{&types.OptionValue{Key: "guestinfo./x", Value: strings.Repeat("x", maxValue+1)}}
		}))
		if f := fails[*types.InvalidArgument](r, task, err); !strings.Contains(f.InvalidProperty, "guestinfo./x") {
			t.Errorf("property %s", f.InvalidProperty)
		}
		task, err = create(spec(func(s *types.VirtualMachineConfigSpec) {
			for i := range 20 {
				s.ExtraConfig = append(s.ExtraConfig, &types.OptionValue{Key: "guestinfo./x" + string(rune('a'+i)), Value: strings.Repeat("x", maxValue)})
			}
		}))
		fails[*types.InvalidArgument](r, task, err)
		task, err = create(spec(func(s *types.VirtualMachineConfigSpec) {
			s.DeviceChange = append(s.DeviceChange, &types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationAdd})
		}))
		fails[*types.InvalidDeviceSpec](r, task, err)
		task, err = create(spec(func(s *types.VirtualMachineConfigSpec) { s.DeviceChange[0].GetVirtualDeviceConfigSpec().Operation = "" }))
		fails[*types.InvalidDeviceSpec](r, task, err)

		if after := strings.Join(r.ls("mydatastore"), " "); after != before {
			t.Errorf("faults left files:\n%s\nbefore:\n%s", after, before)
		}
		if kids, err := r.vms.Children(r.ctx); err != nil || len(kids) != 1 {
			t.Errorf("VMs %v, %v", kids, err)
		}
		r.wait(create(r.containerSpec("new"))) // all is still well
	})
}

// TestSpells: keys that make the simulator do things are plain keys here.
func TestSpells(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		r.upload("VCH001/bootstrap.iso", []byte("iso"))
		s := r.containerSpec("magic")
		for k, v := range map[string]string{"SET.guest.ipAddress": "6.6.6.6", "SET.no.such": "x", "ip0": "6.6.6.7", "RUN.container": "nginx", "empty": ""} {
			s.ExtraConfig = append(s.ExtraConfig, &types.OptionValue{Key: k, Value: v})
		}
		info := r.wait(r.vms.CreateVM(r.ctx, s, r.pool, nil))
		vm := object.NewVirtualMachine(r.c.Client, info.Result.(types.ManagedObjectReference))
		got := r.extra(vm)
		if got["SET.guest.ipAddress"] != "6.6.6.6" || got["ip0"] != "6.6.6.7" || got["RUN.container"] != "nginx" {
			t.Errorf("keys %v", got)
		}
		if _, ok := got["empty"]; ok {
			t.Error("an empty value is kept")
		}
		if ip := r.read(vm.Reference(), "guest").Guest.IpAddress; ip != "" {
			t.Errorf("a key set the address to %s", ip)
		}
	})
}

func TestReconfigure(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		vm := r.container("re")
		v1 := r.read(vm.Reference(), "config.changeVersion").Config.ChangeVersion
		kv := func(k, v string) types.BaseOptionValue { return &types.OptionValue{Key: k, Value: v} }
		r.wait(vm.Reconfigure(r.ctx, types.VirtualMachineConfigSpec{ChangeVersion: v1, MemoryMB: 512, Annotation: "a note",
			ExtraConfig: []types.BaseOptionValue{kv("guestinfo./common/name", "renamed"), kv("guestinfo./new", "1"), kv("guestinfo./absent", ""), kv("serial0.hardwareFlowControl", "")}}))
		x := r.extra(vm)
		if x["guestinfo./common/name"] != "renamed" || x["guestinfo./new"] != "1" {
			t.Errorf("keys %v", x)
		}
		for _, k := range []string{"guestinfo./absent", "serial0.hardwareFlowControl"} {
			if _, ok := x[k]; ok {
				t.Errorf("%s is there", k)
			}
		}
		m := r.read(vm.Reference(), "config")
		if m.Config.ChangeVersion == v1 || m.Config.Hardware.MemoryMB != 512 {
			t.Errorf("config %+v", m.Config)
		}
		task, err := vm.Reconfigure(r.ctx, types.VirtualMachineConfigSpec{ChangeVersion: v1, Annotation: "stale"})
		fails[*types.ConcurrentAccess](r, task, err)

		text, err := os.ReadFile(filepath.Join(r.dir("mydatastore"), "re", "re.vmx"))
		r.must(err)
		for _, line := range []string{`annotation = "a note"`, `memSize = "512"`, `guestinfo./common/name = "renamed"`} {
			if !strings.Contains(string(text), line+"\n") {
				t.Errorf("no %s in\n%s", line, text)
			}
		}

		// A second disk and card, then off with them.
		disk := &types.VirtualDisk{CapacityInKB: 2048}
		disk.Key, disk.ControllerKey = -1, 1000
		disk.Backing = &types.VirtualDiskFlatVer2BackingInfo{DiskMode: "persistent", ThinProvisioned: types.NewBool(true)}
		card := &types.VirtualVmxnet3{}
		card.Key, card.Backing = -2, r.network("VM Network")
		r.must(vm.AddDevice(r.ctx, disk, card))
		devs, err := vm.Device(r.ctx)
		r.must(err)
		d2, c2 := devs.FindByKey(2001).(*types.VirtualDisk), devs.FindByKey(4001).(*types.VirtualVmxnet3)
		b := d2.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
		if *d2.UnitNumber != 1 || b.FileName != "[mydatastore] re/re_1.vmdk" || slotOf(&c2.VirtualDevice) != 224 {
			t.Errorf("new disk %+v, card %+v", d2, c2)
		}
		d2.CapacityInKB, d2.CapacityInBytes = 4096, 4096<<10
		r.must(vm.EditDevice(r.ctx, d2))
		if fi, err := os.Stat(filepath.Join(r.dir("mydatastore"), "re", "re_1-flat.vmdk")); err != nil || fi.Size() != 4<<20 {
			t.Errorf("grown disk %v %v", fi, err)
		}
		r.must(vm.RemoveDevice(r.ctx, true, d2)) // kept
		if !exists(filepath.Join(r.dir("mydatastore"), "re", "re_1.vmdk")) {
			t.Error("a detached disk is gone")
		}
		r.must(vm.RemoveDevice(r.ctx, false, devs.FindByKey(2000))) // destroyed
		if exists(filepath.Join(r.dir("mydatastore"), "re", "re.vmdk")) || exists(filepath.Join(r.dir("mydatastore"), "re", "re-flat.vmdk")) {
			t.Error("a removed disk is there")
		}
		err = vm.RemoveDevice(r.ctx, false, d2)
		faultIs[*types.InvalidDeviceSpec](t, err)

		r.wait(vm.PowerOn(r.ctx))
		r.wait(vm.Reconfigure(r.ctx, types.VirtualMachineConfigSpec{ExtraConfig: []types.BaseOptionValue{kv("guestinfo./live", "1")}}))
		task, err = vm.Reconfigure(r.ctx, types.VirtualMachineConfigSpec{MemoryMB: 1024})
		fails[*types.MemoryHotPlugNotSupported](r, task, err)
	})
}

func TestRenameDestroyUnregisterRegister(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		vm := r.container("old")
		r.wait(vm.Rename(r.ctx, "fresh"))
		m := r.read(vm.Reference(), "name", "config", "summary.config.name")
		if m.Name != "fresh" || m.Config.Name != "fresh" || m.Config.Files.VmPathName != "[mydatastore] old/old.vmx" {
			t.Errorf("renamed %s %s %s", m.Name, m.Config.Name, m.Config.Files.VmPathName)
		}
		uuid := m.Config.Uuid
		r.container("other")
		task, err := vm.Rename(r.ctx, "other")
		fails[*types.DuplicateName](r, task, err)

		r.wait(vm.PowerOn(r.ctx))
		task, err = vm.Destroy(r.ctx)
		fails[*types.InvalidPowerState](r, task, err)
		r.wait(vm.PowerOff(r.ctx))
		ev := r.eventsNow(vm.Reference())
		if !strings.Contains(strings.Join(ev, " "), "VmRenamedEvent") {
			t.Errorf("events %v", ev)
		}

		r.must(vm.Unregister(r.ctx))
		if !exists(filepath.Join(r.dir("mydatastore"), "old", "old.vmx")) {
			t.Fatal("unregistering removed the .vmx")
		}
		info := r.wait(r.vms.RegisterVM(r.ctx, "[mydatastore] old/old.vmx", "", false, r.pool, nil))
		back := object.NewVirtualMachine(r.c.Client, info.Result.(types.ManagedObjectReference))
		n := r.read(back.Reference(), "name", "config")
		if n.Name != "fresh" || n.Config.Uuid != uuid || len(n.Config.Hardware.Device) != len(m.Config.Hardware.Device) {
			t.Errorf("registered %s %s, %d devices, had %d", n.Name, n.Config.Uuid, len(n.Config.Hardware.Device), len(m.Config.Hardware.Device))
		}
		if x := r.extra(back); x["guestinfo./common/name"] != "jolly_panini" || x["serial0.hardwareFlowControl"] != "TRUE" {
			t.Errorf("keys %v", x)
		}
		task, err = r.vms.RegisterVM(r.ctx, "[mydatastore] old/old.vmx", "", false, r.pool, nil)
		fails[*types.AlreadyExists](r, task, err)
		task, err = r.vms.RegisterVM(r.ctx, "[mydatastore] no/no.vmx", "", false, r.pool, nil)
		fails[*types.NotFound](r, task, err)
		r.wait(back.PowerOn(r.ctx))
		r.wait(back.PowerOff(r.ctx))

		r.must(os.WriteFile(filepath.Join(r.dir("mydatastore"), "old", "output.log"), []byte("hi"), 0o600))
		r.wait(back.Destroy(r.ctx))
		if exists(filepath.Join(r.dir("mydatastore"), "old")) {
			t.Errorf("left %v", r.ls("mydatastore"))
		}
		if ev := r.eventsNow(back.Reference()); ev[len(ev)-1] != "VmRemovedEvent" {
			t.Errorf("events %v", ev)
		}
	})
}

// TestSharedDisk is the image disk of containers: many read it, and it goes with
// the VM whose destruction nobody running stands against.
func TestSharedDisk(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		r.must(os.MkdirAll(filepath.Join(r.dir("mydatastore"), "VIC"), 0o700))
		dm := object.NewVirtualDiskManager(r.c.Client)
		r.wait(dm.CreateVirtualDisk(r.ctx, "[mydatastore] VIC/image.vmdk", r.dc, &types.FileBackedVirtualDiskSpec{
			VirtualDiskSpec: types.VirtualDiskSpec{DiskType: "thin", AdapterType: "lsiLogic"}, CapacityKb: 1024}))
		r.upload("VCH001/bootstrap.iso", []byte("iso"))
		make := func(name string) *object.VirtualMachine {
			s := r.containerSpec(name)
			d := &types.VirtualDisk{}
			d.Key, d.ControllerKey, d.UnitNumber = -9, -1, types.NewInt32(1)
			d.Backing = &types.VirtualDiskFlatVer2BackingInfo{DiskMode: "independent_nonpersistent",
				VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: "[mydatastore] VIC/image.vmdk"}}
			s.DeviceChange = append(s.DeviceChange, &types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationAdd, Device: d})
			info := r.wait(r.vms.CreateVM(r.ctx, s, r.pool, nil))
			return object.NewVirtualMachine(r.c.Client, info.Result.(types.ManagedObjectReference))
		}
		a, b := make("a"), make("b")
		r.wait(a.PowerOn(r.ctx))
		r.wait(b.PowerOn(r.ctx))
		if d := r.hv.last(t).m.Disks; len(d) != 2 || !d[1].Nonpersistent || d[0].Nonpersistent {
			t.Errorf("disks %+v", d)
		}
		task, err := dm.DeleteVirtualDisk(r.ctx, "[mydatastore] VIC/image.vmdk", r.dc)
		fails[*types.FileLocked](r, task, err)
		r.wait(b.PowerOff(r.ctx))
		r.wait(b.Destroy(r.ctx))
		if !exists(filepath.Join(r.dir("mydatastore"), "VIC", "image.vmdk")) {
			t.Fatal("a disk that a running VM has open is gone")
		}
		r.wait(a.PowerOff(r.ctx))
		r.wait(a.Destroy(r.ctx))
		if exists(filepath.Join(r.dir("mydatastore"), "VIC", "image.vmdk")) {
			t.Error("the lab keeps what ESXi deletes")
		}
	})
}

func TestClone(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		vm := r.container("src")
		r.must(os.WriteFile(filepath.Join(r.dir("mydatastore"), "src", "src-flat.vmdk"), []byte("data"), 0o600))
		r.must(os.Truncate(filepath.Join(r.dir("mydatastore"), "src", "src-flat.vmdk"), 8<<30))
		pool := r.pool.Reference()
		info := r.wait(vm.Clone(r.ctx, r.vms, "copy", types.VirtualMachineCloneSpec{Location: types.VirtualMachineRelocateSpec{Pool: &pool}, PowerOn: true}))
		c := object.NewVirtualMachine(r.c.Client, info.Result.(types.ManagedObjectReference))
		m := r.hv.last(t).m
		b := make([]byte, 4)
		f, err := os.Open(strings.TrimSuffix(m.Disks[0].Path, ".vmdk") + "-flat.vmdk")
		r.must(err)
		defer f.Close()
		_, err = f.Read(b)
		r.must(err)
		if m.Name != "copy" || string(b) != "data" || m.NICs[0].MAC == r.read(vm.Reference(), "guest.net").Guest.Net[0].MacAddress {
			t.Errorf("clone %+v with %q", m, b)
		}
		if x := r.extra(c); x["guestinfo./common/name"] != "jolly_panini" {
			t.Errorf("keys %v", x)
		}
		task, err := vm.Clone(r.ctx, r.vms, "copy", types.VirtualMachineCloneSpec{Location: types.VirtualMachineRelocateSpec{Pool: &pool}})
		fails[*types.DuplicateName](r, task, err)
	})
}
