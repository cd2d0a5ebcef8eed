package storage_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/vic-engine/vic/pkg/disk/ext4/ext4test"
	"github.com/vic-engine/vic/pkg/image"
	"github.com/vic-engine/vic/pkg/image/imagetest"
	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/portlayer/storage"
	"github.com/vic-engine/vic/portlayer/storage/storagetest"
)

func TestDir(t *testing.T) {
	storagetest.Run(t, func(t *testing.T) (storage.Datastore, string) {
		ds := storagetest.NewDir(t.TempDir())
		if err := ds.Mkdir(context.Background(), "[test] x"); err != nil {
			t.Fatal(err)
		}
		return ds, "[test] x"
	})
}

func TestPull(t *testing.T) {
	f := newFixture(t)
	ref := f.push("app", []string{"etc/", "etc/motd=old", "etc/gone=1"}, []string{"etc/motd=new", "etc/.wh.gone"})
	var w words
	img, fresh, err := f.Pull(context.Background(), ref, spec.PullOptions{Progress: w.hear})
	if err != nil || !fresh {
		t.Fatal(fresh, err)
	}
	if got := f.file(img.ID, "etc/motd"); got != "new" {
		t.Errorf("motd %q", got)
	}
	if diff := cmp.Diff([]string{ref}, img.RepoTags); diff != "" || len(img.RepoDigests) != 1 || !strings.HasPrefix(img.RepoDigests[0], f.reg.Host()+"/app@sha256:") {
		t.Errorf("names %v %v", img.RepoTags, img.RepoDigests)
	}
	if img.Size != 7 || len(img.Layers) != 2 || img.LayerSizes[0] != 4 || img.Created.Year() != 2026 || !bytes.Contains(img.Config, []byte(`"/app"`)) || img.Pulled.IsZero() {
		t.Errorf("%+v", img)
	}
	lower := imagetest.Gzip(t, imagetest.Tar(t, "etc/", "etc/motd=old", "etc/gone=1"))
	id := fmt.Sprintf("%x", sum(lower.Packed))[:12]
	if diff := cmp.Diff([]string{"Pulling fs layer", "Downloading", "Verifying Checksum", "Download complete", "Extracting", "Pull complete"}, w.of(id)); diff != "" {
		t.Error(diff)
	}

	// A second pull finds everything.
	before := len(f.reg.Requests("GET /v2/app/blobs/"))
	again, fresh, err := f.Pull(context.Background(), ref, spec.PullOptions{})
	if err != nil || fresh || again.ID != img.ID {
		t.Errorf("again: %v %v %v", again.ID, fresh, err)
	}
	if n := len(f.reg.Requests("GET /v2/app/blobs/")) - before; n != 1 { // the configuration
		t.Errorf("%d blobs were fetched again", n)
	}
	if n := len(f.ds.Calls("ImportDisk")); n != 1 {
		t.Errorf("%d imports", n)
	}
}

func TestRestartKnowsEverything(t *testing.T) {
	f := newFixture(t)
	a, b := f.push("a", []string{"x=1"}), f.push("b", []string{"x=1"}, []string{"y=2"})
	imgA, imgB := f.pull(a), f.pull(b)
	if err := f.Tag(context.Background(), imgA.ID, "mine:1"); err != nil {
		t.Fatal(err)
	}
	want := f.List()
	// What an engine that died leaves.
	ctx := context.Background()
	for _, p := range []string{root + "/tmp/upload", root + "/blobs/sha256/" + strings.Repeat("a", 64)} {
		if err := f.ds.Put(ctx, p, strings.NewReader("x"), 1); err != nil {
			t.Fatal(err)
		}
	}
	half := root + "/images/" + strings.Repeat("b", 64)
	if err := f.ds.Mkdir(ctx, half); err != nil {
		t.Fatal(err)
	}
	if err := f.ds.Put(ctx, half+"/"+strings.Repeat("b", 64)+".vmdk", strings.NewReader("x"), 1); err != nil {
		t.Fatal(err)
	}
	mkdir(t, filepath.Join(f.spool, "image-123"))

	f.restart()
	if diff := cmp.Diff(want, f.List()); diff != "" {
		t.Error(diff)
	}
	if f.folders() != 2 {
		t.Errorf("%d image folders", f.folders())
	}
	for _, p := range f.left() {
		if strings.Contains(p, "tmp/") || strings.Contains(p, "aaaa") || strings.Contains(p, "bbbb") || strings.Contains(p, "image-123") {
			t.Errorf("%s is left", p)
		}
	}
	for ref, want := range map[string]string{"mine:1": imgA.ID, a: imgA.ID, b: imgB.ID, imgB.ID: imgB.ID, imgB.ID[7:19]: imgB.ID, imgA.RepoDigests[0]: imgA.ID} {
		if got, err := f.Resolve(ref); err != nil || got.ID != want {
			t.Errorf("%s: %v, %v", ref, got.ID, err)
		}
	}
	if got := f.file(imgB.ID, "y"); got != "2" {
		t.Errorf("y is %q", got)
	}
	if n := len(f.ds.Calls("ImportDisk")); n != 2 {
		t.Errorf("%d imports", n)
	}
}

