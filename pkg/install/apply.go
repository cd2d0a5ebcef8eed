package install

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sort"
	"time"

	"github.com/containerd/errdefs"
	"github.com/sirupsen/logrus"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
	"golang.org/x/sync/errgroup"

	"github.com/vic-engine/vic/pkg/guestinfo"
	"github.com/vic-engine/vic/pkg/vsphere"
)

// applier carries out the plan of one Config. Used by one goroutine.
type applier struct {
	c    Config
	s    *vsphere.Session
	ds   *vsphere.Datastore
	log  *logrus.Entry
	undo *undoStack
	// ping asks the engine whether it answers.
	ping func(ctx context.Context, address string) error

	pool, folder types.ManagedObjectReference
	made         Made
	state        applianceState
	failed       failures
}

func newApplier(c Config, s *vsphere.Session, ds *vsphere.Datastore, log *logrus.Entry, u *undoStack) *applier {
	return &applier{c: c, s: s, ds: ds, log: log, undo: u, pool: c.Parent.Ref, folder: c.VMFolder.Ref}
}

// do runs one step of the plan. What it changed is on the undo stack even when
// it fails.
func (a *applier) do(ctx context.Context, step Step) error {
	actions := map[Action]func(context.Context) error{
		MakePool:      a.makePool,
		MakeSwitch:    a.makeSwitch,
		MakePortGroup: a.makePortGroup,
		MakeFolder:    a.makeFolder,
		MakeImageDir:  a.makeImageDir,
		MakeAppliance: a.makeAppliance,
		Upload:        a.upload,
		Configure:     a.configure,
		PowerOn:       a.powerOn,
		AwaitAddress:  a.awaitAddress,
		AwaitEngine:   a.awaitEngine,
	}
	act, ok := actions[step.Action]
	if !ok {
		return fmt.Errorf("no such action: %w", errdefs.ErrInvalidArgument)
	}
	return vsphere.Classify(act(ctx))
}

// callTimeout bounds one call that changes something.
const callTimeout = 30 * time.Second

// whole gives a context for a call that changes something: once sent, its
// answer is awaited though ctx ends, because what nobody knows to be there is
// not undone.
func whole(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
}

func (a *applier) makePool(ctx context.Context) error {
	ctx, cancel := whole(ctx)
	defer cancel()
	spec := types.DefaultResourceConfigSpec()
	limit(&spec.MemoryAllocation, a.c.MemoryMB)
	limit(&spec.CpuAllocation, a.c.CPUMHz)
	p, err := object.NewResourcePool(a.s.Client(), a.c.Parent.Ref).Create(ctx, a.c.VCH.Name, spec)
	if err != nil {
		return err
	}
	a.pool = p.Reference()
	a.undo.push("resource pool "+a.c.VCH.Name, func(ctx context.Context) error { return destroy(ctx, a.s, a.pool) })
	return nil
}

func limit(r *types.ResourceAllocationInfo, n int64) {
	if n > 0 {
		r.Limit = types.NewInt64(n)
	}
}

func (a *applier) networkSystem(ctx context.Context) (*object.HostNetworkSystem, error) {
	return object.NewHostSystem(a.s.Client(), a.c.Host.Ref).ConfigManager().NetworkSystem(ctx)
}

func (a *applier) makeSwitch(ctx context.Context) error {
	ctx, cancel := whole(ctx)
	defer cancel()
	ns, err := a.networkSystem(ctx)
	if err != nil {
		return err
	}
	name := a.c.VCH.CreatedSwitch
	// No uplink: the bridge is the VCH's own. The number of ports is what the
	// vSphere client takes by default.
	if err := ns.AddVirtualSwitch(ctx, name, &types.HostVirtualSwitchSpec{NumPorts: 128}); err != nil {
		return err
	}
	a.undo.push("virtual switch "+name, func(ctx context.Context) error {
		return absentIsFine(ns.RemoveVirtualSwitch(ctx, name))
	})
	return nil
}

