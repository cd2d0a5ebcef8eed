package lab

import (
	"slices"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// Security is a port group's policy as it works: its own settings, else its
// switch's, else to reject.
type Security struct {
	Promiscuous, MACChanges, ForgedTransmits bool
}

// rejecting is the policy of a new switch.
func rejecting() *types.HostNetworkSecurityPolicy {
	return &types.HostNetworkSecurityPolicy{AllowPromiscuous: types.NewBool(false), MacChanges: types.NewBool(false), ForgedTransmits: types.NewBool(false)}
}

// computed is the policy of a port group of the switch: who says nothing has
// the switch's.
func computed(n types.HostNetworkInfo, spec types.HostPortGroupSpec) types.HostNetworkPolicy {
	p := spec.Policy
	s := rejecting()
	take := func(from *types.HostNetworkSecurityPolicy) {
		if from == nil {
			return
		}
		for _, f := range []struct{ to, from **bool }{{&s.AllowPromiscuous, &from.AllowPromiscuous}, {&s.MacChanges, &from.MacChanges},
			{&s.ForgedTransmits, &from.ForgedTransmits}} {
			if *f.from != nil {
				*f.to = types.NewBool(**f.from)
			}
		}
	}
	for _, v := range n.Vswitch {
		if v.Name == spec.VswitchName && v.Spec.Policy != nil {
			take(v.Spec.Policy.Security)
		}
	}
	take(p.Security)
	p.Security = s
	return p
}

// rejectFirst gives the switches of a new host a policy that rejects all.
func rejectFirst(n *types.HostNetworkInfo) {
	for i := range n.Vswitch {
		policy := types.HostNetworkPolicy{}
		if n.Vswitch[i].Spec.Policy != nil {
			policy = *n.Vswitch[i].Spec.Policy
		}
		policy.Security = rejecting()
		n.Vswitch[i].Spec.Policy = &policy
	}
	for i := range n.Portgroup {
		n.Portgroup[i].ComputedPolicy = computed(*n, n.Portgroup[i].Spec)
	}
}

// UpdatePortGroup changes a port group's policy and VLAN.
func (s *networkObj) UpdatePortGroup(ctx *simulator.Context, req *types.UpdatePortGroup) soap.HasFault {
	h, n := s.host(ctx)
	i := slices.IndexFunc(n.Portgroup, func(p types.HostPortGroup) bool { return p.Spec.Name == req.PgName })
	var f types.BaseMethodFault
	switch spec := req.Portgrp; {
	case i < 0:
		f = &types.NotFound{}
	case spec.VlanId < 0 || spec.VlanId > 4095:
		f = &types.InvalidArgument{InvalidProperty: "portgrp"}
	case spec.Name != req.PgName || spec.VswitchName != n.Portgroup[i].Spec.VswitchName:
		f = reason(&types.NotSupported{}, "the lab changes neither the name nor the switch of a port group")
	}
	if f != nil {
		return &methods.UpdatePortGroupBody{Fault_: simulator.Fault(faultText(f), f)}
	}
	n.Portgroup[i].Spec = req.Portgrp
	n.Portgroup[i].ComputedPolicy = computed(n, req.Portgrp)
	s.l.putNetwork(ctx, s.HostNetworkSystem, h, n)
	return &methods.UpdatePortGroupBody{Res: &types.UpdatePortGroupResponse{}}
}

// showPolicy makes a distributed port group of the lab's own say what it does.
func showPolicy(c *simulator.Context, pg *simulator.DistributedVirtualPortgroup) {
	was, ok := pg.Config.DefaultPortConfig.(*types.VMwareDVSPortSetting)
	if !ok || was.SecurityPolicy != nil {
		return
	}
	setting := *was
	no := func() *types.BoolPolicy { return &types.BoolPolicy{Value: types.NewBool(false)} }
	setting.SecurityPolicy = &types.DVSSecurityPolicy{AllowPromiscuous: no(), MacChanges: no(), ForgedTransmits: no()}
	locked(c, pg, func() { c.Update(pg, []types.PropertyChange{set("config.defaultPortConfig", &setting)}) })
}

// dvSecurity is the policy of a distributed port group.
func dvSecurity(setting types.BaseDVPortSetting) Security {
	x, ok := setting.(*types.VMwareDVSPortSetting)
	if !ok {
		return Security{}
	}
	on := func(p *types.BoolPolicy) bool { return p != nil && p.Value != nil && *p.Value }
	if m := x.MacManagementPolicy; m != nil { // since vSphere 6.7, in preference
		is := func(b *bool) bool { return b != nil && *b }
		return Security{Promiscuous: is(m.AllowPromiscuous), MACChanges: is(m.MacChanges), ForgedTransmits: is(m.ForgedTransmits)}
	}
	if s := x.SecurityPolicy; s != nil {
		return Security{Promiscuous: on(s.AllowPromiscuous), MACChanges: on(s.MacChanges), ForgedTransmits: on(s.ForgedTransmits)}
	}
	return Security{}
}

// policies are those of all port groups, by name.
func (l *Lab) policies(c *simulator.Context) map[string]Security {
	out := map[string]Security{}
	for _, ref := range c.Map.AllReference("HostSystem") {
		h, ok := ref.(*simulator.HostSystem)
		if !ok {
			continue
		}
		locked(c, h, func() {
			if h.Config == nil || h.Config.Network == nil {
				return
			}
			is := func(b *bool) bool { return b != nil && *b }
			for _, p := range h.Config.Network.Portgroup {
				if s := p.ComputedPolicy.Security; s != nil {
					out[p.Spec.Name] = Security{Promiscuous: is(s.AllowPromiscuous), MACChanges: is(s.MacChanges), ForgedTransmits: is(s.ForgedTransmits)}
				}
			}
		})
	}
	for _, ref := range c.Map.AllReference("DistributedVirtualPortgroup") {
		if pg, ok := ref.(*simulator.DistributedVirtualPortgroup); ok {
			locked(c, pg, func() { out[pg.Name] = dvSecurity(pg.Config.DefaultPortConfig) })
		}
	}
	return out
}

// policyWatch tells of changed policies: some ways to change one give no notice.
// It belongs to housekeeping.
type policyWatch map[string]Security

func (w policyWatch) tell(l *Lab, c *simulator.Context) {
	if l.cfg.Security == nil {
		return
	}
	now := l.policies(c)
	for name, s := range now {
		if was, told := w[name]; !told || was != s {
			l.cfg.Security(name, s)
			w[name] = s
		}
	}
	for name := range w {
		if _, there := now[name]; !there {
			l.cfg.Security(name, Security{})
			delete(w, name)
		}
	}
}
