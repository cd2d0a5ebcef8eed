package lab

import (
	"fmt"
	"sync"
	"testing"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"
)

// TestDatastoreUsedByAll is for the race detector: a datastore is measured,
// searched, and gets and loses VMs, all at once.
func TestDatastoreUsedByAll(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		ds, err := r.f.Datastore(r.ctx, "mydatastore")
		r.must(err)
		b, err := ds.Browser(r.ctx)
		r.must(err)
		own := r.l.context(nil).Map.Get(ds.Reference()).(*simulator.Datastore)
		// work measures the datastore while a task runs.
		work := func(task *object.Task, err error) *types.TaskInfo {
			if err != nil {
				t.Error(err)
				return nil
			}
			c := r.l.context(nil)
			for range 10 {
				locked(c, own, func() { own.Summary.FreeSpace++ }) // so that there is something to correct
				r.l.measure(c, own)
			}
			info, err := task.WaitForResult(r.ctx)
			if err != nil {
				t.Error(err)
				return nil
			}
			return info
		}
		var wg sync.WaitGroup
		for n := range 2 {
			wg.Go(func() {
				for range 10 {
					work(b.SearchDatastore(r.ctx, "[mydatastore]", &types.HostDatastoreBrowserSearchSpec{MatchPattern: []string{"*"}}))
				}
			})
			spec := r.containerSpec(fmt.Sprintf("vm%d", n))
			wg.Go(func() {
				for range 3 {
					info := work(r.vms.CreateVM(r.ctx, spec, r.pool, nil))
					if info == nil {
						return
					}
					vm := object.NewVirtualMachine(r.c.Client, info.Result.(types.ManagedObjectReference))
					disk := &types.VirtualDisk{CapacityInKB: 1 << 20}
					disk.Key, disk.ControllerKey, disk.UnitNumber = -9, 1000, types.NewInt32(5)
					disk.Backing = &types.VirtualDiskFlatVer2BackingInfo{ThinProvisioned: types.NewBool(true), DiskMode: "persistent"}
					work(vm.Reconfigure(r.ctx, types.VirtualMachineConfigSpec{DeviceChange: []types.BaseVirtualDeviceConfigSpec{
						&types.VirtualDeviceConfigSpec{Operation: "add", FileOperation: "create", Device: disk}}}))
					if _, err := methods.RefreshStorageInfo(r.ctx, r.c.Client, &types.RefreshStorageInfo{This: vm.Reference()}); err != nil {
						t.Error(err)
					}
					work(vm.Destroy(r.ctx))
				}
			})
		}
		wg.Wait()
	})
}
