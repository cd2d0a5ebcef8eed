package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// What a vSphere 8.0 U3 says of itself.
const (
	version      = "8.0.3"
	apiVersion   = "8.0.3.0"
	build        = "24022510"
	hardware     = "vmx-21"
	datacenter   = "DC0"
	cluster      = "cluster"
	dvSwitch     = "DVS0"
	stdNetwork   = "VM Network"
	bridgeSwitch = "vSwitch1"
)

// inventory reads the saved inventory or makes the first one.
func (l *Lab) inventory() error {
	for _, d := range l.cfg.Datastores {
		if err := os.MkdirAll(l.datastoreDir(d), 0o700); err != nil {
			return err
		}
	}
	saved, err := l.saver.saved()
	if err != nil {
		return err
	}
	if saved {
		return l.load()
	}
	return l.first()
}

func (l *Lab) datastoreDir(name string) string {
	return filepath.Join(l.cfg.StateDir, "datastores", name)
}

// model has the service content of our mode. Its About is what clients see.
func (l *Lab) model() *simulator.Model {
	m := simulator.ESX()
	a := &m.ServiceContent.About
	a.LicenseProductName, a.Name, a.FullName = "VMware ESX Server", "VMware ESXi", "VMware ESXi "+version+" build-"+build
	if l.cfg.Mode == ModeVCenter {
		m = simulator.VPX()
		a = &m.ServiceContent.About
		a.LicenseProductName, a.Name, a.FullName = "VMware VirtualCenter Server", "VMware vCenter Server", "VMware vCenter Server "+version+" build-"+build
	}
	a.Version, a.ApiVersion, a.Build, a.LicenseProductVersion = version, apiVersion, build, "8.0"
	return m
}

// first makes the inventory of a new lab.
func (l *Lab) first() error {
	m := l.model()
	l.svc = simulator.New(simulator.NewServiceInstance(simulator.NewContext(), m.ServiceContent, m.RootFolder))
	c := l.context(nil)
	var err error
	if l.cfg.Mode == ModeVCenter {
		err = l.firstVCenter(c, m)
	} else {
		err = l.firstESXi(c)
	}
	if err != nil {
		return err
	}
	l.tuneService(c)
	return nil
}

func (l *Lab) firstESXi(c *simulator.Context) error {
	h := c.Map.Any("HostSystem").(*simulator.HostSystem)
	cr := c.Map.Get(*h.Parent).(*mo.ComputeResource)
	h.Name, h.Summary.Config.Name, cr.Name = hostName, hostName, hostName
	l.tuneHost(c, h)
	if err := l.addDatastores(c, h); err != nil {
		return err
	}
	l.hostNetworkFirst(c, h, true)
	ns := &networkObj{HostNetworkSystem: c.Map.Get(*h.ConfigManager.NetworkSystem).(*simulator.HostNetworkSystem), l: l}
	for _, n := range l.cfg.Networks {
		if n == stdNetwork {
			continue
		}
		if f := ns.addSwitch(c, bridgeSwitch, nil); f != nil {
			if _, there := f.(*types.AlreadyExists); !there {
				return fmt.Errorf("vSwitch %s: %s", bridgeSwitch, faultText(f))
			}
		}
		if f := ns.addPortGroup(c, types.HostPortGroupSpec{Name: n, VswitchName: bridgeSwitch}); f != nil {
			return fmt.Errorf("port group %s: %s", n, faultText(f))
		}
	}
	return nil
}

func (l *Lab) firstVCenter(c *simulator.Context, m *simulator.Model) error {
	root := c.Map.Get(m.ServiceContent.RootFolder).(*simulator.Folder)
	dcRef := root.CreateDatacenter(c, &types.CreateDatacenter{This: root.Self, Name: datacenter}).(*methods.CreateDatacenterBody).Res.Returnval
	dc := c.Map.Get(dcRef).(*simulator.Datacenter)
	hosts := c.Map.Get(dc.HostFolder).(*simulator.Folder)
	nets := c.Map.Get(dc.NetworkFolder).(*simulator.Folder)

	on := true
	cl := hosts.CreateClusterEx(c, &types.CreateClusterEx{This: hosts.Self, Name: cluster, Spec: types.ClusterConfigSpecEx{
		DrsConfig: &types.ClusterDrsConfigInfo{Enabled: &on, DefaultVmBehavior: types.DrsBehaviorFullyAutomated},
	}}).(*methods.CreateClusterExBody).Res.Returnval
	cr := c.Map.Get(cl).(*simulator.ClusterComputeResource)

	ref, err := l.result(c, cr.AddHostTask(c, &types.AddHost_Task{This: cl, AsConnected: true, Spec: types.HostConnectSpec{HostName: hostName}}))
	if err != nil {
		return err
	}
	h := c.Map.Get(ref.(types.ManagedObjectReference)).(*simulator.HostSystem)
	h.Network = append([]types.ManagedObjectReference(nil), h.Network...)
	l.tuneHost(c, h)
	if err := l.addDatastores(c, h); err != nil {
		return err
	}
	l.dropStandardNetwork(c, dc, nets, cr, h)
	l.hostNetworkFirst(c, h, false)

	ref, err = l.result(c, nets.CreateDVSTask(c, &types.CreateDVS_Task{This: nets.Self, Spec: types.DVSCreateSpec{
		ConfigSpec: &types.VMwareDVSConfigSpec{DVSConfigSpec: types.DVSConfigSpec{Name: dvSwitch}, MaxMtu: 1500}}}))
	if err != nil {
		return err
	}
	dvs := c.Map.Get(ref.(types.ManagedObjectReference)).(*simulator.DistributedVirtualSwitch)
	// The simulator adds the group of uplinks in a task that nobody waits for,
	// and on our context: locks would not part it from our next task.
	for _, t := range c.Map.AllReference("Task") {
		t.(*simulator.Task).Wait()
	}
	var spec []types.DVPortgroupConfigSpec
	for _, n := range l.cfg.Networks {
		spec = append(spec, types.DVPortgroupConfigSpec{Name: n, NumPorts: 128, AutoExpand: &on,
			Type: string(types.DistributedVirtualPortgroupPortgroupTypeEarlyBinding)})
	}
	if _, err := l.result(c, dvs.AddDVPortgroupTask(c, &types.AddDVPortgroup_Task{This: dvs.Self, Spec: spec})); err != nil {
		return err
	}
	for _, ref := range c.Map.AllReference("DistributedVirtualPortgroup") {
		showPolicy(c, ref.(*simulator.DistributedVirtualPortgroup))
	}
	_, err = l.result(c, dvs.ReconfigureDvsTask(c, &types.ReconfigureDvs_Task{This: dvs.Self, Spec: &types.DVSConfigSpec{
		Host: []types.DistributedVirtualSwitchHostMemberConfigSpec{{Operation: string(types.ConfigSpecOperationAdd), Host: h.Self}}}}))
	return err
}

