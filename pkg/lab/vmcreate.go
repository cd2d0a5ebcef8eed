package lab

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

type folderObj struct {
	*simulator.Folder
	l *Lab
}

type datacenterObj struct {
	*simulator.Datacenter
	l *Lab
}

type vmObj struct {
	*simulator.VirtualMachine // first, so that the simulator finds the managed object in it
	l                         *Lab
}

func (f *folderObj) CreateVMTask(ctx *simulator.Context, req *types.CreateVM_Task) soap.HasFault {
	return &methods.CreateVM_TaskBody{Res: &types.CreateVM_TaskResponse{
		Returnval: f.l.task(ctx, f.Folder, "createVm", func(c *simulator.Context) (types.AnyType, types.BaseMethodFault) {
			return f.l.createVM(c, f.Folder, req.Config, req.Pool, req.Host)
		})}}
}

func (a *vappObj) CreateChildVMTask(ctx *simulator.Context, req *types.CreateChildVM_Task) soap.HasFault {
	return &methods.CreateChildVM_TaskBody{Res: &types.CreateChildVM_TaskResponse{
		Returnval: a.l.task(ctx, a.VirtualApp, "createChildVm", func(c *simulator.Context) (types.AnyType, types.BaseMethodFault) {
			f, ok := c.Map.Get(*a.ParentFolder).(*simulator.Folder)
			if !ok {
				return nil, &types.InvalidState{}
			}
			return a.l.createVM(c, f, req.Config, a.Self, req.Host)
		})}}
}

// createVM checks everything first, makes the files, and lets the simulator
// make the managed object. What fails leaves nothing.
func (l *Lab) createVM(c *simulator.Context, f *simulator.Folder, spec types.VirtualMachineConfigSpec,
	pool types.ManagedObjectReference, host *types.ManagedObjectReference) (types.AnyType, types.BaseMethodFault) {
	dc := datacenterOf(c, &f.Self)
	if dc == nil || !slices.Contains(f.ChildType, "VirtualMachine") {
		return nil, &types.NotSupported{}
	}
	if fault := checkName(spec.Name); fault != nil {
		return nil, fault
	}
	// The name is taken from here on: a second creation with it waits, and then
	// finds it.
	claim := types.ManagedObjectReference{Type: "Name", Value: dc.Self.Value + "/" + spec.Name}
	if fault := l.begin(claim, opConfig); fault != nil {
		return nil, fault
	}
	defer l.end(claim)
	host, fault := l.placeVM(c, f, &spec, pool, host)
	if fault != nil {
		return nil, fault
	}
	if fault := firstOf(checkHardware(&spec), checkExtraConfig(nil, spec.ExtraConfig)); fault != nil {
		return nil, fault
	}
	home, fault := l.homeOf(c, dc, &spec)
	if fault != nil {
		return nil, fault
	}
	p, fault := l.plan(c, dc, home, spec.Name, defaultDevices(), spec.DeviceChange)
	if fault != nil {
		return nil, fault
	}
	l.defaults(&spec, home)
	undoHome, fault := l.makeHome(c, dc, home, spec.Name)
	if fault != nil {
		return nil, fault
	}
	undoDisks, fault := p.makeDisks()
	if fault != nil {
		undoHome()
		return nil, fault
	}
	plain, own := splitExtraConfig(spec.ExtraConfig)
	asked, shares := spec.DeviceChange, takeAllocations(&spec)
	spec.DeviceChange, spec.ExtraConfig = p.changes, plain
	res, fault := l.makeVM(c, f, &types.CreateVM_Task{This: f.Self, Config: spec, Pool: pool, Host: host})
	if fault != nil {
		undoDisks()
		undoHome()
		return nil, fault
	}
	o := c.Map.Get(res.(types.ManagedObjectReference)).(*simulator.VirtualMachine)
	l.storagePolicies.note(asked)
	l.settle(c, o, p, append(own, &types.OptionValue{Key: "govcsim"}), shares)
	return res, l.files.flush(l, c, o)
}

// creation is a VM in the making.
type creation struct {
	in   *simulator.Context // of the simulator's task
	free func()             // releases the VM's lock, once there is a VM
}

