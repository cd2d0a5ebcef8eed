package storage_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"

	"github.com/vic-engine/vic/pkg/disk/ext4/ext4test"
	"github.com/vic-engine/vic/pkg/docker/engine"
	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/portlayer/storage"
	"github.com/vic-engine/vic/portlayer/storage/storagetest"
)

var _ engine.Volumes = (*storage.Volumes)(nil)

// volumes is a VCH's volumes on a folder.
type volumes struct {
	*storage.Volumes
	t      *testing.T
	ds     *storagetest.Dir
	stores map[string]string
	spool  string
	stop   func()

	mu         sync.Mutex // guards all below
	containers []*spec.View
	down       error // of the datastore
	grown      []string
	growErr    error
	now        time.Time
}

func newVolumes(t *testing.T) *volumes {
	t.Helper()
	f := &volumes{
		t: t, ds: storagetest.NewDir(t.TempDir()), spool: t.TempDir(), stop: func() {},
		stores: map[string]string{"default": "[test] vols", "fast": "test/fast"}, now: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC),
	}
	f.restart("vch-1")
	return f
}

// restart is another engine of VCH uuid on the same datastore.
func (f *volumes) restart(uuid string) {
	f.t.Helper()
	f.stop()
	log := logrus.New()
	log.SetOutput(io.Discard)
	v, err := storage.NewVolumes(storage.VolumesConfig{
		Stores: f.stores, VCH: uuid, Spool: f.spool, Log: logrus.NewEntry(log), Retry: time.Millisecond,
		Open: func(context.Context, string) (storage.VolumeDatastore, error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			if f.down != nil {
				return nil, f.down
			}
			return f.ds, nil
		},
		Containers: func() []*spec.View {
			f.mu.Lock()
			defer f.mu.Unlock()
			return f.containers
		},
		Grow: func(_ context.Context, id string, unit int, capacity int64) (bool, error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.grown = append(f.grown, fmt.Sprint(id, " ", unit, " ", capacity))
			return true, f.growErr
		},
		Now: func() time.Time {
			f.mu.Lock()
			defer f.mu.Unlock()
			return f.now
		},
	})
	if err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- v.Run(ctx) }()
	f.Volumes, f.stop = v, sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			f.t.Error(err)
		}
	})
	f.t.Cleanup(f.stop)
	<-v.Scanned()
}

func (f *volumes) make(name string, options ...string) spec.Volume {
	f.t.Helper()
	v, err := f.CreateVolume(context.Background(), request(name, options...))
	if err != nil {
		f.t.Fatal(err)
	}
	return v
}

// request has options as "name=value".
func request(name string, options ...string) spec.VolumeRequest {
	q := spec.VolumeRequest{Name: name}
	for _, o := range options {
		k, v, _ := strings.Cut(o, "=")
		if q.Options == nil {
			q.Options = map[string]string{}
		}
		q.Options[k] = v
	}
	return q
}

// mounted makes a container that has a volume.
func (f *volumes) mounted(v spec.Volume, phase spec.Phase, readOnly bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := &spec.View{Status: spec.Status{Phase: phase}}
	c.Container.ID, c.Container.Name = strings.Repeat("c", 64), "web"
	c.Container.Mounts = []spec.Mount{{Type: spec.MountVolume, Name: v.Name, Source: v.Source, Unit: 3, ReadOnly: readOnly}}
	f.containers = []*spec.View{c}
}

func (f *volumes) files() []string {
	f.t.Helper()
	all, err := f.ds.Files()
	if err != nil {
		f.t.Fatal(err)
	}
	var out []string
	for _, p := range all {
		if !strings.Contains(p, "/.blank/") {
			out = append(out, strings.TrimPrefix(p, "[test] "))
		}
	}
	return out
}

func (f *volumes) names() []string {
	f.t.Helper()
	list, warnings := f.Volumes.Volumes()
	if len(warnings) > 0 {
		f.t.Errorf("warnings: %q", warnings)
	}
	var out []string
	for _, v := range list {
		if v.Unavailable != "" {
			f.t.Errorf("%s: %s", v.Name, v.Unavailable)
		}
		out = append(out, v.Name)
	}
	return out
}

// patience bounds what must happen; it only ends tests that fail.
const patience = time.Minute

// until waits for what a background look brings.
func (f *volumes) until(what string, ok func() bool) {
	f.t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			f.t.Fatalf("never: %s", what)
		}
	}
}

