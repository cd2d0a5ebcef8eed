package lab

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/session"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

func TestConfig(t *testing.T) {
	for name, c := range map[string]Config{
		"no state":      {Hypervisor: &fakeHypervisor{}},
		"no hypervisor": {StateDir: t.TempDir()},
		"mode":          {StateDir: t.TempDir(), Hypervisor: &fakeHypervisor{}, Mode: "hyperv"},
		"open to all":   {StateDir: t.TempDir(), Hypervisor: &fakeHypervisor{}, Listen: "0.0.0.0:8989"},
		"bad datastore": {StateDir: t.TempDir(), Hypervisor: &fakeHypervisor{}, Datastores: []string{"../x"}},
	} {
		if _, err := New(c); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestDispatch guards the tricks that the lab's hold on the simulator rests on
// against a new version of govmomi.
func TestDispatch(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		// A wrapper is called, where the plain object would answer otherwise.
		vm := r.container("guard")
		faultIs[*types.NotSupported](t, second(vm.CreateSnapshot(r.ctx, "s", "", false, false)))
		// A panic in a task of the simulator's own becomes its fault.
		c := r.l.context(nil)
		o := c.Map.Get(vm.Reference()).(*simulator.VirtualMachine)
		task := simulator.CreateTask(o, "boom", func(*simulator.Task) (types.AnyType, types.BaseMethodFault) { panic("boom") })
		// With the VM's lock, as calls have it: the task is put into the VM's list.
		var ref types.ManagedObjectReference
		locked(c, o, func() { ref = task.Run(c) })
		err := object.NewTask(r.c.Client, ref).Wait(r.ctx)
		faultIs[*types.SystemError](t, err)
		// A leaf that changes reaches a filter on it.
		told := make(chan string, 4)
		go func() {
			_ = property.Wait(r.ctx, property.DefaultCollector(r.c.Client), vm.Reference(), []string{"guest.hostName"}, func(cs []types.PropertyChange) bool {
				for _, x := range cs {
					told <- fmt.Sprint(x.Val)
				}
				return false
			})
		}()
		r.l.guest(o).Hostname("told")
		for got := ""; got != "told"; {
			select {
			case got = <-told:
			case <-time.After(patience):
				t.Fatal("a filter on a leaf is not told of it")
			}
		}
	})
}

func second(_ *object.Task, err error) error { return err }

// TestPanicInACall sends what makes the simulator panic outside of tasks.
func TestPanicInACall(t *testing.T) {
	r := newRig(t, Config{Mode: ModeVCenter})
	vm := r.container("vm")
	c := r.l.context(nil)
	o := c.Map.Get(vm.Reference()).(*simulator.VirtualMachine)
	locked(c, o, func() { o.Runtime.Host = &types.ManagedObjectReference{Type: "HostSystem", Value: "none"} })
	_, err := methods.UnregisterVM(r.ctx, r.c.Client, &types.UnregisterVM{This: vm.Reference()})
	faultIs[*types.SystemError](t, err)
	done := make(chan mo.VirtualMachine, 1)
	go func() { done <- r.read(vm.Reference(), "name") }()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("the VM's lock is still held")
	}
}

