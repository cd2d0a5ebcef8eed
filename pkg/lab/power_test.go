package lab

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/view"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/lab/machine"
)

func bytesReader(b []byte) io.Reader { return bytes.NewReader(b) }

func TestPowerCycle(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		vm := r.container("web")
		r.wait(vm.PowerOn(r.ctx))
		m := r.hv.last(t).m
		if m.Name != "web" || m.CPUs != 1 || m.MemoryMB != 256 || len(m.Disks) != 1 || len(m.NICs) != 1 || len(m.Serials) != 2 {
			t.Fatalf("machine %+v", m)
		}
		if m.NICs[0].Network != "VCH Bridge" || m.NICs[0].Slot != 192 || m.NICs[0].MAC == "" {
			t.Errorf("NIC %+v", m.NICs[0])
		}
		if m.Serials[0].URI != "tcp://10.118.0.10:8080" || m.Serials[0].Server || m.Serials[1].File != m.Dir+"/output.log" {
			t.Errorf("serial ports %+v", m.Serials)
		}
		if got := r.read(vm.Reference(), "runtime.powerState").Runtime.PowerState; got != poweredOn {
			t.Errorf("state %s", got)
		}
		task, err := vm.PowerOn(r.ctx)
		fails[*types.InvalidPowerState](r, task, err)
		r.wait(vm.Reset(r.ctx))
		if r.hv.last(t).resets != 1 {
			t.Error("no reset")
		}
		r.wait(vm.PowerOff(r.ctx))
		task, err = vm.PowerOff(r.ctx)
		fails[*types.InvalidPowerState](r, task, err)

		r.wait(vm.PowerOn(r.ctx))
		r.hv.last(t).end(errors.New("the guest tripped"))
		r.must(property.Wait(r.ctx, property.DefaultCollector(r.c.Client), vm.Reference(), []string{"runtime.powerState"}, func(cs []types.PropertyChange) bool {
			return slices.ContainsFunc(cs, func(c types.PropertyChange) bool { return c.Val == poweredOff })
		}))
		want := []string{"VmBeingCreatedEvent", "VmInstanceUuidAssignedEvent", "VmUuidAssignedEvent", "VmCreatedEvent",
			"VmStartingEvent", "VmPoweredOnEvent", "VmResettingEvent", "VmStoppingEvent", "VmPoweredOffEvent",
			"VmStartingEvent", "VmPoweredOnEvent", "VmPoweredOffEvent"}
		r.events(vm, want)
	})
}

// patience bounds what must happen; it only ends tests that fail.
const patience = time.Minute

// events checks a VM's events in order, waiting for the last.
func (r *rig) events(vm *object.VirtualMachine, want []string) {
	r.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		got := r.eventsNow(vm.Reference())
		if slices.Equal(got, want) {
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("events\n%v, want\n%v", got, want)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestTaskInProgressAndReadsWhileStarting(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		vm := r.container("slow")
		r.hv.gate = make(chan struct{})
		first, err := vm.PowerOn(r.ctx)
		r.must(err)
		second, err := vm.PowerOn(r.ctx)
		fails[*types.TaskInProgress](r, second, err)
		// A read that waits for the start would wait for this.
		open := time.AfterFunc(patience, func() { close(r.hv.gate) })
		r.read(vm.Reference(), "name", "runtime.powerState")
		if !open.Stop() {
			t.Error("a read waited for the start")
		} else {
			close(r.hv.gate)
		}
		r.wait(first, nil)
	})
}

func TestPowerOnFaults(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		vm := r.container("bad")
		r.hv.fail = errors.New("no KVM today")
		task, err := vm.PowerOn(r.ctx)
		if f := fails[*types.GenericVmConfigFault](r, task, err); f.Reason != "no KVM today" {
			t.Errorf("reason %q", f.Reason)
		}
		r.hv.fail = nil
		ds, err := r.f.Datastore(r.ctx, "mydatastore")
		r.must(err)
		r.must(ds.NewFileManager(r.dc, false).Delete(r.ctx, "VCH001/bootstrap.iso"))
		task, err = vm.PowerOn(r.ctx)
		if f := fails[*types.FileNotFound](r, task, err); f.File != "[mydatastore] VCH001/bootstrap.iso" {
			t.Errorf("file %q", f.File)
		}
		if ev := r.eventsNow(vm.Reference()); ev[len(ev)-1] != "VmFailedToPowerOnEvent" {
			t.Errorf("events %v", ev)
		}
	})
}

