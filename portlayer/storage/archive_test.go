package storage_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/vic-engine/vic/pkg/image/imagetest"
	"github.com/vic-engine/vic/pkg/spec"
)

// TestSaveAndLoad: what is saved loads into an empty store with the same ids and
// the same manifests, and saves again to the same bytes.
func TestSaveAndLoad(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t)
	one := f.pull(f.push("one", []string{"base=1"}, []string{"a=2"}))
	two := f.pull(f.push("two", []string{"base=1"}, []string{"b=3"}))
	for _, n := range []string{"app:1", "app:2"} {
		if err := f.Tag(ctx, one.ID, n); err != nil {
			t.Fatal(err)
		}
	}
	var saved bytes.Buffer
	var ids []string
	refs := []string{"app", two.ID, "app:1"}
	if err := f.SaveArchive(ctx, refs, spec.SaveOptions{Saving: func(l []string) { ids = l }}, &saved); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{one.ID, two.ID}, ids); d != "" {
		t.Error(d)
	}
	g := newFixture(t)
	var loaded []spec.LoadedImage
	var w words
	err := g.LoadArchive(ctx, bytes.NewReader(saved.Bytes()), spec.LoadOptions{Progress: w.hear, Loaded: func(l spec.LoadedImage) { loaded = append(loaded, l) }})
	if err != nil {
		t.Fatal(err)
	}
	if len(loaded) != 2 || loaded[0].Image.ID != one.ID || loaded[1].Image.ID != two.ID || len(loaded[1].Names) != 0 {
		t.Fatalf("%+v", loaded)
	}
	if d := cmp.Diff([]string{"app:1", "app:2"}, loaded[0].Names); d != "" {
		t.Error(d)
	}
	// The second image finds its lower layer there.
	if n := len(w.said); n != 3 || !strings.HasSuffix(w.said[0], " Loading layer") {
		t.Errorf("%q", w.said)
	}
	for id, want := range map[string]string{one.ID: "2", two.ID: "3"} {
		name := map[string]string{one.ID: "a", two.ID: "b"}[id]
		if got := g.file(id, name); got != want {
			t.Errorf("%s of %s: %q", name, id, got)
		}
	}
	want := f.left()
	if d := cmp.Diff(want, g.left()); d != "" {
		t.Errorf("the datastores differ: %s", d)
	}
	var again bytes.Buffer
	if err := g.SaveArchive(ctx, refs, spec.SaveOptions{}, &again); err != nil || !bytes.Equal(saved.Bytes(), again.Bytes()) {
		t.Errorf("saved again, it is other bytes: %v", err)
	}
	// Loaded again it only moves names.
	if err := g.Tag(ctx, two.ID, "app:2"); err != nil {
		t.Fatal(err)
	}
	loaded, w = nil, words{}
	if err := g.LoadArchive(ctx, &saved, spec.LoadOptions{Progress: w.hear, Loaded: func(l spec.LoadedImage) { loaded = append(loaded, l) }}); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[string]string{"app:2": two.ID}, loaded[0].Lost); d != "" || len(w.said) != 0 {
		t.Error(d, w.said)
	}
	if d := cmp.Diff(want, g.left()); d != "" {
		t.Error(d)
	}
}

func TestSaveRefuses(t *testing.T) {
	f := newFixture(t)
	f.pull(f.push("one", []string{"a=1"}))
	for ref, o := range map[string]spec.SaveOptions{"nosuch": {}, f.reg.Host() + "/one:2": {}, f.reg.Host() + "/one": {Platform: "linux/arm64"}} {
		var b bytes.Buffer
		if err := f.SaveArchive(context.Background(), []string{ref}, o, &b); !errdefs.IsNotFound(err) || b.Len() != 0 {
			t.Errorf("%s: %v, %d bytes", ref, err, b.Len())
		}
	}
	if err := f.SaveArchive(context.Background(), nil, spec.SaveOptions{}, &bytes.Buffer{}); !errdefs.IsInvalidArgument(err) {
		t.Error(err)
	}
}

// dockerArchive is an archive of one image, as docker before 25 writes it.
func dockerArchive(t *testing.T, conf string, layers ...[]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(name string, body []byte) {
		if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Size: int64(len(body)), Mode: 0o600}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(body); err != nil {
			t.Fatal(err)
		}
	}
	var names []string
	for i, l := range layers {
		name := string(rune('a'+i)) + "/layer.tar"
		names = append(names, `"`+name+`"`)
		add(name, l)
	}
	add("c.json", []byte(conf))
	add("manifest.json", []byte(`[{"Config":"c.json","RepoTags":["app:1"],"Layers":[`+strings.Join(names, ",")+`]}]`))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func confOf(layers ...[]byte) string {
	var ids []string
	for _, l := range layers {
		ids = append(ids, `"`+digest.FromBytes(l).String()+`"`)
	}
	return `{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[` + strings.Join(ids, ",") + `]}}`
}

