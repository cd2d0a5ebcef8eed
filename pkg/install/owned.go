package install

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/view"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/guestinfo"
	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/pkg/vsphere"
)

// Appliance is a VCH that exists, as its VM's configuration tells.
type Appliance struct {
	VM      types.ManagedObjectReference
	Name    string // of the VM; the VCH's own may differ after a rename
	Path    string // inventory path
	VCH     spec.VCH
	HomeDir string
	// CreatedDir is the folder of the image store's path that create made.
	CreatedDir string
	State      applianceState
	// Err is why the configuration could not be read; VCH is then empty.
	Err error
}

// Owned is a containerVM of a VCH.
type Owned struct {
	VM      types.ManagedObjectReference
	ID      string // container id
	Name    string // container name
	Running bool
	Home    string // "[ds] folder"
}

// vmProps are enough to tell whose a VM is.
var vmProps = []string{"name", "runtime.powerState", "config.extraConfig", "config.files.vmPathName", "guest.ipAddress", "guest.net", "guest.toolsRunningStatus", "config.hardware.device"}

// machines reads VMs: all that the user can see, or those that keep accepts by
// name (nil: all).
func machines(ctx context.Context, s *vsphere.Session, keep func(name string) bool) ([]mo.VirtualMachine, error) {
	c := s.Client()
	cv, err := view.NewManager(c).CreateContainerView(ctx, c.ServiceContent.RootFolder, []string{"VirtualMachine"}, true)
	if err != nil {
		return nil, vsphere.Classify(fmt.Errorf("list VMs: %w", err))
	}
	// The view ends with the session at the latest.
	defer func() { _ = cv.Destroy(context.WithoutCancel(ctx)) }()
	var names []mo.VirtualMachine
	if err := cv.Retrieve(ctx, []string{"VirtualMachine"}, []string{"name"}, &names); err != nil {
		return nil, vsphere.Classify(fmt.Errorf("list VMs: %w", err))
	}
	var refs []types.ManagedObjectReference
	for _, vm := range names {
		if keep == nil || keep(vm.Name) {
			refs = append(refs, vm.Self)
		}
	}
	return readMachines(ctx, s, refs)
}

// batch is how many VMs are read by one call, each some 10 to 100 KB.
const batch = 100

func readMachines(ctx context.Context, s *vsphere.Session, refs []types.ManagedObjectReference) ([]mo.VirtualMachine, error) {
	var out []mo.VirtualMachine
	for len(refs) > 0 {
		n := min(batch, len(refs))
		var part []mo.VirtualMachine
		err := property.DefaultCollector(s.Client()).Retrieve(ctx, refs[:n], vmProps, &part)
		switch err = vsphere.Classify(err); {
		case errdefs.IsNotFound(err) && n > 1: // one went meanwhile: read them singly
			for _, r := range refs[:n] {
				one, err := readMachines(ctx, s, []types.ManagedObjectReference{r})
				if err != nil {
					return nil, err
				}
				part = append(part, one...)
			}
		case err != nil && !errdefs.IsNotFound(err):
			return nil, fmt.Errorf("read VMs: %w", err)
		}
		out = append(out, part...)
		refs = refs[n:]
	}
	return out, nil
}

func vmKeys(vm mo.VirtualMachine) map[string]string {
	if vm.Config == nil { // inaccessible, or not the user's to read
		return nil
	}
	return keysOf(vm.Config.ExtraConfig)
}