func TestLogin(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		u := r.l.URL()
		for _, p := range []*url.Userinfo{url.UserPassword(r.l.User(), "wrong"), url.UserPassword("nobody", r.l.Password()), url.UserPassword(r.l.User(), "")} {
			u.User = p
			_, err := govmomi.NewClient(r.ctx, u, true)
			faultIs[*types.InvalidLogin](t, err)
		}
		u.User = nil
		c, err := govmomi.NewClient(r.ctx, u, true)
		r.must(err)
		var me mo.Folder
		if err := property.DefaultCollector(c.Client).RetrieveOne(r.ctx, r.vms.Reference(), []string{"name"}, &me); err == nil && me.Name != "" {
			t.Error("names without a session")
		}
		_, err = methods.LoginByToken(r.ctx, c.Client, &types.LoginByToken{This: *c.ServiceContent.SessionManager})
		faultIs[*types.InvalidLogin](t, err)
		_, err = methods.LoginExtensionByCertificate(r.ctx, c.Client, &types.LoginExtensionByCertificate{This: *c.ServiceContent.SessionManager, ExtensionKey: "x"})
		faultIs[*types.InvalidLogin](t, err)
		_, err = methods.PowerOnVM_Task(r.ctx, c.Client, &types.PowerOnVM_Task{This: types.ManagedObjectReference{Type: "VirtualMachine", Value: "1"}})
		faultIs[*types.NotAuthenticated](t, err)

		// A lost session is told, and a new one works.
		r.l.DropSessions()
		_, err = methods.GetCurrentTime(r.ctx, r.c.Client)
		faultIs[*types.NotAuthenticated](t, err)
		r.login()
		user, err := session.NewManager(r.c.Client).UserSession(r.ctx)
		r.must(err)
		if user == nil || user.UserName != r.l.User() {
			t.Errorf("session %+v", user)
		}
	})
}

func TestIdentity(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		about := r.c.ServiceContent.About
		if about.Version != "8.0.3" || about.ApiType != map[Mode]string{ModeESXi: "HostAgent", ModeVCenter: "VirtualCenter"}[r.cfg.Mode] {
			t.Errorf("about %+v", about)
		}
		res, err := r.c.Client.Client.Get(r.l.URL().String())
		r.must(err)
		_ = res.Body.Close()
		sum := sha256.Sum256(res.TLS.PeerCertificates[0].Raw)
		if got := strings.ReplaceAll(r.l.Thumbprint(), ":", ""); got != fmt.Sprintf("%X", sum) {
			t.Errorf("thumbprint %s", got)
		}
		fi, err := os.Stat(filepath.Join(r.cfg.StateDir, "password"))
		r.must(err)
		if fi.Mode().Perm() != 0o600 || len(r.l.Password()) < 20 {
			t.Errorf("password file %v", fi.Mode())
		}
		h, err := r.f.DefaultHostSystem(r.ctx)
		r.must(err)
		var m mo.HostSystem
		r.must(h.Properties(r.ctx, h.Reference(), []string{"name", "summary", "hardware", "config.network", "config.firewall", "network"}, &m))
		if m.Name != "esxi01.lab.test" || m.Config.Network.Vnic[0].Spec.Ip.IpAddress != "10.118.0.2" || m.Hardware.MemorySize == 0 || *m.Config.Firewall.DefaultPolicy.OutgoingBlocked {
			t.Errorf("host %s %+v", m.Name, m.Config.Network.Vnic[0].Spec.Ip)
		}
		if ips, err := h.ManagementIPs(r.ctx); err != nil || len(ips) != 1 || ips[0].String() != "10.118.0.2" {
			t.Errorf("management addresses %v %v", ips, err)
		}
		if r.cfg.Mode == ModeVCenter {
			o, err := object.NewOptionManager(r.c.Client, *r.c.ServiceContent.Setting).Query(r.ctx, "VirtualCenter.ManagedIP")
			r.must(err)
			if o[0].GetOptionValue().Value != "10.118.0.2" {
				t.Errorf("managed IP %v", o[0].GetOptionValue())
			}
			cl, err := r.f.ClusterComputeResource(r.ctx, "cluster")
			r.must(err)
			cfg, err := cl.Configuration(r.ctx)
			r.must(err)
			if !*cfg.DrsConfig.Enabled {
				t.Error("no DRS")
			}
		}
		fw, err := h.ConfigManager().FirewallSystem(r.ctx)
		r.must(err)
		r.must(fw.Refresh(r.ctx))
		var lm mo.LicenseManager
		r.must(property.DefaultCollector(r.c.Client).RetrieveOne(r.ctx, *r.c.ServiceContent.LicenseManager, []string{"licenses"}, &lm))
		text := fmt.Sprint(lm.Licenses)
		if !strings.Contains(text, "serialuri") || !strings.Contains(text, "dvs") {
			t.Errorf("licences %s", text)
		}
	})
}

