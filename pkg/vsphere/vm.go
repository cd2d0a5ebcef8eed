package vsphere

import (
	"context"
	"fmt"
	"path"

	"github.com/containerd/errdefs"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// VM is what the project reads of a VM, at one moment.
type VM struct {
	Ref  types.ManagedObjectReference
	Name string
	// Power is poweredOn, poweredOff or suspended.
	Power types.VirtualMachinePowerState
	// Connection is "connected" of a usable VM; an orphaned, inaccessible or
	// invalid one cannot be used, and its other fields may be empty.
	Connection types.VirtualMachineConnectionState
	// Config holds the extraConfig keys, guestinfo among them.
	Config map[string]string
	// ChangeVersion is handed back in a reconfigure to refuse it if somebody
	// else's came between.
	ChangeVersion string
	// Path of its .vmx, "[ds] folder/name.vmx".
	Path string
	// UUID is the BIOS UUID.
	UUID string
}

// On tells that the VM is powered on.
func (v VM) On() bool { return v.Power == types.VirtualMachinePowerStatePoweredOn }

// Folder is the datastore folder of the VM.
func (v VM) Folder() string {
	var p object.DatastorePath
	if !p.FromString(v.Path) {
		return ""
	}
	p.Path = path.Dir(p.Path)
	return p.String()
}

// vmProperties are read one by one rather than as whole config, which is many
// times as large.
func vmProperties() []string {
	return []string{
		"name", "runtime.powerState", "runtime.connectionState",
		"config.extraConfig", "config.changeVersion", "config.files.vmPathName", "config.uuid",
	}
}

// VM reads one VM; one that is gone is ErrNotFound.
func (s *Session) VM(ctx context.Context, ref types.ManagedObjectReference) (VM, error) {
	var m mo.VirtualMachine
	if err := property.DefaultCollector(s.vim).RetrieveOne(ctx, ref, vmProperties(), &m); err != nil {
		return VM{}, Classify(fmt.Errorf("read VM %s: %w", ref.Value, err))
	}
	return vmOf(m), nil
}

// VMs reads the VMs directly in a resource pool, at one moment.
func (s *Session) VMs(ctx context.Context, pool types.ManagedObjectReference) ([]VM, error) {
	req := types.RetrieveProperties{
		SpecSet: []types.PropertyFilterSpec{{
			ObjectSet: []types.ObjectSpec{{
				Obj:       pool,
				Skip:      types.NewBool(true),
				SelectSet: []types.BaseSelectionSpec{&types.TraversalSpec{Type: "ResourcePool", Path: "vm"}},
			}},
			PropSet: []types.PropertySpec{{Type: "VirtualMachine", PathSet: vmProperties()}},
		}},
	}
	res, err := property.DefaultCollector(s.vim).RetrieveProperties(ctx, req)
	if err != nil {
		return nil, Classify(fmt.Errorf("list VMs of pool %s: %w", pool.Value, err))
	}
	var out []VM
	for _, c := range res.Returnval {
		var m mo.VirtualMachine
		// A VM that is just being made or removed lacks properties; it is
		// listed with what it has.
		c.MissingSet = nil
		if err := mo.LoadObjectContent([]types.ObjectContent{c}, &m); err != nil {
			return nil, fmt.Errorf("read VM %s: %w", c.Obj.Value, err)
		}
		out = append(out, vmOf(m))
	}
	return out, nil
}

func vmOf(m mo.VirtualMachine) VM {
	v := VM{
		Ref: m.Self, Name: m.Name,
		Power: m.Runtime.PowerState, Connection: m.Runtime.ConnectionState,
		Config: map[string]string{},
	}
	if m.Config == nil {
		return v
	}
	v.ChangeVersion, v.Path, v.UUID = m.Config.ChangeVersion, m.Config.Files.VmPathName, m.Config.Uuid
	for _, o := range m.Config.ExtraConfig {
		if kv := o.GetOptionValue(); kv != nil {
			if val, ok := kv.Value.(string); ok {
				v.Config[kv.Key] = val
			}
		}
	}
	return v
}

// Devices reads a VM's hardware.
func (s *Session) Devices(ctx context.Context, ref types.ManagedObjectReference) (object.VirtualDeviceList, error) {
	l, err := object.NewVirtualMachine(s.vim, ref).Device(ctx)
	if err != nil {
		return nil, Classify(fmt.Errorf("read devices of VM %s: %w", ref.Value, err))
	}
	return l, nil
}

// CreateVM makes a VM. On failure there is none.
func (s *Session) CreateVM(ctx context.Context, p Place, c types.VirtualMachineConfigSpec) (types.ManagedObjectReference, error) {
	req := types.CreateVM_Task{This: p.Folder, Config: c, Pool: p.Pool, Host: p.Host}
	res, err := methods.CreateVM_Task(ctx, s.vim, &req)
	if err != nil {
		return types.ManagedObjectReference{}, ctxErr(ctx, Classify(fmt.Errorf("create VM %s: %w", c.Name, err)))
	}
	out, err := s.Wait(ctx, res.Returnval)
	if err != nil {
		return types.ManagedObjectReference{}, fmt.Errorf("create VM %s: %w", c.Name, err)
	}
	ref, ok := out.(types.ManagedObjectReference)
	if !ok {
		return ref, fmt.Errorf("create VM %s: task gave %T instead of the VM", c.Name, out)
	}
	return ref, nil
}

// Reconfigure changes a VM. Set ChangeVersion in c for it to fail with
// ErrAborted when the VM was changed since.
func (s *Session) Reconfigure(ctx context.Context, ref types.ManagedObjectReference, c types.VirtualMachineConfigSpec) error {
	res, err := methods.ReconfigVM_Task(ctx, s.vim, &types.ReconfigVM_Task{This: ref, Spec: c})
	if err == nil {
		_, err = s.wait(ctx, res.Returnval, false)
	}
	return ctxErr(ctx, Classify(wrap(err, "reconfigure VM %s", ref.Value)))
}

// PowerOn starts a VM; on a cluster with DRS vCenter chooses its host.
func (s *Session) PowerOn(ctx context.Context, ref types.ManagedObjectReference) error {
	res, err := methods.PowerOnVM_Task(ctx, s.vim, &types.PowerOnVM_Task{This: ref})
	if err == nil {
		_, err = s.Wait(ctx, res.Returnval)
	}
	return ctxErr(ctx, Classify(wrap(err, "power on VM %s", ref.Value)))
}

// PowerOff turns a VM off at once. One that is off already is
// ErrFailedPrecondition.
func (s *Session) PowerOff(ctx context.Context, ref types.ManagedObjectReference) error {
	res, err := methods.PowerOffVM_Task(ctx, s.vim, &types.PowerOffVM_Task{This: ref})
	if err == nil {
		_, err = s.Wait(ctx, res.Returnval)
	}
	return ctxErr(ctx, Classify(wrap(err, "power off VM %s", ref.Value)))
}

// ShutdownGuest asks the guest's tools to shut down; it does not wait for it.
func (s *Session) ShutdownGuest(ctx context.Context, ref types.ManagedObjectReference) error {
	_, err := methods.ShutdownGuest(ctx, s.vim, &types.ShutdownGuest{This: ref})
	return ctxErr(ctx, Classify(wrap(err, "shut down the guest of VM %s", ref.Value)))
}

// Destroy removes a VM with all files that are its own. A disk that it shares
// with others must be detached before.
func (s *Session) Destroy(ctx context.Context, ref types.ManagedObjectReference) error {
	res, err := methods.Destroy_Task(ctx, s.vim, &types.Destroy_Task{This: ref})
	if err == nil {
		_, err = s.Wait(ctx, res.Returnval)
	}
	return ctxErr(ctx, Classify(wrap(err, "destroy VM %s", ref.Value)))
}

// RemoveSnapshots removes all snapshots of a VM; what was written since is kept
// in its disks.
func (s *Session) RemoveSnapshots(ctx context.Context, ref types.ManagedObjectReference) error {
	res, err := methods.RemoveAllSnapshots_Task(ctx, s.vim, &types.RemoveAllSnapshots_Task{This: ref, Consolidate: types.NewBool(true)})
	if err == nil {
		_, err = s.Wait(ctx, res.Returnval)
	}
	return ctxErr(ctx, Classify(wrap(err, "remove snapshots of VM %s", ref.Value)))
}

// Rename gives a VM another display name; its files keep theirs.
func (s *Session) Rename(ctx context.Context, ref types.ManagedObjectReference, name string) error {
	res, err := methods.Rename_Task(ctx, s.vim, &types.Rename_Task{This: ref, NewName: name})
	if err == nil {
		_, err = s.Wait(ctx, res.Returnval)
	}
	return ctxErr(ctx, Classify(wrap(err, "rename VM %s to %s", ref.Value, name)))
}

// FindVM finds a VM of the place's datacenter by BIOS UUID.
func (s *Session) FindVM(ctx context.Context, p Place, uuid string) (types.ManagedObjectReference, error) {
	dc := p.Datacenter
	res, err := methods.FindByUuid(ctx, s.vim, &types.FindByUuid{
		This: *s.vim.ServiceContent.SearchIndex, Datacenter: &dc, Uuid: uuid, VmSearch: true,
	})
	if err != nil {
		return types.ManagedObjectReference{}, Classify(fmt.Errorf("find VM with UUID %s: %w", uuid, err))
	}
	if res.Returnval == nil {
		return types.ManagedObjectReference{}, fmt.Errorf("no VM with UUID %s: %w", uuid, errdefs.ErrNotFound)
	}
	return *res.Returnval, nil
}