// appliance reads a VM as an appliance; ok is false when it is none.
func appliance(ctx context.Context, s *vsphere.Session, vm mo.VirtualMachine) (a Appliance, ok bool) {
	keys := vmKeys(vm)
	if keys[guestinfo.KeyKind] != guestinfo.KindAppliance {
		return Appliance{}, false
	}
	a = Appliance{VM: vm.Self, Name: vm.Name, HomeDir: homeOf(vm.Config.Files.VmPathName), CreatedDir: keys[keyCreatedDir]}
	a.VCH, a.Err = guestinfo.DecodeVCH(guestinfo.FromMap(keys))
	if a.Err == nil && a.VCH.UUID == "" {
		a.Err = fmt.Errorf("its configuration has no %s: %w", guestinfo.KeyID, errdefs.ErrDataLoss)
	}
	a.State = applianceState{
		Power: vm.Runtime.PowerState, Engine: keys[guestinfo.KeyEngineState],
		SealKey: keys[guestinfo.KeySealKey], Tether: keys[guestinfo.KeyTetherState],
	}
	if vm.Guest != nil {
		a.State.Tools = vm.Guest.ToolsRunningStatus
		a.State.Address = addressOf(vm.Guest, a.VCH.Networks[roleExternal].MAC)
	}
	var err error
	if a.Path, err = find.InventoryPath(ctx, s.Client(), vm.Self); err != nil {
		a.Path = vm.Name
	}
	return a, true
}

// List gives every VCH that the session's user can see, by name.
func List(ctx context.Context, s *vsphere.Session) ([]Appliance, error) {
	vms, err := machines(ctx, s, nil)
	if err != nil {
		return nil, err
	}
	var out []Appliance
	for _, vm := range vms {
		if a, ok := appliance(ctx, s, vm); ok {
			out = append(out, a)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Path < out[j].Path })
	return out, nil
}

// Find gives the VCH called name. A VM of that name that is no appliance is
// never taken for one.
func Find(ctx context.Context, s *vsphere.Session, name string) (Appliance, error) {
	vms, err := machines(ctx, s, func(n string) bool { return n == name })
	if err != nil {
		return Appliance{}, err
	}
	var found []Appliance
	for _, vm := range vms {
		if a, ok := appliance(ctx, s, vm); ok {
			found = append(found, a)
		}
	}
	var all []Appliance
	if len(found) == 0 { // the VM may have been renamed
		if all, err = List(ctx, s); err != nil {
			return Appliance{}, err
		}
		for _, a := range all {
			if a.VCH.Name == name {
				found = append(found, a)
			}
		}
	}
	switch {
	case len(found) == 1 && found[0].Err != nil:
		return Appliance{}, fmt.Errorf("read the configuration of VCH %s (%s): %w", name, found[0].Path, found[0].Err)
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		var paths []string
		for _, a := range found {
			paths = append(paths, a.Path)
		}
		return Appliance{}, fmt.Errorf("several VCHs are called %s (%s): rename one of them: %w", name, strings.Join(paths, ", "), errdefs.ErrConflict)
	case len(vms) > 0:
		return Appliance{}, fmt.Errorf("the VM %s is no Virtual Container Host that vic-machine made: it is left alone: %w", name, errdefs.ErrFailedPrecondition)
	}
	var names []string
	for _, a := range all {
		names = append(names, a.Name)
	}
	return Appliance{}, Issue{Flag: "--name", Text: fmt.Sprintf("%q: there is no such VCH", name), Choices: names, Class: errdefs.ErrNotFound}
}

// containers gives the containerVMs that carry the VCH's UUID in the hidden
// key, wherever an administrator may have moved them.
func containers(ctx context.Context, s *vsphere.Session, uuid string) ([]Owned, error) {
	if uuid == "" {
		return nil, errors.New("a VCH without UUID owns nothing")
	}
	vms, err := machines(ctx, s, nil)
	if err != nil {
		return nil, err
	}
	var out []Owned
	for _, vm := range vms {
		keys := vmKeys(vm)
		if keys[guestinfo.KeyVCH] != uuid || keys[guestinfo.KeyKind] == guestinfo.KindAppliance {
			continue
		}
		out = append(out, Owned{
			VM: vm.Self, ID: keys[guestinfo.KeyID], Name: keys[guestinfo.KeyName],
			Running: vm.Runtime.PowerState == types.VirtualMachinePowerStatePoweredOn,
			Home:    homeOf(vm.Config.Files.VmPathName),
		})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out, nil
}
