package exec

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"

	viclab "github.com/vic-engine/vic/pkg/lab"
	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/pkg/vsphere"
)

// vols are made-up volumes with real disks.
type vols struct {
	mu   sync.Mutex // guards all below
	byID map[string]spec.Volume
	held int
}

var _ Volumes = (*vols)(nil)

func (v *vols) Volume(name string) (spec.Volume, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if x, ok := v.byID[name]; ok {
		return x, nil
	}
	return spec.Volume{}, fmt.Errorf("no such volume: %s: %w", name, errdefs.ErrNotFound)
}

func (v *vols) Hold(name string) (spec.Volume, func(), error) {
	x, err := v.Volume(name)
	if err != nil {
		return x, nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.held++
	return x, func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.held--
	}, nil
}

// volumes makes volumes' disks in the lab.
func (l *lab) volumes(names ...string) *vols {
	l.t.Helper()
	v := &vols{byID: map[string]spec.Volume{}}
	for _, name := range names {
		dir := l.ds.Path("volumes", name)
		if err := l.ds.Mkdir(l.t.Context(), dir); err != nil {
			l.t.Fatal(err)
		}
		disk := "volumes/" + name + "/" + name + ".vmdk"
		l.makeDisk(disk)
		v.byID[name] = spec.Volume{Name: name, Type: spec.MountVolume, Source: l.ds.Path(disk), FSType: "ext4", DiskMode: "independent_persistent", Access: "read-write"}
	}
	return v
}

func (l *lab) bootWith(v *vols) *engine {
	return l.boot(func(c *Config) { c.Volumes = v })
}

// with adds mounts, each "name:path" or "name:path:ro".
func with(c spec.Container, mounts ...string) spec.Container {
	for _, m := range mounts {
		f := strings.Split(m, ":")
		c.Mounts = append(c.Mounts, spec.Mount{Type: spec.MountVolume, Name: f[0], Path: f[1], ReadOnly: len(f) > 2})
	}
	return c
}

// diskModes are a VM's disks but its first two, as "unit file mode".
func (l *lab) diskModes(v spec.View) []string {
	l.t.Helper()
	var out []string
	for _, d := range must(l.admin.Devices(l.t.Context(), l.vm(v))).SelectByType((*types.VirtualDisk)(nil)) {
		b := d.GetVirtualDevice().Backing.(*types.VirtualDiskFlatVer2BackingInfo)
		if u := *d.GetVirtualDevice().UnitNumber; u > 1 {
			out = append(out, fmt.Sprint(u, " ", strings.TrimPrefix(b.FileName, l.ds.Path()), " ", b.DiskMode))
		}
	}
	return out
}

