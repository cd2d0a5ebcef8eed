package install

import (
	"context"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"
)

// litter makes what a create leaves that is killed before it made the appliance.
func (f *fixture) litter() {
	f.t.Helper()
	ctx := context.Background()
	site, err := Survey(ctx, f.s, "")
	must(f.t, err)
	c := f.s.Client()
	_, err = object.NewResourcePool(c, site.Computes[0].Root.Ref).Create(ctx, "VCH001", types.DefaultResourceConfigSpec())
	must(f.t, err)
	if f.s.IsVC() {
		_, err := object.NewFolder(c, site.VMFolder.Ref).CreateFolder(ctx, "VCH001")
		must(f.t, err)
		return
	}
	ns, err := object.NewHostSystem(c, site.Computes[0].Hosts[0].Ref).ConfigManager().NetworkSystem(ctx)
	must(f.t, err)
	must(f.t, ns.AddVirtualSwitch(ctx, "VCH001", nil))
	must(f.t, ns.AddPortGroup(ctx, types.HostPortGroupSpec{Name: "VCH001", VswitchName: "VCH001"}))
}

func TestDeleteLeftovers(t *testing.T) {
	modes(t, func(t *testing.T, f *fixture) {
		ctx := context.Background()
		before := f.world()
		f.litter()
		littered := f.world()
		err := Delete(ctx, f.delete(), f.env())
		if !errdefs.IsNotFound(err) || !strings.Contains(err.Error(), "--force removes it") {
			t.Errorf("delete without --force: %v", err)
		}
		d := f.delete()
		d.Force, d.DryRun = true, true
		must(t, Delete(ctx, d, f.env()))
		if diff := cmp.Diff(littered, f.world()); diff != "" {
			t.Errorf("it changed something:\n%s", diff)
		}
		d.DryRun = false
		must(t, Delete(ctx, d, f.env()))
		if diff := cmp.Diff(before, f.world()); diff != "" {
			t.Errorf("left a trace:\n%s", diff)
		}
	})
}

// TestLeftoversInUse: what is not empty is not taken for a leftover.
func TestLeftoversInUse(t *testing.T) {
	modes(t, func(t *testing.T, f *fixture) {
		ctx := context.Background()
		f.litter()
		f.addVM("stranger", false, nil, "") // goes into the pool VCH001
		if !f.s.IsVC() {
			site, err := Survey(ctx, f.s, "")
			must(t, err)
			ns, err := object.NewHostSystem(f.s.Client(), site.Computes[0].Hosts[0].Ref).ConfigManager().NetworkSystem(ctx)
			must(t, err)
			must(t, ns.AddPortGroup(ctx, types.HostPortGroupSpec{Name: "theirs", VswitchName: "VCH001"}))
		}
		d := f.delete()
		d.Force = true
		_ = Delete(ctx, d, f.env())
		world := f.world()
		if !strings.Contains(world, "/Resources/VCH001\n") || !strings.Contains(world, "/vm/stranger\n") {
			t.Errorf("took the pool of another VM:\n%s", world)
		}
		if !f.s.IsVC() && !strings.Contains(world, "switch VCH001 [VCH001 theirs]") {
			t.Errorf("took a switch with another port group:\n%s", world)
		}
	})
}

// TestWithoutDRS: a cluster without DRS has no pools of its own.
func TestWithoutDRS(t *testing.T) {
	f := newFixture(t, false)
	ctx := context.Background()
	site, err := Survey(ctx, f.s, "")
	must(t, err)
	task, err := object.NewClusterComputeResource(f.s.Client(), site.Computes[0].Ref).Reconfigure(ctx, &types.ClusterConfigSpecEx{
		DrsConfig: &types.ClusterDrsConfigInfo{Enabled: types.NewBool(false)}}, true)
	must(t, err)
	must(t, task.Wait(ctx))
	before := f.world()
	must(t, Create(ctx, f.create(), f.env()))
	if out := f.lines(); !strings.Contains(out, "WARN DRS is off on /DC0/host/DC0_C0") || strings.Contains(out, "Creating Resource Pool") {
		t.Errorf("output:\n%s", out)
	}
	must(t, Delete(ctx, f.delete(), f.env()))
	if d := cmp.Diff(before, strings.NewReplacer("work /VCH001-cert.pem\n", "", "work /VCH001-key.pem\n", "").Replace(f.world())); d != "" {
		t.Errorf("left a trace:\n%s", d)
	}
}
