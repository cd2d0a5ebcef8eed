package lab

import (
	"fmt"
	"sync"
	"testing"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
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
		done := make(chan struct{})
		var measuring, users sync.WaitGroup
		measuring.Go(func() {
			c := r.l.context(nil)
			for {
				select {
				case <-done:
					return
				default:
				}
				locked(c, own, func() { own.Summary.FreeSpace++ }) // so that there is something to correct
				r.l.measure(c, own)
			}
		})
		use := func(work func(i int) (*object.Task, error)) {
			users.Go(func() {
				for i := range 5 {
					task, err := work(i)
					if err == nil {
						err = task.Wait(r.ctx)
					}
					if err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		for n := range 2 {
			use(func(int) (*object.Task, error) {
				return b.SearchDatastore(r.ctx, "[mydatastore]", &types.HostDatastoreBrowserSearchSpec{MatchPattern: []string{"*"}})
			})
			name := fmt.Sprintf("vm%d", n)
			spec := r.containerSpec(name)
			users.Go(func() {
				for range 3 {
					task, err := r.vms.CreateVM(r.ctx, spec, r.pool, nil)
					if err != nil {
						t.Error(err)
						return
					}
					info, err := task.WaitForResult(r.ctx)
					if err != nil {
						t.Error(err)
						return
					}
					vm := object.NewVirtualMachine(r.c.Client, info.Result.(types.ManagedObjectReference))
					for _, work := range []func() (*object.Task, error){
						func() (*object.Task, error) {
							disk := &types.VirtualDisk{CapacityInKB: 1 << 20}
							disk.Key, disk.ControllerKey, disk.UnitNumber = -9, 1000, types.NewInt32(5)
							disk.Backing = &types.VirtualDiskFlatVer2BackingInfo{ThinProvisioned: types.NewBool(true), DiskMode: "persistent"}
							return vm.Reconfigure(r.ctx, types.VirtualMachineConfigSpec{DeviceChange: []types.BaseVirtualDeviceConfigSpec{
								&types.VirtualDeviceConfigSpec{Operation: "add", FileOperation: "create", Device: disk}}})
						},
						func() (*object.Task, error) { return vm.Destroy(r.ctx) },
					} {
						task, err := work()
						if err == nil {
							err = task.Wait(r.ctx)
						}
						if err != nil {
							t.Error(err)
							return
						}
					}
				}
			})
		}
		users.Wait()
		close(done)
		measuring.Wait()
	})
}
