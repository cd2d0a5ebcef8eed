package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/lab/machine"
)

var _ machine.HotAdd = (*fakeInstance)(nil)

func (i *fakeInstance) Grow(_ context.Context, cpus int, memoryMB int64) error {
	return i.plug("grow to %d CPUs, %d MiB", cpus, memoryMB)
}

// TestHotAdd: a running VM gets CPUs and memory when it was made for that, and never
// loses any.
func TestHotAdd(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		r.upload("VCH001/bootstrap.iso", []byte("iso"))
		s := r.containerSpec("c")
		s.CpuHotAddEnabled, s.MemoryHotAddEnabled = types.NewBool(true), types.NewBool(true)
		s.ExtraConfig = append(s.ExtraConfig, &types.OptionValue{Key: "cpuid.maxVCPUs", Value: "4"})
		info := r.wait(r.vms.CreateVM(r.ctx, s, r.pool, nil))
		vm := object.NewVirtualMachine(r.c.Client, info.Result.(types.ManagedObjectReference))
		change := func(cpus int32, mb int64) error {
			t.Helper()
			task, err := vm.Reconfigure(r.ctx, types.VirtualMachineConfigSpec{NumCPUs: cpus, MemoryMB: mb})
			if err == nil {
				err = task.Wait(r.ctx)
			}
			return err
		}
		is := func(what string, cpus, mb int32, step, limit int64) {
			t.Helper()
			c := r.read(vm.Reference(), "config").Config
			if c.Hardware.NumCPU != cpus || c.Hardware.MemoryMB != mb || c.HotPlugMemoryIncrementSize != step || c.HotPlugMemoryLimit != limit {
				t.Errorf("%s: %d CPUs, %d MB, step %d, limit %d", what, c.Hardware.NumCPU, c.Hardware.MemoryMB, c.HotPlugMemoryIncrementSize, c.HotPlugMemoryLimit)
			}
			b, err := os.ReadFile(filepath.Join(r.dir("mydatastore"), "c", "c.vmx"))
			r.must(err)
			for _, line := range []string{`mem.hotadd = "TRUE"`, `vcpu.hotadd = "TRUE"`, fmt.Sprintf("numvcpus = %q", fmt.Sprint(cpus)), fmt.Sprintf("memSize = %q", fmt.Sprint(mb))} {
				if !strings.Contains(string(b), line+"\n") {
					t.Errorf("%s: no %s in\n%s", what, line, b)
				}
			}
		}
		is("off", 1, 256, 0, 0)
		r.wait(vm.PowerOn(r.ctx))
		i := r.hv.last(t)
		if i.m.MaxCPUs != 4 || i.m.MaxMemoryMB != 3072 {
			t.Errorf("started with room for %d CPUs and %d MiB", i.m.MaxCPUs, i.m.MaxMemoryMB)
		}
		is("on", 1, 256, 4, 3072)
		r.must(change(2, 384))
		i.did(t, "grow to 2 CPUs, 384 MiB")
		r.must(change(0, 512))
		r.must(change(2, 512)) // has it
		i.did(t, "grow to 2 CPUs, 512 MiB")
		is("grown", 2, 512, 4, 3072)

		faultIs[*types.CpuHotPlugNotSupported](t, change(1, 0))
		faultIs[*types.MemoryHotPlugNotSupported](t, change(0, 256))
		faultIs[*types.NumVirtualCpusExceedsLimit](t, change(5, 0))
		faultIs[*types.InvalidArgument](t, change(0, 514))
		faultIs[*types.InvalidVmConfig](t, change(0, 3076))
		task, err := vm.Reconfigure(r.ctx, types.VirtualMachineConfigSpec{MemoryHotAddEnabled: types.NewBool(false)})
		fails[*types.InvalidPowerState](r, task, err)
		i.refuse = map[string]error{"grow": errdefs.ErrResourceExhausted}
		faultIs[*types.InsufficientHostMemoryCapacityFault](t, change(0, 1024))
		i.refuse = nil
		is("refused", 2, 512, 4, 3072)
		i.did(t)

		// A lab that takes over knows it.
		r.stop()
		r.start()
		vm = object.NewVirtualMachine(r.c.Client, vm.Reference())
		is("taken over", 2, 512, 4, 3072)
		r.must(change(3, 640))
		i.did(t, "grow to 3 CPUs, 640 MiB")
		r.wait(vm.PowerOff(r.ctx))
		is("off again", 3, 640, 0, 0)
		r.must(change(1, 128))
		is("made smaller", 1, 128, 0, 0)
	})
}

// TestNoHotAdd: a VM that was not made for it.
func TestNoHotAdd(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		vm := r.container("c")
		r.wait(vm.PowerOn(r.ctx))
		if m := r.hv.last(t).m; m.MaxCPUs != m.CPUs || m.MaxMemoryMB != m.MemoryMB {
			t.Errorf("started with room: %+v", m)
		}
		task, err := vm.Reconfigure(r.ctx, types.VirtualMachineConfigSpec{NumCPUs: 2})
		fails[*types.CpuHotPlugNotSupported](r, task, err)
		task, err = vm.Reconfigure(r.ctx, types.VirtualMachineConfigSpec{MemoryMB: 512})
		fails[*types.MemoryHotPlugNotSupported](r, task, err)
	})
}