// dropStandardNetwork removes the standard port group that the simulator gives
// every datacenter: the distributed one has its name.
func (l *Lab) dropStandardNetwork(c *simulator.Context, dc *simulator.Datacenter, nets *simulator.Folder, cr *simulator.ClusterComputeResource, h *simulator.HostSystem) {
	n := c.Map.FindByName(stdNetwork, nets.ChildEntity)
	if n == nil {
		return
	}
	ref := n.Reference()
	for _, list := range []*[]types.ManagedObjectReference{&nets.ChildEntity, &dc.Network, &cr.Network, &h.Network} {
		*list = append([]types.ManagedObjectReference(nil), *list...) // they may share an array
		simulator.RemoveReference(list, ref)
	}
	c.Map.Remove(c, ref)
}

func (l *Lab) addDatastores(c *simulator.Context, h *simulator.HostSystem) error {
	dss := c.Map.Get(*h.ConfigManager.DatastoreSystem).(*simulator.HostDatastoreSystem)
	for _, name := range l.cfg.Datastores {
		res := dss.CreateLocalDatastore(c, &types.CreateLocalDatastore{This: dss.Self, Name: name, Path: l.datastoreDir(name)})
		if f := res.Fault(); f != nil {
			return fmt.Errorf("datastore %s: %s", name, f.String)
		}
		ds := c.Map.Get(res.(*methods.CreateLocalDatastoreBody).Res.Returnval).(*simulator.Datastore)
		ds.Summary.Type = string(types.HostFileSystemVolumeFileSystemTypeVMFS)
		ds.Summary.MultipleHostAccess = types.NewBool(false)
		l.measure(c, ds)
	}
	return nil
}

// tuneService gives the managers what clients ask of them.
func (l *Lab) tuneService(c *simulator.Context) {
	om := c.Map.OptionManager()
	om.Setting = append([]types.BaseOptionValue(nil), om.Setting...) // the simulator's is one for all labs
	set := map[string]any{"config.vmacore.soap.sessionTimeout": l.cfg.SessionTimeout.String()}
	if l.cfg.Mode == ModeVCenter {
		set["VirtualCenter.ManagedIP"] = l.cfg.ManagementIP.String()
		set["VirtualCenter.FQDN"] = "vcenter.lab.test"
	}
	for k, v := range set {
		om.UpdateOptions(&types.UpdateOptions{ChangedValue: []types.BaseOptionValue{&types.OptionValue{Key: k, Value: v}}})
	}
	if sc := c.Map.Get(vimService).(*simulator.ServiceInstance); sc.Content.LicenseManager != nil {
		if lm, ok := c.Map.Get(*sc.Content.LicenseManager).(*simulator.LicenseManager); ok {
			lm.Licenses = []types.LicenseManagerLicenseInfo{license()}
		}
	}
}

// license has the features a VCH needs: network serial ports and the
// distributed switch.
func license() types.LicenseManagerLicenseInfo {
	feature := func(k, v string) types.KeyAnyValue {
		return types.KeyAnyValue{Key: "feature", Value: types.KeyValue{Key: k, Value: v}}
	}
	return types.LicenseManagerLicenseInfo{
		LicenseKey: "00000-00000-00000-00000-00000", EditionKey: "eval", Name: "Evaluation Mode",
		Properties: []types.KeyAnyValue{
			feature("serialuri:2", "Remote virtual Serial Port Concentrator"),
			feature("dvs", "vSphere Distributed Switch"),
			feature("drs", "vSphere DRS"),
			feature("vmotion", "vMotion"),
			{Key: "ProductName", Value: "VMware ESX Server"},
			{Key: "ProductVersion", Value: "8.0"},
		},
	}
}

// result waits for a task of the simulator's, started by this goroutine.
func (l *Lab) result(c *simulator.Context, body soap.HasFault) (any, error) {
	if f := body.Fault(); f != nil {
		return nil, fmt.Errorf("%s", f.String)
	}
	info := l.waitInner(c, body)
	if info.Error != nil {
		return nil, fmt.Errorf("%s", faultText(info.Error.Fault))
	}
	return info.Result, nil
}

func now() *time.Time { return types.NewTime(time.Now()) }