func TestSharedLayersOnce(t *testing.T) {
	f := newFixture(t)
	base := []string{"base=" + strings.Repeat("b", 1000)}
	a := f.push("repo/a", base, []string{"a=1"})
	f.pull(a)
	b := f.push("repo/b", base, []string{"b=1"}, base)
	var w words
	img, _, err := f.Pull(context.Background(), b, spec.PullOptions{Progress: w.hear})
	if err != nil {
		t.Fatal(err)
	}
	packed := imagetest.Gzip(t, imagetest.Tar(t, base...)).Packed
	if diff := cmp.Diff([]string{"Already exists"}, w.of(fmt.Sprintf("%x", sum(packed))[:12])); diff != "" {
		t.Error(diff)
	}
	if n := len(f.reg.Requests(fmt.Sprintf("GET /v2/repo/b/blobs/sha256:%x", sum(packed)))); n != 0 {
		t.Errorf("the shared layer was fetched %d times", n)
	}
	if f.file(img.ID, "b") != "1" || len(f.file(img.ID, "base")) != 1000 {
		t.Error("the disk lacks a layer")
	}
}

func TestNoLayers(t *testing.T) {
	f := newFixture(t)
	img := f.pull(f.push("empty"))
	if img.Size != 0 || len(img.Layers) != 0 {
		t.Errorf("%+v", img)
	}
	path, err := f.Disk(context.Background(), img.ID)
	if err != nil {
		t.Fatal(err)
	}
	r, done, err := f.ds.Disk(path)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	if names, err := ext4test.List(r, "/"); err != nil || len(names) != 1 {
		t.Errorf("%v, %v", names, err)
	}
}

func TestResolve(t *testing.T) {
	f := newFixture(t)
	f.pull(f.push("a", []string{"x=1"}))
	for _, ref := range []string{"nosuch", "a:2", "sha256:" + strings.Repeat("0", 64), "Not A Ref", ""} {
		_, err := f.Resolve(ref)
		if !errdefs.IsNotFound(err) || !strings.HasPrefix(err.Error(), "No such image: ") {
			t.Errorf("%q: %v", ref, err)
		}
	}
	// Enough images for two to begin with the same digit.
	for i := range 16 {
		f.pull(f.push(fmt.Sprintf("r%d", i), []string{"x=1"}))
	}
	ambiguous := 0
	for _, c := range "0123456789abcdef" {
		if _, err := f.Resolve(string(c)); errdefs.IsInvalidArgument(err) {
			ambiguous++
		}
	}
	if ambiguous == 0 {
		t.Error("no prefix is ambiguous")
	}
}

func TestTagMovesAndUntag(t *testing.T) {
	f := newFixture(t)
	ctx := context.Background()
	a, b := f.pull(f.push("a", []string{"x=1"})), f.pull(f.push("b", []string{"x=2"}))
	for _, id := range []string{a.ID, b.ID} {
		if err := f.Tag(ctx, id, "name"); err != nil {
			t.Fatal(err)
		}
	}
	f.restart()
	if got, err := f.Resolve("name:latest"); err != nil || got.ID != b.ID {
		t.Errorf("%v, %v", got.ID, err)
	}
	if err := f.Untag(ctx, "name"); err != nil {
		t.Fatal(err)
	}
	if err := f.Untag(ctx, "name"); !errdefs.IsNotFound(err) {
		t.Errorf("again: %v", err)
	}
	if err := f.Untag(ctx, b.RepoDigests[0]); err != nil {
		t.Errorf("a digest: %v", err)
	}
	if err := f.Tag(ctx, "nosuch", "x"); !errdefs.IsNotFound(err) {
		t.Errorf("tag of nothing: %v", err)
	}
	if err := f.Tag(ctx, a.ID, "BAD NAME"); !errdefs.IsInvalidArgument(err) {
		t.Errorf("bad name: %v", err)
	}
	f.restart()
	if _, err := f.Resolve("name"); !errdefs.IsNotFound(err) {
		t.Errorf("after a restart: %v", err)
	}
}

