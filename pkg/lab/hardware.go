package lab

import (
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/lab/machine"
	"github.com/vic-engine/vic/pkg/lab/store"
)

// machine is what a hypervisor is given: the VM's hardware in terms of this
// computer's files. The VM is locked. Hardware the lab can't run is a fault.
func (l *Lab) machine(c *simulator.Context, o *simulator.VirtualMachine) (machine.Machine, types.BaseMethodFault) {
	cfg := o.Config
	home, fault := l.file(c, o.Parent, cfg.Files.VmPathName)
	if fault != nil {
		return machine.Machine{}, fault
	}
	m := machine.Machine{
		ID: o.Self.Value, Name: o.Name, UUID: cfg.Uuid, Dir: filepath.Dir(home),
		CPUs: int(cfg.Hardware.NumCPU), MemoryMB: int64(cfg.Hardware.MemoryMB),
	}
	cpus, mb := hotAdd(cfg)
	m.MaxCPUs, m.MaxMemoryMB = int(cpus), mb
	devs := object.VirtualDeviceList(cfg.Hardware.Device)
	for _, d := range devs {
		if fault := l.addHardware(c, o, &m, devs, d); fault != nil {
			return m, fault
		}
	}
	sort.SliceStable(m.Disks, func(i, j int) bool {
		a, b := m.Disks[i], m.Disks[j]
		return a.Bus < b.Bus || a.Bus == b.Bus && a.Unit < b.Unit
	})
	sort.SliceStable(m.NICs, func(i, j int) bool { return m.NICs[i].Slot < m.NICs[j].Slot })
	return m, nil
}

func (l *Lab) addHardware(c *simulator.Context, o *simulator.VirtualMachine, m *machine.Machine, devs object.VirtualDeviceList, d types.BaseVirtualDevice) types.BaseMethodFault {
	v := d.GetVirtualDevice()
	connected := v.Connectable == nil || v.Connectable.StartConnected
	switch x := d.(type) {
	case *types.VirtualDisk:
		b, ok := x.Backing.(types.BaseVirtualDeviceFileBackingInfo)
		ctl, isSCSI := devs.FindByKey(v.ControllerKey).(types.BaseVirtualSCSIController)
		if !ok || !isSCSI || v.UnitNumber == nil {
			return reason(&types.DeviceUnsupportedForVmPlatform{}, "disk %d: the lab runs file-backed disks on SCSI controllers only", v.Key)
		}
		path, fault := l.file(c, o.Parent, b.GetVirtualDeviceFileBackingInfo().FileName)
		if fault != nil {
			return fault
		}
		disk := machine.Disk{Path: path, Bus: int(ctl.GetVirtualSCSIController().BusNumber), Unit: int(*v.UnitNumber)}
		if f, ok := x.Backing.(*types.VirtualDiskFlatVer2BackingInfo); ok {
			mode := types.VirtualDiskMode(f.DiskMode)
			disk.Nonpersistent = mode == types.VirtualDiskModeIndependent_nonpersistent || mode == types.VirtualDiskModeNonpersistent
		}
		disk.Extent = store.PlainExtent(path)
		m.Disks = append(m.Disks, disk)
	case *types.VirtualCdrom:
		b, ok := x.Backing.(*types.VirtualCdromIsoBackingInfo)
		if !ok || !connected || b.FileName == "" {
			return nil
		}
		path, fault := l.file(c, o.Parent, b.FileName)
		if fault != nil {
			return fault
		}
		m.CDROM = path
	case types.BaseVirtualEthernetCard:
		if connected {
			card := x.GetVirtualEthernetCard()
			m.NICs = append(m.NICs, machine.NIC{Network: networkName(c, card.Backing), MAC: card.MacAddress, Slot: slotOf(v)})
		}
	case *types.VirtualSerialPort:
		s, fault := l.serialPort(c, o, x)
		if fault != nil {
			return fault
		}
		m.Serials = append(m.Serials, s)
	}
	return nil
}

func (l *Lab) serialPort(c *simulator.Context, o *simulator.VirtualMachine, x *types.VirtualSerialPort) (machine.Serial, types.BaseMethodFault) {
	if x.Connectable != nil && !x.Connectable.StartConnected {
		return machine.Serial{}, nil // a port with nothing behind it keeps the others' places
	}
	switch b := x.Backing.(type) {
	case *types.VirtualSerialPortFileBackingInfo:
		path, fault := l.file(c, o.Parent, b.FileName)
		return machine.Serial{File: path}, fault
	case *types.VirtualSerialPortURIBackingInfo:
		if b.ProxyURI != "" {
			return machine.Serial{}, reason(&types.DeviceUnsupportedForVmPlatform{}, "serial port %d: the lab dials no proxy (vSPC)", x.Key)
		}
		server := b.Direction == string(types.VirtualDeviceURIBackingOptionDirectionServer)
		return machine.Serial{URI: b.ServiceURI, Server: server}, nil
	}
	return machine.Serial{}, reason(&types.DeviceUnsupportedForVmPlatform{}, "serial port %d: the lab has file and network backings only", x.Key)
}

