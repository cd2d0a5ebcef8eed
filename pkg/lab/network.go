package lab

import (
	"slices"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// networkObj is a host's HostNetworkSystem. What it holds is also shown in
// host.config.network, host.network and its compute resource's network.
type networkObj struct {
	*simulator.HostNetworkSystem
	l *Lab
}

const (
	switchKey    = "key-vim.host.VirtualSwitch-"
	portGroupKey = "key-vim.host.PortGroup-"
)

// hostNetworkFirst makes a new host's switches: vSwitch0 with the management
// port group and, on ESXi, VM Network.
func (l *Lab) hostNetworkFirst(c *simulator.Context, h *simulator.HostSystem, vmNetwork bool) {
	ns := c.Map.Get(*h.ConfigManager.NetworkSystem).(*simulator.HostNetworkSystem)
	n := *h.Config.Network
	if !vmNetwork {
		n.Portgroup = slices.DeleteFunc(slices.Clone(n.Portgroup), func(p types.HostPortGroup) bool { return p.Spec.Name == stdNetwork })
		n.Vswitch = slices.Clone(n.Vswitch)
		for i := range n.Vswitch {
			n.Vswitch[i].Portgroup = slices.DeleteFunc(slices.Clone(n.Vswitch[i].Portgroup), func(k string) bool { return k == portGroupKey+stdNetwork })
		}
	}
	n.Vswitch, n.Portgroup = slices.Clone(n.Vswitch), slices.Clone(n.Portgroup)
	rejectFirst(&n)
	l.putNetwork(c, ns, h, n)
}

// putNetwork shows a host's network in both places.
func (l *Lab) putNetwork(c *simulator.Context, ns *simulator.HostNetworkSystem, h *simulator.HostSystem, n types.HostNetworkInfo) {
	one, two := n, n
	locked(c, ns, func() {
		ns.Host = &h.HostSystem
		c.Update(ns, []types.PropertyChange{set("networkInfo", &one)})
	})
	locked(c, h, func() { c.Update(h, []types.PropertyChange{set("config.network", &two)}) })
}

// host is whose network this is, and a copy of it that may be changed.
func (s *networkObj) host(c *simulator.Context) (*simulator.HostSystem, types.HostNetworkInfo) {
	for _, ref := range c.Map.AllReference("HostSystem") {
		h, ok := ref.(*simulator.HostSystem)
		if ok && h.ConfigManager.NetworkSystem != nil && *h.ConfigManager.NetworkSystem == s.Self {
			n := *s.NetworkInfo
			n.Vswitch, n.Portgroup = slices.Clone(n.Vswitch), slices.Clone(n.Portgroup)
			for i := range n.Vswitch {
				n.Vswitch[i].Portgroup = slices.Clone(n.Vswitch[i].Portgroup)
			}
			return h, n
		}
	}
	return nil, types.HostNetworkInfo{}
}

func (s *networkObj) AddVirtualSwitch(ctx *simulator.Context, req *types.AddVirtualSwitch) soap.HasFault {
	if f := s.addSwitch(ctx, req.VswitchName, req.Spec); f != nil {
		return &methods.AddVirtualSwitchBody{Fault_: simulator.Fault(faultText(f), f)}
	}
	return &methods.AddVirtualSwitchBody{Res: &types.AddVirtualSwitchResponse{}}
}

func (s *networkObj) addSwitch(c *simulator.Context, name string, spec *types.HostVirtualSwitchSpec) types.BaseMethodFault {
	if !plainName(name) || len(name) > 32 {
		return &types.InvalidArgument{InvalidProperty: "vswitchName"}
	}
	h, n := s.host(c)
	if slices.ContainsFunc(n.Vswitch, func(v types.HostVirtualSwitch) bool { return v.Name == name }) {
		return &types.AlreadyExists{Name: name}
	}
	if spec == nil {
		spec = &types.HostVirtualSwitchSpec{NumPorts: 128}
	}
	if spec.Mtu == 0 {
		spec.Mtu = 1500
	}
	if spec.NumPorts <= 0 {
		spec.NumPorts = 128
	}
	if spec.Policy == nil {
		spec.Policy = &types.HostNetworkPolicy{Security: rejecting()}
	}
	if b, ok := spec.Bridge.(*types.HostVirtualSwitchBondBridge); ok {
		for _, nic := range b.NicDevice {
			if !slices.ContainsFunc(n.Pnic, func(p types.PhysicalNic) bool { return p.Device == nic }) {
				return &types.NotFound{}
			}
		}
	}
	n.Vswitch = append(n.Vswitch, types.HostVirtualSwitch{Name: name, Key: switchKey + name, NumPorts: spec.NumPorts,
		NumPortsAvailable: spec.NumPorts, Mtu: spec.Mtu, Spec: *spec})
	s.l.putNetwork(c, s.HostNetworkSystem, h, n)
	return nil
}

func (s *networkObj) RemoveVirtualSwitch(ctx *simulator.Context, req *types.RemoveVirtualSwitch) soap.HasFault {
	h, n := s.host(ctx)
	i := slices.IndexFunc(n.Vswitch, func(v types.HostVirtualSwitch) bool { return v.Name == req.VswitchName })
	var f types.BaseMethodFault
	switch {
	case i < 0:
		f = &types.NotFound{}
	case slices.ContainsFunc(n.Portgroup, func(p types.HostPortGroup) bool {
		return p.Spec.VswitchName == req.VswitchName && s.inUse(ctx, n, p.Spec.Name)
	}):
		f = &types.ResourceInUse{Type: "VirtualSwitch", Name: req.VswitchName}
	}
	if f != nil {
		return &methods.RemoveVirtualSwitchBody{Fault_: simulator.Fault(faultText(f), f)}
	}
	for _, p := range slices.Clone(n.Portgroup) {
		if p.Spec.VswitchName == req.VswitchName { // its port groups go with it
			n = s.dropPortGroup(ctx, h, n, p.Spec.Name)
		}
	}
	n.Vswitch = slices.Delete(n.Vswitch, i, i+1)
	s.l.putNetwork(ctx, s.HostNetworkSystem, h, n)
	return &methods.RemoveVirtualSwitchBody{Res: &types.RemoveVirtualSwitchResponse{}}
}

func (s *networkObj) AddPortGroup(ctx *simulator.Context, req *types.AddPortGroup) soap.HasFault {
	if f := s.addPortGroup(ctx, req.Portgrp); f != nil {
		return &methods.AddPortGroupBody{Fault_: simulator.Fault(faultText(f), f)}
	}
	return &methods.AddPortGroupBody{Res: &types.AddPortGroupResponse{}}
}

func (s *networkObj) addPortGroup(c *simulator.Context, spec types.HostPortGroupSpec) types.BaseMethodFault {
	if !plainName(spec.Name) || spec.VlanId < 0 || spec.VlanId > 4095 {
		return &types.InvalidArgument{InvalidProperty: "portgrp"}
	}
	h, n := s.host(c)
	i := slices.IndexFunc(n.Vswitch, func(v types.HostVirtualSwitch) bool { return v.Name == spec.VswitchName })
	if i < 0 {
		return &types.NotFound{}
	}
	if slices.ContainsFunc(n.Portgroup, func(p types.HostPortGroup) bool { return p.Spec.Name == spec.Name }) {
		return &types.AlreadyExists{Name: spec.Name}
	}
	dc := datacenterOf(c, h.Parent)
	folder := c.Map.Get(dc.NetworkFolder).(*simulator.Folder)
	if c.Map.FindByName(spec.Name, folder.ChildEntity) != nil {
		return &types.AlreadyExists{Name: spec.Name} // of the distributed switch
	}
	net := &mo.Network{Name: spec.Name}
	net.Entity().Name = spec.Name
	if s.l.cfg.Mode == ModeESXi {
		net.Self = types.ManagedObjectReference{Type: "Network", Value: "HaNetwork-" + spec.Name}
	}
	net.Host = []types.ManagedObjectReference{h.Self}
	c.Map.PutEntity(folder, net)
	net.Summary = &types.NetworkSummary{Network: &net.Self, Name: spec.Name, Accessible: true}
	s.link(c, folder, dc, h, net.Self, true)

	key := portGroupKey + spec.Name
	n.Vswitch[i].Portgroup = append(n.Vswitch[i].Portgroup, key)
	n.Portgroup = append(n.Portgroup, types.HostPortGroup{Key: key, Vswitch: switchKey + spec.VswitchName, Spec: spec, ComputedPolicy: computed(n, spec)})
	s.l.putNetwork(c, s.HostNetworkSystem, h, n)
	return nil
}

// link adds a network to all lists that have it, or takes it out.
func (s *networkObj) link(c *simulator.Context, folder *simulator.Folder, dc *simulator.Datacenter, h *simulator.HostSystem, ref types.ManagedObjectReference, add bool) {
	change := func(list []types.ManagedObjectReference) []types.ManagedObjectReference {
		list = slices.DeleteFunc(slices.Clone(list), func(r types.ManagedObjectReference) bool { return r == ref })
		if add {
			list = append(list, ref)
		}
		return list
	}
	locked(c, folder, func() {
		c.Update(folder, []types.PropertyChange{set("childEntity", change(folder.ChildEntity))})
	})
	locked(c, dc, func() { c.Update(dc, []types.PropertyChange{set("network", change(dc.Network))}) })
	locked(c, h, func() { c.Update(h, []types.PropertyChange{set("network", change(h.Network))}) })
	switch cr := c.Map.Get(*h.Parent).(type) {
	case *mo.ComputeResource:
		locked(c, cr, func() { c.Update(cr, []types.PropertyChange{set("network", change(cr.Network))}) })
	case *simulator.ClusterComputeResource:
		locked(c, cr, func() { c.Update(cr, []types.PropertyChange{set("network", change(cr.Network))}) })
	}
}

func (s *networkObj) RemovePortGroup(ctx *simulator.Context, req *types.RemovePortGroup) soap.HasFault {
	h, n := s.host(ctx)
	var f types.BaseMethodFault
	switch {
	case !slices.ContainsFunc(n.Portgroup, func(p types.HostPortGroup) bool { return p.Spec.Name == req.PgName }):
		f = &types.NotFound{}
	case s.inUse(ctx, n, req.PgName):
		f = &types.ResourceInUse{Type: "Network", Name: req.PgName}
	}
	if f != nil {
		return &methods.RemovePortGroupBody{Fault_: simulator.Fault(faultText(f), f)}
	}
	s.l.putNetwork(ctx, s.HostNetworkSystem, h, s.dropPortGroup(ctx, h, n, req.PgName))
	return &methods.RemovePortGroupBody{Res: &types.RemovePortGroupResponse{}}
}

func (s *networkObj) dropPortGroup(c *simulator.Context, h *simulator.HostSystem, n types.HostNetworkInfo, name string) types.HostNetworkInfo {
	dc := datacenterOf(c, h.Parent)
	folder := c.Map.Get(dc.NetworkFolder).(*simulator.Folder)
	if e := c.Map.FindByName(name, folder.ChildEntity); e != nil && e.Reference().Type == "Network" {
		s.link(c, folder, dc, h, e.Reference(), false)
		c.Map.Remove(c, e.Reference())
	}
	n.Portgroup = slices.DeleteFunc(n.Portgroup, func(p types.HostPortGroup) bool { return p.Spec.Name == name })
	for i := range n.Vswitch {
		n.Vswitch[i].Portgroup = slices.DeleteFunc(n.Vswitch[i].Portgroup, func(k string) bool { return k == portGroupKey+name })
	}
	return n
}

// inUse tells whether a VM or the host itself is on a port group.
func (s *networkObj) inUse(c *simulator.Context, n types.HostNetworkInfo, name string) bool {
	if slices.ContainsFunc(n.Vnic, func(v types.HostVirtualNic) bool { return v.Portgroup == name }) {
		return true
	}
	return s.l.cardsOn(c, func(b types.BaseVirtualDeviceBackingInfo) bool {
		x, ok := b.(*types.VirtualEthernetCardNetworkBackingInfo)
		return ok && x.DeviceName == name
	})
}

// cardsOn tells whether any VM has a card with such a backing.
func (l *Lab) cardsOn(c *simulator.Context, match func(types.BaseVirtualDeviceBackingInfo) bool) bool {
	for _, ref := range c.Map.AllReference("VirtualMachine") {
		o, ok := ref.(*simulator.VirtualMachine)
		if !ok {
			continue
		}
		found := false
		locked(c, o, func() {
			if o.Config == nil {
				return
			}
			for _, d := range o.Config.Hardware.Device {
				if card, ok := d.(types.BaseVirtualEthernetCard); ok && match(card.GetVirtualEthernetCard().Backing) {
					found = true
				}
			}
		})
		if found {
			return true
		}
	}
	return false
}

// portgroupObj and switchObj refuse to go while VMs are on them.
type portgroupObj struct {
	*simulator.DistributedVirtualPortgroup
	l *Lab
}

func (p *portgroupObj) DestroyTask(ctx *simulator.Context, req *types.Destroy_Task) soap.HasFault {
	if p.l.cardsOn(ctx, func(b types.BaseVirtualDeviceBackingInfo) bool {
		x, ok := b.(*types.VirtualEthernetCardDistributedVirtualPortBackingInfo)
		return ok && x.Port.PortgroupKey == p.Key
	}) {
		return &methods.Destroy_TaskBody{Res: &types.Destroy_TaskResponse{Returnval: p.l.failed(ctx, p.DistributedVirtualPortgroup, "destroy",
			&types.ResourceInUse{Type: p.Self.Type, Name: p.Name})}}
	}
	return p.DistributedVirtualPortgroup.DestroyTask(ctx, req)
}

type switchObj struct {
	*simulator.DistributedVirtualSwitch
	l *Lab
}

func (s *switchObj) DestroyTask(ctx *simulator.Context, req *types.Destroy_Task) soap.HasFault {
	if s.l.cardsOn(ctx, func(b types.BaseVirtualDeviceBackingInfo) bool {
		x, ok := b.(*types.VirtualEthernetCardDistributedVirtualPortBackingInfo)
		return ok && x.Port.SwitchUuid == s.Uuid
	}) {
		return &methods.Destroy_TaskBody{Res: &types.Destroy_TaskResponse{Returnval: s.l.failed(ctx, s.DistributedVirtualSwitch, "destroy",
			&types.ResourceInUse{Type: s.Self.Type, Name: s.Name})}}
	}
	return s.DistributedVirtualSwitch.DestroyTask(ctx, req)
}

// firewallObj answers what the simulator does not.
type firewallObj struct {
	*simulator.HostFirewallSystem
}

func (f *firewallObj) RefreshFirewall(*simulator.Context, *types.RefreshFirewall) soap.HasFault {
	return &methods.RefreshFirewallBody{Res: &types.RefreshFirewallResponse{}}
}
