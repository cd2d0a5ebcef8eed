package exec

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"

	viclab "github.com/vic-engine/vic/pkg/lab"
	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/pkg/vsphere"
	"github.com/vic-engine/vic/portlayer/vmspec"
)

func (l *lab) vm(v spec.View) types.ManagedObjectReference {
	return types.ManagedObjectReference{Type: "VirtualMachine", Value: v.Status.VM}
}

// After a restart everything is known from vSphere alone.
func TestRestart(t *testing.T) {
	both(t, func(t *testing.T, l *lab) {
		e := l.boot()
		for n := range 4 {
			c := container(n)
			c.Labels = map[string]string{"n": fmt.Sprint(n)}
			c.Annotations = map[string]string{"docker.create": `{"a|b":"c"}`}
			if _, err := e.Create(t.Context(), c); err != nil {
				t.Fatal(err)
			}
		}
		l.guests.run(container(1).ID, job(7))
		for n := 1; n < 4; n++ {
			if err := e.Start(t.Context(), container(n).ID); err != nil {
				t.Fatal(err)
			}
		}
		_ = must(e.Wait(t.Context(), container(1).ID, false))
		before := e.Containers()
		e.stop()
		// Meanwhile one ends, one is turned off hard.
		l.guests.report(nil)
		gone := must(e.Container(container(2).ID))
		if err := l.admin.PowerOff(t.Context(), l.vm(gone)); err != nil {
			t.Fatal(err)
		}

		e = l.boot()
		after := e.Containers()
		if d := cmp.Diff(containersOf(before), containersOf(after)); d != "" {
			t.Errorf("configuration:\n%s", d)
		}
		for n, want := range []struct {
			phase spec.Phase
			code  int
		}{{spec.PhaseCreated, 0}, {spec.PhaseExited, 7}, {spec.PhaseExited, 137}, {spec.PhaseRunning, 0}} {
			v := must(e.Container(container(n).ID))
			if v.Status.Phase != want.phase || v.Status.Exit.Code != want.code {
				t.Errorf("container %d is %s with %d, want %+v", n, v.Status.Phase, v.Status.Exit.Code, want)
			}
		}
		if got := must(e.Container(container(3).ID)).Status; got.Pid != 7 || got.Started.IsZero() {
			t.Errorf("running one: %+v", got)
		}
		v, err := e.Create(t.Context(), container(9))
		if err != nil || v.Container.Endpoints[0].IP != "172.16.0.6/16" {
			t.Errorf("the next address is %s, %v", v.Container.Endpoints[0].IP, err)
		}
		if err := e.Stop(t.Context(), container(3).ID, "", patience); err != nil {
			t.Error(err)
		}
		for n := range 4 {
			if err := e.Remove(t.Context(), container(n).ID, true); err != nil {
				t.Error(err)
			}
		}
	})
}

func containersOf(vs []spec.View) map[string]spec.Container {
	out := map[string]spec.Container{}
	for _, v := range vs {
		out[v.Container.ID] = v.Container
	}
	return out
}