func TestStandardSwitches(t *testing.T) {
	r := newRig(t, Config{})
	h, err := r.f.DefaultHostSystem(r.ctx)
	r.must(err)
	ns, err := h.ConfigManager().NetworkSystem(r.ctx)
	r.must(err)
	r.must(ns.AddVirtualSwitch(r.ctx, "vSwitch7", &types.HostVirtualSwitchSpec{NumPorts: 64}))
	faultIs[*types.AlreadyExists](t, ns.AddVirtualSwitch(r.ctx, "vSwitch7", nil))
	faultIs[*types.NotFound](t, ns.AddPortGroup(r.ctx, types.HostPortGroupSpec{Name: "pg", VswitchName: "none"}))
	r.must(ns.AddPortGroup(r.ctx, types.HostPortGroupSpec{Name: "pg", VswitchName: "vSwitch7"}))
	faultIs[*types.AlreadyExists](t, ns.AddPortGroup(r.ctx, types.HostPortGroupSpec{Name: "pg", VswitchName: "vSwitch7"}))
	faultIs[*types.AlreadyExists](t, ns.AddPortGroup(r.ctx, types.HostPortGroupSpec{Name: "VM Network", VswitchName: "vSwitch7"}))

	shown := func() (sw, pg, hn bool) {
		var m mo.HostSystem
		r.must(h.Properties(r.ctx, h.Reference(), []string{"config.network", "network"}, &m))
		for _, v := range m.Config.Network.Vswitch {
			sw = sw || v.Name == "vSwitch7"
		}
		for _, p := range m.Config.Network.Portgroup {
			pg = pg || p.Spec.Name == "pg"
		}
		for _, n := range m.Network {
			hn = hn || n.Value == "HaNetwork-pg"
		}
		return
	}
	if sw, pg, hn := shown(); !sw || !pg || !hn {
		t.Errorf("shown: switch %v, port group %v, network %v", sw, pg, hn)
	}
	info := r.wait(r.vms.CreateVM(r.ctx, specOn("user", "mydatastore", r.network("pg")), r.pool, nil))
	vm := object.NewVirtualMachine(r.c.Client, info.Result.(types.ManagedObjectReference))
	faultIs[*types.ResourceInUse](t, ns.RemovePortGroup(r.ctx, "pg"))
	faultIs[*types.ResourceInUse](t, ns.RemoveVirtualSwitch(r.ctx, "vSwitch7"))
	faultIs[*types.ResourceInUse](t, ns.RemovePortGroup(r.ctx, "Management Network"))
	r.wait(vm.Destroy(r.ctx))
	r.must(ns.RemovePortGroup(r.ctx, "pg"))
	faultIs[*types.NotFound](t, ns.RemovePortGroup(r.ctx, "pg"))
	r.must(ns.RemoveVirtualSwitch(r.ctx, "vSwitch7"))
	faultIs[*types.NotFound](t, ns.RemoveVirtualSwitch(r.ctx, "vSwitch7"))
	if sw, pg, hn := shown(); sw || pg || hn {
		t.Errorf("still shown: switch %v, port group %v, network %v", sw, pg, hn)
	}
}

func TestDistributedPortGroupInUse(t *testing.T) {
	r := newRig(t, Config{Mode: ModeVCenter})
	vm := r.container("on")
	pg, err := r.f.Network(r.ctx, "VCH Bridge")
	r.must(err)
	dvpg := object.NewCommon(r.c.Client, pg.Reference())
	task, err := dvpg.Destroy(r.ctx)
	fails[*types.ResourceInUse](r, task, err)
	r.wait(vm.Destroy(r.ctx))
	r.wait(dvpg.Destroy(r.ctx))
	if _, err := r.f.Network(r.ctx, "VCH Bridge"); err == nil {
		t.Error("still there")
	}
}

