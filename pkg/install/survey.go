package install

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/vmware/govmomi/cli/esx"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/view"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/vsphere"
)

// Survey reads what Resolve needs of the target. It changes nothing. datacenter
// may be empty when there is only one.
func Survey(ctx context.Context, s *vsphere.Session, datacenter string) (Site, error) {
	sv := &surveyor{c: s.Client(), pc: property.DefaultCollector(s.Client())}
	sv.site.VCenter = s.IsVC()
	sv.site.Product = s.About().FullName
	steps := []func(context.Context) error{sv.tree, func(context.Context) error { return sv.chooseDatacenter(datacenter) }, sv.read, sv.self, sv.licenses}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return Site{}, vsphere.Classify(fmt.Errorf("read the inventory: %w", err))
		}
	}
	return sv.site, nil
}

type surveyor struct {
	c    *vim25.Client
	pc   *property.Collector
	site Site
	// all entities of the inventory but VMs, by reference
	all map[types.ManagedObjectReference]mo.ManagedEntity
}

// kinds of entity that are read; a Network view has distributed port groups too.
var treeKinds = []string{"Datacenter", "Folder", "ComputeResource", "HostSystem", "ResourcePool", "Datastore", "Network"}

func (v *surveyor) tree(ctx context.Context) error {
	v.all = map[types.ManagedObjectReference]mo.ManagedEntity{}
	var list []mo.ManagedEntity
	if err := v.in(ctx, v.c.ServiceContent.RootFolder, treeKinds, "ManagedEntity", []string{"name", "parent"}, &list); err != nil {
		return err
	}
	for _, e := range list {
		v.all[e.Self] = e
		if e.Self.Type == "Datacenter" {
			v.site.Datacenters = append(v.site.Datacenters, e.Name)
		}
	}
	return nil
}

// in reads properties of all objects of the kinds below root.
func (v *surveyor) in(ctx context.Context, root types.ManagedObjectReference, kinds []string, kind string, props []string, dst any) error {
	cv, err := view.NewManager(v.c).CreateContainerView(ctx, root, kinds, true)
	if err != nil {
		return err
	}
	// The view ends with the session at the latest.
	defer func() { _ = cv.Destroy(context.WithoutCancel(ctx)) }()
	return cv.Retrieve(ctx, []string{kind}, props, dst)
}

func (v *surveyor) object(ref types.ManagedObjectReference) Object {
	path := ""
	for e, ok := v.all[ref]; ok; {
		path = "/" + e.Name + path
		if e.Parent == nil {
			break
		}
		e, ok = v.all[*e.Parent]
	}
	return Object{Ref: ref, Path: path, Name: v.all[ref].Name}
}

func (v *surveyor) chooseDatacenter(want string) error {
	for ref := range v.all {
		if ref.Type != "Datacenter" {
			continue
		}
		o := v.object(ref)
		if want == "" && len(v.site.Datacenters) == 1 || want != "" && (o.Name == want || o.Path == "/"+want) {
			v.site.Datacenter = o
		}
	}
	return nil
}

// read fills in what lies in the chosen datacenter.
func (v *surveyor) read(ctx context.Context) error {
	dc := v.site.Datacenter.Ref
	if dc.Value == "" {
		return nil
	}
	var d mo.Datacenter
	if err := v.pc.RetrieveOne(ctx, dc, []string{"vmFolder"}, &d); err != nil {
		return err
	}
	v.site.VMFolder = v.object(d.VmFolder)
	for ref, e := range v.all {
		if ref.Type == "Folder" && e.Parent != nil && *e.Parent == d.VmFolder {
			v.site.Folders = append(v.site.Folders, e.Name)
		}
	}
	var vms []mo.ManagedEntity
	if err := v.in(ctx, dc, []string{"VirtualMachine"}, "VirtualMachine", []string{"name"}, &vms); err != nil {
		return err
	}
	for _, vm := range vms {
		v.site.VMs = append(v.site.VMs, vm.Name)
	}
	for _, f := range []func(context.Context, types.ManagedObjectReference) error{v.datastores, v.networks, v.computes} {
		if err := f(ctx, dc); err != nil {
			return err
		}
	}
	return nil
}

func (v *surveyor) datastores(ctx context.Context, dc types.ManagedObjectReference) error {
	var list []mo.Datastore
	if err := v.in(ctx, dc, []string{"Datastore"}, "Datastore", []string{"summary", "host"}, &list); err != nil {
		return err
	}
	for _, d := range list {
		ds := Datastore{Object: v.object(d.Self), Free: d.Summary.FreeSpace, Accessible: d.Summary.Accessible}
		for _, h := range d.Host {
			if a := h.MountInfo.Accessible; a == nil || *a {
				ds.Hosts = append(ds.Hosts, h.Key)
			}
		}
		v.site.Datastores = append(v.site.Datastores, ds)
	}
	return nil
}