// What an administrator does in the vSphere client shows, with its events.
func TestExternalChanges(t *testing.T) {
	both(t, func(t *testing.T, l *lab) {
		e := l.boot()
		c := container(1)
		v, err := e.Create(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		e.next(1)
		ref := l.vm(v)
		expect := func(what string, want ...string) {
			t.Helper()
			if d := cmp.Diff(want, e.next(len(want))); d != "" {
				t.Errorf("%s:\n%s", what, d)
			}
		}
		if err := l.admin.PowerOn(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
		expect("power on", "started c1 external")
		if err := l.admin.PowerOff(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
		expect("power off", "exited c1 137 external")
		if err := e.Start(t.Context(), c.ID); err != nil {
			t.Fatal(err)
		}
		expect("start", "started c1")
		if err := l.admin.Rename(t.Context(), ref, "web server"); err != nil {
			t.Fatal(err)
		}
		if l.own == nil {
			e.poke(t, ref)
		}
		expect("rename", "renamed web_server external")
		if err := e.Update(t.Context(), c.ID, func(c *spec.Container) error { c.Name = "web"; return nil }); err != nil {
			t.Fatal(err)
		}
		expect("rename by Docker", "renamed web")
		if vm := must(l.admin.VM(t.Context(), ref)); vm.Name != "web" {
			t.Errorf("VM is called %s", vm.Name)
		}
		if err := l.admin.PowerOff(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
		expect("power off", "exited web 137 external")
		if err := l.admin.Destroy(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
		expect("destroy", "removed web external")
		if e.phase(c.ID) != phaseGone || len(e.cfg.Leases.State().Scopes["bridge"].Leases) != 0 {
			t.Error("still there")
		}
		if err := e.Start(t.Context(), c.ID); !errdefs.IsNotFound(err) {
			t.Errorf("start of one that is gone: %v", err)
		}
	})
}

// poke makes the simulator tell of a VM that it renamed without an event, as
// vSphere would have.
func (e *engine) poke(t *testing.T, ref types.ManagedObjectReference) {
	t.Helper()
	err := e.lab.admin.Reconfigure(t.Context(), ref, types.VirtualMachineConfigSpec{
		ExtraConfig: vsphere.ExtraConfig(map[string]string{"test.poke": "renamed"}),
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestRenameConflict(t *testing.T) {
	l := newLab(t, simulator.ESX())
	e := l.boot()
	for n := 1; n < 3; n++ {
		if _, err := e.Create(t.Context(), container(n)); err != nil {
			t.Fatal(err)
		}
	}
	e.next(2)
	two := must(e.Container(container(2).ID))
	if err := l.admin.Rename(t.Context(), l.vm(two), "c1"); err != nil {
		t.Fatal(err)
	}
	if err := e.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := e.next(1); got[0] != "renamed c1-000000000000 external" {
		t.Errorf("%v", got)
	}
	// That is settled: another look changes nothing.
	if err := e.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := e.Remove(t.Context(), container(1).ID, false); err != nil {
		t.Fatal(err)
	}
	if got := e.next(1); got[0] != "removed c1" {
		t.Errorf("%v", got)
	}
}

func TestContainerName(t *testing.T) {
	for vm, want := range map[string]string{
		"web": "web", "web server (2)": "web_server_2_", "-x": "vm-x", "é": "vm_", "a": "vm_a", "": "vm",
	} {
		if got := containerName(vm); got != want {
			t.Errorf("%q: %q, want %q", vm, got, want)
		}
	}
}

// A VM that vSphere lost its configuration of is dead until it has it again.
func TestVMsOfOthers(t *testing.T) {
	l := newLab(t, simulator.ESX())
	other := l.boot(func(c *Config) { c.VCH = "another" })
	if _, err := other.Create(t.Context(), container(1)); err != nil {
		t.Fatal(err)
	}
	e := l.boot()
	if n := len(e.Containers()); n != 0 {
		t.Errorf("%d containers of another VCH", n)
	}
	if _, err := other.Create(t.Context(), container(2)); err != nil {
		t.Fatal(err)
	}
	if err := e.Sync(t.Context()); err != nil || len(e.Containers()) != 0 {
		t.Errorf("%d containers of another VCH, %v", len(e.Containers()), err)
	}
}

func TestUpdate(t *testing.T) {
	both(t, func(t *testing.T, l *lab) {
		e := l.boot()
		c := container(1)
		c.Labels = map[string]string{"a": "1"}
		if _, err := e.Create(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		e.next(1)
		refused := errors.New("refused")
		if err := e.Update(t.Context(), c.ID, func(c *spec.Container) error { c.Name = "x"; return refused }); !errors.Is(err, refused) {
			t.Errorf("%v", err)
		}
		// Many at once: none is lost.
		var wg sync.WaitGroup
		for n := range 8 {
			wg.Go(func() {
				err := e.Update(context.Background(), c.ID, func(c *spec.Container) error {
					if c.Annotations == nil {
						c.Annotations = map[string]string{}
					}
					c.Annotations[fmt.Sprint("k", n)] = "v"
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if err := e.Update(t.Context(), c.ID, func(c *spec.Container) error { c.Labels = nil; c.ID = "x"; return nil }); err != nil {
			t.Fatal(err)
		}
		if err := e.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		got := must(e.Container(c.ID)).Container
		if len(got.Annotations) != 8 || got.Labels != nil || got.Name != "c1" {
			t.Errorf("%+v", got)
		}
		if err := e.Update(t.Context(), container(2).ID, func(*spec.Container) error { return nil }); !errdefs.IsNotFound(err) {
			t.Errorf("unknown container: %v", err)
		}
	})
}

// An image's disk that went with another VM, and a VCH with another address.
func TestStartRepairs(t *testing.T) {
	both(t, func(t *testing.T, l *lab) {
		address := "tcp://10.118.0.10:8080"
		e := l.boot(func(c *Config) { c.Line = func() (string, error) { return address, nil } })
		c := container(1)
		v, err := e.Create(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		devices := func() object.VirtualDeviceList { return must(l.admin.Devices(t.Context(), l.vm(v))) }
		for _, d := range devices().SelectByType((*types.VirtualDisk)(nil)) {
			if *d.GetVirtualDevice().UnitNumber == 1 {
				err := l.admin.Reconfigure(t.Context(), l.vm(v), types.VirtualMachineConfigSpec{
					DeviceChange: []types.BaseVirtualDeviceConfigSpec{vsphere.Remove(d)},
				})
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		address = "tcp://10.118.0.99:8080"
		if err := e.Start(t.Context(), c.ID); err != nil {
			t.Fatal(err)
		}
		disks, uris := 0, []string{}
		for _, d := range devices() {
			switch d := d.(type) {
			case *types.VirtualDisk:
				disks++
			case *types.VirtualSerialPort:
				if b, ok := d.Backing.(*types.VirtualSerialPortURIBackingInfo); ok {
					uris = append(uris, b.ServiceURI)
				}
			}
		}
		if disks != 2 || len(uris) != 1 || uris[0] != address {
			t.Errorf("%d disks, serial ports to %v", disks, uris)
		}
	})
}

// Removing a container never takes the image's disk along.
func TestRemoveKeepsTheImage(t *testing.T) {
	l := newLab(t, simulator.ESX())
	e := l.boot()
	for n := range 2 {
		if _, err := e.Create(t.Context(), container(n)); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Remove(t.Context(), container(0).ID, false); err != nil {
		t.Fatal(err)
	}
	if _, err := l.ds.Stat(t.Context(), l.ds.Path("image.vmdk")); err != nil {
		t.Error(err)
	}
	if _, err := l.ds.Stat(t.Context(), vmspec.Path(l.ds.Name(), container(0).ID)); !errdefs.IsNotFound(err) {
		t.Errorf("folder: %v", err)
	}
	// Files that the VM does not know of go with its folder.
	p := vmspec.Path(l.ds.Name(), container(1).ID, "leftover.txt")
	if err := l.ds.Put(t.Context(), p, nil, 0); err != nil {
		t.Fatal(err)
	}
	if err := e.Remove(t.Context(), container(1).ID, false); err != nil {
		t.Fatal(err)
	}
	if _, err := l.ds.Stat(t.Context(), p); !errdefs.IsNotFound(err) {
		t.Errorf("leftover: %v", err)
	}
}

// Everything at once on many containers ends in a consistent whole.
func TestManyAtOnce(t *testing.T) {
	const many = 8
	l := newOwnLab(t, viclab.ModeESXi)
	e := l.boot()
	before := l.files()
	var wg sync.WaitGroup
	for n := range many {
		wg.Go(func() {
			c := container(n)
			ctx := context.Background()
			if _, err := e.Create(ctx, c); err != nil {
				t.Error(err)
				return
			}
			if err := e.Start(ctx, c.ID); err != nil {
				t.Error(err)
			}
			if n%2 == 0 {
				if err := e.Stop(ctx, c.ID, "", patience); err != nil {
					t.Error(err)
				}
			}
			if err := e.Remove(ctx, c.ID, true); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := len(e.Containers()); n != 0 {
		t.Errorf("%d containers left", n)
	}
	if d := cmp.Diff(before, l.files()); d != "" {
		t.Errorf("left behind:\n%s", d)
	}
	seen := map[string]string{}
	for range many * 4 {
		ev := wait(t, e.events)
		seen[ev.ID] += string(ev.Kind) + " "
	}
	for id, s := range seen {
		if s != "created started exited removed " {
			t.Errorf("%s: %s", id, s)
		}
	}
}
