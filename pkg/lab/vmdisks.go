package lab

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/lab/store"
)

func (p *plan) addDisk(i int, s *types.VirtualDeviceConfigSpec, x *types.VirtualDisk) types.BaseMethodFault {
	limit := int32(16)
	if _, ok := p.devices.FindByKey(x.ControllerKey).(*types.ParaVirtualSCSIController); ok {
		limit = 65
	}
	if f := p.place(i, &x.VirtualDevice, limit); f != nil {
		return f
	}
	bus := p.devices.FindByKey(x.ControllerKey).(types.BaseVirtualController).GetVirtualController().BusNumber
	p.key(&x.VirtualDevice, 2000+bus*64+*x.UnitNumber)
	b, ok := x.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
	if !ok {
		return reason(&types.DeviceUnsupportedForVmPlatform{InvalidDeviceSpec: *invalidDevice(i, "device.backing").(*types.InvalidDeviceSpec)},
			"device %d: the lab has flat disks (VirtualDiskFlatVer2BackingInfo) only", i)
	}
	switch types.VirtualDiskMode(b.DiskMode) {
	case "":
		b.DiskMode = string(types.VirtualDiskModePersistent)
	case types.VirtualDiskModePersistent, types.VirtualDiskModeIndependent_persistent, types.VirtualDiskModeIndependent_nonpersistent:
	default:
		return invalidDevice(i, "device.backing.diskMode")
	}
	op := s.FileOperation
	s.FileOperation = "" // the simulator finds the file there
	parent := b.Parent
	if parent != nil {
		p.parents[x.Key] = parent
		b.Parent = nil
	}
	if op == "" {
		return p.attach(x, b)
	}
	if op != types.VirtualDeviceConfigSpecFileOperationCreate {
		return invalidDevice(i, "fileOperation")
	}
	return p.newDisk(i, x, b, parent)
}

// attach is for a disk that exists.
func (p *plan) attach(x *types.VirtualDisk, b *types.VirtualDiskFlatVer2BackingInfo) types.BaseMethodFault {
	file, fault := p.file(b.FileName)
	if fault != nil {
		return fault
	}
	d, err := store.ReadDescriptor(file)
	if err != nil {
		return p.l.fileFault(file, err)
	}
	x.CapacityInBytes, x.CapacityInKB = d.Capacity(), d.Capacity()/1024
	b.Uuid = vsphereUUID(d.Get("ddb.uuid"))
	if d.Get("ddb.thinProvisioned") == "1" {
		b.ThinProvisioned = types.NewBool(true)
	}
	if hint := d.Parent(); hint != "" && p.parents[x.Key] == nil {
		if !filepath.IsAbs(hint) {
			hint = filepath.Join(filepath.Dir(file), hint)
		}
		p.parents[x.Key] = &types.VirtualDiskFlatVer2BackingInfo{DiskMode: b.DiskMode,
			VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{FileName: p.l.shown(hint)}}
	}
	return nil
}

// newDisk plans the file of a disk that is to be made.
func (p *plan) newDisk(i int, x *types.VirtualDisk, b, parent *types.VirtualDiskFlatVer2BackingInfo) types.BaseMethodFault {
	n := newDisk{capacity: x.CapacityInBytes, thin: b.ThinProvisioned != nil && *b.ThinProvisioned}
	if n.capacity == 0 {
		n.capacity = x.CapacityInKB * 1024
	}
	if parent != nil {
		file, fault := p.file(parent.FileName)
		if fault != nil {
			return fault
		}
		d, err := store.ReadDescriptor(file)
		if err != nil {
			return p.l.fileFault(file, err)
		}
		n.parent, n.capacity = file, d.Capacity() // a child is as large as its parent
	}
	if n.capacity <= 0 || n.capacity > maxDisk {
		return invalidDevice(i, "device.capacityInKB")
	}
	x.CapacityInBytes, x.CapacityInKB = n.capacity, n.capacity/1024
	if fault := p.nameDisk(b); fault != nil {
		return fault
	}
	ds, rel, fault := p.l.onDatastore(p.c, p.dc, b.FileName)
	if fault != nil {
		return fault
	}
	if path.Ext(rel) != ".vmdk" {
		return &types.InvalidDatastorePath{InvalidDatastore: types.InvalidDatastore{Name: ds.Name}, DatastorePath: b.FileName}
	}
	n.ds, n.path = ds, filepath.Join(ds.Summary.Url, rel)
	if exists(n.path) {
		return &types.FileAlreadyExists{FileFault: types.FileFault{File: b.FileName}}
	}
	p.create = append(p.create, n)
	return nil
}