func (a *applier) makePortGroup(ctx context.Context) error {
	ctx, cancel := whole(ctx)
	defer cancel()
	ns, err := a.networkSystem(ctx)
	if err != nil {
		return err
	}
	name := a.c.VCH.CreatedPortGroup
	err = ns.AddPortGroup(ctx, types.HostPortGroupSpec{Name: name, VswitchName: a.c.VCH.CreatedSwitch, Policy: types.HostNetworkPolicy{}})
	if err != nil {
		return err
	}
	a.undo.push("port group "+name, func(ctx context.Context) error {
		return absentIsFine(ns.RemovePortGroup(ctx, name))
	})
	return nil
}

func (a *applier) makeFolder(ctx context.Context) error {
	ctx, cancel := whole(ctx)
	defer cancel()
	f, err := object.NewFolder(a.s.Client(), a.c.VMFolder.Ref).CreateFolder(ctx, a.c.VCH.Name)
	if errdefs.IsAlreadyExists(vsphere.Classify(err)) {
		return fmt.Errorf("%s: %w", quoteUsed(a.c.VCH.Name), errdefs.ErrAlreadyExists)
	}
	if err != nil {
		return err
	}
	a.folder = f.Reference()
	a.undo.push("VM folder "+a.c.VCH.Name, func(ctx context.Context) error { return destroy(ctx, a.s, a.folder) })
	return nil
}

func (a *applier) makeImageDir(ctx context.Context) error {
	ctx, cancel := whole(ctx)
	defer cancel()
	top := dsPath(a.c.Datastore.Name, a.c.MakeDir)
	a.undo.push("folder "+top, func(ctx context.Context) error { return a.ds.Delete(ctx, top) })
	return a.ds.Mkdir(ctx, a.c.VCH.ImageStore)
}

func (a *applier) makeAppliance(ctx context.Context) error {
	spec, err := ApplianceSpec(a.c)
	if err != nil {
		return err
	}
	var host *object.HostSystem
	if a.c.Host.Ref.Value != "" {
		host = object.NewHostSystem(a.s.Client(), a.c.Host.Ref)
	}
	call, cancel := whole(ctx)
	defer cancel()
	t, err := object.NewFolder(a.s.Client(), a.folder).CreateVM(call, spec, object.NewResourcePool(a.s.Client(), a.pool), host)
	if err != nil {
		return err
	}
	res, err := a.s.Wait(ctx, t.Reference())
	if err != nil {
		return err
	}
	ref, ok := res.(types.ManagedObjectReference)
	if !ok {
		return errors.New("vSphere did not tell which VM it made")
	}
	a.made = Made{VM: ref, HomeDir: a.c.VCH.HomeDir}
	a.undo.push("appliance VM "+a.c.VCH.Name, a.removeAppliance)
	return a.learn(ctx)
}

// learn reads what vSphere decided.
func (a *applier) learn(ctx context.Context) error {
	var vm mo.VirtualMachine
	if err := property.DefaultCollector(a.s.Client()).RetrieveOne(ctx, a.made.VM, []string{"config.files.vmPathName", "config.hardware.device"}, &vm); err != nil {
		return err
	}
	if vm.Config == nil {
		return fmt.Errorf("the new VM has no configuration: %w", errdefs.ErrUnavailable)
	}
	a.made.HomeDir = homeOf(vm.Config.Files.VmPathName)
	a.made.Devices = vm.Config.Hardware.Device
	a.made.MACs = macs(a.made.Devices)
	if len(a.made.MACs) != len(a.c.NICs) {
		return fmt.Errorf("the new VM has %d NICs, not %d: %w", len(a.made.MACs), len(a.c.NICs), errdefs.ErrInternal)
	}
	return nil
}

// macs gives the addresses of the NICs in the order in which they were asked
// for, which is that of their keys.
func macs(devices object.VirtualDeviceList) []string {
	var cards []*types.VirtualEthernetCard
	for _, d := range devices {
		if c, ok := d.(types.BaseVirtualEthernetCard); ok {
			cards = append(cards, c.GetVirtualEthernetCard())
		}
	}
	sort.Slice(cards, func(i, j int) bool { return cards[i].Key < cards[j].Key })
	var out []string
	for _, c := range cards {
		out = append(out, c.MacAddress)
	}
	return out
}

