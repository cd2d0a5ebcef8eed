package install

import (
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/guestinfo"
	"github.com/vic-engine/vic/pkg/install/certs"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares got with testdata/name.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		must(t, os.MkdirAll("testdata", 0o755))
		must(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	must(t, err)
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got):\n%s", path, d)
	}
}

// modes runs a test against a standalone host and a vCenter.
func modes(t *testing.T, test func(t *testing.T, f *fixture)) {
	for name, esx := range map[string]bool{"esxi": true, "vcenter": false} {
		t.Run(name, func(t *testing.T) { test(t, newFixture(t, esx)) })
	}
}

func TestCreateAndDelete(t *testing.T) {
	modes(t, func(t *testing.T, f *fixture) {
		ctx := context.Background()
		before := f.world()
		if err := Create(ctx, f.create(), f.env()); err != nil {
			t.Fatalf("%v\n%s", err, f.lines())
		}
		golden(t, filepath.Base(t.Name())+"-create.txt", f.lines())
		checkVCH(t, f)

		// The name is taken now, and nothing else is done about it.
		made := f.world()
		err := Create(ctx, f.create(), f.env())
		if err == nil || !strings.Contains(err.Error(), "The specified VCH name (VCH001) is already in use") || !errdefs.IsAlreadyExists(err) {
			t.Errorf("create of a used name: %v", err)
		}
		if d := cmp.Diff(made, f.world()); d != "" {
			t.Errorf("create of a used name changed something:\n%s", d)
		}
		f.lines()

		if err := Delete(ctx, f.delete(), f.env()); err != nil {
			t.Fatalf("%v\n%s", err, f.lines())
		}
		golden(t, filepath.Base(t.Name())+"-delete.txt", f.lines())
		for _, name := range []string{"VCH001-key.pem", "VCH001-cert.pem"} { // they are the user's
			must(t, os.Remove(filepath.Join(f.work, name)))
		}
		if d := cmp.Diff(before, f.world()); d != "" {
			t.Errorf("create and delete left a trace:\n%s", d)
		}
		if err := Delete(ctx, f.delete(), f.env()); !errdefs.IsNotFound(err) {
			t.Errorf("delete of what is gone: %v", err)
		}
	})
}

// checkVCH looks at what the appliance was given, and that secrets are sealed.
func checkVCH(t *testing.T, f *fixture) {
	t.Helper()
	ctx := context.Background()
	a, err := Find(ctx, f.s, "VCH001")
	must(t, err)
	v := f.guest.secrets
	if v.Password != testPassword || !strings.Contains(v.AttachKey, "OPENSSH PRIVATE KEY") {
		t.Errorf("the appliance unsealed password %q and a key of %d bytes", v.Password, len(v.AttachKey))
	}
	if want := "https://" + strings.Replace(f.srv.URL.Host, "127.0.0.1", "10.118.0.2", 1) + "/sdk"; f.s.IsVC() && v.Target != want {
		t.Errorf("target of the appliance: %s, want %s", v.Target, want)
	}
	if v.Thumbprint != f.thumbprint() || v.VM != a.VM.Value || v.HomeDir != "[mydatastore] VCH001" || v.BootstrapISO != "[mydatastore] VCH001/bootstrap.iso" {
		t.Errorf("configuration: %s %s %s %s", v.Thumbprint, v.VM, v.HomeDir, v.BootstrapISO)
	}
	if v.Networks["external"].MAC == "" || v.Networks["external"].MAC == v.Networks["bridge"].MAC || v.Networks["client"].MAC != v.Networks["external"].MAC {
		t.Errorf("networks: %+v", v.Networks)
	}
	vms, err := machines(ctx, f.s, nil)
	must(t, err)
	for _, vm := range vms {
		for k, x := range vmKeys(vm) {
			if strings.Contains(x, testPassword) || strings.Contains(x, "PRIVATE KEY") {
				t.Errorf("secret in clear in %s", k)
			}
		}
	}
	for _, name := range []string{applianceISO, bootstrapISO} {
		b, err := os.ReadFile(filepath.Join(f.ds, "VCH001", name))
		if err != nil || string(b) != "an image called "+name {
			t.Errorf("uploaded %s: %q %v", name, b, err)
		}
	}
}

