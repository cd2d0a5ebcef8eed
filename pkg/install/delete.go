package install

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/sirupsen/logrus"
	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/mo"
	"golang.org/x/sync/errgroup"

	"github.com/vic-engine/vic/pkg/vsphere"
)

// The actions of delete.
const (
	RemoveContainers Action = "remove VMs of containers"
	RemoveTags       Action = "remove tags"
	RemoveImages     Action = "remove image store"
	KeepVolumes      Action = "keep volumes"
	RemoveNICs       Action = "remove network devices of the appliance"
	RemovePortGroup  Action = "remove port group"
	RemoveSwitch     Action = "remove virtual switch"
	RemoveAppliance  Action = "remove appliance VM"
	RemoveFolder     Action = "remove VM folder"
	RemovePool       Action = "remove resource pool"
)

// DeleteOptions are the wishes of vic-machine delete.
type DeleteOptions struct {
	Target  Target
	Name    string
	Timeout time.Duration
	// Force accepts a server that cannot be verified, stops running containers,
	// and removes what is left of a create that was cut off before it had made
	// the appliance.
	Force  bool
	DryRun bool
}

// deletePlan is what delete does for an appliance, in order. Pure.
func deletePlan(a Appliance, vcenter bool) []Step {
	var p []Step
	add := func(act Action, object string, log ...string) { p = append(p, Step{act, object, log}) }
	add(RemoveContainers, a.VCH.Name, "Removing VMs")
	if len(a.VCH.TagLabels) > 0 {
		add(RemoveTags, strings.Join(a.VCH.TagLabels, ", "), "Removing tags of labels")
	}
	add(RemoveImages, a.VCH.ImageStore, "Removing images")
	// The line is of the article that scripts follow; the step says what stays.
	stores := a.VCH.Name
	if len(a.VCH.VolumeStores) > 0 {
		stores = strings.Join(volumeStoreLines(a.VCH), ", ")
	}
	add(KeepVolumes, stores, "Removing volumes")
	add(RemoveNICs, a.VCH.Name, "Removing appliance VM network devices")
	if a.VCH.CreatedPortGroup != "" {
		add(RemovePortGroup, a.VCH.CreatedPortGroup, "Removing Portgroup "+a.VCH.CreatedPortGroup)
	}
	if a.VCH.CreatedSwitch != "" {
		add(RemoveSwitch, a.VCH.CreatedSwitch, "Removing VirtualSwitch "+a.VCH.CreatedSwitch)
	}
	var leaving []string
	if a.VCH.CreatedPortGroup == "" {
		leaving = []string{"Bridge network was not created during VCH deployment, leaving it there"}
	}
	add(RemoveAppliance, a.Path, leaving...)
	if vcenter {
		add(RemoveFolder, a.VCH.Folder)
	}
	if path.Base(a.VCH.Pool) == a.VCH.Name { // without DRS there is none
		add(RemovePool, a.VCH.Pool, "Removing Resource Pool "+a.VCH.Name)
	}
	return p
}

// Delete removes a VCH with its containers and images. It may be repeated after
// an error: it goes on where it stopped.
func Delete(ctx context.Context, o DeleteOptions, env Env) error {
	env.Log.Info("### Removing VCH ####")
	if err := checkName(o.Name); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	s, target, err := Connect(ctx, o.Target, o.Force, env.Log)
	if err != nil {
		return err
	}
	o.Target = target
	defer logout(ctx, s, env.Log)
	a, err := Find(ctx, s, o.Name)
	if err != nil {
		return leftovers(ctx, o, s, env, err)
	}
	list, err := containers(ctx, s, a.VCH.UUID)
	if err != nil {
		return err
	}
	if err := refuseRunning(o, list); err != nil {
		return err
	}
	plan := deletePlan(a, s.IsVC())
	if o.DryRun {
		return PrintPlan(env.Out, plan)
	}
	r := &remover{s: s, a: a, list: list, log: env.Log, stores: map[string]*vsphere.Datastore{}}
	if err := runSteps(ctx, env.Log, plan, r.do); err != nil {
		return fmt.Errorf("%w (what is removed stays removed: run delete again when the cause is gone)", err)
	}
	env.Log.Info("Completed successfully")
	return nil
}

