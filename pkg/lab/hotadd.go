package lab

import (
	"fmt"
	"strconv"

	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/lab/machine"
)

const (
	// memoryStepMB is in what a running VM's memory grows (hotPlugMemoryIncrementSize).
	memoryStepMB = 4
	// lowMemoryMB is what a Linux VM cannot grow beyond that was not started with
	// more, VMware's KB 2008405.
	lowMemoryMB = 3072
	// growthFactor is how many times its memory a VM can grow to otherwise, VMware's
	// KB 2020846.
	growthFactor = 16
	// mostCPUs is how many CPUs a VM can grow to that sets no bound of its own, maxCPUsKey.
	mostCPUs   = 128
	maxCPUsKey = "cpuid.maxVCPUs"
)

func enabled(b *bool) bool { return b != nil && *b }

// hotAdd tells what a VM can grow to while it runs: not beyond what it has when it
// was not made for that.
func hotAdd(c *types.VirtualMachineConfigInfo) (cpus int32, memoryMB int64) {
	cpus, memoryMB = c.Hardware.NumCPU, int64(c.Hardware.MemoryMB)
	if enabled(c.CpuHotAddEnabled) {
		cpus = max(cpus, roomOfCPUs(c))
	}
	switch {
	case !enabled(c.MemoryHotAddEnabled):
	case memoryMB <= lowMemoryMB:
		memoryMB = lowMemoryMB
	default:
		memoryMB *= growthFactor
	}
	return cpus, memoryMB
}

func roomOfCPUs(c *types.VirtualMachineConfigInfo) int32 {
	for _, o := range c.ExtraConfig {
		if kv := o.GetOptionValue(); kv.Key == maxCPUsKey {
			if n, err := strconv.ParseInt(fmt.Sprint(kv.Value), 10, 32); err == nil && n > 0 && n < mostCPUs {
				return int32(n)
			}
		}
	}
	return mostCPUs
}

// hotAddShown is what a VM shows of that while it is on.
func hotAddShown(c *types.VirtualMachineConfigInfo, on bool) []types.PropertyChange {
	step, limit := int64(0), int64(0)
	if on && enabled(c.MemoryHotAddEnabled) {
		step = memoryStepMB
		_, limit = hotAdd(c)
	}
	if c.HotPlugMemoryIncrementSize == step && c.HotPlugMemoryLimit == limit {
		return nil
	}
	return []types.PropertyChange{set("config.hotPlugMemoryIncrementSize", step), set("config.hotPlugMemoryLimit", limit)}
}

// checkHotAdd refuses what a VM that is on cannot have.
func checkHotAdd(c *types.VirtualMachineConfigInfo, s *types.VirtualMachineConfigSpec) types.BaseMethodFault {
	changes := func(now, asked *bool) bool { return asked != nil && *asked != enabled(now) }
	if changes(c.CpuHotAddEnabled, s.CpuHotAddEnabled) || changes(c.MemoryHotAddEnabled, s.MemoryHotAddEnabled) {
		return reason(&types.InvalidPowerState{RequestedState: poweredOff, ExistingState: poweredOn}, "whether a VM can grow while it is on changes when it is off")
	}
	cpus, mb := hotAdd(c)
	switch n := s.NumCPUs; {
	case n == 0 || n == c.Hardware.NumCPU:
	case n < c.Hardware.NumCPU || !enabled(c.CpuHotAddEnabled):
		return reason(&types.CpuHotPlugNotSupported{}, "CPU hot plug is not supported for this virtual machine")
	case n > cpus:
		return reason(&types.NumVirtualCpusExceedsLimit{MaxSupportedVcpus: cpus}, "the lab lets a running VM have at most %d CPUs", cpus)
	}
	switch have, n := int64(c.Hardware.MemoryMB), s.MemoryMB; {
	case n == 0 || n == have:
	case n < have || !enabled(c.MemoryHotAddEnabled):
		return reason(&types.MemoryHotPlugNotSupported{}, "Memory hot plug is not supported for this virtual machine")
	case (n-have)%memoryStepMB != 0 || n%memoryStepMB != 0:
		return &types.InvalidArgument{InvalidProperty: "configSpec.memoryMB"}
	case n > mb:
		return reason(&types.InvalidVmConfig{Property: "configSpec.memoryMB"}, "this VM can have at most %d MB while it is on", mb)
	}
	return nil
}

// size lets the running VM grow to what a spec says.
func (h *hotplug) size(c *types.VirtualMachineConfigInfo, s *types.VirtualMachineConfigSpec) types.BaseMethodFault {
	cpus, mb := max(c.Hardware.NumCPU, s.NumCPUs), max(int64(c.Hardware.MemoryMB), s.MemoryMB)
	if cpus == c.Hardware.NumCPU && mb == int64(c.Hardware.MemoryMB) {
		return nil
	}
	ha, ok := h.r.inst.(machine.HotAdd)
	if !ok {
		return &types.NotSupported{}
	}
	if err := ha.Grow(h.c, int(cpus), mb); err != nil {
		return plugFault(err)
	}
	h.note(func(m *machine.Machine) { m.CPUs, m.MemoryMB = int(cpus), mb })
	return nil
}