// TestCreateUndoes fails each step in turn: nothing may be left.
func TestCreateUndoes(t *testing.T) {
	call := func(method string) func(*fixture, *CreateOptions) {
		return func(f *fixture, _ *CreateOptions) { f.fail(method) }
	}
	newBridge := func(method string) func(*fixture, *CreateOptions) {
		return func(f *fixture, o *CreateOptions) {
			o.BridgeNetwork = ""
			f.fail(method)
		}
	}
	for _, c := range []struct {
		name    string
		esxOnly bool
		vcOnly  bool
		breakIt func(*fixture, *CreateOptions)
		want    string
	}{
		{"pool", false, false, call("CreateResourcePool"), "make resource pool"},
		{"switch", true, false, newBridge("AddVirtualSwitch"), "make virtual switch VCH001"},
		{"port group", true, false, newBridge("AddPortGroup"), "make port group VCH001"},
		{"VM on a made bridge", true, false, newBridge("CreateVM_Task"), "make appliance VM VCH001"},
		{"folder", false, true, call("CreateFolder"), "make VM folder"},
		{"VM", false, false, call("CreateVM_Task"), "make appliance VM VCH001"},
		{"image folder", false, false, func(f *fixture, o *CreateOptions) {
			o.ImageDatastore = "mydatastore/a/b"
			f.fail("CreateVM_Task")
		}, "make appliance VM"},
		{"upload", false, false, func(f *fixture, o *CreateOptions) {
			o.BootstrapISO = f.work // a folder can be opened, but not read
		}, "--bootstrap-iso"},
		{"configure", false, false, call("ReconfigVM_Task"), "configure appliance VCH001"},
		{"power on", false, false, call("PowerOnVM_Task"), "power on appliance VCH001"},
		{"silent guest", false, false, func(f *fixture, o *CreateOptions) {
			f.guest.silent = true
		}, "power on, tools not running, IP address none, engine not started"},
		{"no address", false, false, func(f *fixture, o *CreateOptions) {
			f.guest.noIP = true
		}, "IP address none"},
		{"guest powers off", false, false, func(f *fixture, _ *CreateOptions) { f.guest.off = true }, "powered itself off; state of the appliance: power off"},
		{"engine fails", false, false, func(f *fixture, _ *CreateOptions) {
			f.guest.engine, f.guest.failsLeft = "FAILED: no route to vSphere", -1
		}, "the engine could not start: no route to vSphere"},
		{"engine hangs", false, false, func(f *fixture, o *CreateOptions) {
			f.guest.engine = "STARTING"
		}, "IP address 127.118.0.10, engine STARTING, boot waiting for secrets"},
		{"wrong certificate", false, false, func(f *fixture, _ *CreateOptions) { f.guest.wrongCert = true }, "another certificate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			modes(t, func(t *testing.T, f *fixture) {
				if c.esxOnly && f.s.IsVC() || c.vcOnly && !f.s.IsVC() {
					return
				}
				before := f.world()
				o := f.create()
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				f.guest.mu.Lock()
				c.breakIt(f, &o)
				f.guest.mu.Unlock()
				// A guest that is stuck is given up when its state is seen.
				err := Create(ctx, o, f.envUntil(c.want, cancel))
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("error %v, want it to say %q", err, c.want)
				}
				if err != nil && strings.Contains(err.Error(), "left behind") {
					t.Error(err)
				}
				if d := cmp.Diff(before, f.world()); d != "" {
					t.Errorf("the failed create left a trace:\n%s", d)
				}
				out := f.lines()
				if c.name == "guest powers off" && (!strings.Contains(out, "WARN   [1mno scratch disk\n") || strings.Count(out, "WARN   x\n") != consoleTail-1) {
					t.Errorf("the end of the console is not shown:\n%s", out)
				}
				if strings.Contains(out+err.Error(), testPassword) {
					t.Errorf("the password was shown:\n%s", out)
				}
			})
		})
	}
}

// outOfTime has its deadline when a test says so.
type outOfTime struct {
	context.Context
	over chan struct{}
}

func (c outOfTime) Done() <-chan struct{} { return c.over }

