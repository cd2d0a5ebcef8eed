package lab

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"
)

// TestTornSave: wherever a lab is killed while it saves, the next one has the
// whole inventory, as before that save or as after it.
func TestTornSave(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		vm := r.container("vm")
		before := r.inventory()
		if !strings.Contains(before, "/vm/vm ") {
			t.Fatal(before)
		}
		r.stop()
		s := r.l.saver
		again := func(what string) {
			t.Helper()
			r.start()
			if after := r.inventory(); after != before {
				t.Errorf("%s: inventory\n%s\nwas\n%s", what, after, before)
			}
			r.stop()
			for _, dir := range []string{s.next(), s.done()} {
				if _, err := os.Stat(dir); err == nil {
					t.Errorf("%s: %s is left", what, dir)
				}
			}
		}
		// Killed while it wrote: that save does not count.
		r.must(os.Mkdir(s.next(), 0o700))
		r.must(os.WriteFile(filepath.Join(s.next(), filepath.Base(s.file(vm.Reference()))), []byte("<Obj"), 0o600))
		again("while writing")
		// Killed with all written and some in its place: it counts, the first
		// save of a lab as well.
		r.must(os.Rename(s.dir(), s.done()))
		r.must(os.Mkdir(s.dir(), 0o700))
		list, err := os.ReadDir(s.done())
		r.must(err)
		for _, e := range list[:len(list)/2] {
			r.must(os.Rename(filepath.Join(s.done(), e.Name()), filepath.Join(s.dir(), e.Name())))
		}
		again("while moving")
		// A removal counts too.
		r.must(os.Mkdir(s.done(), 0o700))
		r.must(os.WriteFile(filepath.Join(s.done(), filepath.Base(s.file(vm.Reference()))+goneMark), nil, 0o600))
		r.start()
		if strings.Contains(r.inventory(), "/vm/vm ") {
			t.Error("the removed VM is back")
		}
	})
}

// TestDamagedInventory: half an inventory is refused. The simulator would fill
// the gaps with its defaults, a compute resource called localhost.localdomain
// among them.
func TestDamagedInventory(t *testing.T) {
	r := newRig(t, Config{})
	r.stop()
	for _, kind := range []string{"0000-", "ComputeResource-"} {
		list, err := filepath.Glob(filepath.Join(r.l.saver.dir(), kind+"*"))
		if err != nil || len(list) != 1 {
			t.Fatalf("files of %s: %v %v", kind, list, err)
		}
		r.must(os.Remove(list[0]))
	}
	if _, err := New(r.cfg); !errdefs.IsDataLoss(err) || !strings.Contains(err.Error(), r.cfg.StateDir) {
		t.Errorf("half an inventory: %v", err)
	}
}

// TestAdoptUnsaved: a lab that is killed right after a power-on has not saved it.
func TestAdoptUnsaved(t *testing.T) {
	r := newRig(t, Config{})
	vm := r.container("vm")
	r.stop()
	off := filepath.Join(t.TempDir(), "inventory")
	r.must(os.CopyFS(off, os.DirFS(r.l.saver.dir())))
	r.start()
	vm = object.NewVirtualMachine(r.c.Client, vm.Reference())
	r.wait(vm.PowerOn(r.ctx))
	r.stop()
	r.must(os.RemoveAll(r.l.saver.dir()))
	r.must(os.CopyFS(r.l.saver.dir(), os.DirFS(off)))
	r.start()
	if s := r.read(vm.Reference(), "runtime.powerState").Runtime.PowerState; s != poweredOn {
		t.Errorf("the VM runs, and is shown as %s", s)
	}
	if ev := r.eventsNow(vm.Reference()); len(ev) == 0 || ev[len(ev)-1] != "VmPoweredOnEvent" {
		t.Errorf("events %v", ev)
	}
	r.wait(object.NewVirtualMachine(r.c.Client, vm.Reference()).PowerOff(r.ctx))
}

// TestBootTimeKept: to clients, a VM that is adopted went on.
func TestBootTimeKept(t *testing.T) {
	r := newRig(t, Config{})
	vm := r.container("vm")
	r.wait(vm.PowerOn(r.ctx))
	read := func() *types.VirtualMachineRuntimeInfo {
		x := r.read(vm.Reference(), "runtime").Runtime
		return &x
	}
	was := read()
	r.stop()
	r.start()
	if is := read(); is.BootTime == nil || !is.BootTime.Equal(*was.BootTime) || is.PowerState != poweredOn {
		t.Errorf("booted %v, was %v", is.BootTime, was.BootTime)
	}
}