// nameDisk gives a disk without a file name one in the VM's folder: name.vmdk,
// name_1.vmdk, …
func (p *plan) nameDisk(b *types.VirtualDiskFlatVer2BackingInfo) types.BaseMethodFault {
	home := p.home
	var dp object.DatastorePath
	if dp.FromString(b.FileName) {
		if dp.Path != "" {
			return nil
		}
		home.Datastore = dp.Datastore
	} else if b.FileName != "" {
		return &types.InvalidDatastorePath{DatastorePath: b.FileName}
	} else if b.Datastore != nil {
		home.Datastore = nameOf(p.c, *b.Datastore)
	}
	planned := map[string]bool{}
	for _, n := range p.create {
		planned[n.path] = true
	}
	for n := 0; ; n++ {
		base := p.name
		if n > 0 {
			base = fmt.Sprintf("%s_%d", p.name, n)
		}
		home.Path = path.Join(path.Dir(p.home.Path), base+".vmdk")
		file, fault := p.file(home.String())
		if fault != nil {
			return fault
		}
		if !planned[file] && !exists(file) {
			b.FileName = home.String()
			return nil
		}
	}
}

func (p *plan) editDisk(i int, x, old *types.VirtualDisk) types.BaseMethodFault {
	b, ok := x.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
	ob, was := old.Backing.(*types.VirtualDiskFlatVer2BackingInfo)
	if !ok || !was {
		return invalidDevice(i, "device.backing")
	}
	if b.FileName == "" {
		b.FileName = ob.FileName
	}
	if b.FileName != ob.FileName {
		return invalidDevice(i, "device.backing.fileName")
	}
	if b.DiskMode == "" {
		b.DiskMode = ob.DiskMode
	}
	b.Uuid = ob.Uuid
	if ob.Parent != nil {
		p.parents[x.Key] = ob.Parent
	}
	b.Parent = nil
	want, ok := capacityWanted(x, old)
	if !ok {
		return &types.InvalidDeviceOperation{InvalidDeviceSpec: *invalidDevice(i, "device.capacityInBytes").(*types.InvalidDeviceSpec)}
	}
	x.CapacityInBytes, x.CapacityInKB = want, want/1024
	if want > old.CapacityInBytes {
		ds, rel, fault := p.l.onDatastore(p.c, p.dc, b.FileName)
		if fault != nil {
			return fault
		}
		n := newDisk{path: filepath.Join(ds.Summary.Url, rel), ds: ds, capacity: want, thin: b.ThinProvisioned != nil && *b.ThinProvisioned, key: x.Key}
		if fault := p.l.canGrow(n, want-old.CapacityInBytes); fault != nil {
			return fault
		}
		p.extend = append(p.extend, n)
	}
	return nil
}