func (c outOfTime) Err() error {
	select {
	case <-c.over:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

func TestCreateKeepsForALook(t *testing.T) {
	f := newFixture(t, true)
	late := outOfTime{Context: context.Background(), over: make(chan struct{})}
	f.guest.silent = true
	o := f.create()
	o.Debug = KeepOnTimeout
	err := Create(late, o, f.envUntil("power on, tools not running", sync.OnceFunc(func() { close(late.over) })))
	if err == nil || !strings.Contains(err.Error(), "the appliance is kept") || !strings.Contains(err.Error(), "did not come up in time") {
		t.Fatalf("error %v", err)
	}
	// What is half installed can be deleted.
	must(t, Delete(context.Background(), f.delete(), f.env()))
	if strings.Contains(f.world(), "/VCH001\n") {
		t.Errorf("delete left a trace:\n%s", f.world())
	}
}

// TestEngineMayFailOnce: the engine is started again when it ends.
func TestEngineMayFailOnce(t *testing.T) {
	f := newFixture(t, true)
	f.guest.engine, f.guest.failsLeft = "FAILED: no route to vSphere yet", 1
	must(t, Create(context.Background(), f.create(), f.env()))
}

func TestFailures(t *testing.T) {
	var f failures
	for i, c := range []struct {
		state string
		n     int
	}{{"", 0}, {"STARTING", 0}, {"FAILED: a", 1}, {"FAILED: vic-engine ended", 1}, {"STARTING", 1}, {"FAILED: b", 2}, {"RUNNING", 2}, {"FAILED: c", 3}} {
		if over := f.seen(c.state); f.n != c.n || over != (c.n >= engineTries) {
			t.Errorf("%d: %+v after %q, over %v", i, f, c.state, over)
		}
	}
	if f.reason != "c" {
		t.Errorf("reason %q", f.reason)
	}
}

func TestCreateMakesAndRemovesBridge(t *testing.T) {
	f := newFixture(t, true)
	before := f.world()
	o := f.create()
	o.BridgeNetwork, o.TLS.Off = "", true
	o.ImageDatastore = "mydatastore/deep/er"
	must(t, Create(context.Background(), o, f.env()))
	golden(t, "bridge-create.txt", f.lines())
	if !strings.Contains(f.world(), "switch VCH001 [VCH001]") || !strings.Contains(f.world(), "datastore /deep/er\n") {
		t.Errorf("no switch, port group or folder:\n%s", f.world())
	}
	must(t, Delete(context.Background(), f.delete(), f.env()))
	golden(t, "bridge-delete.txt", f.lines())
	if d := cmp.Diff(before, f.world()); d != "" {
		t.Errorf("create and delete left a trace:\n%s", d)
	}
}

func TestMutualTLS(t *testing.T) {
	f := newFixture(t, true)
	o := f.create()
	o.TLS.CName = "vch.example.com"
	must(t, Create(context.Background(), o, f.env()))
	golden(t, "mutual-create.txt", f.lines())
	for _, n := range []string{"ca.pem", "ca-key.pem", "cert.pem", "key.pem", "server-cert.pem", "server-key.pem"} {
		st, err := os.Stat(filepath.Join(f.work, "VCH001", n))
		must(t, err)
		if strings.Contains(n, "key") && st.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", n, st.Mode())
		}
	}
	if f.guest.secrets.ClientCAs == "" {
		t.Error("the engine got no authority for clients")
	}
}

func TestConnectionRefusals(t *testing.T) {
	f := newFixture(t, true)
	before := f.world()
	for _, c := range []struct {
		name  string
		edit  func(*CreateOptions)
		want  []string
		class func(error) bool
	}{
		{"wrong password", func(o *CreateOptions) { o.Target.Password = "wrongpass" }, []string{`does not accept the user "root"`, "--password"}, errdefs.IsUnauthorized},
		{"wrong thumbprint", func(o *CreateOptions) { o.Target.Thumbprint = strings.Repeat("AA:", 31) + "AA" }, []string{f.thumbprint(), "--thumbprint"}, errdefs.IsPermissionDenied},
		{"no thumbprint", func(o *CreateOptions) { o.Target.Thumbprint = "" }, []string{"--thumbprint=" + f.thumbprint(), "--force"}, errdefs.IsPermissionDenied},
		{"nobody there", func(o *CreateOptions) { o.Target.Host = "127.0.0.1:1" }, []string{"127.0.0.1:1"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := f.create()
			c.edit(&o)
			err := Create(context.Background(), o, f.env())
			if err == nil {
				t.Fatal("no error")
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("error %v does not say %q", err, w)
				}
			}
			if c.class != nil && !c.class(err) {
				t.Errorf("class of %v", err)
			}
			if s := err.Error() + f.lines(); strings.Contains(s, "wrongpass") || strings.Contains(s, testPassword) {
				t.Error("the password was shown")
			}
			if d := cmp.Diff(before, f.world()); d != "" {
				t.Errorf("left a trace:\n%s", d)
			}
		})
	}
}