// removeAppliance takes the appliance away with all that it may have written.
func (a *applier) removeAppliance(ctx context.Context) error {
	err := removeVM(ctx, a.s, a.ds, a.made.VM, a.made.HomeDir)
	return errors.Join(err, removeImages(ctx, a.ds, a.c.VCH, ""))
}

func (a *applier) upload(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for name, file := range map[string]string{bootstrapISO: a.c.BootstrapISO, applianceISO: a.c.ApplianceISO} {
		g.Go(func() error {
			f, err := os.Open(file)
			if err != nil {
				return fmt.Errorf("read %s: %w", name, err)
			}
			defer f.Close()
			st, err := f.Stat()
			if err != nil {
				return fmt.Errorf("read %s: %w", name, err)
			}
			return a.ds.Put(ctx, a.made.HomeDir+"/"+name, f, st.Size())
		})
	}
	return g.Wait()
}

func (a *applier) configure(ctx context.Context) error {
	spec, err := ApplianceUpdate(a.c, a.made)
	if err != nil {
		return err
	}
	a.c = a.c.Learn(a.made)
	return a.reconfigure(ctx, spec)
}

func (a *applier) reconfigure(ctx context.Context, spec types.VirtualMachineConfigSpec) error {
	t, err := object.NewVirtualMachine(a.s.Client(), a.made.VM).Reconfigure(ctx, spec)
	if err != nil {
		return err
	}
	_, err = a.s.Wait(ctx, t.Reference())
	return err
}

func (a *applier) powerOn(ctx context.Context) error {
	t, err := object.NewVirtualMachine(a.s.Client(), a.made.VM).PowerOn(ctx)
	if err != nil {
		return err
	}
	_, err = a.s.Wait(ctx, t.Reference())
	return err
}

// awaitAddress waits until the appliance has told its address and the key to
// seal the secrets with, and then gives it those.
func (a *applier) awaitAddress(ctx context.Context) error {
	err := a.watch(ctx, func(s applianceState) bool { return s.SealKey != "" && s.Address != "" })
	if err != nil {
		return err
	}
	key, err := guestinfo.ParsePublicKey(a.state.SealKey)
	if err != nil {
		return fmt.Errorf("read %s of the appliance: %w", guestinfo.KeySealKey, err)
	}
	sealed, err := guestinfo.SealVCH(a.c.VCH, key)
	if err != nil {
		return err
	}
	secrets := map[string]string{guestinfo.KeyPassword: sealed.Password, guestinfo.KeyAttachKey: sealed.AttachKey}
	if sealed.ServerKey != "" {
		secrets[guestinfo.KeyServerKey] = sealed.ServerKey
	}
	return a.reconfigure(ctx, types.VirtualMachineConfigSpec{ExtraConfig: optionValues(secrets)})
}

func (a *applier) awaitEngine(ctx context.Context) error {
	if err := a.watch(ctx, func(s applianceState) bool { return s.Engine == engineRunning && s.Address != "" }); err != nil {
		return err
	}
	if err := a.ping(ctx, a.state.Address); err != nil {
		return fmt.Errorf("the engine runs, but its Docker API does not answer at %s: %w; %s", a.state.Address, err, a.state)
	}
	return nil
}

// destroy removes an inventory object; one that is gone already is fine.
func destroy(ctx context.Context, s *vsphere.Session, ref types.ManagedObjectReference) error {
	t, err := object.NewCommon(s.Client(), ref).Destroy(ctx)
	if err == nil {
		_, err = s.Wait(ctx, t.Reference())
	}
	return absentIsFine(err)
}

func absentIsFine(err error) error {
	if err = vsphere.Classify(err); errdefs.IsNotFound(err) {
		return nil
	}
	return err
}
