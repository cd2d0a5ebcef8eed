package lab

import (
	"sync"
	"testing"
	"time"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

func TestSecurity(t *testing.T) {
	for _, mode := range []Mode{ModeESXi, ModeVCenter} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			now := map[string]Security{}
			r := newRig(t, Config{Mode: mode, Security: func(name string, s Security) {
				mu.Lock()
				defer mu.Unlock()
				now[name] = s
			}})
			is := func(name string, want Security) {
				t.Helper()
				tick := time.NewTicker(10 * time.Millisecond)
				defer tick.Stop()
				for end := time.Now().Add(patience); ; <-tick.C {
					mu.Lock()
					got, told := now[name]
					mu.Unlock()
					if told && got == want {
						return
					}
					if time.Now().After(end) {
						t.Fatalf("%s: %+v (%v), want %+v", name, got, told, want)
					}
				}
			}
			is("VM Network", Security{})
			is("VCH Bridge", Security{})
			pc := property.DefaultCollector(r.c.Client)
			if mode == ModeVCenter {
				n, err := r.f.Network(r.ctx, "VCH Bridge")
				r.must(err)
				pg := n.(*object.DistributedVirtualPortgroup)
				var m mo.DistributedVirtualPortgroup
				r.must(pc.RetrieveOne(r.ctx, pg.Reference(), []string{"config"}, &m))
				setting := m.Config.DefaultPortConfig.(*types.VMwareDVSPortSetting)
				if p := setting.SecurityPolicy; p == nil || *p.ForgedTransmits.Value || *p.AllowPromiscuous.Value || *p.MacChanges.Value || setting.Vlan == nil {
					t.Errorf("%+v", setting)
				}
				setting.SecurityPolicy.ForgedTransmits.Value = types.NewBool(true)
				r.wait(pg.Reconfigure(r.ctx, types.DVPortgroupConfigSpec{Name: m.Config.Name, Type: m.Config.Type, DefaultPortConfig: setting}))
				is("VCH Bridge", Security{ForgedTransmits: true})
				return
			}
			h, err := r.f.DefaultHostSystem(r.ctx)
			r.must(err)
			ns, err := h.ConfigManager().NetworkSystem(r.ctx)
			r.must(err)
			spec := types.HostPortGroupSpec{Name: "VCH Bridge", VswitchName: "vSwitch0"}
			var m mo.HostNetworkSystem
			r.must(pc.RetrieveOne(r.ctx, ns.Reference(), []string{"networkInfo"}, &m))
			for _, p := range m.NetworkInfo.Portgroup {
				if s := p.ComputedPolicy.Security; s == nil || *s.ForgedTransmits || *s.AllowPromiscuous || *s.MacChanges {
					t.Errorf("%s: %+v", p.Spec.Name, s)
				}
				if p.Spec.Name == spec.Name {
					spec = p.Spec
				}
			}
			spec.Policy.Security = &types.HostNetworkSecurityPolicy{AllowPromiscuous: types.NewBool(true)}
			r.must(ns.UpdatePortGroup(r.ctx, spec.Name, spec))
			is("VCH Bridge", Security{Promiscuous: true})
			is("VM Network", Security{})
			faultIs[*types.NotFound](t, ns.UpdatePortGroup(r.ctx, "none", spec))
			faultIs[*types.NotSupported](t, ns.UpdatePortGroup(r.ctx, "VM Network", spec))
			r.stop() // the policy is part of the inventory
			mu.Lock()
			clear(now)
			mu.Unlock()
			r.start()
			is("VCH Bridge", Security{Promiscuous: true})
		})
	}
}