func TestVolumeLife(t *testing.T) {
	f := newVolumes(t)
	q := request("data", "Capacity=64MB", "DiskFormat=thin")
	q.Labels = map[string]string{"a": "b"}
	v, err := f.CreateVolume(context.Background(), q)
	if err != nil {
		t.Fatal(err)
	}
	want := spec.Volume{
		Name: "data", Driver: "vsphere", Store: "default", Source: "[test] vols/volumes/data/data.vmdk", Type: spec.MountVolume,
		FSType: "ext4", Capacity: 64 << 20, Allocated: v.Allocated, Access: "read-write", DiskMode: "independent_persistent",
		Created: f.now, Labels: q.Labels, Options: q.Options,
	}
	if d := cmp.Diff(want, v); d != "" || v.Allocated == 0 {
		t.Errorf("created, %d allocated:\n%s", v.Allocated, d)
	}
	r, done, err := f.ds.Disk(v.Source)
	if err != nil {
		t.Fatal(err)
	}
	if names, err := ext4test.List(r, "/"); err != nil || len(names) != 1 {
		t.Errorf("filesystem has %v, %v", names, err)
	}
	if err := done(); err != nil {
		t.Error(err)
	}
	fast := f.make("fast1", "volumestore=fast", "capacity=16", "access=read-only", "attach-as=persistent")
	if fast.Source != "[test] fast/volumes/fast1/fast1.vmdk" || fast.Capacity != 16<<20 || fast.Access != "read-only" || fast.DiskMode != "persistent" {
		t.Errorf("%+v", fast)
	}
	anonymous, err := f.CreateVolume(context.Background(), spec.VolumeRequest{Anonymous: true, Options: map[string]string{"size": "32m"}})
	if err != nil || len(anonymous.Name) != 64 || !anonymous.Anonymous {
		t.Errorf("%+v, %v", anonymous, err)
	}
	list, _ := f.Volumes.Volumes()
	f.restart("a VCH made anew")
	again, warnings := f.Volumes.Volumes()
	if d := cmp.Diff(list, again); d != "" || len(warnings) != 0 || len(list) != 3 {
		t.Errorf("after a restart: %q\n%s", warnings, d)
	}
	for _, v := range again {
		if err := f.RemoveVolume(context.Background(), v.Name); err != nil {
			t.Error(err)
		}
	}
	if left := f.files(); len(left) != 0 || len(f.names()) != 0 {
		t.Errorf("left: %q, %q", left, f.names())
	}
	if _, err := f.Volume("data"); !errdefs.IsNotFound(err) {
		t.Error(err)
	}
	if err := f.RemoveVolume(context.Background(), "data"); !errdefs.IsNotFound(err) {
		t.Error(err)
	}
}