// TestLoadDockerArchive: plain layers of an old archive are packed on the way
// in, and the id is that of the configuration.
func TestLoadDockerArchive(t *testing.T) {
	f := newFixture(t)
	a, b := imagetest.Tar(t, "a=1"), imagetest.Tar(t, "b="+strings.Repeat("2", 1<<20))
	conf := confOf(a, b)
	if err := f.LoadArchive(context.Background(), bytes.NewReader(dockerArchive(t, conf, a, b)), spec.LoadOptions{}); err != nil {
		t.Fatal(err)
	}
	img, err := f.Resolve("app:1")
	if err != nil || img.ID != digest.FromString(conf).String() || f.file(img.ID, "a") != "1" {
		t.Errorf("%+v, %v", img, err)
	}
	for _, name := range f.left() {
		if strings.HasSuffix(name, digest.FromBytes(b).Encoded()) {
			t.Errorf("a plain layer is kept as %s", name)
		}
	}
}

// TestLoadUnnamed: an archive whose names do not count takes none from an image.
func TestLoadUnnamed(t *testing.T) {
	f := newFixture(t)
	a, b := imagetest.Tar(t, "a=1"), imagetest.Tar(t, "b=2")
	if err := f.LoadArchive(t.Context(), bytes.NewReader(dockerArchive(t, confOf(a), a)), spec.LoadOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := f.LoadArchive(t.Context(), bytes.NewReader(dockerArchive(t, confOf(b), b)), spec.LoadOptions{Unnamed: true}); err != nil {
		t.Fatal(err)
	}
	if img, err := f.Resolve("app:1"); err != nil || img.ID != digest.FromString(confOf(a)).String() {
		t.Errorf("app:1 is %+v, %v", img, err)
	}
	if img, err := f.Resolve(digest.FromString(confOf(b)).String()); err != nil || len(img.RepoTags) != 0 {
		t.Errorf("the other is %+v, %v", img, err)
	}
}

// TestOpenBlob reads an image that was loaded by what its manifest names.
func TestOpenBlob(t *testing.T) {
	f := newFixture(t)
	a := imagetest.Tar(t, "a=1")
	conf := confOf(a)
	if err := f.LoadArchive(t.Context(), bytes.NewReader(dockerArchive(t, conf, a)), spec.LoadOptions{}); err != nil {
		t.Fatal(err)
	}
	id := digest.FromString(conf).String()
	read := func(blob string, offset int64) string {
		t.Helper()
		r, size, err := f.OpenBlob(t.Context(), blob, offset)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		b, err := io.ReadAll(r)
		if err != nil || int64(len(b)) != size-offset {
			t.Fatalf("%d bytes of %d from %d on, %v", len(b), size, offset, err)
		}
		return string(b)
	}
	m, err := f.Manifest(id)
	if err != nil {
		t.Fatal(err)
	}
	raw := read(m, 0)
	if digest.FromString(raw).String() != m || !strings.Contains(raw, id) {
		t.Errorf("manifest %s: %s", m, raw)
	}
	if got := read(id, 5); got != conf[5:] {
		t.Errorf("configuration %q", got)
	}
	if _, err := f.Manifest(m); !errdefs.IsNotFound(err) {
		t.Errorf("manifest of what is no image: %v", err)
	}
	for blob, is := range map[string]func(error) bool{digest.FromString("x").String(): errdefs.IsNotFound, "../x": errdefs.IsInvalidArgument} {
		if _, _, err := f.OpenBlob(t.Context(), blob, 0); !is(err) {
			t.Errorf("blob %s: %v", blob, err)
		}
	}
	if _, _, err := f.OpenBlob(t.Context(), id, -1); !errdefs.IsInvalidArgument(err) {
		t.Errorf("a negative offset: %v", err)
	}
}

func TestBadArchivesLeaveNothing(t *testing.T) {
	f := newFixture(t)
	a := imagetest.Tar(t, "a=1")
	boom := errors.New("boom")
	for name, c := range map[string]struct {
		packed []byte
		want   func(error) bool
	}{
		"other layer":  {dockerArchive(t, confOf(a), imagetest.Tar(t, "b=1")), func(err error) bool { return errdefs.IsDataLoss(err) || errdefs.IsInvalidArgument(err) }},
		"layer no tar": {dockerArchive(t, confOf([]byte(strings.Repeat("x", 3000))), []byte(strings.Repeat("x", 3000))), errdefs.IsInvalidArgument},
		"climbs":       {dockerArchive(t, confOf(imagetest.Tar(t, "../../evil=1")), imagetest.Tar(t, "../../evil=1")), func(err error) bool { return err == nil || errdefs.IsInvalidArgument(err) }},
		"cut":          {dockerArchive(t, confOf(a), a)[:2000], errdefs.IsInvalidArgument},
		"no room":      {dockerArchive(t, confOf(a), a), func(err error) bool { return errors.Is(err, boom) }},
	} {
		f.ds.Before = func(_ context.Context, op, _ string) error {
			if name == "no room" && op == "ImportDisk" {
				return boom
			}
			return nil
		}
		err := f.LoadArchive(context.Background(), bytes.NewReader(c.packed), spec.LoadOptions{})
		f.ds.Before = nil
		if !c.want(err) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil { // a layer that climbs stays inside the image
			img, err := f.Resolve("app:1")
			if err != nil || f.file(img.ID, "evil") != "1" {
				t.Errorf("%s: %v", name, err)
			}
			if _, err := f.remove(context.Background(), img.ID); err != nil {
				t.Fatal(err)
			}
		}
		if left := f.left(); len(left) != 0 {
			t.Fatalf("%s: %q is left", name, slices.Compact(left))
		}
	}
}