func TestDelete(t *testing.T) {
	f := newFixture(t)
	ctx := context.Background()
	base := []string{"x=1"}
	a, b := f.pull(f.push("a", base, []string{"a=1"})), f.pull(f.push("b", base, []string{"b=1"}))
	freed, err := f.remove(ctx, a.ID)
	if err != nil {
		t.Fatal(err)
	}
	if len(freed) != 2 || freed[0] != a.ID { // the base stays
		t.Errorf("freed %q", freed)
	}
	if _, err := f.Resolve("a"); !errdefs.IsNotFound(err) {
		t.Error("its name is left")
	}
	if got := f.file(b.ID, "x"); got != "1" {
		t.Errorf("%q", got)
	}
	if freed, err = f.remove(ctx, b.ID); err != nil || len(freed) != 3 {
		t.Errorf("%q, %v", freed, err)
	}
	if left := f.left(); len(left) != 0 || f.folders() != 0 {
		t.Errorf("%q is left", left)
	}
	if _, err := f.remove(ctx, a.ID); !errdefs.IsNotFound(err) {
		t.Errorf("again: %v", err)
	}
}

func TestDeleteOfADiskInUse(t *testing.T) {
	f := newFixture(t)
	img := f.pull(f.push("a", []string{"x=1"}))
	f.ds.Before = func(_ context.Context, op, _ string) error {
		if op == "DeleteDisk" {
			return fmt.Errorf("locked: %w", errdefs.ErrConflict)
		}
		return nil
	}
	if _, err := f.remove(context.Background(), img.ID); !errdefs.IsConflict(err) {
		t.Errorf("%v", err)
	}
	if got, err := f.Resolve(img.ID); err != nil || len(got.RepoTags) != 1 {
		t.Errorf("%v, %v", got, err)
	}
	if got := f.file(img.ID, "x"); got != "1" {
		t.Errorf("%q", got)
	}
}

