package storagetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sort"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"

	"github.com/vic-engine/vic/pkg/disk/vmdk"
	"github.com/vic-engine/vic/portlayer/storage"
)

// Run checks that a datastore does what the store relies on. open gives an
// empty folder of one, as "[datastore] folder".
func Run(t *testing.T, open func(t *testing.T) (ds storage.Datastore, root string)) {
	for name, test := range map[string]func(*testing.T, storage.Datastore, string){
		"files":   files,
		"folders": folders,
		"move":    move,
		"missing": missing,
		"disks":   disks,
		"cut":     cutImport,
		"cancel":  cancelled,
		"space":   space,
	} {
		t.Run(name, func(t *testing.T) {
			ds, root := open(t)
			test(t, ds, root)
		})
	}
}

func put(t *testing.T, ds storage.Datastore, path, content string) {
	t.Helper()
	if err := ds.Put(context.Background(), path, strings.NewReader(content), int64(len(content))); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, ds storage.Datastore, path string, offset int64) (string, int64) {
	t.Helper()
	r, size, err := ds.Get(context.Background(), path, offset)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b), size
}

func files(t *testing.T, ds storage.Datastore, root string) {
	ctx := context.Background()
	file := root + "/a file & more.json"
	put(t, ds, file, "long content")
	put(t, ds, file, "content")
	if got, size := get(t, ds, file, 0); got != "content" || size != 7 {
		t.Errorf("%q of %d", got, size)
	}
	if got, size := get(t, ds, file, 3); got != "tent" || size != 7 {
		t.Errorf("from 3: %q of %d", got, size)
	}
	st, err := ds.Stat(ctx, file)
	if err != nil || st.Name != "a file & more.json" || st.Size != 7 || st.Dir {
		t.Errorf("%+v, %v", st, err)
	}
	put(t, ds, root+"/empty", "")
	if got, size := get(t, ds, root+"/empty", 0); got != "" || size != 0 {
		t.Errorf("empty: %q of %d", got, size)
	}
	if err := ds.Put(ctx, root+"/short", strings.NewReader("abc"), 5); err == nil {
		t.Error("a source that ends early is no error")
	}
	if err := ds.Delete(ctx, file); err != nil {
		t.Error(err)
	}
	if _, err := ds.Stat(ctx, file); !errdefs.IsNotFound(err) {
		t.Errorf("after Delete: %v", err)
	}
}

func folders(t *testing.T, ds storage.Datastore, root string) {
	ctx := context.Background()
	for range 2 {
		if err := ds.Mkdir(ctx, root+"/a/b/c"); err != nil {
			t.Fatal(err)
		}
	}
	put(t, ds, root+"/a/b/f", "12")
	entries, err := ds.List(ctx, root+"/a/b")
	if err != nil {
		t.Fatal(err)
	}
	sort.Slice(entries, func(i, j int) bool { return entries[i].Name < entries[j].Name })
	if len(entries) != 2 || entries[0].Name != "c" || !entries[0].Dir || entries[1].Name != "f" || entries[1].Dir || entries[1].Size != 2 {
		t.Errorf("%+v", entries)
	}
	if st, err := ds.Stat(ctx, root+"/a/b"); err != nil || !st.Dir || st.Name != "b" {
		t.Errorf("%+v, %v", st, err)
	}
	if err := ds.Delete(ctx, root+"/a"); err != nil {
		t.Fatal(err)
	}
	if _, err := ds.List(ctx, root+"/a/b"); !errdefs.IsNotFound(err) {
		t.Errorf("after Delete: %v", err)
	}
}

func move(t *testing.T, ds storage.Datastore, root string) {
	ctx := context.Background()
	put(t, ds, root+"/from", "new")
	put(t, ds, root+"/to", "old")
	if err := ds.Move(ctx, root+"/from", root+"/to"); err != nil {
		t.Fatal(err)
	}
	if got, _ := get(t, ds, root+"/to", 0); got != "new" {
		t.Errorf("%q", got)
	}
	if _, err := ds.Stat(ctx, root+"/from"); !errdefs.IsNotFound(err) {
		t.Errorf("the source: %v", err)
	}
	if err := ds.Move(ctx, root+"/from", root+"/to"); !errdefs.IsNotFound(err) {
		t.Errorf("of nothing: %v", err)
	}
}

