package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
	"github.com/vmware/govmomi/vim25/xml"
)

// load reads the saved inventory, every object with its old reference.
func (l *Lab) load() error {
	m := l.model()
	stage, err := l.stage()
	if err != nil {
		return err
	}
	defer os.RemoveAll(stage)
	if err := m.Load(stage); err != nil {
		return err
	}
	l.svc = m.Service
	c := l.context(nil)
	if err := l.loadApart(c); err != nil {
		return err
	}
	if err := c.Map.AlignCounter(); err != nil {
		return err
	}
	l.rewire(c)
	l.mend(c)
	l.tuneService(c)
	for _, ref := range c.Map.AllReference("HostSystem") {
		l.tuneHost(c, ref.(*simulator.HostSystem))
	}
	l.measureAll(c)
	return nil
}

// apart are kinds that the simulator would load with files of its own in a
// temporary folder, which the lab has no use for.
func apart(name string) bool {
	return strings.HasPrefix(name, "Datastore-") || strings.HasPrefix(name, "OptionManager-")
}

// stage makes a folder with links to the files that Model.Load shall read.
func (l *Lab) stage() (string, error) {
	stage := filepath.Join(l.cfg.StateDir, "inventory.stage")
	if err := os.RemoveAll(stage); err != nil {
		return "", err
	}
	if err := os.Mkdir(stage, 0o700); err != nil {
		return "", err
	}
	list, err := os.ReadDir(l.saver.dir())
	if err != nil {
		return "", err
	}
	for _, e := range list {
		if filepath.Ext(e.Name()) != ".xml" || apart(e.Name()) {
			continue
		}
		if err := os.Symlink(filepath.Join(l.saver.dir(), e.Name()), filepath.Join(stage, e.Name())); err != nil {
			return "", err
		}
	}
	return stage, nil
}

func (l *Lab) loadApart(c *simulator.Context) error {
	return filepath.WalkDir(l.saver.dir(), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".xml" || !apart(d.Name()) {
			return err
		}
		content, err := readObject(path)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		var obj mo.Reference
		switch content.Obj.Type {
		case "Datastore":
			ds := &simulator.Datastore{}
			err = mo.LoadObjectContent([]types.ObjectContent{content}, &ds.Datastore)
			dir := l.datastoreDir(ds.Name)
			ds.Summary.Url = dir
			if ds.Info != nil {
				ds.Info.GetDatastoreInfo().Url = dir
			}
			if i, ok := ds.Info.(*types.LocalDatastoreInfo); ok {
				i.Path = dir
			}
			err = errors.Join(err, os.MkdirAll(dir, 0o700))
			obj = ds
		case "OptionManager":
			om := &simulator.OptionManager{}
			err = mo.LoadObjectContent([]types.ObjectContent{content}, &om.OptionManager)
			obj = om
		}
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		c.Map.Put(obj)
		return nil
	})
}

func readObject(path string) (types.ObjectContent, error) {
	var content types.ObjectContent
	f, err := os.Open(path)
	if err != nil {
		return content, err
	}
	defer f.Close()
	d := xml.NewDecoder(f)
	d.TypeFunc = types.TypeFunc()
	return content, d.Decode(&content)
}

// rewire gives objects that come back without their behaviour a new one with
// the old state, and makes what is never saved.
func (l *Lab) rewire(c *simulator.Context) {
	content := c.Map.Get(vimService).(*simulator.ServiceInstance).Content
	fresh := simulator.NewContext()
	_, _ = simulator.NewServiceInstance(fresh, content, l.model().RootFolder)
	for _, ref := range mo.References(content) {
		if c.Map.Get(ref) == nil {
			if obj := fresh.Map.Get(ref); obj != nil {
				c.Map.Put(obj)
			}
		}
	}
	for _, ref := range c.Map.AllReference("HostSystem") {
		h := ref.(*simulator.HostSystem)
		cm := h.ConfigManager
		if r := cm.DatastoreSystem; r != nil {
			dss := &simulator.HostDatastoreSystem{Host: &h.HostSystem}
			dss.Self, dss.Datastore = *r, slices.Clone(h.Datastore)
			c.Map.Put(dss)
		}
		if r := cm.StorageSystem; r != nil {
			ss := simulator.NewHostStorageSystem(&h.HostSystem)
			ss.Self = *r
			c.Map.Put(ss)
		}
		if r := cm.VirtualNicManager; r != nil {
			nm := simulator.NewHostVirtualNicManager(&h.HostSystem)
			nm.Self = *r
			c.Map.Put(nm)
		}
		if r := cm.NetworkSystem; r != nil {
			if ns, ok := c.Map.Get(*r).(*simulator.HostNetworkSystem); ok {
				ns.Host = &h.HostSystem
			}
		}
		h.Summary.Runtime = &h.Runtime
	}
}

// mend makes lists and objects agree: a lab that was killed may have saved one
// without the other.
func (l *Lab) mend(c *simulator.Context) {
	for _, ref := range c.Map.AllReference("VirtualMachine") {
		o := ref.(*simulator.VirtualMachine)
		f, ok := (mo.Reference)(nil), false
		if o.Parent != nil {
			f = c.Map.Get(*o.Parent)
			_, ok = f.(*simulator.Folder)
		}
		if !ok || o.Config == nil || o.Runtime.Host == nil || o.Name == "" {
			l.log.WithField("vm", o.Self.Value).Warn("half-made VM dropped from the inventory")
			c.Map.Remove(c, o.Self)
			continue
		}
		o.RecentTask = nil
		add(&f.(*simulator.Folder).ChildEntity, o.Self)
		if h, ok := c.Map.Get(*o.Runtime.Host).(*simulator.HostSystem); ok {
			add(&h.Vm, o.Self)
		}
		if o.ResourcePool != nil {
			switch p := c.Map.Get(*o.ResourcePool).(type) {
			case *simulator.ResourcePool:
				add(&p.Vm, o.Self)
			case *simulator.VirtualApp:
				add(&p.Vm, o.Self)
			}
		}
		for _, ref := range o.Datastore {
			if ds, ok := c.Map.Get(ref).(*simulator.Datastore); ok {
				add(&ds.Vm, o.Self)
			}
		}
		for _, d := range o.Config.Hardware.Device {
			if card, ok := d.(types.BaseVirtualEthernetCard); ok {
				l.macs.keep(card.GetVirtualEthernetCard().MacAddress)
			}
		}
	}
	drop := func(list *[]types.ManagedObjectReference) {
		*list = slices.DeleteFunc(*list, func(r types.ManagedObjectReference) bool { return c.Map.Get(r) == nil })
	}
	for _, obj := range c.Map.AllReference("") {
		switch x := obj.(type) {
		case *simulator.Folder:
			drop(&x.ChildEntity)
		case *simulator.HostSystem:
			drop(&x.Vm)
			drop(&x.Network)
		case *simulator.ResourcePool:
			drop(&x.Vm)
			drop(&x.ResourcePool.ResourcePool)
		case *simulator.Datastore:
			drop(&x.Vm)
		case *mo.Network:
			drop(&x.Vm)
		case *simulator.Datacenter:
			drop(&x.Network)
		case *mo.ComputeResource:
			drop(&x.Network)
		case *simulator.ClusterComputeResource:
			drop(&x.Network)
		}
	}
}

func add(list *[]types.ManagedObjectReference, ref types.ManagedObjectReference) {
	if !slices.Contains(*list, ref) {
		*list = append(*list, ref)
	}
}