func TestDiskIsMadeAnew(t *testing.T) {
	f := newFixture(t)
	ctx := context.Background()
	img := f.pull(f.push("a", []string{"x=1"}, []string{"y=2"}))
	path, err := f.Disk(ctx, img.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.ds.DeleteDisk(ctx, path); err != nil {
		t.Fatal(err)
	}
	f.restart()
	requests := len(f.reg.Requests("/blobs/"))
	if got := f.file(img.ID, "y"); got != "2" {
		t.Errorf("%q", got)
	}
	if n := len(f.reg.Requests("/blobs/")) - requests; n != 0 {
		t.Errorf("%d blobs were fetched", n)
	}
	if _, err := f.Disk(ctx, "sha256:"+strings.Repeat("0", 64)); !errdefs.IsNotFound(err) {
		t.Errorf("of nothing: %v", err)
	}
	// With a blob gone as well, only a pull helps.
	if err := f.ds.DeleteDisk(ctx, path); err != nil {
		t.Fatal(err)
	}
	packed := imagetest.Gzip(t, imagetest.Tar(t, "y=2")).Packed
	if err := f.ds.Delete(ctx, fmt.Sprintf("%s/blobs/sha256/%x", root, sum(packed))); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Disk(ctx, img.ID); !errdefs.IsNotFound(err) || !strings.Contains(err.Error(), fmt.Sprintf("%x", sum(packed))) {
		t.Errorf("%v", err)
	}
	f.pull(f.reg.Host() + "/a:latest")
	if got := f.file(img.ID, "y"); got != "2" {
		t.Errorf("%q", got)
	}
}

func TestUnreadableImageIsLeftAlone(t *testing.T) {
	f := newFixture(t)
	ctx := context.Background()
	a, b := f.pull(f.push("a", []string{"x=1"})), f.pull(f.push("b", []string{"x=2"}))
	hex := strings.TrimPrefix(a.ID, "sha256:")
	meta := root + "/images/" + hex + "/image.json"
	for what, content := range map[string]string{"damaged": "{", "newer": `{"Version":2}`, "another": `{"Version":1,"ID":"` + b.ID + `"}`} {
		if err := f.ds.Put(ctx, meta, strings.NewReader(content), int64(len(content))); err != nil {
			t.Fatal(err)
		}
		before := len(f.left())
		f.restart()
		if l := f.List(); len(l) != 1 || l[0].ID != b.ID {
			t.Errorf("%s: %+v", what, l)
		}
		if len(f.left()) != before {
			t.Errorf("%s: files are gone", what)
		}
	}
}

func TestBlankAndCloneRoot(t *testing.T) {
	f := newFixture(t)
	ctx := context.Background()
	for i := range 2 {
		dst := fmt.Sprintf("[test] c%d/c%d.vmdk", i, i)
		if err := f.CloneRoot(ctx, dst, 64); err != nil {
			t.Fatal(err)
		}
		r, done, err := f.ds.Disk(dst)
		if err != nil {
			t.Fatal(err)
		}
		if names, err := ext4test.List(r, "/"); err != nil || len(names) != 1 || r.Capacity() != 64<<20 {
			t.Errorf("%v, %v, %d", names, err, r.Capacity())
		}
		if err := done(); err != nil {
			t.Error(err)
		}
	}
	blank, err := f.Blank(ctx, 64)
	if err != nil || blank != root+"/blank/ext4-64.vmdk" {
		t.Errorf("%s, %v", blank, err)
	}
	if n := len(f.ds.Calls("ImportDisk")); n != 1 {
		t.Errorf("%d imports", n)
	}
	// Somebody removes it.
	if err := f.ds.DeleteDisk(ctx, blank); err != nil {
		t.Fatal(err)
	}
	if err := f.CloneRoot(ctx, "[test] c3/c3.vmdk", 64); err != nil {
		t.Errorf("after the blank was removed: %v", err)
	}
	f.restart()
	if err := f.CloneRoot(ctx, "[test] c4/c4.vmdk", 64); err != nil {
		t.Error(err)
	}
	if n := len(f.ds.Calls("ImportDisk")); n != 2 {
		t.Errorf("%d imports", n)
	}
	if err := f.CloneRoot(ctx, "[test] c4/c4.vmdk", 64); !errdefs.IsAlreadyExists(err) {
		t.Errorf("over a disk: %v", err)
	}
	if _, err := f.Blank(ctx, 1); !errdefs.IsInvalidArgument(err) {
		t.Errorf("1 MiB: %v", err)
	}
	if left, _ := os.ReadDir(f.spool); len(left) != 0 {
		t.Errorf("%v is left in the spool", left)
	}
}

// TestDockerMediaTypes pulls what Docker pushes (a manifest list and schema 2),
// with a zstd layer as BuildKit makes them.
func TestDockerMediaTypes(t *testing.T) {
	f := newFixture(t)
	content := imagetest.Tar(t, "x=zstd")
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	packed := z.EncodeAll(content, nil)
	conf := image.Config{}
	conf.OS, conf.Architecture, conf.RootFS.Type = "linux", "amd64", "layers"
	conf.RootFS.DiffIDs = []digest.Digest{digest.FromBytes(content)}
	raw, err := json.Marshal(conf)
	if err != nil {
		t.Fatal(err)
	}
	m := ocispec.Manifest{
		MediaType: "application/vnd.docker.distribution.manifest.v2+json",
		Config:    ocispec.Descriptor{MediaType: "application/vnd.docker.container.image.v1+json", Digest: f.reg.Blob(t, "d", raw), Size: int64(len(raw))},
		Layers:    []ocispec.Descriptor{{MediaType: "application/vnd.docker.image.rootfs.diff.tar.gzip", Digest: f.reg.Blob(t, "d", packed), Size: int64(len(packed))}},
	}
	m.SchemaVersion = 2
	d, data := f.reg.Manifest(t, "d", "one", m.MediaType, m)
	list := ocispec.Index{MediaType: "application/vnd.docker.distribution.manifest.list.v2+json"}
	list.SchemaVersion = 2
	list.Manifests = []ocispec.Descriptor{{MediaType: m.MediaType, Digest: d, Size: int64(len(data)), Platform: &ocispec.Platform{OS: "linux", Architecture: "amd64"}}}
	top, _ := f.reg.Manifest(t, "d", "latest", list.MediaType, list)
	img := f.pull(f.reg.Host() + "/d")
	if got := f.file(img.ID, "x"); got != "zstd" {
		t.Errorf("%q", got)
	}
	if img.ID != digest.FromBytes(raw).String() || len(img.RepoDigests) != 1 || !strings.HasSuffix(img.RepoDigests[0], top.String()) {
		t.Errorf("%s %v", img.ID, img.RepoDigests)
	}
	for _, d := range []digest.Digest{top, d, digest.FromBytes(packed)} {
		if _, err := f.ds.Stat(context.Background(), root+"/blobs/sha256/"+d.Encoded()); err != nil {
			t.Errorf("blob %s is not kept: %v", d, err)
		}
	}
}
