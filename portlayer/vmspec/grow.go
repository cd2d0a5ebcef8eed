package vmspec

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/containerd/errdefs"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/vsphere"
)

const (
	// blockMB is what a Linux guest takes memory in that comes while it runs: its
	// memory blocks (MIN_MEMORY_BLOCK_SIZE of arch/x86/mm/init_64.c). A piece that is
	// not made of whole ones is not taken at all.
	blockMB = 128
	// lowMB: a Linux guest that was started with no more memory than this cannot get
	// beyond it while it runs, VMware's KB 2008405 (a kernel that saw no memory above
	// 4 GiB at its boot has no bounce buffers for devices that cannot reach there).
	lowMB = 3072
	// roomCPUs is how many CPUs a VM has room for, if it is not made with more: a
	// Linux guest sets 256 KiB aside for each at its boot.
	roomCPUs = 4
)

// Size is how large a VM is, or what changes of that: zero is no change.
type Size struct {
	CPUs     int32
	MemoryMB int64
}

// Since is what changes from another size to s.
func (s Size) Since(was Size) Size {
	if s.CPUs == was.CPUs {
		s.CPUs = 0
	}
	if s.MemoryMB == was.MemoryMB {
		s.MemoryMB = 0
	}
	return s
}

// Put adds a change of size to a reconfigure. A VM that is off, which an older
// version may have made, is made able to grow as well.
func (s Size) Put(to *types.VirtualMachineConfigSpec, off bool) {
	to.NumCPUs, to.MemoryMB = s.CPUs, s.MemoryMB
	if off && s != (Size{}) {
		to.CpuHotAddEnabled, to.MemoryHotAddEnabled = types.NewBool(true), types.NewBool(true)
	}
	if off && s.CPUs != 0 {
		to.ExtraConfig = append(to.ExtraConfig, &types.OptionValue{Key: vsphere.MaxCPUsKey, Value: room(s.CPUs)})
	}
}

// room is how many CPUs a VM with so many has room for.
func room(cpus int32) string { return strconv.Itoa(int(max(cpus, roomCPUs))) }

// Grow gives the size that a VM which runs is to get so that it has at least what
// is wanted: never less than it has, and its memory grows in the units of vSphere and
// of the guest. What a VM cannot get while it runs is ErrFailedPrecondition, with the
// reason.
func Grow(h vsphere.Hardware, want Size) (Size, error) {
	size := Size{CPUs: max(h.CPUs, want.CPUs), MemoryMB: h.MemoryMB}
	var errs []error
	refuse := func(format string, a ...any) {
		errs = append(errs, errdefs.ErrFailedPrecondition.WithMessage(fmt.Sprintf(format, a...)))
	}
	switch {
	case size.CPUs == h.CPUs:
	case !h.CPUHotAdd:
		refuse("the containerVM has %d CPUs and cannot get %d while it runs: it was made without CPU hot add (cpuHotAddEnabled)", h.CPUs, want.CPUs)
	case h.MaxCPUs > 0 && size.CPUs > h.MaxCPUs:
		refuse("the containerVM has %d CPUs and cannot get %d while it runs: it was made with room for %d (%s)", h.CPUs, want.CPUs, h.MaxCPUs, vsphere.MaxCPUsKey)
	}
	if want.MemoryMB <= h.MemoryMB {
		return size, errors.Join(errs...)
	}
	if !h.MemoryHotAdd {
		refuse("the containerVM has %d MiB of memory and cannot get %d while it runs: it was made without memory hot add (memoryHotAddEnabled)",
			h.MemoryMB, want.MemoryMB)
		return size, errors.Join(errs...)
	}
	mb, ok := nextSize(h.MemoryMB, want.MemoryMB, max(h.MemoryStepMB, 1))
	switch {
	case !ok:
		refuse("the containerVM has %d MiB of memory and cannot get more while it runs: no sum is a multiple of vSphere's %d MiB and adds whole %d MiB, as the guest wants it",
			h.MemoryMB, h.MemoryStepMB, blockMB)
	case h.MemoryMB <= lowMB && mb > lowMB:
		refuse("the containerVM has %d MiB of memory and cannot get %d while it runs: a Linux VM that starts with at most %d MiB cannot get beyond that (VMware KB 2008405)",
			h.MemoryMB, mb, lowMB)
	case h.MemoryLimitMB > 0 && mb > h.MemoryLimitMB:
		refuse("the containerVM has %d MiB of memory and cannot get %d while it runs: vSphere lets it have at most %d MiB", h.MemoryMB, mb, h.MemoryLimitMB)
	}
	size.MemoryMB = mb
	return size, errors.Join(errs...)
}

// nextSize is the least sum that is enough, a multiple of step and whole blocks more
// than there are.
func nextSize(have, want, step int64) (int64, bool) {
	mb := have + (want-have+blockMB-1)/blockMB*blockMB
	for range step { // the remainders come again after that
		if mb%step == 0 {
			return mb, true
		}
		mb += blockMB
	}
	return 0, false
}