func missing(t *testing.T, ds storage.Datastore, root string) {
	ctx := context.Background()
	_, _, err := ds.Get(ctx, root+"/no", 0)
	_, statErr := ds.Stat(ctx, root+"/no")
	_, listErr := ds.List(ctx, root+"/no")
	for what, err := range map[string]error{
		"Get": err, "Stat": statErr, "List": listErr, "CopyDisk": ds.CopyDisk(ctx, root+"/no.vmdk", root+"/x.vmdk"),
	} {
		if !errdefs.IsNotFound(err) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, err := range map[string]error{"Delete": ds.Delete(ctx, root+"/no"), "DeleteDisk": ds.DeleteDisk(ctx, root+"/no.vmdk")} {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// sampleDisk is a VMDK of 3 MiB with a few bytes in it.
func sampleDisk(t *testing.T) (packed []byte, capacity int64) {
	t.Helper()
	const size = 3 << 20
	raw := make([]byte, size)
	copy(raw, "begin")
	copy(raw[size-3:], "end")
	var b bytes.Buffer
	if _, err := vmdk.Write(context.Background(), &b, bytes.NewReader(raw), size, vmdk.Options{}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), size
}

func disks(t *testing.T, ds storage.Datastore, root string) {
	ctx := context.Background()
	packed, capacity := sampleDisk(t)
	if err := ds.Mkdir(ctx, root+"/d"); err != nil {
		t.Fatal(err)
	}
	one, two := root+"/d/one.vmdk", root+"/two.vmdk"
	if err := ds.ImportDisk(ctx, one, bytes.NewReader(packed), int64(len(packed)), capacity); err != nil {
		t.Fatal(err)
	}
	if _, err := ds.Stat(ctx, one); err != nil {
		t.Errorf("after the import: %v", err)
	}
	if err := ds.ImportDisk(ctx, one, bytes.NewReader(packed), int64(len(packed)), capacity); !errdefs.IsAlreadyExists(err) {
		t.Errorf("import over a disk: %v", err)
	}
	if err := ds.CopyDisk(ctx, one, two); err != nil {
		t.Fatal(err)
	}
	if err := ds.CopyDisk(ctx, one, two); !errdefs.IsAlreadyExists(err) {
		t.Errorf("copy over a disk: %v", err)
	}
	if err := ds.DeleteDisk(ctx, one); err != nil {
		t.Fatal(err)
	}
	if entries, err := ds.List(ctx, root+"/d"); err != nil || len(entries) != 0 {
		t.Errorf("left of a deleted disk: %+v, %v", entries, err)
	}
	if _, err := ds.Stat(ctx, two); err != nil {
		t.Errorf("the copy: %v", err)
	}
}

// cutImport imports from a source that ends too early or fails.
func cutImport(t *testing.T, ds storage.Datastore, root string) {
	ctx := context.Background()
	packed, capacity := sampleDisk(t)
	boom := errors.New("boom")
	for what, r := range map[string]io.Reader{
		"cut":    bytes.NewReader(packed[:len(packed)/2]),
		"failed": io.MultiReader(bytes.NewReader(packed[:1000]), failing{boom}),
	} {
		if err := ds.ImportDisk(ctx, root+"/x.vmdk", r, int64(len(packed)), capacity); err == nil {
			t.Errorf("%s: no error", what)
		}
		if left, err := ds.List(ctx, root); err != nil || len(left) != 0 {
			t.Errorf("%s: %+v is left, %v", what, left, err)
		}
	}
}

func cancelled(t *testing.T, ds storage.Datastore, root string) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	packed, capacity := sampleDisk(t)
	if err := ds.ImportDisk(ctx, root+"/x.vmdk", bytes.NewReader(packed), int64(len(packed)), capacity); !errors.Is(err, context.Canceled) {
		t.Errorf("ImportDisk: %v", err)
	}
	if err := ds.Put(ctx, root+"/f", strings.NewReader("x"), 1); !errors.Is(err, context.Canceled) {
		t.Errorf("Put: %v", err)
	}
	left, err := ds.List(context.Background(), root)
	if diff := cmp.Diff(0, len(left)); err != nil || diff != "" {
		t.Errorf("%+v is left, %v", left, err)
	}
}

func space(t *testing.T, ds storage.Datastore, _ string) {
	capacity, free, err := ds.Space(context.Background())
	if err != nil || capacity <= 0 || free <= 0 || free > capacity {
		t.Errorf("capacity %d, free %d, %v", capacity, free, err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
