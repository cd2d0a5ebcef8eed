package storage_test

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/spec"
)

// rewrite changes a file of the datastore.
func (f *fixture) rewrite(path string, change func(string) string) {
	f.t.Helper()
	ctx := context.Background()
	r, _, err := f.ds.Get(ctx, path, 0)
	if err != nil {
		f.t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		f.t.Fatal(err)
	}
	text := change(string(b))
	if err := f.ds.Put(ctx, path, strings.NewReader(text), int64(len(text))); err != nil {
		f.t.Fatal(err)
	}
}

func blobPath(d string) string { return root + "/blobs/sha256/" + strings.TrimPrefix(d, "sha256:") }

// spoil changes the last byte.
func spoil(s string) string { return s[:len(s)-1] + string(s[len(s)-1]^0x20) }

// TestDamagedBlobs: a file of the datastore that is not what it was is told of
// wherever it is used, and a pull mends it.
func TestDamagedBlobs(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t)
	ref := f.push("app", []string{"a=1"})
	img := f.pull(ref)
	layer := blobOf(t, f, img, 0).Blob
	manifest, err := f.Manifest(img.ID)
	if err != nil {
		t.Fatal(err)
	}
	save := func() error { return f.SaveArchive(ctx, []string{ref}, spec.SaveOptions{}, io.Discard) }
	push := func() error { _, err := f.Images.Push(ctx, ref, spec.PushOptions{}); return err }
	check := func(what string, err error, names string) {
		t.Helper()
		if !errdefs.IsDataLoss(err) || !strings.Contains(err.Error(), names) || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("%s: %v", what, err)
		}
	}

	f.rewrite(blobPath(manifest), spoil)
	check("save, manifest", save(), manifest)
	check("push, manifest", push(), manifest)
	f.rewrite(blobPath(manifest), spoil) // as it was

	f.rewrite(blobPath(layer), spoil)
	check("save, layer", save(), layer)
	// The disk is made of it when it has gone.
	disk, err := f.Disk(ctx, img.ID)
	if err == nil {
		err = f.ds.DeleteDisk(ctx, disk)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Disk(ctx, img.ID); err == nil || !strings.Contains(err.Error(), layer) {
		t.Errorf("disk: %v", err)
	}
	f.pull(ref)
	if got := f.file(img.ID, "a"); got != "1" {
		t.Errorf("after a pull: %q", got)
	}
	if err := save(); err != nil {
		t.Errorf("after a pull: %v", err)
	}
}

// TestForeignClaim: an image that says of another's layer what it is not does not
// harm that one.
func TestForeignClaim(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t)
	img := f.pull(f.push("app", []string{"a=1"}))
	layer := blobOf(t, f, img, 0)
	layer.DiffID = "sha256:" + strings.Repeat("ab", 32)
	src := spec.ImageSource{Config: []byte(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["` + layer.DiffID + `"]}}`), Layers: []spec.ImageLayer{layer}}
	if _, err := f.Put(ctx, src); err == nil {
		t.Error("an image of it was made")
	}
	if err := f.SaveArchive(ctx, []string{img.ID}, spec.SaveOptions{}, io.Discard); err != nil {
		t.Error(err)
	}
	if _, _, err := f.OpenBlob(ctx, layer.Blob, 0); err != nil {
		t.Errorf("the layer: %v", err)
	}
}

// TestRecordOfOtherLayers: an image.json whose layers are not the configuration's
// is left alone, like any other that cannot be read.
func TestRecordOfOtherLayers(t *testing.T) {
	f := newFixture(t)
	img := f.pull(f.push("app", []string{"a=1"}))
	f.rewrite(root+"/images/"+img.ID[7:]+"/image.json", func(s string) string {
		return strings.Replace(s, `"DiffID": "`+img.Layers[0], `"DiffID": "`, 1)
	})
	before := len(f.left())
	f.restart()
	if l := f.List(); len(l) != 0 || len(f.left()) != before {
		t.Errorf("%+v", l)
	}
}