func (v *surveyor) networks(ctx context.Context, dc types.ManagedObjectReference) error {
	var list []mo.Network
	if err := v.in(ctx, dc, []string{"Network"}, "Network", []string{"name", "host", "summary"}, &list); err != nil {
		return err
	}
	for _, n := range list {
		e := v.all[n.Self]
		e.Name = n.Name // what a NIC's backing goes by
		v.all[n.Self] = e
		x := Network{Object: v.object(n.Self), Hosts: n.Host}
		switch n.Self.Type {
		case "DistributedVirtualPortgroup":
			x.Kind = Distributed
			var pg mo.DistributedVirtualPortgroup
			if err := v.pc.RetrieveOne(ctx, n.Self, []string{"key", "tag", "config.distributedVirtualSwitch", "config.uplink"}, &pg); err != nil {
				return err
			}
			x.Key, x.Uplink = pg.Key, pg.Config.Uplink != nil && *pg.Config.Uplink
			for _, tag := range pg.Tag { // what vCenter before 6.5 marks them with
				x.Uplink = x.Uplink || tag.Key == "SYSTEM/DVS.UPLINKPG"
			}
			if pg.Config.DistributedVirtualSwitch != nil {
				var sw mo.DistributedVirtualSwitch
				if err := v.pc.RetrieveOne(ctx, *pg.Config.DistributedVirtualSwitch, []string{"uuid"}, &sw); err != nil {
					return err
				}
				x.Switch = sw.Uuid
			}
		case "OpaqueNetwork":
			x.Kind = Opaque
			if sum, ok := n.Summary.(*types.OpaqueNetworkSummary); ok {
				x.OpaqueID, x.OpaqueType = sum.OpaqueNetworkId, sum.OpaqueNetworkType
			}
		}
		v.site.Networks = append(v.site.Networks, x)
	}
	return nil
}

func (v *surveyor) computes(ctx context.Context, dc types.ManagedObjectReference) error {
	var list []mo.ComputeResource
	if err := v.in(ctx, dc, []string{"ComputeResource"}, "ComputeResource", []string{"host", "resourcePool", "configurationEx"}, &list); err != nil {
		return err
	}
	for _, c := range list {
		x := Compute{Object: v.object(c.Self), Cluster: c.Self.Type == "ClusterComputeResource"}
		if cfg, ok := c.ConfigurationEx.(*types.ClusterConfigInfoEx); ok && cfg.DrsConfig.Enabled != nil {
			x.DRS = *cfg.DrsConfig.Enabled
		}
		if c.ResourcePool != nil {
			x.Root = v.object(*c.ResourcePool)
			x.Pools = v.pools(*c.ResourcePool)
		}
		for _, ref := range c.Host {
			h, err := v.host(ctx, ref)
			if err != nil {
				return err
			}
			x.Hosts = append(x.Hosts, h)
		}
		v.site.Computes = append(v.site.Computes, x)
	}
	return nil
}

func (v *surveyor) pools(root types.ManagedObjectReference) []Pool {
	var out []Pool
	for ref, e := range v.all {
		if ref.Type != "ResourcePool" || ref == root || e.Parent == nil {
			continue
		}
		for up := e; up.Parent != nil; up = v.all[*up.Parent] {
			if *up.Parent == root {
				out = append(out, Pool{Object: v.object(ref), Parent: *e.Parent})
				break
			}
		}
	}
	return out
}

func (v *surveyor) host(ctx context.Context, ref types.ManagedObjectReference) (Host, error) {
	var h mo.HostSystem
	props := []string{"runtime", "configManager.networkSystem", "configManager.firewallSystem", "summary.managementServerIp"}
	if err := v.pc.RetrieveOne(ctx, ref, props, &h); err != nil {
		return Host{}, err
	}
	out := Host{Object: v.object(ref), Up: h.Runtime.ConnectionState == types.HostSystemConnectionStateConnected && !h.Runtime.InMaintenanceMode}
	if !out.Up {
		return out, nil
	}
	if !v.site.VCenter {
		if ip := net.ParseIP(h.Summary.ManagementServerIp); ip != nil && !ip.IsLoopback() {
			v.site.ManagedBy = ip.String()
		}
		if err := v.switches(ctx, h.ConfigManager.NetworkSystem); err != nil {
			return Host{}, err
		}
	}
	var err error
	out.FirewallEnabled, out.SerialOut, err = v.firewall(ctx, ref, h.ConfigManager.FirewallSystem)
	return out, err
}