func refuseRunning(o DeleteOptions, list []Owned) error {
	var running []string
	for _, c := range list {
		if c.Running {
			running = append(running, fmt.Sprintf("%s (%.12s)", c.Name, c.ID))
		}
	}
	if len(running) == 0 || o.Force {
		return nil
	}
	return fmt.Errorf("VCH %s has running containers: %s: stop them, or give --force to stop and remove them: %w", o.Name, strings.Join(running, ", "), errdefs.ErrFailedPrecondition)
}

// remover carries out the plan for one appliance.
type remover struct {
	s    *vsphere.Session
	a    Appliance
	list []Owned
	log  *logrus.Entry

	mu     sync.Mutex // guards stores
	stores map[string]*vsphere.Datastore
}

func (r *remover) do(ctx context.Context, step Step) error {
	actions := map[Action]func(context.Context) error{
		RemoveContainers: r.containers,
		RemoveTags:       r.tags,
		RemoveImages:     r.images,
		KeepVolumes:      r.volumes,
		RemoveNICs:       r.nics,
		RemovePortGroup:  r.portGroup,
		RemoveSwitch:     r.vswitch,
		RemoveAppliance:  r.appliance,
		RemoveFolder:     r.folder,
		RemovePool:       r.pool,
	}
	act, ok := actions[step.Action]
	if !ok {
		return fmt.Errorf("no such action: %w", errdefs.ErrInvalidArgument)
	}
	return vsphere.Classify(act(ctx))
}

func (r *remover) datastore(ctx context.Context, name string) (*vsphere.Datastore, error) {
	r.mu.Lock()
	ds := r.stores[name]
	r.mu.Unlock()
	if ds != nil {
		return ds, nil
	}
	ds, err := r.s.Datastore(ctx, vsphere.DatastoreConfig{Datacenter: r.a.VCH.Datacenter, Name: name})
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stores[name] = ds
	return ds, nil
}

// parallelRemovals is how many VMs are removed at once: what ESXi does in
// parallel on one datastore without queueing.
const parallelRemovals = 4

// containers stops the engine, so that it makes or restarts nothing meanwhile,
// and removes the containers' VMs: those found before, and any that came since.
func (r *remover) containers(ctx context.Context) error {
	if err := powerOff(ctx, r.s, r.a.VM); err != nil {
		return err
	}
	list, err := containers(ctx, r.s, r.a.VCH.UUID)
	if err != nil {
		return err
	}
	g := errgroup.Group{}
	g.SetLimit(parallelRemovals)
	errs := make([]error, len(list))
	for i, c := range list {
		g.Go(func() error {
			errs[i] = r.removeOwned(ctx, c)
			return nil
		})
	}
	_ = g.Wait() // the errors are in errs
	return errors.Join(errs...)
}

func (r *remover) images(ctx context.Context) error {
	var p object.DatastorePath
	if !p.FromString(r.a.VCH.ImageStore) {
		return nil
	}
	ds, err := r.datastore(ctx, p.Datastore)
	if err != nil {
		return err
	}
	return removeImages(ctx, ds, r.a.VCH, r.a.CreatedDir)
}

// volumes stay, with and without --force: they are data. A VCH that is made with
// the same stores has them again.
func (r *remover) volumes(context.Context) error {
	for _, line := range volumeStoreLines(r.a.VCH) {
		r.log.Warnf("Volumes are not removed, they stay in volume store %s", line)
	}
	return nil
}

func (r *remover) nics(ctx context.Context) error { return removeNICs(ctx, r.s, r.a.VM) }

func (r *remover) networkSystem(ctx context.Context) (*object.HostNetworkSystem, error) {
	h, err := find.NewFinder(r.s.Client(), false).HostSystem(ctx, r.a.VCH.Host)
	if err != nil {
		return nil, err
	}
	return h.ConfigManager().NetworkSystem(ctx)
}

func (r *remover) portGroup(ctx context.Context) error {
	name := r.a.VCH.CreatedPortGroup
	used, err := networkUsed(ctx, r.s, name)
	if err != nil {
		return err
	}
	if used {
		r.log.Warnf("Portgroup %s is in use by other VMs, leaving it there", name)
		return nil
	}
	ns, err := r.networkSystem(ctx)
	if err != nil {
		return err
	}
	return r.leaveInUse(ns.RemovePortGroup(ctx, name), "Portgroup "+name)
}

