package lab

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vmware/govmomi/vim25/types"
)

// TestAllocations: a change of a VM's reservations, limits and shares leaves alone what
// it does not name, and events, which clients read meanwhile, are not written to.
func TestAllocations(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		vm := r.container("c")
		n := types.NewInt64
		over := make(chan error, 1)
		go func() {
			for i := range int64(12) {
				task, err := vm.Reconfigure(r.ctx, types.VirtualMachineConfigSpec{
					CpuAllocation:    &types.ResourceAllocationInfo{Limit: n(1000 + i), Shares: &types.SharesInfo{Level: types.SharesLevelCustom, Shares: int32(7 + i)}},
					MemoryAllocation: &types.ResourceAllocationInfo{Reservation: n(64 + i), ExpandableReservation: types.NewBool(true), OverheadLimit: n(9)}})
				if err == nil {
					err = task.Wait(r.ctx)
				}
				if err != nil {
					over <- err
					return
				}
			}
			over <- nil
		}()
		for reads := true; reads; {
			select {
			case err := <-over:
				r.must(err)
				reads = false
			default:
				r.eventsNow(vm.Reference())
			}
		}
		r.wait(vm.Reconfigure(r.ctx, types.VirtualMachineConfigSpec{
			CpuAllocation:    &types.ResourceAllocationInfo{Reservation: n(100)},
			MemoryAllocation: &types.ResourceAllocationInfo{Limit: n(512)}}))
		c := r.read(vm.Reference(), "config").Config
		for what, d := range map[string]string{
			"CPU": cmp.Diff(&types.ResourceAllocationInfo{Reservation: n(100), Limit: n(1011), ExpandableReservation: types.NewBool(true),
				Shares: &types.SharesInfo{Level: types.SharesLevelCustom, Shares: 18}}, c.CpuAllocation),
			"memory": cmp.Diff(&types.ResourceAllocationInfo{Reservation: n(75), Limit: n(512), ExpandableReservation: types.NewBool(true), OverheadLimit: n(9),
				Shares: c.MemoryAllocation.Shares}, c.MemoryAllocation),
		} {
			if d != "" {
				t.Errorf("%s (-want +got):\n%s", what, d)
			}
		}
		for _, bad := range []types.ResourceAllocationInfo{
			{Reservation: n(-1)}, {Limit: n(-2)}, {Shares: &types.SharesInfo{Level: types.SharesLevelCustom, Shares: -1}},
		} {
			task, err := vm.Reconfigure(r.ctx, types.VirtualMachineConfigSpec{NumCPUs: 3, MemoryAllocation: &bad})
			r.must(err)
			if err := task.Wait(r.ctx); err == nil {
				t.Errorf("%+v is taken", bad)
			}
		}
		if got := r.read(vm.Reference(), "config").Config.Hardware.NumCPU; got == 3 {
			t.Error("half of a change was made")
		}
	})
}