func TestForcePinsWhatItSaw(t *testing.T) {
	f := newFixture(t, true)
	o := f.create()
	o.Target.Thumbprint, o.Force = "", true
	must(t, Create(context.Background(), o, f.env()))
	if f.guest.secrets.Thumbprint != f.thumbprint() {
		t.Errorf("the appliance was given thumbprint %q", f.guest.secrets.Thumbprint)
	}
}

func TestAllIssuesAtOnce(t *testing.T) {
	modes(t, func(t *testing.T, f *fixture) {
		before := f.world()
		o := f.create()
		o.BridgeNetwork, o.ExternalNetwork, o.ImageDatastore = "no[t]", "nonet", "nostore"
		o.ContainerNetworks.Networks = []string{"novmnet:vm"}
		o.ComputeResource, o.EndpointMB, o.RegistryMirrors = "nocluster", 5, []string{"registry"}
		err := Create(context.Background(), o, f.env())
		var inv *InvalidError
		if !errors.As(err, &inv) {
			t.Fatalf("error %v", err)
		}
		golden(t, filepath.Base(t.Name())+"-issues.txt", Plain(err)+"\n")
		if d := cmp.Diff(before, f.world()); d != "" {
			t.Errorf("left a trace:\n%s", d)
		}
	})
}

func TestDryRun(t *testing.T) {
	f := newFixture(t, true)
	before := f.world()
	o := f.create()
	o.DryRun = true
	o.ContainerNetworks = ContainerNetworkOptions{Networks: []string{"VM Network:vm"}, Firewalls: []string{"VM Network:peers"}}
	must(t, Create(context.Background(), o, f.env()))
	golden(t, "dry-run.txt", f.lines())
	if d := cmp.Diff(before, f.world()); d != "" {
		t.Errorf("left a trace:\n%s", d)
	}
}

// addVM makes a VM with keys in the VCH's pool, and files as ESXi would have.
func (f *fixture) addVM(name string, on bool, keys map[string]string, foreignDisk string) types.ManagedObjectReference {
	f.t.Helper()
	ctx := context.Background()
	site, err := Survey(ctx, f.s, "")
	must(f.t, err)
	pool := site.Computes[0].Root.Ref
	for _, p := range site.Computes[0].Pools {
		if p.Name == "VCH001" {
			pool = p.Ref
		}
	}
	scsi := &types.ParaVirtualSCSIController{}
	scsi.Key, scsi.SharedBus = keySCSI, types.VirtualSCSISharingNoSharing
	devices := []types.BaseVirtualDeviceConfigSpec{&types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationAdd, Device: scsi}}
	if foreignDisk != "" {
		disk := &types.VirtualDisk{CapacityInKB: 1024}
		disk.Key, disk.ControllerKey, disk.UnitNumber = -5, keySCSI, types.NewInt32(1)
		b := &types.VirtualDiskFlatVer2BackingInfo{DiskMode: string(types.VirtualDiskModeIndependent_nonpersistent)}
		b.FileName = foreignDisk
		disk.Backing = b
		devices = append(devices, &types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationAdd, Device: disk})
	}
	task, err := object.NewFolder(f.s.Client(), site.VMFolder.Ref).CreateVM(ctx, types.VirtualMachineConfigSpec{
		Name: name, GuestId: "otherGuest", NumCPUs: 1, MemoryMB: 64, Files: &types.VirtualMachineFileInfo{VmPathName: "[mydatastore]"},
		ExtraConfig: optionValues(keys), DeviceChange: devices,
	}, object.NewResourcePool(f.s.Client(), pool), nil)
	must(f.t, err)
	info, err := task.WaitForResult(ctx)
	must(f.t, err)
	must(f.t, os.WriteFile(filepath.Join(f.ds, name, "output.log"), []byte("x"), 0o600))
	ref := info.Result.(types.ManagedObjectReference)
	if on {
		task, err := object.NewVirtualMachine(f.s.Client(), ref).PowerOn(ctx)
		must(f.t, err)
		must(f.t, task.Wait(ctx))
	}
	return ref
}

