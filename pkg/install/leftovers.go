package install

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/vsphere"
)

// leftovers deals with a name for which there is no appliance: missing is why.
// A create that was killed before it had made the appliance, or a delete after
// it had removed it, leaves an empty resource pool, VM folder or switch of the
// VCH's name. Nothing marks these as ours, so that only --force removes them,
// and only while they are empty.
func leftovers(ctx context.Context, o DeleteOptions, s *vsphere.Session, env Env, missing error) error {
	if !errdefs.IsNotFound(missing) {
		return missing
	}
	site, err := Survey(ctx, s, o.Target.Datacenter)
	if err != nil {
		return err
	}
	l := &leftover{s: s, site: site, name: o.Name}
	found, err := l.find(ctx)
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return missing
	}
	if !o.Force {
		return fmt.Errorf("%w; but there is an empty %s, maybe of a create that was cut off: --force removes it", missing, found[0].step.Object)
	}
	var plan []Step
	for _, f := range found {
		plan = append(plan, f.step)
	}
	if o.DryRun {
		return PrintPlan(env.Out, plan)
	}
	i := 0
	err = runSteps(ctx, env.Log, plan, func(ctx context.Context, _ Step) error {
		i++
		return absentIsFine(found[i-1].do(ctx))
	})
	if err != nil {
		return err
	}
	env.Log.Info("Completed successfully")
	return nil
}

type leftoverStep struct {
	step Step
	do   func(ctx context.Context) error
}

type leftover struct {
	s    *vsphere.Session
	site Site
	name string
}

func (l *leftover) find(ctx context.Context) ([]leftoverStep, error) {
	var out []leftoverStep
	for _, look := range []func(context.Context) ([]leftoverStep, error){l.bridge, l.folder, l.pools} {
		found, err := look(ctx)
		if err != nil {
			return nil, vsphere.Classify(err)
		}
		out = append(out, found...)
	}
	return out, nil
}

// bridge looks on a standalone host for a switch without uplink whose only port
// group, if any, has its name and no VM.
func (l *leftover) bridge(ctx context.Context) ([]leftoverStep, error) {
	if l.site.VCenter || !has(l.site.Switches, l.name) || len(l.site.Computes) != 1 {
		return nil, nil
	}
	ns, err := object.NewHostSystem(l.s.Client(), l.site.Computes[0].Hosts[0].Ref).ConfigManager().NetworkSystem(ctx)
	if err != nil {
		return nil, err
	}
	var m mo.HostNetworkSystem
	if err := property.DefaultCollector(l.s.Client()).RetrieveOne(ctx, ns.Reference(), []string{"networkInfo.vswitch", "networkInfo.portgroup"}, &m); err != nil {
		return nil, err
	}
	used, err := networkUsed(ctx, l.s, l.name)
	if err != nil || used {
		return nil, err
	}
	for _, sw := range m.NetworkInfo.Vswitch {
		if sw.Name != l.name {
			continue
		}
		groups := 0
		for _, pg := range m.NetworkInfo.Portgroup {
			if pg.Spec.VswitchName == sw.Name {
				if groups++; pg.Spec.Name != l.name {
					return nil, nil
				}
			}
		}
		if len(sw.Pnic) > 0 {
			return nil, nil
		}
		var out []leftoverStep
		if groups > 0 {
			out = append(out, leftoverStep{Step{RemovePortGroup, "port group " + l.name, []string{"Removing Portgroup " + l.name}},
				func(ctx context.Context) error { return ns.RemovePortGroup(ctx, l.name) }})
		}
		return append(out, leftoverStep{Step{RemoveSwitch, "virtual switch " + l.name, []string{"Removing VirtualSwitch " + l.name}},
			func(ctx context.Context) error { return ns.RemoveVirtualSwitch(ctx, l.name) }}), nil
	}
	return nil, nil
}

func (l *leftover) folder(ctx context.Context) ([]leftoverStep, error) {
	if !l.site.VCenter || !has(l.site.Folders, l.name) {
		return nil, nil
	}
	children, err := object.NewFolder(l.s.Client(), l.site.VMFolder.Ref).Children(ctx)
	if err != nil {
		return nil, err
	}
	for _, c := range children {
		if c.Reference().Type != "Folder" {
			continue
		}
		var m mo.Folder
		if err := property.DefaultCollector(l.s.Client()).RetrieveOne(ctx, c.Reference(), []string{"name", "childEntity"}, &m); err != nil {
			return nil, err
		}
		if m.Name == l.name && len(m.ChildEntity) == 0 {
			return []leftoverStep{l.destroys(RemoveFolder, "VM folder ", m.Self)}, nil
		}
	}
	return nil, nil
}

func (l *leftover) pools(ctx context.Context) ([]leftoverStep, error) {
	for _, c := range l.site.Computes {
		for _, p := range c.Pools {
			if p.Name != l.name {
				continue
			}
			var m mo.ResourcePool
			if err := property.DefaultCollector(l.s.Client()).RetrieveOne(ctx, p.Ref, []string{"vm", "resourcePool"}, &m); err != nil {
				return nil, err
			}
			if len(m.Vm)+len(m.ResourcePool) == 0 {
				return []leftoverStep{l.destroys(RemovePool, "resource pool ", p.Ref, "Removing Resource Pool "+l.name)}, nil
			}
		}
	}
	return nil, nil
}

func (l *leftover) destroys(a Action, what string, ref types.ManagedObjectReference, log ...string) leftoverStep {
	return leftoverStep{Step{a, what + l.name, log}, func(ctx context.Context) error { return destroy(ctx, l.s, ref) }}
}
