package vmspec

import (
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/spec"
)

// CPUs is the number of virtual CPUs of a container's VM.
func CPUs(r spec.Resources, env Env) int32 {
	return int32(first(r.CPUs, env.CPUs, spec.DefaultCPUs))
}

// MemoryMB is the memory of a container's VM, in MiB; vSphere wants multiples of 4.
// The default of a VCH that an older version installed may be too little to boot.
func MemoryMB(r spec.Resources, env Env) int64 {
	return (max(first(r.MemoryMB, env.MemoryMB, spec.DefaultMemoryMB), spec.MinMemoryMB) + 3) / 4 * 4
}

// Unlimited is vSphere's limit of a resource that has none.
const Unlimited = -1

// Allocation puts what changes between two resources and vSphere changes on a VM
// that is on as well into s: limit and shares of CPU, reserved memory. What is not
// set any more becomes vSphere's default.
func Allocation(s *types.VirtualMachineConfigSpec, before, after spec.Resources) {
	if before.CPULimitMHz != after.CPULimitMHz || before.CPUShares != after.CPUShares {
		a := &types.ResourceAllocationInfo{Limit: types.NewInt64(first(after.CPULimitMHz, Unlimited)), Shares: &types.SharesInfo{Level: types.SharesLevelNormal}}
		if after.CPUShares != 0 {
			a.Shares = &types.SharesInfo{Level: types.SharesLevelCustom, Shares: int32(after.CPUShares)}
		}
		s.CpuAllocation = a
	}
	if before.ReservationMB != after.ReservationMB {
		s.MemoryAllocation = &types.ResourceAllocationInfo{Reservation: types.NewInt64(after.ReservationMB)}
	}
}