// capacityWanted is what an edit makes of a disk's size. Of its two numbers the one
// that differs from what is there counts; when both do, they must agree. False: less
// than there is.
func capacityWanted(x, old *types.VirtualDisk) (int64, bool) {
	kb := x.CapacityInKB * 1024
	inBytes, inKB := x.CapacityInBytes != 0 && x.CapacityInBytes != old.CapacityInBytes, x.CapacityInKB != 0 && x.CapacityInKB != old.CapacityInKB
	want := old.CapacityInBytes
	switch {
	case inBytes && inKB && x.CapacityInBytes/1024 != x.CapacityInKB:
		return 0, false
	case inBytes:
		want = x.CapacityInBytes
	case inKB:
		want = kb
	}
	return want, want >= old.CapacityInBytes && want <= maxDisk
}

// maxDisk is VMFS's largest disk: 62 TB.
const maxDisk = 62 << 40

// canGrow checks that a disk can be made larger: it is one by itself, and the
// datastore has room for it, as far as its blocks are taken at once.
func (l *Lab) canGrow(n newDisk, more int64) types.BaseMethodFault {
	d, err := store.ReadDescriptor(n.path)
	if err != nil {
		return l.fileFault(n.path, err)
	}
	if !d.Flat() {
		return reason(&types.NotSupported{}, "%s is a child disk: it has its parent's size", l.shown(n.path))
	}
	need := int64(diskOverhead)
	if !n.thin {
		need = more
	}
	return l.room(n.ds, need)
}

// makeDisks does the planned disks. undo removes what it made.
func (p *plan) makeDisks() (undo func(), fault types.BaseMethodFault) {
	var made []string
	undo = func() {
		for _, f := range made {
			if err := store.Delete(f); err != nil {
				p.l.log.WithError(err).Warn("removing a disk of a VM that could not be made")
			}
		}
	}
	for _, n := range p.create {
		if f := p.l.room(n.ds, diskOverhead); f != nil {
			undo()
			return nil, f
		}
		var err error
		if n.parent != "" {
			err = store.CreateChild(p.c, n.path, n.parent)
		} else {
			err = store.Create(n.path, store.Spec{Capacity: n.capacity, Thin: n.thin})
		}
		if err != nil {
			undo()
			return nil, p.l.fileFault(n.path, err)
		}
		made = append(made, n.path)
	}
	return undo, nil
}

// growDisks does the planned growth of disks.
func (p *plan) growDisks() types.BaseMethodFault {
	for _, n := range p.extend {
		if err := store.Extend(n.path, n.capacity); err != nil {
			return p.l.fileFault(n.path, err)
		}
	}
	return nil
}

// diskOverhead is what an empty thin disk takes: one block of its descriptor.
const diskOverhead = 4096

// fileFault says what went wrong with a file in vSphere's terms.
func (l *Lab) fileFault(file string, err error) types.BaseMethodFault {
	f := types.FileFault{File: l.shown(file)}
	switch {
	case errdefs.IsNotFound(err):
		return &types.FileNotFound{FileFault: f}
	case errdefs.IsAlreadyExists(err):
		return &types.FileAlreadyExists{FileFault: f}
	case errdefs.IsInvalidArgument(err):
		return reason(&types.InvalidDiskFormat{}, "%s: %v", f.File, err)
	case noSpace(err):
		return &types.NoDiskSpace{FileFault: f, Datastore: datastoreOf(f.File)}
	case errors.Is(err, errdefs.ErrNotImplemented), errdefs.IsUnavailable(err):
		return reason(&types.NotSupported{}, "%v", err)
	}
	l.log.WithError(err).WithField("file", file).Warn("datastore file")
	return reason(&types.CannotAccessFile{FileFault: f}, "%v", err)
}

func datastoreOf(name string) string {
	var p object.DatastorePath
	p.FromString(name)
	return p.Datastore
}

// vsphereUUID turns "60 00 …-…" of a descriptor into the form of the API.
func vsphereUUID(s string) string {
	hex := strings.ToLower(strings.NewReplacer(" ", "", "-", "").Replace(s))
	if len(hex) != 32 {
		return ""
	}
	return strings.Join([]string{hex[:8], hex[8:12], hex[12:16], hex[16:20], hex[20:]}, "-")
}
