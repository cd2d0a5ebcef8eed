package lab

import (
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// allocations are a spec's reservations, limits and shares. nil: it has none.
type allocations struct{ cpu, memory *types.ResourceAllocationInfo }

// takeAllocations takes them out of a spec. The simulator would let the VM share them
// with the event that tells of the spec, and write there while clients read it, and
// forget what a spec leaves out.
func takeAllocations(spec *types.VirtualMachineConfigSpec) allocations {
	a := allocations{spec.CpuAllocation, spec.MemoryAllocation}
	spec.CpuAllocation, spec.MemoryAllocation = nil, nil
	return a
}

// set gives them to a VM, with its lock held: what they leave out stays as it is.
func (a allocations) set(c *simulator.Context, o *simulator.VirtualMachine) {
	var changes []types.PropertyChange
	for _, r := range []struct {
		path      string
		has, asks *types.ResourceAllocationInfo
	}{
		{"config.cpuAllocation", o.Config.CpuAllocation, a.cpu},
		{"config.memoryAllocation", o.Config.MemoryAllocation, a.memory},
	} {
		if r.asks != nil {
			changes = append(changes, set(r.path, merged(r.has, r.asks)))
		}
	}
	if len(changes) > 0 {
		c.Update(o, changes)
	}
}

// merged is what a VM has once it was asked for so much.
func merged(has, asks *types.ResourceAllocationInfo) *types.ResourceAllocationInfo {
	var out types.ResourceAllocationInfo
	for _, from := range []*types.ResourceAllocationInfo{has, asks} {
		if from == nil {
			continue
		}
		if from.Reservation != nil {
			out.Reservation = types.NewInt64(*from.Reservation)
		}
		if from.Limit != nil {
			out.Limit = types.NewInt64(*from.Limit)
		}
		if from.ExpandableReservation != nil {
			out.ExpandableReservation = types.NewBool(*from.ExpandableReservation)
		}
		if from.Shares != nil {
			out.Shares = &types.SharesInfo{Level: from.Shares.Level, Shares: from.Shares.Shares}
		}
		if from.OverheadLimit != nil {
			out.OverheadLimit = types.NewInt64(*from.OverheadLimit)
		}
	}
	return &out
}

// checkAllocation refuses what the property of a spec cannot ask for.
func checkAllocation(property string, a *types.ResourceAllocationInfo) types.BaseMethodFault {
	switch {
	case a == nil:
	case a.Reservation != nil && *a.Reservation < 0,
		a.Limit != nil && *a.Limit < -1, // -1: unlimited
		a.Shares != nil && a.Shares.Level == types.SharesLevelCustom && a.Shares.Shares < 0:
		return &types.InvalidArgument{InvalidProperty: property}
	}
	return nil
}