// makeVM lets the simulator make a VM, and keeps the VM's lock until it is done:
// the simulator holds its folder's only, and works on the VM in sight of all.
func (l *Lab) makeVM(c *simulator.Context, f *simulator.Folder, req *types.CreateVM_Task) (types.AnyType, types.BaseMethodFault) {
	l.making.Lock()
	defer l.making.Unlock()
	m := &creation{in: l.context(c.Session)}
	l.maker.Store(m)
	res, fault := l.inner(m.in, f, func() soap.HasFault { return f.CreateVMTask(m.in, req) })
	l.maker.Store(nil)
	if m.free != nil {
		m.free()
	}
	return res, fault
}

// hold is called when a VM is put into the registry, by the task that makes it
// and with its lock held: one more hold stays behind.
func (l *Lab) hold(o *simulator.VirtualMachine) {
	if m := l.maker.Load(); m != nil && m.free == nil {
		m.free = m.in.Map.AcquireLock(m.in, o)
	}
}

// settle finishes what the simulator does not do: keys that it would take for
// spells, allocations, parents of child disks.
func (l *Lab) settle(c *simulator.Context, o *simulator.VirtualMachine, p *plan, own []types.BaseOptionValue, shares allocations) {
	locked(c, o, func() {
		setExtraConfig(c, o, own)
		shares.set(c, o)
		if len(p.parents) == 0 {
			return
		}
		devices := snapshot(o).Config.Hardware.Device
		for _, d := range devices {
			v := d.GetVirtualDevice()
			if b, ok := v.Backing.(*types.VirtualDiskFlatVer2BackingInfo); ok && p.parents[v.Key] != nil {
				b.Parent = p.parents[v.Key]
			}
		}
		c.Update(o, []types.PropertyChange{set("config.hardware.device", devices)})
	})
	for _, n := range append(p.create, p.extend...) {
		l.measure(c, n.ds)
	}
}

func firstOf(faults ...types.BaseMethodFault) types.BaseMethodFault {
	for _, f := range faults {
		if f != nil {
			return f
		}
	}
	return nil
}

// checkName refuses what a VM can't be called. vSphere would escape slashes and
// percent signs; nobody's container needs them.
func checkName(name string) types.BaseMethodFault {
	if name == "" || len(name) > 80 || strings.ContainsAny(name, "/\\%") || strings.ContainsFunc(name, func(r rune) bool { return r < 0x20 }) {
		return &types.InvalidName{Name: name}
	}
	return nil
}

// placeVM checks where a VM shall be, and picks the host if nobody did.
func (l *Lab) placeVM(c *simulator.Context, f *simulator.Folder, spec *types.VirtualMachineConfigSpec,
	pool types.ManagedObjectReference, host *types.ManagedObjectReference) (*types.ManagedObjectReference, types.BaseMethodFault) {
	var owner types.ManagedObjectReference
	switch p := c.Map.Get(pool).(type) {
	case *simulator.ResourcePool:
		owner = p.Owner
	case *simulator.VirtualApp:
		owner = p.Owner
	default:
		return nil, &types.ManagedObjectNotFound{Obj: pool}
	}
	var hosts []types.ManagedObjectReference
	switch cr := c.Map.Get(owner).(type) {
	case *mo.ComputeResource:
		hosts = cr.Host
	case *simulator.ClusterComputeResource:
		hosts = cr.Host
	}
	if host != nil {
		if _, ok := c.Map.Get(*host).(*simulator.HostSystem); !ok {
			return nil, &types.ManagedObjectNotFound{Obj: *host}
		}
		if !slices.Contains(hosts, *host) {
			return nil, &types.InvalidArgument{InvalidProperty: "host"}
		}
	} else if len(hosts) == 0 {
		return nil, &types.InvalidState{}
	} else {
		host = &hosts[0]
	}
	ref := *host
	var dup *types.ManagedObjectReference
	locked(c, f, func() {
		for _, child := range f.ChildEntity {
			if nameOf(c, child) == spec.Name {
				dup = &child
			}
		}
	})
	if dup != nil {
		return nil, &types.DuplicateName{Name: spec.Name, Object: *dup}
	}
	return &ref, nil
}

