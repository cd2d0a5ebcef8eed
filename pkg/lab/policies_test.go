package lab

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/pbm"
	pbmmethods "github.com/vmware/govmomi/pbm/methods"
	pbmtypes "github.com/vmware/govmomi/pbm/types"
	"github.com/vmware/govmomi/vim25/types"
)

// TestStoragePolicies: a disk that is added with a policy has it; one that does not
// exist is refused, and on an ESXi every one.
func TestStoragePolicies(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		vm := r.container("policies")
		var task *object.Task
		r.wait(object.NewVirtualDiskManager(r.c.Client).CreateVirtualDisk(r.ctx, "[mydatastore] v.vmdk", r.dc, thin(8<<10)))
		devices, err := vm.Device(r.ctx)
		r.must(err)
		scsi, err := devices.FindDiskController("scsi")
		r.must(err)
		add := func(profile string) types.VirtualMachineConfigSpec {
			disk := devices.CreateDisk(scsi, types.ManagedObjectReference{}, "[mydatastore] v.vmdk")
			return types.VirtualMachineConfigSpec{DeviceChange: []types.BaseVirtualDeviceConfigSpec{&types.VirtualDeviceConfigSpec{
				Operation: types.VirtualDeviceConfigSpecOperationAdd, Device: disk,
				Profile: []types.BaseVirtualMachineProfileSpec{&types.VirtualMachineDefinedProfileSpec{ProfileId: profile}},
			}}}
		}
		task, err = vm.Reconfigure(r.ctx, add("no such policy"))
		fails[*types.InvalidDeviceSpec](r, task, err)
		c, err := pbm.NewClient(r.ctx, r.c.Client)
		if r.cfg.Mode == ModeESXi {
			if err == nil {
				t.Error("an ESXi has storage policies")
			}
			return
		}
		r.must(err)
		ids, err := c.QueryProfile(r.ctx, pbmtypes.PbmProfileResourceType{ResourceType: "STORAGE"}, "REQUIREMENT")
		r.must(err)
		if len(ids) == 0 {
			t.Fatal("no policies")
		}
		r.wait(vm.Reconfigure(r.ctx, add(ids[0].UniqueId)))
		devices, err = vm.Device(r.ctx)
		r.must(err)
		for _, d := range devices.SelectByType((*types.VirtualDisk)(nil)) {
			res, err := pbmmethods.PbmQueryAssociatedProfile(r.ctx, c, &pbmtypes.PbmQueryAssociatedProfile{This: c.ServiceContent.ProfileManager,
				Entity: pbmtypes.PbmServerObjectRef{ObjectType: "virtualDiskId", Key: fmt.Sprintf("%s:%d", vm.Reference().Value, d.GetVirtualDevice().Key)}})
			r.must(err)
			var want []pbmtypes.PbmProfileId
			if d.GetVirtualDevice().Backing.(*types.VirtualDiskFlatVer2BackingInfo).FileName == "[mydatastore] v.vmdk" {
				want = ids[:1]
			}
			if diff := cmp.Diff(want, res.Returnval); diff != "" {
				t.Error(diff)
			}
		}
	})
}