// inventory lists all paths with their references.
func (r *rig) inventory() string {
	r.t.Helper()
	list, err := r.f.ManagedObjectListChildren(r.ctx, "/...")
	r.must(err)
	var out []string
	for _, e := range list {
		out = append(out, e.Path+" "+e.Object.Reference().Value)
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

func TestRestart(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		run, off, dies := r.container("running"), r.container("off"), r.container("dies")
		spec := types.DefaultResourceConfigSpec()
		pool, err := r.pool.Create(r.ctx, "VCH001", spec)
		r.must(err)
		info := r.wait(r.vms.CreateVM(r.ctx, r.containerSpec("pooled"), pool, nil))
		pooled := info.Result.(types.ManagedObjectReference)
		if r.cfg.Mode == ModeVCenter {
			_, err = r.vms.CreateFolder(r.ctx, "sub")
			r.must(err)
		} else {
			h, err := r.f.DefaultHostSystem(r.ctx)
			r.must(err)
			ns, err := h.ConfigManager().NetworkSystem(r.ctx)
			r.must(err)
			r.must(ns.AddVirtualSwitch(r.ctx, "vSwitch7", nil))
			r.must(ns.AddPortGroup(r.ctx, types.HostPortGroupSpec{Name: "pg", VswitchName: "vSwitch7"}))
		}
		r.wait(run.PowerOn(r.ctx))
		inst := r.hv.last(t)
		r.must(inst.guest().InfoSet("guestinfo..x", "kept"))
		r.wait(dies.PowerOn(r.ctx))
		gone := r.hv.last(t)
		before, mac := r.inventory(), inst.m.NICs[0].MAC
		pass, thumb := r.l.Password(), r.l.Thumbprint()
		v1 := r.read(off.Reference(), "config")

		r.stop()
		gone.end(nil)
		r.start()

		if after := r.inventory(); after != before {
			t.Errorf("inventory\n%s\nwas\n%s", after, before)
		}
		if r.l.Password() != pass || r.l.Thumbprint() != thumb {
			t.Error("another identity")
		}
		state := func(vm types.ManagedObjectReference) types.VirtualMachinePowerState {
			return r.read(vm, "runtime.powerState").Runtime.PowerState
		}
		if s := state(run.Reference()); s != poweredOn {
			t.Errorf("running VM is %s", s)
		}
		if s := state(dies.Reference()); s != poweredOff {
			t.Errorf("dead VM is %s", s)
		}
		if ev := r.eventsNow(dies.Reference()); len(ev) == 0 || ev[len(ev)-1] != "VmPoweredOffEvent" {
			t.Errorf("events of the dead VM %v", ev)
		}
		run = object.NewVirtualMachine(r.c.Client, run.Reference())
		if x := r.extra(run); x["guestinfo..x"] != "kept" || x["guestinfo./common/name"] != "jolly_panini" {
			t.Errorf("keys %v", x)
		}
		r.must(inst.guest().InfoSet("guestinfo..y", "adopted"))
		if x := r.extra(run); x["guestinfo..y"] != "adopted" {
			t.Error("the adopted VM's guest is not heard")
		}
		v2 := r.read(off.Reference(), "config")
		if len(v1.Config.Hardware.Device) != len(v2.Config.Hardware.Device) || v1.Config.Uuid != v2.Config.Uuid || v1.Config.ChangeVersion != v2.Config.ChangeVersion {
			t.Error("another configuration")
		}

		// All goes on: every operation on what was there, and new ones.
		r.wait(run.PowerOff(r.ctx))
		off = object.NewVirtualMachine(r.c.Client, off.Reference())
		r.wait(off.PowerOn(r.ctx))
		if r.hv.last(t).m.NICs[0].MAC == mac {
			t.Error("two VMs with one MAC")
		}
		r.wait(off.PowerOff(r.ctx))
		r.wait(off.Rename(r.ctx, "named"))
		r.wait(object.NewVirtualMachine(r.c.Client, pooled).Destroy(r.ctx))
		r.must(err)
		r.wait(object.NewResourcePool(r.c.Client, pool.Reference()).Destroy(r.ctx))
		r.container("new")
		ds, err := r.f.Datastore(r.ctx, "mydatastore")
		r.must(err)
		r.must(ds.Upload(r.ctx, strings.NewReader("x"), "x", nil))
		if r.cfg.Mode == ModeESXi {
			h, err := r.f.DefaultHostSystem(r.ctx)
			r.must(err)
			ns, err := h.ConfigManager().NetworkSystem(r.ctx)
			r.must(err)
			r.must(ns.RemovePortGroup(r.ctx, "pg"))
			r.must(ns.AddPortGroup(r.ctx, types.HostPortGroupSpec{Name: "pg2", VswitchName: "vSwitch7"}))
		}
		before = r.inventory()
		r.stop()
		r.start()
		if after := r.inventory(); after != before {
			t.Errorf("inventory\n%s\nwas\n%s", after, before)
		}
	})
}

