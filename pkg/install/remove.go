package install

import (
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/pkg/vsphere"
)

// vicDir is the folder of all VCHs' images on a datastore.
const vicDir = "VIC"

// removeVM powers a VM off and destroys it with its folder. Disks outside the
// folder are detached before: they are shared with others. ds must be the
// datastore of home. A VM that is gone already is fine, its folder still goes.
func removeVM(ctx context.Context, s *vsphere.Session, ds *vsphere.Datastore, ref types.ManagedObjectReference, home string) error {
	if err := powerOff(ctx, s, ref); err != nil {
		return err
	}
	if err := detachForeign(ctx, s, ref, home); err != nil {
		return err
	}
	if err := destroy(ctx, s, ref); err != nil {
		return fmt.Errorf("destroy VM %s: %w", ref.Value, err)
	}
	return removeHome(ctx, ds, home)
}

// removeHome deletes what Destroy leaves in a VM's folder: boot images and the
// files of serial ports.
func removeHome(ctx context.Context, ds *vsphere.Datastore, home string) error {
	var p object.DatastorePath
	if !p.FromString(home) || strings.Trim(p.Path, "/") == "" || strings.HasSuffix(p.Path, ".vmx") {
		return nil // a VM without a folder of its own
	}
	return absentIsFine(ds.Delete(ctx, home))
}

func powerOff(ctx context.Context, s *vsphere.Session, ref types.ManagedObjectReference) error {
	var vm mo.VirtualMachine
	err := property.DefaultCollector(s.Client()).RetrieveOne(ctx, ref, []string{"runtime.powerState"}, &vm)
	if err != nil {
		return absentIsFine(err)
	}
	if vm.Runtime.PowerState == types.VirtualMachinePowerStatePoweredOff {
		return nil
	}
	t, err := object.NewVirtualMachine(s.Client(), ref).PowerOff(ctx)
	if err == nil {
		_, err = s.Wait(ctx, t.Reference())
	}
	err = absentIsFine(err)
	if errdefs.IsFailedPrecondition(err) { // it went off by itself just now
		err = nil
	}
	if err != nil {
		return fmt.Errorf("power off VM %s: %w", ref.Value, err)
	}
	return nil
}

// detachForeign takes disks that are not in the VM's own folder off the VM and
// keeps their files.
func detachForeign(ctx context.Context, s *vsphere.Session, ref types.ManagedObjectReference, home string) error {
	var vm mo.VirtualMachine
	err := property.DefaultCollector(s.Client()).RetrieveOne(ctx, ref, []string{"config.hardware.device"}, &vm)
	if err != nil {
		return absentIsFine(err)
	}
	if vm.Config == nil {
		return nil
	}
	var drop []types.BaseVirtualDeviceConfigSpec
	for _, d := range vm.Config.Hardware.Device {
		if disk, ok := d.(*types.VirtualDisk); ok && foreign(disk, home) {
			drop = append(drop, remove(disk))
		}
	}
	return reconfigureDevices(ctx, s, ref, drop)
}

// foreign tells whether a disk's file lies outside home.
func foreign(d *types.VirtualDisk, home string) bool {
	b, ok := d.Backing.(types.BaseVirtualDeviceFileBackingInfo)
	if !ok {
		return false
	}
	return homeOf(b.GetVirtualDeviceFileBackingInfo().FileName) != home
}

func remove(d types.BaseVirtualDevice) *types.VirtualDeviceConfigSpec {
	// No file operation: the file stays.
	return &types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationRemove, Device: d}
}

// removeNICs takes the network cards off a VM, so that its networks are free.
func removeNICs(ctx context.Context, s *vsphere.Session, ref types.ManagedObjectReference) error {
	var vm mo.VirtualMachine
	err := property.DefaultCollector(s.Client()).RetrieveOne(ctx, ref, []string{"config.hardware.device"}, &vm)
	if err != nil {
		return absentIsFine(err)
	}
	if vm.Config == nil {
		return nil
	}
	var drop []types.BaseVirtualDeviceConfigSpec
	for _, d := range vm.Config.Hardware.Device {
		if _, ok := d.(types.BaseVirtualEthernetCard); ok {
			drop = append(drop, remove(d))
		}
	}
	return reconfigureDevices(ctx, s, ref, drop)
}

func reconfigureDevices(ctx context.Context, s *vsphere.Session, ref types.ManagedObjectReference, changes []types.BaseVirtualDeviceConfigSpec) error {
	if len(changes) == 0 {
		return nil
	}
	t, err := object.NewVirtualMachine(s.Client(), ref).Reconfigure(ctx, types.VirtualMachineConfigSpec{DeviceChange: changes})
	if err == nil {
		_, err = s.Wait(ctx, t.Reference())
	}
	if err = absentIsFine(err); err != nil {
		return fmt.Errorf("change devices of VM %s: %w", ref.Value, err)
	}
	return nil
}

// removeImages deletes the VCH's images, then the folders above that are empty
// and only there for them: VIC, and those from created on, which is the topmost
// folder that create made (empty: none).
func removeImages(ctx context.Context, ds *vsphere.Datastore, v spec.VCH, created string) error {
	if v.UUID == "" || v.ImageStore == "" {
		return nil
	}
	var p object.DatastorePath
	if !p.FromString(v.ImageStore) {
		return fmt.Errorf("image store %q is no datastore path: %w", v.ImageStore, errdefs.ErrInvalidArgument)
	}
	dir := path.Join(p.Path, vicDir)
	if err := absentIsFine(ds.Delete(ctx, ds.Path(dir, v.UUID))); err != nil {
		return err
	}
	for {
		empty, err := deleteEmpty(ctx, ds, dir)
		if err != nil || !empty {
			return err
		}
		if dir == path.Join(p.Path, vicDir) {
			dir = strings.Trim(p.Path, "/")
		} else {
			dir = path.Dir(dir)
		}
		if created == "" || dir != created && !strings.HasPrefix(dir, created+"/") {
			return nil
		}
	}
}

// deleteEmpty removes a folder that has nothing in it. It reports whether the
// folder is gone.
func deleteEmpty(ctx context.Context, ds *vsphere.Datastore, dir string) (bool, error) {
	list, err := ds.List(ctx, ds.Path(dir))
	if errdefs.IsNotFound(err) {
		return true, nil
	}
	if err != nil || len(list) > 0 {
		return false, err
	}
	return true, absentIsFine(ds.Delete(ctx, ds.Path(dir)))
}

// removeOwned removes one containerVM.
func (r *remover) removeOwned(ctx context.Context, o Owned) error {
	var p object.DatastorePath
	if !p.FromString(o.Home) {
		return fmt.Errorf("container %s: its VM's folder %q is no datastore path: %w", o.ID, o.Home, errdefs.ErrInvalidArgument)
	}
	ds, err := r.datastore(ctx, p.Datastore)
	if err == nil {
		err = removeVM(ctx, r.s, ds, o.VM, o.Home)
	}
	if err != nil {
		return fmt.Errorf("remove container %s (%s): %w", o.Name, o.ID, err)
	}
	return nil
}