func slotOf(v *types.VirtualDevice) int {
	if s, ok := v.SlotInfo.(*types.VirtualDevicePciBusSlotInfo); ok {
		return int(s.PciSlotNumber)
	}
	return 0
}

// networkName is the port group behind a card.
func networkName(c *simulator.Context, b types.BaseVirtualDeviceBackingInfo) string {
	switch b := b.(type) {
	case *types.VirtualEthernetCardNetworkBackingInfo:
		return b.DeviceName
	case *types.VirtualEthernetCardDistributedVirtualPortBackingInfo:
		if pg, ok := c.Map.Get(types.ManagedObjectReference{Type: "DistributedVirtualPortgroup", Value: b.Port.PortgroupKey}).(*simulator.DistributedVirtualPortgroup); ok {
			return pg.Name
		}
	}
	return ""
}

// file maps "[datastore] path" to a file of this computer, seen from an entity
// of the datacenter.
func (l *Lab) file(c *simulator.Context, parent *types.ManagedObjectReference, name string) (string, types.BaseMethodFault) {
	ds, p, fault := l.onDatastore(c, datacenterOf(c, parent), name)
	if fault != nil {
		return "", fault
	}
	return filepath.Join(ds.Summary.Url, p), nil
}

// onDatastore finds the datastore of a path, and the path in it, which can't
// leave it.
func (l *Lab) onDatastore(c *simulator.Context, dc *simulator.Datacenter, name string) (*simulator.Datastore, string, types.BaseMethodFault) {
	var p object.DatastorePath
	if !p.FromString(name) {
		return nil, "", &types.InvalidDatastorePath{DatastorePath: name}
	}
	if dc == nil {
		return nil, "", &types.InvalidArgument{InvalidProperty: "datacenter"}
	}
	ds, ok := c.Map.FindByName(p.Datastore, dc.Datastore).(*simulator.Datastore)
	if !ok {
		return nil, "", &types.InvalidDatastorePath{InvalidDatastore: types.InvalidDatastore{Name: p.Datastore}, DatastorePath: name}
	}
	if fault := l.inaccessible(ds); fault != nil {
		return nil, "", fault
	}
	clean := filepath.Clean("/" + p.Path)
	if strings.ContainsRune(p.Path, 0) || strings.Contains("/"+p.Path+"/", "/../") {
		return nil, "", &types.InvalidDatastorePath{DatastorePath: name}
	}
	return ds, strings.TrimPrefix(clean, "/"), nil
}

// available checks what a VM needs to start: its files exist, and nobody else
// writes its disks.
func (l *Lab) available(m machine.Machine) types.BaseMethodFault {
	if m.CDROM != "" {
		if _, err := os.Stat(m.CDROM); err != nil {
			return l.missing(m.CDROM)
		}
	}
	for _, d := range m.Disks {
		files, err := store.Files(d.Path)
		if err != nil {
			return l.missing(d.Path)
		}
		for _, f := range files {
			if _, err := os.Stat(f); err != nil {
				return l.missing(f)
			}
		}
		if l.opened(d.Path, !d.Nonpersistent && !d.ReadOnly) {
			return &types.FileLocked{FileFault: types.FileFault{File: l.shown(d.Path)}}
		}
	}
	return nil
}

func (l *Lab) missing(path string) types.BaseMethodFault {
	return &types.FileNotFound{FileFault: types.FileFault{File: l.shown(path)}}
}

// opened tells whether a running VM uses a file of a disk: for a writer, any
// use counts; for a reader, only a writer's. A disk's extents are its own.
func (l *Lab) opened(path string, write bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.vms {
		if r.m.CDROM == path && write {
			return true
		}
		for _, d := range r.m.Disks {
			if (d.Path == path || store.FlatName(d.Path) == path) && (write || !d.Nonpersistent && !d.ReadOnly) {
				return true
			}
		}
	}
	return false
}

// shown is a file's datastore path.
func (l *Lab) shown(path string) string {
	rel, err := filepath.Rel(filepath.Join(l.cfg.StateDir, "datastores"), path)
	if err != nil || strings.HasPrefix(rel, "..") {
		return path
	}
	ds, p, _ := strings.Cut(filepath.ToSlash(rel), "/")
	return (&object.DatastorePath{Datastore: ds, Path: p}).String()
}
