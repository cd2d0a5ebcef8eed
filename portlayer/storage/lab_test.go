//go:build vm

package storage_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/sirupsen/logrus"
	"github.com/vmware/govmomi/find"

	"github.com/vic-engine/vic/pkg/disk/ext4/ext4test"
	"github.com/vic-engine/vic/pkg/image"
	"github.com/vic-engine/vic/pkg/image/imagetest"
	"github.com/vic-engine/vic/pkg/lab"
	"github.com/vic-engine/vic/pkg/lab/machine"
	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/pkg/vsphere"
	"github.com/vic-engine/vic/portlayer/storage"
	"github.com/vic-engine/vic/portlayer/storage/storagetest"
)

// noMachines is a hypervisor on which nothing runs: these tests only store.
type noMachines struct{ machine.Hypervisor }

var errNoMachines = errors.New("no machines in this test")

func (noMachines) Start(context.Context, machine.Machine, machine.Guest) (machine.Instance, error) {
	return nil, errNoMachines
}

func (noMachines) Adopt(context.Context, machine.Machine, machine.Guest) (machine.Instance, error) {
	return nil, errNoMachines
}

// labDatastore runs a lab and opens its datastore, which is the folder dir.
func labDatastore(t *testing.T, mode lab.Mode) (ds *vsphere.Datastore, dir string) {
	t.Helper()
	_, ds, dir = openLab(t, mode)
	return ds, dir
}

func openLab(t *testing.T, mode lab.Mode) (l *lab.Lab, ds *vsphere.Datastore, dir string) {
	t.Helper()
	l, open, dir := startLab(t, mode)
	return l, open("mydatastore"), dir
}