func TestDeleteOnlyWhatItOwns(t *testing.T) {
	modes(t, func(t *testing.T, f *fixture) {
		ctx := context.Background()
		disk := filepath.Join(f.ds, "keep")
		must(t, os.MkdirAll(disk, 0o755))
		must(t, os.WriteFile(filepath.Join(disk, "shared.vmdk"), []byte("d"), 0o600))
		must(t, os.WriteFile(filepath.Join(disk, "shared-flat.vmdk"), []byte("d"), 0o600))
		before := f.world()
		o := f.create()
		o.VolumeStores = []string{"mydatastore/keep:default"}
		must(t, Create(ctx, o, f.env()))
		a, err := Find(ctx, f.s, "VCH001")
		must(t, err)
		if l := strings.Join(a.summary().Lines(), "\n"); !strings.Contains(l, "Volume store default: [mydatastore] keep\n") {
			t.Errorf("inspect:\n%s", l)
		}
		mine := map[string]string{guestinfo.KeyKind: guestinfo.KindContainer, guestinfo.KeyVCH: a.VCH.UUID, guestinfo.KeyID: strings.Repeat("ab", 32), guestinfo.KeyName: "jolly_panini"}
		f.addVM("c1", true, mine, "[mydatastore] keep/shared.vmdk")
		f.addVM("c2", false, mine, "")
		other := map[string]string{guestinfo.KeyKind: guestinfo.KindContainer, guestinfo.KeyVCH: "another", guestinfo.KeyName: "not_mine"}
		stranger := f.addVM("c3", false, other, "")
		images := filepath.Join(f.ds, "VIC", a.VCH.UUID, "images")
		must(t, os.MkdirAll(images, 0o755))
		must(t, os.WriteFile(filepath.Join(images, "x.vmdk"), nil, 0o600))

		f.lines()
		err = Delete(ctx, f.delete(), f.env())
		if err == nil || !strings.Contains(err.Error(), "jolly_panini (abababababab)") || !errdefs.IsFailedPrecondition(err) {
			t.Errorf("delete with a running container: %v", err)
		}
		if strings.Contains(f.lines(), "Removing VMs") {
			t.Error("delete began although a container runs")
		}
		d := f.delete()
		d.Force = true
		must(t, Delete(ctx, d, f.env()))
		if out := f.lines(); !strings.Contains(out, "Resource Pool VCH001 is not empty, leaving it there") ||
			!strings.Contains(out, "Volumes are not removed, they stay in volume store default: [mydatastore] keep") {
			t.Errorf("output:\n%s", out)
		}
		task, err := object.NewVirtualMachine(f.s.Client(), stranger).Destroy(ctx)
		must(t, err)
		must(t, task.Wait(ctx))
		// The stranger's pool was left for it; deleting again clears up.
		d.Force = true
		if err := Delete(ctx, d, f.env()); err != nil {
			t.Errorf("delete of leftovers: %v", err)
		}
		must(t, os.Remove(filepath.Join(f.work, "VCH001-key.pem")))
		must(t, os.Remove(filepath.Join(f.work, "VCH001-cert.pem")))
		after := f.world()
		if d := cmp.Diff(before, strings.ReplaceAll(after, "datastore /c3\ndatastore /c3/output.log\n", "")); d != "" {
			t.Errorf("left a trace, or took too much:\n%s", d)
		}
	})
}

func TestDeleteLeavesOthersAlone(t *testing.T) {
	f := newFixture(t, true)
	f.addVM("VCH001", false, nil, "")
	before := f.world()
	for _, force := range []bool{false, true} {
		d := f.delete()
		d.Force = force
		err := Delete(context.Background(), d, f.env())
		if err == nil || !strings.Contains(err.Error(), "left alone") {
			t.Errorf("delete of a VM that is no appliance: %v", err)
		}
	}
	if d := cmp.Diff(before, f.world()); d != "" {
		t.Errorf("delete changed something:\n%s", d)
	}
}

func TestReusesCertificate(t *testing.T) {
	f := newFixture(t, true)
	p, err := certs.SelfSigned("VCH001", nil, time.Now())
	must(t, err)
	must(t, os.WriteFile(filepath.Join(f.work, "VCH001-key.pem"), p.Key, 0o600))
	o := f.create()
	if err := Create(context.Background(), o, f.env()); err == nil || !strings.Contains(err.Error(), "VCH001-cert.pem") {
		t.Errorf("create with half a pair: %v", err)
	}
	must(t, os.WriteFile(filepath.Join(f.work, "VCH001-cert.pem"), p.Cert, 0o600))
	must(t, Create(context.Background(), o, f.env()))
	if f.guest.secrets.ServerCert != string(p.Cert) || !strings.Contains(f.lines(), "Loaded server certificate ./VCH001-cert.pem") {
		t.Error("the pair was not used again")
	}
}