func TestCreateTwice(t *testing.T) {
	f := newVolumes(t)
	v := f.make("data", "Capacity=64MB")
	for _, q := range []spec.VolumeRequest{
		request("data"), request("data", "capacity=64"), request("data", "SIZE=64m"),
		{Name: "data", Driver: "local"}, {Name: "data", Labels: map[string]string{"x": "y"}},
	} {
		got, err := f.CreateVolume(context.Background(), q)
		if d := cmp.Diff(v, got); err != nil || d != "" {
			t.Errorf("%+v: %v\n%s", q, err, d)
		}
	}
	for _, o := range []string{"capacity=65", "diskformat=thin", "volumestore=fast"} {
		if _, err := f.CreateVolume(context.Background(), request("data", o)); !errdefs.IsConflict(err) {
			t.Errorf("%s: %v", o, err)
		}
	}
	if _, err := f.CreateVolume(context.Background(), spec.VolumeRequest{Name: "data", Driver: "nfs"}); !errdefs.IsNotFound(err) {
		t.Errorf("driver: %v", err)
	}
	// Many at once get the same one.
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := f.CreateVolume(context.Background(), request("many", "size=16m")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := len(f.ds.Calls("ImportDisk")); n != 2 {
		t.Errorf("%d imports for two sizes", n)
	}
}

func TestVolumeInUse(t *testing.T) {
	f := newVolumes(t)
	v := f.make("data", "size=16m")
	f.mounted(v, spec.PhaseExited, false)
	err := f.RemoveVolume(context.Background(), "data")
	if !errdefs.IsConflict(err) || !strings.Contains(err.Error(), "web") {
		t.Errorf("remove of a volume that a container has: %v", err)
	}
	if _, err := f.CreateVolume(context.Background(), request("copy", "clone-from=data")); err != nil {
		t.Errorf("clone of a stopped container's: %v", err)
	}
	f.mounted(v, spec.PhaseRunning, false)
	if _, err = f.CreateVolume(context.Background(), request("copy2", "clone-from=data")); !errdefs.IsConflict(err) {
		t.Errorf("clone of a running container's: %v", err)
	}
	f.mounted(spec.Volume{}, spec.PhaseRunning, false)
	got, release, err := f.Hold("data")
	if err != nil || got.Source != v.Source {
		t.Fatalf("%+v, %v", got, err)
	}
	if err := f.RemoveVolume(context.Background(), "data"); !errdefs.IsConflict(err) {
		t.Errorf("remove of a volume that is held: %v", err)
	}
	release()
	release()
	if err := f.RemoveVolume(context.Background(), "data"); err != nil {
		t.Error(err)
	}
	if _, _, err := f.Hold("data"); !errdefs.IsNotFound(err) {
		t.Errorf("hold of a volume that is gone: %v", err)
	}
}

func TestClone(t *testing.T) {
	f := newVolumes(t)
	f.make("data", "size=32m")
	for name, want := range map[string]struct {
		options  []string
		capacity int64
		class    func(error) bool
	}{
		"same":    {[]string{"clone-from=data"}, 32 << 20, nil},
		"larger":  {[]string{"clone-from=data", "size=64m"}, 64 << 20, nil},
		"smaller": {[]string{"clone-from=data", "size=16m"}, 0, errdefs.IsInvalidArgument},
		"none":    {[]string{"clone-from=nodata"}, 0, errdefs.IsNotFound},
	} {
		v, err := f.CreateVolume(context.Background(), request(name, want.options...))
		if want.class != nil {
			if !want.class(err) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil || v.Capacity != want.capacity {
			t.Errorf("%s: %+v, %v", name, v, err)
		}
	}
	if d := cmp.Diff([]string{"ExtendDisk [test] vols/volumes/larger/larger.vmdk"}, f.ds.Calls("ExtendDisk")); d != "" {
		t.Error(d)
	}
}

func TestGrow(t *testing.T) {
	f := newVolumes(t)
	v := f.make("data", "size=32m")
	ctx := context.Background()
	if err := f.GrowVolume(ctx, "data", 16<<20); !errdefs.IsInvalidArgument(err) {
		t.Errorf("shrink: %v", err)
	}
	if err := f.GrowVolume(ctx, "nodata", 16<<20); !errdefs.IsNotFound(err) {
		t.Errorf("no volume: %v", err)
	}
	if err := f.GrowVolume(ctx, "data", 32<<20); err != nil || len(f.ds.Calls("ExtendDisk")) != 0 {
		t.Errorf("the same: %v", err)
	}
	if err := f.GrowVolume(ctx, "data", 64<<20-1); err != nil || len(f.ds.Calls("ExtendDisk")) != 1 || len(f.grown) != 0 {
		t.Errorf("off: %v, %q", err, f.grown)
	}
	f.mounted(v, spec.PhaseRunning, true)
	if err := f.GrowVolume(ctx, "data", 128<<20); !errdefs.IsConflict(err) {
		t.Errorf("while it is read: %v", err)
	}
	f.mounted(v, spec.PhaseRunning, false)
	if err := f.GrowVolume(ctx, "data", 128<<20); err != nil {
		t.Errorf("on: %v", err)
	}
	f.growErr = errors.New("no line")
	if err := f.GrowVolume(ctx, "data", 256<<20); !errors.Is(err, f.growErr) {
		t.Errorf("without a line: %v", err)
	}
	id := strings.Repeat("c", 64)
	if d := cmp.Diff([]string{id + " 3 134217728", id + " 3 268435456"}, f.grown); d != "" {
		t.Error(d)
	}
	f.restart("vch-1")
	if v, err := f.Volume("data"); err != nil || v.Capacity != 256<<20 {
		t.Errorf("%+v, %v", v, err)
	}
}

// TestXFSVolume: the filesystem is what mkfs.xfs makes, once for a size; a copy
// has the original's.
func TestXFSVolume(t *testing.T) {
	f := newVolumes(t)
	v := f.make("data", "size=310m", "fstype=XFS")
	if v.FSType != "xfs" || v.Capacity != 310<<20 {
		t.Errorf("%+v", v)
	}
	r, done, err := f.ds.Disk(v.Source)
	if err != nil {
		t.Fatal(err)
	}
	// The superblock: magic, bytes of a block, number of blocks, all big-endian.
	head := make([]byte, 16)
	if _, err := r.ReadAt(head, 0); err != nil || string(head[:4]) != "XFSB" {
		t.Errorf("begins with %q, %v", head, err)
	}
	if n := int64(binary.BigEndian.Uint32(head[4:])) * int64(binary.BigEndian.Uint64(head[8:])); n != v.Capacity {
		t.Errorf("the filesystem has %d bytes, the disk %d", n, v.Capacity)
	}
	if err := done(); err != nil {
		t.Error(err)
	}
	f.make("more", "size=310m", "fstype=xfs")
	if n := len(f.ds.Calls("ImportDisk")); n != 1 {
		t.Errorf("%d blanks were made", n)
	}
	if c := f.make("copy", "clone-from=data"); c.FSType != "xfs" {
		t.Errorf("the copy: %+v", c)
	}
	if _, err := f.CreateVolume(context.Background(), request("other", "clone-from=data", "fstype=ext4")); !errdefs.IsInvalidArgument(err) {
		t.Errorf("a copy with another filesystem: %v", err)
	}
}

func TestVolumePolicy(t *testing.T) {
	f := newVolumes(t)
	_, err := f.CreateVolume(t.Context(), request("data", "size=16m", "vsan-policy-name=silver"))
	if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), "there are [gold]") || len(f.files()) != 0 {
		t.Errorf("no such policy: %v, %q", err, f.files())
	}
	v := f.make("data", "size=16m", "vsan-policy-name=gold")
	if v.Policy != "gold" || v.PolicyID != "id-of-gold" {
		t.Errorf("%+v", v)
	}
	f.restart("vch-2")
	if again, err := f.Volume("data"); err != nil || !cmp.Equal(v, again) {
		t.Errorf("%+v, %v", again, err)
	}
}