func (v *surveyor) switches(ctx context.Context, ref *types.ManagedObjectReference) error {
	if ref == nil {
		return nil
	}
	var ns mo.HostNetworkSystem
	if err := v.pc.RetrieveOne(ctx, *ref, []string{"networkInfo.vswitch"}, &ns); err != nil {
		return err
	}
	if ns.NetworkInfo != nil {
		for _, s := range ns.NetworkInfo.Vswitch {
			v.site.Switches = append(v.site.Switches, s.Name)
		}
	}
	return nil
}

// firewall tells whether a host filters, and if so whether VMs may dial out.
// vSphere's API shows the rules but not the switch, which esxcli does.
func (v *surveyor) firewall(ctx context.Context, host types.ManagedObjectReference, fs *types.ManagedObjectReference) (enabled, open bool, err error) {
	enabled = true
	if x, err := esx.NewExecutor(ctx, v.c, host); err == nil {
		if res, err := x.Run(ctx, []string{"network", "firewall", "get"}); err == nil && len(res.Values) > 0 {
			enabled = res.Values[0].Value("Enabled") == "true"
		}
	}
	if ctx.Err() != nil {
		return false, false, ctx.Err()
	}
	if !enabled || fs == nil {
		return enabled && fs != nil, true, nil
	}
	var f mo.HostFirewallSystem
	if err := v.pc.RetrieveOne(ctx, *fs, []string{"firewallInfo"}, &f); err != nil {
		return enabled, false, err
	}
	return enabled, f.FirewallInfo == nil || lets(*f.FirewallInfo, concentratorPort), nil
}

// lets tells whether a firewall passes TCP out to port.
func lets(f types.HostFirewallInfo, port int32) bool {
	if b := f.DefaultPolicy.OutgoingBlocked; b != nil && !*b {
		return true
	}
	for _, set := range f.Ruleset {
		if !set.Enabled {
			continue
		}
		for _, r := range set.Rule {
			last := r.EndPort
			if last == 0 {
				last = r.Port
			}
			if r.Direction == types.HostFirewallRuleDirectionOutbound && r.Protocol == string(types.HostFirewallRuleProtocolTcp) && r.Port <= port && port <= last {
				return true
			}
		}
	}
	return false
}

// self asks the target for its own address.
func (v *surveyor) self(ctx context.Context) error {
	if v.site.VCenter {
		if v.c.ServiceContent.Setting == nil {
			return nil
		}
		m := object.NewOptionManager(v.c, *v.c.ServiceContent.Setting)
		for _, name := range []string{"VirtualCenter.ManagedIP", "VirtualCenter.FQDN"} {
			opts, err := m.Query(ctx, name)
			if err != nil && !errdefs.IsNotFound(vsphere.Classify(err)) && !errdefs.IsInvalidArgument(vsphere.Classify(err)) {
				return err
			}
			for _, o := range opts {
				if s, ok := o.GetOptionValue().Value.(string); ok && s != "" {
					v.site.SelfAddress = s
					return nil
				}
			}
		}
		return nil
	}
	for ref := range v.all {
		if ref.Type != "HostSystem" {
			continue
		}
		var h mo.HostSystem
		err := v.pc.RetrieveOne(ctx, ref, []string{"config.network.vnic"}, &h)
		if err != nil {
			return err
		}
		if h.Config != nil && h.Config.Network != nil && len(h.Config.Network.Vnic) > 0 {
			if ip := h.Config.Network.Vnic[0].Spec.Ip; ip != nil {
				v.site.SelfAddress = ip.IpAddress
			}
		}
	}
	return nil
}

// licenses looks for the feature that network serial ports need.
func (v *surveyor) licenses(ctx context.Context) error {
	ref := v.c.ServiceContent.LicenseManager
	if ref == nil {
		return errors.New("the target has no licence manager")
	}
	var m mo.LicenseManager
	if err := v.pc.RetrieveOne(ctx, *ref, []string{"licenses"}, &m); err != nil {
		return err
	}
	for _, l := range m.Licenses {
		if l.EditionKey == "eval" {
			v.site.SerialLicense = true
		}
		for _, p := range l.Properties {
			if kv, ok := p.Value.(types.KeyValue); ok && p.Key == "feature" && strings.HasPrefix(kv.Key, "serialuri") {
				v.site.SerialLicense = true
			}
		}
	}
	return nil
}
