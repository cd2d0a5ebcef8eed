//go:build vm

package tether_test

import (
	"testing"

	"github.com/vic-engine/vic/pkg/guestinfo"
	"github.com/vic-engine/vic/pkg/lab/qemu/qemutest"
	"github.com/vic-engine/vic/pkg/spec"
)

// TestLeastMemory: what is said to be the least memory of a containerVM is enough
// for its boot, and leaves a container something, though there is room for more of
// everything.
func TestLeastMemory(t *testing.T) {
	t.Parallel()
	c := container(`busybox dd if=/dev/zero of=/dev/null bs=8M count=1 && exit 7`)
	vm := qemutest.Boot(t, qemutest.Options{ISO: built.bootstrap, Console: 2, MemoryMB: spec.MinMemoryMB, MaxCPUs: 4, MaxMemoryMB: 3072,
		Disks: disks(t), GuestInfo: keys(t, c)})
	vm.Expect(`powering off`, limit)
	vm.WaitOff(limit)
	st, err := guestinfo.DecodeStatus(c.ID, vm.Guest.Keys())
	if err != nil || st.Exit.Code != 7 || st.Exit.OOM {
		t.Errorf("reported %+v %v", st, err)
	}
}