func TestGuest(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		vm := r.container("guest")
		r.wait(vm.PowerOn(r.ctx))
		inst := r.hv.last(t)
		g := inst.guest()

		if v, ok := g.InfoGet("guestinfo./common/name"); !ok || v != "jolly_panini" {
			t.Errorf("InfoGet: %q %v", v, ok)
		}
		if _, ok := g.InfoGet("serial0.hardwareFlowControl"); ok {
			t.Error("the guest reads what is not guestinfo")
		}
		if g.InfoSet("guestinfo./common/name", "x") == nil || g.InfoSet("vic./x", "y") == nil {
			t.Error("the guest writes what it may not")
		}
		r.must(g.InfoSet("guestinfo..sessions|guest.started", "true"))
		if got := r.extra(vm)["guestinfo..sessions|guest.started"]; got != "true" {
			t.Errorf("guest's key: %q", got)
		}

		// ShutdownGuest needs tools.
		faultIs[*types.ToolsUnavailable](t, vm.ShutdownGuest(r.ctx))
		seen := make(chan string, 8)
		go func() {
			_ = property.Wait(r.ctx, property.DefaultCollector(r.c.Client), vm.Reference(),
				[]string{"guest.ipAddress", "guest.toolsRunningStatus"}, func(cs []types.PropertyChange) bool {
					for _, c := range cs {
						if s, ok := c.Val.(string); ok {
							seen <- c.Name + "=" + s
						}
					}
					return false
				})
		}()
		expect := func(want string) {
			t.Helper()
			for {
				select {
				case s := <-seen:
					if s == want {
						return
					}
				case <-time.After(patience):
					t.Fatalf("never told of %s", want)
				}
			}
		}
		g.Tools(true)
		expect("guest.toolsRunningStatus=guestToolsRunning")
		g.Hostname("box")
		g.Addresses([]machine.GuestNIC{{MAC: inst.m.NICs[0].MAC, Addresses: []string{"172.16.0.2/16", "fe80::1/64"}}})
		expect("guest.ipAddress=172.16.0.2")
		m := r.read(vm.Reference(), "guest")
		if n := m.Guest.Net; len(n) != 1 || n[0].Network != "VCH Bridge" || n[0].DeviceConfigId != 4000 || m.Guest.HostName != "box" {
			t.Errorf("guest %+v", m.Guest)
		}
		inst.shutdown = func(i *fakeInstance) error { i.end(nil); return nil }
		r.must(vm.ShutdownGuest(r.ctx))
		expect("guest.toolsRunningStatus=guestToolsNotRunning")
		r.must(vm.WaitForPowerState(r.ctx, poweredOff))
		if got := r.extra(vm)["guestinfo..sessions|guest.started"]; got != "true" {
			t.Errorf("the guest's key is gone with the power: %q", got)
		}
	})
}

func TestShownAddress(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		r.upload("VCH001/bootstrap.iso", []byte("iso"))
		info := r.wait(r.vms.CreateVM(r.ctx, specOn("ext", "mydatastore", r.network("VM Network")), r.pool, nil))
		vm := object.NewVirtualMachine(r.c.Client, info.Result.(types.ManagedObjectReference))
		r.wait(vm.PowerOn(r.ctx))
		i := r.hv.last(t)
		i.guest().Addresses([]machine.GuestNIC{{MAC: i.m.NICs[0].MAC, Addresses: []string{"10.118.0.10/24"}}})
		if ip := r.read(vm.Reference(), "guest.ipAddress").Guest.IpAddress; ip != "127.118.0.10" {
			t.Errorf("address shown as %s", ip)
		}
	})
}

func TestContainerViewSeesPower(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		vm := r.container("seen")
		v, err := view.NewManager(r.c.Client).CreateContainerView(r.ctx, r.c.ServiceContent.RootFolder, []string{"VirtualMachine"}, true)
		r.must(err)
		refs, err := v.Find(r.ctx, []string{"VirtualMachine"}, property.Match{"name": "seen"})
		r.must(err)
		if len(refs) != 1 || refs[0] != vm.Reference() {
			t.Errorf("view %v", refs)
		}
	})
}