func TestOneLabForAState(t *testing.T) {
	r := newRig(t, Config{})
	if !Running(r.cfg.StateDir) {
		t.Error("not seen as running")
	}
	cfg := r.cfg
	l, err := New(cfg)
	r.must(err)
	if err := l.Run(context.Background()); !errdefs.IsConflict(err) {
		t.Errorf("a second lab: %v", err)
	}
	cfg.Mode = ModeVCenter
	if _, err := New(cfg); !errdefs.IsConflict(err) {
		t.Errorf("the other mode: %v", err)
	}
	r.stop()
	if Running(r.cfg.StateDir) {
		t.Error("seen as running")
	}
}

func TestFaults(t *testing.T) {
	r := newRig(t, Config{})
	vm := r.container("vm")
	r.l.SlowTasks("powerOn", 200*time.Millisecond)
	begin := time.Now()
	r.wait(vm.PowerOn(r.ctx))
	if d := time.Since(begin); d < 200*time.Millisecond {
		t.Errorf("slow task took %s", d)
	}
	r.l.SlowTasks("", 0)
	r.l.DisconnectHost(true)
	_, err := vm.PowerOff(r.ctx)
	faultIs[*types.HostNotConnected](t, err)
	if s := r.read(vm.Reference(), "runtime").Runtime.ConnectionState; s != types.VirtualMachineConnectionStateDisconnected {
		t.Errorf("VM is %s", s)
	}
	r.l.DisconnectHost(false)
	r.wait(vm.PowerOff(r.ctx))
}

func TestStopVMs(t *testing.T) {
	r := newRig(t, Config{})
	a, b := r.container("a"), r.container("b")
	r.wait(a.PowerOn(r.ctx))
	r.hv.last(t).shutdown = func(*fakeInstance) error { return nil } // asked, and deaf
	r.wait(b.PowerOn(r.ctx))
	ctx, cancel := context.WithTimeout(r.ctx, 50*time.Millisecond)
	defer cancel()
	r.l.StopVMs(ctx)
	for _, vm := range []*object.VirtualMachine{a, b} {
		if s := r.read(vm.Reference(), "runtime.powerState").Runtime.PowerState; s != poweredOff {
			t.Errorf("%s is %s", vm.Reference().Value, s)
		}
	}
}

func TestPurge(t *testing.T) {
	r := newRig(t, Config{TaskRetention: time.Nanosecond})
	r.container("vm")
	c := r.l.context(nil)
	r.l.purge(c)
	if n := len(c.Map.AllReference("Task")); n != 0 {
		t.Errorf("%d tasks left", n)
	}
}

func TestOversizedRequest(t *testing.T) {
	r := newRig(t, Config{})
	res, err := r.c.Client.Client.Post(r.l.URL().String(), "text/xml", bytes.NewReader(make([]byte, maxRequest+1)))
	if err == nil {
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		if res.StatusCode == http.StatusOK {
			t.Error("an endless request is taken")
		}
	}
	if soap.IsSoapFault(err) {
		t.Log(err)
	}
	r.container("still-works")
}