func (r *remover) vswitch(ctx context.Context) error {
	ns, err := r.networkSystem(ctx)
	if err != nil {
		return err
	}
	name := r.a.VCH.CreatedSwitch
	var info mo.HostNetworkSystem
	if err := property.DefaultCollector(r.s.Client()).RetrieveOne(ctx, ns.Reference(), []string{"networkInfo.vswitch"}, &info); err != nil {
		return err
	}
	for _, sw := range info.NetworkInfo.Vswitch {
		if sw.Name == name && len(sw.Portgroup) > 0 {
			r.log.Warnf("VirtualSwitch %s has other port groups, leaving it there", name)
			return nil
		}
	}
	return r.leaveInUse(ns.RemoveVirtualSwitch(ctx, name), "VirtualSwitch "+name)
}

// leaveInUse turns "in use" into a warning: what others use is not ours to
// take.
func (r *remover) leaveInUse(err error, what string) error {
	err = absentIsFine(err)
	if errdefs.IsConflict(err) {
		r.log.Warnf("%s is in use by others, leaving it there", what)
		return nil
	}
	return err
}

func networkUsed(ctx context.Context, s *vsphere.Session, name string) (bool, error) {
	n, err := find.NewFinder(s.Client(), true).NetworkList(ctx, "/*/network/"+name)
	if err = vsphere.Classify(err); err != nil {
		return false, absentIsFine(err)
	}
	for _, ref := range n {
		var net mo.Network
		if err := property.DefaultCollector(s.Client()).RetrieveOne(ctx, ref.Reference(), []string{"vm"}, &net); err != nil {
			return false, err
		}
		if len(net.Vm) > 0 {
			return true, nil
		}
	}
	return false, nil
}

func (r *remover) appliance(ctx context.Context) error {
	var p object.DatastorePath
	if !p.FromString(r.a.HomeDir) {
		return destroy(ctx, r.s, r.a.VM)
	}
	ds, err := r.datastore(ctx, p.Datastore)
	if err != nil {
		return err
	}
	// The boot images first: once the VM is gone, nothing tells whose they are.
	for _, f := range []string{bootstrapISO, applianceISO} {
		if err := absentIsFine(ds.Delete(ctx, r.a.HomeDir+"/"+f)); err != nil {
			return err
		}
	}
	return removeVM(ctx, r.s, ds, r.a.VM, r.a.HomeDir)
}

// folder removes the VCH's VM folder if nothing is in it any more.
func (r *remover) folder(ctx context.Context) error {
	f, err := find.NewFinder(r.s.Client(), false).Folder(ctx, r.a.VCH.Folder)
	if err != nil {
		return absentIsFine(err)
	}
	var m mo.Folder
	if err := property.DefaultCollector(r.s.Client()).RetrieveOne(ctx, f.Reference(), []string{"childEntity", "name"}, &m); err != nil {
		return absentIsFine(err)
	}
	// The datacenter's own VM folder is on no path that create makes.
	if m.Name != r.a.VCH.Name {
		return nil
	}
	if len(m.ChildEntity) > 0 {
		r.log.Warnf("VM folder %s is not empty, leaving it there", r.a.VCH.Folder)
		return nil
	}
	return destroy(ctx, r.s, f.Reference())
}

func (r *remover) pool(ctx context.Context) error {
	p, err := find.NewFinder(r.s.Client(), false).ResourcePool(ctx, r.a.VCH.Pool)
	if err != nil {
		return absentIsFine(err)
	}
	var m mo.ResourcePool
	if err := property.DefaultCollector(r.s.Client()).RetrieveOne(ctx, p.Reference(), []string{"vm", "resourcePool", "name", "parent"}, &m); err != nil {
		return absentIsFine(err)
	}
	// Without DRS the VCH ran in the cluster's root pool, which stays.
	if m.Name != r.a.VCH.Name || m.Parent == nil || m.Parent.Type != "ResourcePool" {
		return nil
	}
	if len(m.Vm)+len(m.ResourcePool) > 0 {
		r.log.Warnf("Resource Pool %s is not empty, leaving it there", r.a.VCH.Name)
		return nil
	}
	return destroy(ctx, r.s, p.Reference())
}