// homeOf decides the path of the .vmx: as given, or in a folder of the VM's
// name, with a number if that is taken.
func (l *Lab) homeOf(c *simulator.Context, dc *simulator.Datacenter, spec *types.VirtualMachineConfigSpec) (object.DatastorePath, types.BaseMethodFault) {
	var p object.DatastorePath
	if spec.Files == nil || spec.Files.VmPathName == "" {
		return p, &types.InvalidVmConfig{Property: "configSpec.files.vmPathName"}
	}
	ds, rel, fault := l.onDatastore(c, dc, spec.Files.VmPathName)
	if fault != nil {
		return p, fault
	}
	p.Datastore = ds.Name
	if path.Ext(rel) == ".vmx" {
		p.Path = rel
		if path.Dir(rel) == "." {
			return p, &types.InvalidDatastorePath{InvalidDatastore: types.InvalidDatastore{Name: ds.Name}, DatastorePath: spec.Files.VmPathName}
		}
		if exists(filepath.Join(ds.Summary.Url, rel)) {
			return p, &types.FileAlreadyExists{FileFault: types.FileFault{File: p.String()}}
		}
		return p, nil
	}
	if rel == "" {
		rel = spec.Name
	}
	for n := 0; ; n++ {
		dir := rel
		if n > 0 {
			dir = fmt.Sprintf("%s_%d", rel, n)
		}
		if !exists(filepath.Join(ds.Summary.Url, dir)) {
			p.Path = path.Join(dir, spec.Name+".vmx")
			return p, nil
		}
	}
}

// makeHome makes the VM's folder, if it is not there. undo removes what is the
// VM's in it.
func (l *Lab) makeHome(c *simulator.Context, dc *simulator.Datacenter, home object.DatastorePath, name string) (undo func(), fault types.BaseMethodFault) {
	ds, rel, fault := l.onDatastore(c, dc, home.String())
	if fault != nil {
		return nil, fault
	}
	if f := l.room(ds, 2*diskOverhead); f != nil {
		return nil, f
	}
	file := filepath.Join(ds.Summary.Url, rel)
	dir := filepath.Dir(file)
	there := exists(dir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, l.fileFault(dir, err)
	}
	// The simulator insists on making the log too; a VM's that was here before
	// is of no use to this one.
	if err := os.Remove(filepath.Join(dir, "vmware.log")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, l.fileFault(dir, err)
	}
	return func() {
		for _, f := range []string{file, filepath.Join(dir, name+".nvram"), filepath.Join(dir, "vmware.log")} {
			if err := os.Remove(f); err != nil && !errors.Is(err, os.ErrNotExist) {
				l.log.WithError(err).Warn("removing a file of a VM that could not be made")
			}
		}
		if !there {
			_ = os.Remove(dir) // stays if somebody put a file into it meanwhile
		}
	}, nil
}

// defaults fills what a spec may leave out and the simulator would make
// something of that is not unique or too old.
func (l *Lab) defaults(spec *types.VirtualMachineConfigSpec, home object.DatastorePath) {
	spec.Files = &types.VirtualMachineFileInfo{VmPathName: home.String()}
	if spec.GuestId == "" {
		spec.GuestId = string(types.VirtualMachineGuestOsIdentifierOtherGuest)
	}
	if spec.Version == "" {
		spec.Version = hardware
	}
	if spec.Uuid == "" {
		spec.Uuid = vmUUID(0x56, 0x4d)
		if l.cfg.Mode == ModeVCenter {
			spec.Uuid = vmUUID(0x42, 0x1e)
		}
	}
	if spec.InstanceUuid == "" {
		spec.InstanceUuid = vmUUID(0x50, 0x1e)
	}
	if spec.MemoryMB == 0 {
		spec.MemoryMB = 32
	}
	spec.ChangeVersion = ""
}

// vmUUID is random behind the two bytes that VMware's begin with.
func vmUUID(a, b byte) string {
	id := uuid.New()
	id[0], id[1] = a, b
	return id.String()
}