// A container's volumes are its disks, stay when it goes, and are put back when
// somebody takes one out.
func TestVolumeDisks(t *testing.T) {
	both(t, func(t *testing.T, l *lab) {
		v := l.volumes("data", "conf", "fixed")
		fixed := v.byID["fixed"]
		fixed.Access = "read-only"
		v.byID["fixed"] = fixed
		e := l.bootWith(v)
		c := with(container(1), "data:/a", "conf:/b:ro", "data:/c:ro", "fixed:/d")
		view, err := e.Create(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		if v.held != 0 {
			t.Errorf("%d volumes are still held", v.held)
		}
		var units []string
		for _, m := range view.Container.Mounts {
			units = append(units, fmt.Sprint(m.Path, " ", m.Unit, " ", m.ReadOnly))
		}
		if d := cmp.Diff([]string{"/a 2 false", "/b 3 true", "/c 2 true", "/d 4 true"}, units); d != "" {
			t.Errorf("mounts:\n%s", d)
		}
		want := []string{
			"2 " + strings.TrimPrefix(v.byID["data"].Source, l.ds.Path()) + " independent_persistent",
			"3 " + strings.TrimPrefix(v.byID["conf"].Source, l.ds.Path()) + " independent_nonpersistent",
			"4 " + strings.TrimPrefix(v.byID["fixed"].Source, l.ds.Path()) + " independent_nonpersistent",
		}
		if d := cmp.Diff(want, l.diskModes(view)); d != "" {
			t.Errorf("disks:\n%s", d)
		}
		for _, d := range must(l.admin.Devices(t.Context(), l.vm(view))).SelectByType((*types.VirtualDisk)(nil)) {
			if *d.GetVirtualDevice().UnitNumber == 2 {
				err := l.admin.Reconfigure(t.Context(), l.vm(view), types.VirtualMachineConfigSpec{
					DeviceChange: []types.BaseVirtualDeviceConfigSpec{vsphere.Remove(d)},
				})
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		e.stop()
		e = l.bootWith(v)
		if err := e.Start(t.Context(), c.ID); err != nil {
			t.Fatal(err)
		}
		if got := l.diskModes(view); len(got) != 3 {
			t.Errorf("after a repair: %q", got)
		}
		if err := e.Remove(t.Context(), c.ID, true); err != nil {
			t.Fatal(err)
		}
		for name, x := range v.byID {
			if _, err := l.ds.Stat(t.Context(), x.Source); err != nil {
				t.Errorf("%s after its container was removed: %v", name, err)
			}
		}
	})
}

// One writer or many readers run; of many that start at once, one.
func TestVolumeConflicts(t *testing.T) {
	l := newOwnLab(t, viclab.ModeESXi)
	v := l.volumes("data")
	e := l.bootWith(v)
	writers, readers := []int{1, 2, 3}, []int{4, 5}
	for _, n := range writers {
		must(e.Create(t.Context(), with(container(n), "data:/d")))
	}
	for _, n := range readers {
		must(e.Create(t.Context(), with(container(n), "data:/d:ro")))
	}
	must(e.Create(t.Context(), with(container(6), "data:/d:ro", "data:/w")))
	start := func(n int) error { return e.Start(t.Context(), container(n).ID) }
	conflict := func(n int, with string) {
		t.Helper()
		err := start(n)
		if !errdefs.IsConflict(err) || !strings.Contains(err.Error(), "volume data") || !strings.Contains(err.Error(), with) {
			t.Errorf("start of %d: %v", n, err)
		}
		if got := must(e.Container(container(n).ID)).Status.Phase; got != spec.PhaseCreated {
			t.Errorf("%d is %s", n, got)
		}
	}
	stop := func(n int) {
		t.Helper()
		if err := e.Stop(t.Context(), container(n).ID, "", -1); err != nil {
			t.Error(err)
		}
	}
	errs := make([]error, len(writers))
	var wg sync.WaitGroup
	for i, n := range writers {
		wg.Go(func() { errs[i] = start(n) })
	}
	wg.Wait()
	winner := 0
	for i, err := range errs {
		if err == nil {
			winner += writers[i]
		} else if !errdefs.IsConflict(err) {
			t.Error(err)
		}
	}
	if winner < 1 || winner > 3 || errs[winner-1] != nil {
		t.Fatalf("starts: %v", errs)
	}
	conflict(4, container(winner).Name+" ")
	conflict(6, "writes to")
	if err := start(winner); err != nil {
		t.Errorf("start of the one that runs: %v", err)
	}
	stop(winner)
	for _, n := range readers {
		if err := start(n); err != nil {
			t.Error(err)
		}
	}
	conflict(6, "reads")
	stop(4)
	stop(5)
	if err := start(6); err != nil {
		t.Error(err)
	}
}

// A volume that is not there, or not any more.
func TestVolumeMissing(t *testing.T) {
	l := newOwnLab(t, viclab.ModeESXi)
	before := l.files()
	v := l.volumes()
	e := l.bootWith(v)
	if _, err := e.Create(t.Context(), with(container(1), "data:/d")); !errdefs.IsNotFound(err) {
		t.Errorf("create with no such volume: %v", err)
	}
	if d := cmp.Diff(before, l.files()); strings.Contains(d, container(1).ID) {
		t.Errorf("left:\n%s", d)
	}
	e.stop()
	v = l.volumes("data")
	e = l.bootWith(v)
	must(e.Create(t.Context(), with(container(1), "data:/d")))
	e.stop()
	delete(v.byID, "data")
	e = l.bootWith(v)
	if err := e.Start(t.Context(), container(1).ID); !errdefs.IsNotFound(err) || !strings.Contains(err.Error(), "data") {
		t.Errorf("start without its volume: %v", err)
	}
	e.stop()
	e = l.boot()
	if _, err := e.Create(t.Context(), with(container(2), "data:/d")); !errdefs.IsNotImplemented(err) {
		t.Errorf("create without volumes: %v", err)
	}
}

// The disk of a running container grows.
func TestGrowDisk(t *testing.T) {
	l := newOwnLab(t, viclab.ModeESXi)
	v := l.volumes("data")
	e := l.bootWith(v)
	view := must(e.Create(t.Context(), with(container(1), "data:/d")))
	if err := e.Start(t.Context(), container(1).ID); err != nil {
		t.Fatal(err)
	}
	if grew, err := e.GrowDisk(t.Context(), container(1).ID, 2, 8<<20); !grew || err != nil {
		t.Errorf("%v, %v", grew, err)
	}
	if grew, err := e.GrowDisk(t.Context(), container(1).ID, 5, 8<<20); grew || !errdefs.IsNotFound(err) {
		t.Errorf("no such disk: %v, %v", grew, err)
	}
	for _, d := range must(l.admin.Devices(context.Background(), l.vm(view))).SelectByType((*types.VirtualDisk)(nil)) {
		if disk := d.(*types.VirtualDisk); *disk.UnitNumber == 2 && disk.CapacityInKB != 8<<10 {
			t.Errorf("the disk has %d KB", disk.CapacityInKB)
		}
	}
}

// What is not the VM's own is told apart by name, and a snapshot of it is seen.
func TestShared(t *testing.T) {
	disk := func(file string, parent bool) *types.VirtualDisk {
		b := &types.VirtualDiskFlatVer2BackingInfo{}
		if b.FileName = file; parent {
			b.Parent = &types.VirtualDiskFlatVer2BackingInfo{}
		}
		return &types.VirtualDisk{VirtualDevice: types.VirtualDevice{Backing: b}}
	}
	own := func(file string) bool { return strings.Contains(file, "/own") }
	for what, test := range map[string]struct {
		disks  []types.BaseVirtualDevice
		others int
		below  bool
	}{
		"its own, in a snapshot":   {[]types.BaseVirtualDevice{disk("[d] c/own-000001.vmdk", true), disk("[d] i/image.vmdk", false)}, 1, false},
		"a volume":                 {[]types.BaseVirtualDevice{disk("[d] v/v.vmdk", false), &types.VirtualCdrom{}}, 1, false},
		"a volume, in a snapshot":  {[]types.BaseVirtualDevice{disk("[d] c/own.vmdk", false), disk("[d] v/v-000001.vmdk", true)}, 1, true},
		"nothing that is shared":   {[]types.BaseVirtualDevice{disk("[d] c/own.vmdk", false)}, 0, false},
		"a disk that has no files": {[]types.BaseVirtualDevice{&types.VirtualDisk{}}, 0, false},
	} {
		others, below := shared(test.disks, own)
		if len(others) != test.others || below != test.below {
			t.Errorf("%s: %d, %v", what, len(others), below)
		}
	}
}

// TestShares: a volume on NFS is no disk, nobody holds it, and one whose server is
// gone is not started.
func TestShares(t *testing.T) {
	l := newOwnLab(t, viclab.ModeESXi)
	v := l.volumes("data")
	share := spec.Volume{Name: "shared", Type: spec.MountNFS, Source: "host:/export/volumes/shared/data", MountOptions: "port=12049", Access: "read-write"}
	v.byID["shared"] = share
	e := l.bootWith(v)
	for n := 1; n <= 2; n++ {
		view := must(e.Create(t.Context(), with(container(n), "shared:/s", "shared:/r:ro")))
		want := []spec.Mount{
			{Name: "shared", Type: spec.MountNFS, Path: "/s", Source: share.Source, Options: "port=12049"},
			{Name: "shared", Type: spec.MountNFS, Path: "/r", Source: share.Source, Options: "port=12049", ReadOnly: true},
		}
		if d := cmp.Diff(want, view.Container.Mounts); d != "" {
			t.Error(d)
		}
		if got := l.diskModes(view); len(got) != 0 {
			t.Errorf("disks %q", got)
		}
		if err := e.Start(t.Context(), view.Container.ID); err != nil {
			t.Errorf("writer %d: %v", n, err)
		}
	}
	if err := e.Stop(t.Context(), container(1).ID, "", -1); err != nil {
		t.Error(err)
	}
	v.mu.Lock()
	share.Unavailable = "no answer from host"
	v.byID["shared"] = share
	v.mu.Unlock()
	if err := e.Start(t.Context(), container(1).ID); !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), "no answer from host") {
		t.Errorf("start without the server: %v", err)
	}
}

// TestForcedRemoveKeepsWrites: what a container wrote to a volume last is in its
// guest's memory. A forced removal kills the process and lets the guest write it out.
func TestForcedRemoveKeepsWrites(t *testing.T) {
	l := newLab(t, simulator.ESX())
	e := l.bootWith(l.volumes("data"))
	for n, tc := range []struct {
		mount  []string
		killed bool
	}{{[]string{"data:/data"}, true}, {[]string{"data:/data:ro"}, false}, {nil, false}} {
		c := with(container(n), tc.mount...)
		killed := make(chan struct{})
		l.guests.run(c.ID, func(g *line) {
			g.up()
			at := g.start()
			for {
				select {
				case s := <-g.signals:
					if s == "SIGKILL" {
						close(killed)
						g.exit(spec.ExitStatus{Started: at, Code: 137, Signal: 9})
						return
					}
				case <-g.off:
					return
				}
			}
		})
		if _, err := e.Create(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if err := e.Start(t.Context(), c.ID); err != nil {
			t.Fatal(err)
		}
		if err := e.Remove(t.Context(), c.ID, true); err != nil {
			t.Fatal(err)
		}
		select {
		case <-killed:
			if !tc.killed {
				t.Errorf("%v: killed, though nothing of it stays", tc.mount)
			}
		default:
			if tc.killed {
				t.Errorf("%v: the power was cut under it", tc.mount)
			}
		}
	}
}
