package storage_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"

	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/portlayer/storage"
	"github.com/vic-engine/vic/portlayer/storage/storagetest"
)

// TestFailedCreateVolumeLeavesNothing fails every step of a create in turn.
func TestFailedCreateVolumeLeavesNothing(t *testing.T) {
	f := newVolumes(t)
	f.make("other", "size=32m")
	want := f.files()
	boom := fmt.Errorf("full: %w", errdefs.ErrResourceExhausted)
	for step := 1; ; step++ {
		n, failed := 0, ""
		f.ds.Before = func(_ context.Context, op, path string) error {
			// What is optional may fail unseen: the size, and the mark of a finished create.
			if op == "Allocated" || op == "Delete" && strings.HasSuffix(path, "creating.json") {
				return nil
			}
			if n++; n == step {
				failed = op + " " + path
				return boom
			}
			return nil
		}
		_, err := f.CreateVolume(context.Background(), request("data", "size=16m", "diskformat=eagerzeroedthick"))
		f.ds.Before = nil
		if err == nil {
			if failed != "" || step < 7 {
				t.Errorf("step %d, %q: nobody noticed", step, failed)
			}
			break
		}
		if !errdefs.IsResourceExhausted(err) {
			t.Errorf("step %d, %s: %v", step, failed, err)
		}
		if d := cmp.Diff(want, f.files()); d != "" {
			t.Fatalf("left when step %d fails, %s:\n%s", step, failed, d)
		}
		if _, err := f.Volume("data"); !errdefs.IsNotFound(err) {
			t.Errorf("step %d: %v", step, err)
		}
		if left, err := f.ds.List(context.Background(), "[test] vols/volumes"); err != nil || len(left) != 2 {
			t.Errorf("step %d: folders %+v, %v", step, left, err)
		}
	}
	if d := cmp.Diff([]string{"data", "other"}, f.names()); d != "" {
		t.Error(d)
	}
}

// TestCutOffCreateVolume ends the engine after every step of a create: nothing
// more is done, not even taking back. The next engine makes it as if nothing had been.
func TestCutOffCreateVolume(t *testing.T) {
	for step := 1; ; step++ {
		f := newVolumes(t)
		n := 0
		f.ds.Before = func(context.Context, string, string) error {
			if n++; n > step {
				return errors.New("the engine is dead")
			}
			return nil
		}
		_, err := f.CreateVolume(context.Background(), request("data", "size=16m"))
		f.stop()
		f.ds.Before = nil
		f.restart("vch-1")
		if err == nil {
			if d := cmp.Diff([]string{"data"}, f.names()); d != "" {
				t.Error(d)
			}
			return
		}
		if left := f.files(); len(f.names()) != 0 && len(left) != 2 || len(f.names()) == 0 && len(left) != 0 {
			t.Fatalf("step %d: %q is left, %q", step, left, f.names())
		}
		f.make("data", "size=16m")
	}
}

// A full datastore refuses a thick volume before anything is written.
func TestThickVolumeNeedsRoom(t *testing.T) {
	f := newVolumes(t)
	f.ds.Capacity = 1 << 20
	_, err := f.CreateVolume(context.Background(), request("data", "size=64m", "diskformat=zeroedthick"))
	if !errdefs.IsResourceExhausted(err) || !strings.Contains(err.Error(), "64MiB") {
		t.Error(err)
	}
	if left := f.files(); len(left) != 0 {
		t.Errorf("left: %q", left)
	}
}

// TestUnreachableStore: its volumes are known to be there, and come back.
func TestUnreachableStore(t *testing.T) {
	f := newVolumes(t)
	v := f.make("data", "size=16m")
	f.mounted(v, spec.PhaseExited, false)
	f.mu.Lock()
	f.down = fmt.Errorf("host is away: %w", errdefs.ErrUnavailable)
	f.mu.Unlock()
	f.restart("vch-1")
	list, warnings := f.Volumes.Volumes()
	if len(list) != 1 || list[0].Name != "data" || !strings.Contains(list[0].Unavailable, "host is away") || len(warnings) != 2 {
		t.Errorf("%+v, %q", list, warnings)
	}
	if got, err := f.Volume("data"); err != nil || got.Unavailable == "" {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := f.CreateVolume(context.Background(), request("new", "size=16m")); !errdefs.IsUnavailable(err) {
		t.Errorf("create: %v", err)
	}
	if err := f.RemoveVolume(context.Background(), "data"); !errdefs.IsUnavailable(err) {
		t.Errorf("remove: %v", err)
	}
	f.mu.Lock()
	f.down = nil
	f.mu.Unlock()
	f.until("the store is back", func() bool {
		v, err := f.Volume("data")
		_, warnings := f.Volumes.Volumes()
		return err == nil && v.Unavailable == "" && len(warnings) == 0
	})
}

func TestStoresThatCannotBe(t *testing.T) {
	f := newVolumes(t)
	f.stores = map[string]string{"share": "nfs://host/path?proto=udp", "bad": "[x", "a": "test/v", "b": "[test] v/"}
	f.restart("vch-1")
	_, warnings := f.Volumes.Volumes()
	all := strings.Join(warnings, "\n")
	for _, want := range []string{"only tcp", `"bad"`, `same place as store "a"`} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is not in:\n%s", want, all)
		}
	}
	for store, class := range map[string]func(error) bool{
		"share": errdefs.IsInvalidArgument, "bad": errdefs.IsInvalidArgument, "": errdefs.IsNotFound, "other": errdefs.IsNotFound,
	} {
		q := request("data")
		if store != "" {
			q = request("data", "VolumeStore="+store)
		}
		if _, err := f.CreateVolume(context.Background(), q); !class(err) {
			t.Errorf("store %q: %v", store, err)
		}
	}
	f.stores = nil
	f.restart("vch-1")
	if _, err := f.CreateVolume(context.Background(), request("data")); !errdefs.IsNotFound(err) || !strings.Contains(err.Error(), "--volume-store") {
		t.Errorf("no stores: %v", err)
	}
}

