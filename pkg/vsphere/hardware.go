package vsphere

import (
	"context"
	"fmt"
	"strconv"

	"github.com/containerd/errdefs"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// MaxCPUsKey bounds the CPUs of a VM that can get some while it runs. Without it ESXi
// shows the guest room for 128 (Broadcom's KB 340275), and Linux sets memory aside for
// each at its boot.
const MaxCPUsKey = "cpuid.maxVCPUs"

// Hardware is how large a VM is, and how it may grow while it runs.
type Hardware struct {
	CPUs     int32
	MemoryMB int64
	// CPUHotAdd and MemoryHotAdd tell that the VM was made to grow while it runs.
	CPUHotAdd, MemoryHotAdd bool
	// MaxCPUs is how many the VM has room for while it runs, MaxCPUsKey; zero: as many
	// as vSphere allows.
	MaxCPUs int32
	// MemoryStepMB: what is added, and the sum, are multiples of it. MemoryLimitMB
	// bounds the sum. Of a VM that runs; zero: vSphere does not say.
	MemoryStepMB, MemoryLimitMB int64
}

// Hardware reads a VM's size.
func (s *Session) Hardware(ctx context.Context, ref types.ManagedObjectReference) (Hardware, error) {
	var m mo.VirtualMachine
	err := property.DefaultCollector(s.vim).RetrieveOne(ctx, ref, []string{
		"config.hardware.numCPU", "config.hardware.memoryMB", "config.cpuHotAddEnabled", "config.memoryHotAddEnabled",
		"config.hotPlugMemoryIncrementSize", "config.hotPlugMemoryLimit", "config.extraConfig",
	}, &m)
	if err != nil {
		return Hardware{}, Classify(fmt.Errorf("read hardware of VM %s: %w", ref.Value, err))
	}
	if m.Config == nil {
		return Hardware{}, fmt.Errorf("read hardware of VM %s: it has no configuration", ref.Value)
	}
	c := m.Config
	h := Hardware{
		CPUs: c.Hardware.NumCPU, MemoryMB: int64(c.Hardware.MemoryMB),
		CPUHotAdd: isTrue(c.CpuHotAddEnabled), MemoryHotAdd: isTrue(c.MemoryHotAddEnabled),
		MemoryStepMB: c.HotPlugMemoryIncrementSize, MemoryLimitMB: c.HotPlugMemoryLimit,
	}
	for _, o := range c.ExtraConfig {
		if kv := o.GetOptionValue(); kv != nil && kv.Key == MaxCPUsKey {
			if n, err := strconv.ParseInt(fmt.Sprint(kv.Value), 10, 32); err == nil && n > 0 {
				h.MaxCPUs = int32(n)
			}
		}
	}
	return h, nil
}

func isTrue(b *bool) bool { return b != nil && *b }

// DevicesAndMemory reads what a VM is made of, and its memory in MiB. A VM that is
// gone is ErrNotFound, one that vSphere cannot read (inaccessible, orphaned)
// ErrUnavailable.
func (s *Session) DevicesAndMemory(ctx context.Context, ref types.ManagedObjectReference) (object.VirtualDeviceList, int64, error) {
	var m mo.VirtualMachine
	if err := property.DefaultCollector(s.vim).RetrieveOne(ctx, ref, []string{"config.hardware"}, &m); err != nil {
		return nil, 0, Classify(fmt.Errorf("read hardware of VM %s: %w", ref.Value, err))
	}
	if m.Config == nil {
		return nil, 0, fmt.Errorf("hardware of VM %s: vSphere cannot read its configuration: %w", ref.Value, errdefs.ErrUnavailable)
	}
	return m.Config.Hardware.Device, int64(m.Config.Hardware.MemoryMB), nil
}
