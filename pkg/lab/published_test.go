package lab

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"
)

func TestPublished(t *testing.T) {
	var mu sync.Mutex
	var calls []string
	hear := func(macs []string, ports string) {
		mu.Lock()
		defer mu.Unlock()
		calls = append(calls, strings.Join(macs, ",")+" "+ports)
	}
	r := newRig(t, Config{Published: hear})
	told := func(want ...string) {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		if !slices.Equal(calls, want) {
			t.Errorf("told %q, want %q", calls, want)
		}
		calls = nil
	}
	vm := r.container("vch")
	say := func(text string) { r.must(r.hv.last(t).guest().InfoSet("guestinfo..ports", text)) }
	r.wait(vm.PowerOn(r.ctx))
	mac := r.hv.last(t).m.NICs[0].MAC
	told() // nothing was said
	say(`["80/tcp"]`)
	told(mac + ` ["80/tcp"]`)
	r.must(r.hv.last(t).guest().InfoSet("guestinfo..other", "x"))
	told()

	// A lab that takes over opens them anew, and so does a new card's.
	r.stop()
	r.start()
	told(mac + ` ["80/tcp"]`)
	vm = object.NewVirtualMachine(r.c.Client, vm.Reference())
	nic := &types.VirtualVmxnet3{}
	nic.Key, nic.Backing = -1, r.network("VM Network")
	r.must(vm.AddDevice(r.ctx, nic))
	devs, err := vm.Device(r.ctx)
	r.must(err)
	second := devs.FindByKey(4001).(*types.VirtualVmxnet3).MacAddress
	told(mac + "," + second + ` ["80/tcp"]`)
	r.must(vm.RemoveDevice(r.ctx, false, devs.FindByKey(4001)))
	told(second+" ", mac+` ["80/tcp"]`)
	say("")
	told(mac + " ")

	// Off: closed; and what was said in another life is not believed.
	say(`["53/udp"]`)
	r.wait(vm.PowerOff(r.ctx))
	told(mac+` ["53/udp"]`, mac+" ")
	r.wait(vm.PowerOn(r.ctx))
	told()
}