// startLab gives a lab, its datastores by name, and the folder of the first.
func startLab(t *testing.T, mode lab.Mode) (l *lab.Lab, open func(name string) *vsphere.Datastore, dir string) {
	t.Helper()
	state := t.TempDir()
	log := logrus.New()
	log.SetOutput(io.Discard)
	l, err := lab.New(lab.Config{Mode: mode, StateDir: state, Listen: "127.0.0.1:0", Hypervisor: noMachines{}, Log: logrus.NewEntry(log)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	select {
	case <-l.Ready():
	case err := <-ended:
		t.Fatal(err)
	}
	se, err := vsphere.Dial(ctx, vsphere.Config{URL: l.URL().String(), User: l.User(), Password: l.Password(), Thumbprint: l.Thumbprint(), Log: logrus.NewEntry(log)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = se.Logout(context.Background()) })
	pool, err := find.NewFinder(se.Client()).ResourcePoolList(ctx, "*/Resources")
	if err != nil {
		t.Fatal(err)
	}
	ref := pool[0].Reference()
	open = func(name string) *vsphere.Datastore {
		ds, err := se.Datastore(ctx, vsphere.DatastoreConfig{Name: name, Pool: &ref})
		if err != nil {
			t.Fatal(err)
		}
		return ds
	}
	return l, open, filepath.Join(state, "datastores", "mydatastore")
}

// rawDisk gives the file of a disk's bytes.
func rawDisk(t *testing.T, dir, disk string) *os.File {
	t.Helper()
	raw := filepath.Join(t.TempDir(), "raw")
	vmdk := filepath.Join(dir, strings.TrimPrefix(disk, "[mydatastore] "))
	if out, err := exec.Command("qemu-img", "convert", "-O", "raw", vmdk, raw).CombinedOutput(); err != nil {
		t.Fatalf("qemu-img: %v\n%s", err, out)
	}
	if out, err := exec.Command("e2fsck", "-fn", raw).CombinedOutput(); err != nil {
		t.Errorf("e2fsck of %s: %v\n%s", disk, err, out)
	}
	f, err := os.Open(raw)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func eachMode(t *testing.T, test func(t *testing.T, ds *vsphere.Datastore, dir string)) {
	for _, mode := range []lab.Mode{lab.ModeESXi, lab.ModeVCenter} {
		t.Run(string(mode), func(t *testing.T) {
			ds, dir := labDatastore(t, mode)
			test(t, ds, dir)
		})
	}
}

// TestLabDatastore runs the suite on vSphere's datastore as the lab has it.
func TestLabDatastore(t *testing.T) {
	eachMode(t, func(t *testing.T, ds *vsphere.Datastore, _ string) {
		var n atomic.Int64
		storagetest.Run(t, func(t *testing.T) (storage.Datastore, string) {
			dir := fmt.Sprintf("[mydatastore] test %d", n.Add(1))
			if err := ds.Mkdir(context.Background(), dir); err != nil {
				t.Fatal(err)
			}
			return ds, dir
		})
	})
}

// TestLabPull pulls onto the lab, restarts the store, and deletes all again.
func TestLabPull(t *testing.T) {
	eachMode(t, func(t *testing.T, ds *vsphere.Datastore, dir string) {
		ctx := context.Background()
		log := logrus.New()
		log.SetOutput(io.Discard)
		client, err := image.NewClient(image.ClientConfig{Log: logrus.NewEntry(log)})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		open := func() *storage.Images {
			s, err := storage.New(storage.Config{Datastore: ds, ImageStore: "[mydatastore] images", VCH: "u", Spool: t.TempDir(), Client: client, Log: logrus.NewEntry(log)})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Load(ctx); err != nil {
				t.Fatal(err)
			}
			return s
		}
		reg := imagetest.Start(t)
		reg.Push(t, "app", "latest", "linux/amd64", imagetest.Tar(t, "etc/motd=1"), imagetest.Tar(t, "etc/motd=2"))
		s := open()
		img, _, err := s.Pull(ctx, reg.Host()+"/app", spec.PullOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.CloneRoot(ctx, "[mydatastore] c1/c1.vmdk", 8192); err != nil {
			t.Fatal(err)
		}
		want := s.List()
		s = open()
		if diff := cmp.Diff(want, s.List()); diff != "" {
			t.Error(diff)
		}
		disk, err := s.Disk(ctx, img.ID)
		if err != nil || !strings.HasPrefix(disk, "[mydatastore] images/VIC/u/images/") {
			t.Errorf("%s, %v", disk, err)
		}
		for _, p := range []string{disk, "[mydatastore] c1/c1.vmdk"} {
			if st, err := ds.Stat(ctx, p); err != nil || st.Name != path.Base(p) {
				t.Errorf("%s: %+v, %v", p, st, err)
			}
		}
		if b, err := ext4test.ReadFile(rawDisk(t, dir, disk), "etc/motd"); err != nil || string(b) != "2" {
			t.Errorf("motd %q, %v", b, err)
		}
		if names, err := ext4test.List(rawDisk(t, dir, "[mydatastore] c1/c1.vmdk"), "/"); err != nil || len(names) != 1 {
			t.Errorf("read-write disk has %v, %v", names, err)
		}
		if _, err := s.Delete(ctx, img.ID, append(img.RepoTags, img.RepoDigests...)...); err != nil {
			t.Fatal(err)
		}
		for _, dir := range []string{"images", "blobs/sha256", "tmp"} {
			if left, err := ds.List(ctx, "[mydatastore] images/VIC/u/"+dir); err != nil || len(left) != 0 {
				t.Errorf("left in %s: %+v, %v", dir, left, err)
			}
		}
	})
}

// labVolumes are a VCH's volumes on the lab.
func labVolumes(t *testing.T, ds *vsphere.Datastore, vch string) *storage.Volumes {
	t.Helper()
	return storesOnLab(t, vch, map[string]string{"default": "[mydatastore] vols"}, func(string) *vsphere.Datastore { return ds })
}

func storesOnLab(t *testing.T, vch string, stores map[string]string, open func(string) *vsphere.Datastore) *storage.Volumes {
	t.Helper()
	log := logrus.New()
	log.SetOutput(io.Discard)
	v, err := storage.NewVolumes(storage.VolumesConfig{
		Stores: stores, VCH: vch, Spool: t.TempDir(), Log: logrus.NewEntry(log),
		Open:       func(_ context.Context, name string) (storage.VolumeDatastore, error) { return open(name), nil },
		Containers: func() []*spec.View { return nil },
		Grow:       func(context.Context, string, int, int64) (bool, error) { return false, errNoMachines },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- v.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	<-v.Scanned()
	return v
}

// TestLabVolumes makes, copies, grows and removes volumes on the lab.
func TestLabVolumes(t *testing.T) {
	eachMode(t, func(t *testing.T, ds *vsphere.Datastore, dir string) {
		ctx := context.Background()
		v := labVolumes(t, ds, "one")
		request := func(name string, options map[string]string) spec.VolumeRequest {
			return spec.VolumeRequest{Name: name, Options: options, Labels: map[string]string{"for": name}}
		}
		for _, q := range []spec.VolumeRequest{
			request("data", map[string]string{"Capacity": "64MB"}), request("plain", nil),
			request("thick", map[string]string{"size": "32", "diskformat": "eagerzeroedthick"}),
			request("copy", map[string]string{"clone-from": "data", "size": "96m"}),
		} {
			if _, err := v.CreateVolume(ctx, q); err != nil {
				t.Fatal(err)
			}
		}
		if err := v.GrowVolume(ctx, "data", 128<<20); err != nil {
			t.Fatal(err)
		}
		for name, capacity := range map[string]int64{"data": 128 << 20, "plain": 1 << 30, "thick": 32 << 20, "copy": 96 << 20} {
			x, err := v.Volume(name)
			if err != nil || x.Capacity != capacity || x.Allocated < 4096 || x.Allocated > capacity {
				t.Errorf("%s: %+v, %v", name, x, err)
			}
			f := rawDisk(t, dir, x.Source)
			if st, err := f.Stat(); err != nil || st.Size() != capacity {
				t.Errorf("%s: disk of %d bytes, %v", name, st.Size(), err)
			}
		}
		before, _ := v.Volumes()
		again := labVolumes(t, ds, "two")
		after, warnings := again.Volumes()
		if d := cmp.Diff(before, after, cmpopts.IgnoreFields(spec.Volume{}, "Allocated")); d != "" || len(warnings) > 0 {
			t.Errorf("another VCH with the store: %q\n%s", warnings, d)
		}
		for _, x := range after {
			if err := again.RemoveVolume(ctx, x.Name); err != nil {
				t.Error(err)
			}
		}
		if left, err := ds.List(ctx, "[mydatastore] vols/volumes"); err != nil || len(left) != 1 || left[0].Name != ".blank" {
			t.Errorf("left: %+v, %v", left, err)
		}
	})
}

// TestLabVolumesFull: a datastore without room refuses a volume, keeps those
// that are, and has nothing more than before.
func TestLabVolumesFull(t *testing.T) {
	l, ds, _ := openLab(t, lab.ModeESXi)
	ctx := context.Background()
	v := labVolumes(t, ds, "one")
	if _, err := v.CreateVolume(ctx, spec.VolumeRequest{Name: "data"}); err != nil {
		t.Fatal(err)
	}
	l.FillDatastore("mydatastore", true)
	for _, options := range []map[string]string{nil, {"size": "64m"}, {"clone-from": "data"}, {"diskformat": "zeroedthick"}} {
		_, err := v.CreateVolume(ctx, spec.VolumeRequest{Name: "more", Options: options})
		if !errdefs.IsResourceExhausted(err) {
			t.Errorf("%v: %v", options, err)
		}
	}
	l.FillDatastore("mydatastore", false)
	if left, err := ds.List(ctx, "[mydatastore] vols/volumes"); err != nil || len(left) != 2 {
		t.Errorf("left: %+v, %v", left, err)
	}
	if _, err := v.CreateVolume(ctx, spec.VolumeRequest{Name: "more"}); err != nil {
		t.Error(err)
	}
	if _, err := v.Volume("data"); err != nil {
		t.Error(err)
	}
}

// TestLabCopiesAcrossDatastores: the copy has what the original has, and nothing
// is left when there is no room for it.
func TestLabCopiesAcrossDatastores(t *testing.T) {
	for _, mode := range []lab.Mode{lab.ModeESXi, lab.ModeVCenter} {
		t.Run(string(mode), func(t *testing.T) {
			ctx := t.Context()
			l, open, dir := startLab(t, mode)
			v := storesOnLab(t, "one", map[string]string{"default": "[mydatastore] vols", "far": "[datastore2] other/place"}, open)
			data, err := v.CreateVolume(ctx, spec.VolumeRequest{Name: "data", Options: map[string]string{"size": "64m"}})
			if err != nil {
				t.Fatal(err)
			}
			far := open("datastore2")
			l.FillDatastore("datastore2", true)
			q := spec.VolumeRequest{Name: "copy", Options: map[string]string{"clone-from": "data", "VolumeStore": "far", "size": "96m"}}
			if _, err := v.CreateVolume(ctx, q); !errdefs.IsResourceExhausted(err) {
				t.Errorf("no room: %v", err)
			}
			l.FillDatastore("datastore2", false)
			if left, err := far.List(ctx, "[datastore2] other/place/volumes"); err != nil && !errdefs.IsNotFound(err) || len(left) != 0 {
				t.Errorf("left: %+v, %v", left, err)
			}
			x, err := v.CreateVolume(ctx, q)
			if err != nil || x.Store != "far" || x.Capacity != 96<<20 || x.Source != "[datastore2] other/place/volumes/copy/copy.vmdk" {
				t.Fatalf("%+v, %v", x, err)
			}
			a := rawDisk(t, dir, data.Source)
			b := rawDisk(t, dir, "[mydatastore] ../datastore2/other/place/volumes/copy/copy.vmdk")
			head, got := make([]byte, 64<<20), make([]byte, 64<<20)
			if _, err := a.ReadAt(head, 0); err != nil {
				t.Error(err)
			}
			if _, err := b.ReadAt(got, 0); err != nil || !bytes.Equal(head, got) {
				t.Errorf("the copy is another: %v", err)
			}
		})
	}
}