// What others do to the files is seen at the next look.
func TestOthersChangeFiles(t *testing.T) {
	f := newVolumes(t)
	ctx := context.Background()
	f.make("gone", "size=16m")
	f.make("headless", "size=16m")
	f.make("same", "size=16m")
	for _, err := range []error{
		f.ds.Delete(ctx, "[test] vols/volumes/gone"),
		f.ds.DeleteDisk(ctx, "[test] vols/volumes/headless/headless.vmdk"),
		f.ds.Mkdir(ctx, "[test] vols/volumes/strange"),
		f.ds.Put(ctx, "[test] vols/volumes/strange/notes.txt", strings.NewReader("mine"), 4),
		f.ds.Mkdir(ctx, "[test] vols/volumes/newer"),
		f.ds.Put(ctx, "[test] vols/volumes/newer/volume.json", strings.NewReader(`{"Version":99}`), 14),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	f.mu.Lock()
	f.now = f.now.Add(time.Hour)
	f.mu.Unlock()
	var list []spec.Volume
	var warnings []string
	f.until("files are seen as they are", func() bool {
		list, warnings = f.Volumes.Volumes()
		return len(list) == 2 && len(warnings) == 2 && list[0].Unavailable != ""
	})
	if list[0].Name != "headless" || list[1].Unavailable != "" || !strings.Contains(strings.Join(warnings, "\n"), "strange") {
		t.Errorf("%+v, %q", list, warnings)
	}
	if _, err := f.CreateVolume(ctx, request("strange", "size=16m")); !errdefs.IsConflict(err) {
		t.Errorf("a folder of somebody else's: %v", err)
	}
	if _, _, err := f.Hold("headless"); !errdefs.IsUnavailable(err) {
		t.Errorf("a volume without its disk: %v", err)
	}
	if err := f.RemoveVolume(ctx, "headless"); err != nil {
		t.Errorf("a volume without its disk: %v", err)
	}
}

// A store that two VCHs share: what one makes, the other has; a create of the
// other's is left alone.
func TestSharedStore(t *testing.T) {
	f := newVolumes(t)
	ctx := context.Background()
	f.make("first", "size=16m")
	f.stop()
	one := f.Volumes
	f.restart("vch-2")
	f.make("second", "size=16m")
	if v, err := one.CreateVolume(ctx, request("second", "size=16m")); err != nil || v.Name != "second" {
		t.Errorf("%+v, %v", v, err)
	}
	mark := fmt.Sprintf(`{"VCH":"vch-9","Begun":%q}`, f.now.Format(time.RFC3339))
	if err := errors.Join(f.ds.Mkdir(ctx, "[test] vols/volumes/third"), f.ds.Put(ctx, "[test] vols/volumes/third/creating.json", strings.NewReader(mark), int64(len(mark)))); err != nil {
		t.Fatal(err)
	}
	if _, err := f.CreateVolume(ctx, request("third", "size=16m")); !errdefs.IsConflict(err) {
		t.Errorf("while another VCH makes it: %v", err)
	}
	f.mu.Lock()
	f.now = f.now.Add(2 * time.Hour)
	f.mu.Unlock()
	f.make("third", "size=16m")
}

// A datastore that does not answer keeps nobody waiting, but who asks for it.
func TestHungStore(t *testing.T) {
	log := logrus.New()
	log.SetOutput(io.Discard)
	hung := make(chan struct{})
	good := storagetest.NewDir(t.TempDir())
	v, err := storage.NewVolumes(storage.VolumesConfig{
		Stores: map[string]string{"default": "[test] good", "bad": "[away] bad"}, VCH: "vch", Spool: t.TempDir(),
		ScanTimeout: 100 * time.Millisecond, Retry: time.Millisecond, Log: logrus.NewEntry(log),
		Open: func(_ context.Context, name string) (storage.VolumeDatastore, error) {
			if name == "away" {
				<-hung
				return nil, errdefs.ErrUnavailable
			}
			return good, nil
		},
		Containers: func() []*spec.View { return nil },
		Grow:       func(context.Context, string, int, int64) (bool, error) { return false, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- v.Run(ctx) }()
	<-v.Scanned()
	// A slow machine may need longer than that for the first look at the other
	// store; the next one follows at once.
	for end := time.Now().Add(patience); ; {
		_, err := v.CreateVolume(ctx, request("data", "size=16m"))
		if err == nil {
			break
		}
		if !errdefs.IsUnavailable(err) || time.Now().After(end) {
			t.Fatalf("in the other store: %v", err)
		}
	}
	if _, err := v.CreateVolume(ctx, request("data2", "volumestore=bad")); !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), `"bad"`) {
		t.Errorf("in the store that hangs: %v", err)
	}
	if _, warnings := v.Volumes(); len(warnings) != 1 {
		t.Errorf("warnings: %q", warnings)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	close(hung)
}
