package lab

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/lab/store"
)

func (v *vmObj) DestroyTask(ctx *simulator.Context, _ *types.Destroy_Task) soap.HasFault {
	o, l := v.VirtualMachine, v.l
	return &methods.Destroy_TaskBody{Res: &types.Destroy_TaskResponse{
		Returnval: l.powerTask(ctx, o, "destroy", opConfig, func(c *simulator.Context) (types.AnyType, types.BaseMethodFault) {
			var before *mo.VirtualMachine
			locked(c, o, func() { before = snapshot(o) })
			if fault := l.unregister(c, o); fault != nil {
				return nil, fault
			}
			l.removeFiles(c, before)
			return nil, nil
		})}}
}

// UnregisterVM has no task: it waits for no operation either.
func (v *vmObj) UnregisterVM(ctx *simulator.Context, req *types.UnregisterVM) soap.HasFault {
	v.l.mu.Lock()
	busy := v.l.busy[v.Self] != ""
	v.l.mu.Unlock()
	if busy {
		return &methods.UnregisterVMBody{Fault_: simulator.Fault("", &types.TaskInProgress{Task: v.Self})}
	}
	if f := v.l.files.flush(v.l, ctx, v.VirtualMachine); f != nil {
		return &methods.UnregisterVMBody{Fault_: simulator.Fault("", f)}
	}
	res := v.VirtualMachine.UnregisterVM(ctx, req)
	if res.Fault() == nil {
		v.l.files.forget(v.Self)
	}
	return res
}

// unregister takes a VM out of the inventory.
func (l *Lab) unregister(c *simulator.Context, o *simulator.VirtualMachine) types.BaseMethodFault {
	if l.running(o.Self) != nil {
		return &types.InvalidPowerState{RequestedState: poweredOff, ExistingState: poweredOn}
	}
	var body soap.HasFault
	locked(c, o, func() { body = o.UnregisterVM(c, &types.UnregisterVM{This: o.Self}) })
	if f := body.Fault(); f != nil {
		if fault, ok := f.Detail.Fault.(types.BaseMethodFault); ok {
			return fault
		}
		return &types.SystemError{Reason: f.String}
	}
	l.files.forget(o.Self)
	return nil
}

// removeFiles deletes what ESXi deletes with a VM: its disks wherever they are,
// unless a running VM has them open, and its own files. What else lies in its
// folder (ISOs, disks detached before) stays, and the folder with it.
func (l *Lab) removeFiles(c *simulator.Context, vm *mo.VirtualMachine) {
	log := l.log.WithField("vm", vm.Self.Value)
	for _, d := range vm.Config.Hardware.Device {
		disk, ok := d.(*types.VirtualDisk)
		if !ok {
			continue
		}
		b, ok := disk.Backing.(types.BaseVirtualDeviceFileBackingInfo)
		if !ok {
			continue
		}
		file, fault := l.file(c, vm.Parent, b.GetVirtualDeviceFileBackingInfo().FileName)
		if fault != nil {
			continue
		}
		if l.opened(file, true) {
			log.WithField("disk", file).Info("disk kept: a running VM has it open")
			continue
		}
		if err := store.Delete(file); err != nil {
			log.WithError(err).Warn("deleting a disk")
		}
	}
	if home, fault := l.file(c, vm.Parent, vm.Config.Files.VmPathName); fault == nil {
		if err := removeOwn(filepath.Dir(home)); err != nil {
			log.WithError(err).Warn("deleting the VM's folder")
		}
	}
	for _, ref := range vm.Datastore {
		if ds, ok := c.Map.Get(ref).(*simulator.Datastore); ok {
			l.measure(c, ds)
		}
	}
}

// removeOwn empties a VM's folder of all but disks, ISOs and folders, and
// removes it if nothing is left.
func removeOwn(dir string) error {
	list, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	left := 0
	var errs []error
	for _, e := range list {
		ext := strings.ToLower(filepath.Ext(e.Name()))
		if e.IsDir() || ext == ".vmdk" || ext == ".iso" {
			left++
			continue
		}
		errs = append(errs, os.Remove(filepath.Join(dir, e.Name())))
	}
	if left == 0 {
		errs = append(errs, os.Remove(dir))
	}
	return errors.Join(errs...)
}
