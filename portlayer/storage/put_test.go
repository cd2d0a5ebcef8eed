package storage_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/vic-engine/vic/pkg/docker/engine"
	"github.com/vic-engine/vic/pkg/image"
	"github.com/vic-engine/vic/pkg/image/imagetest"
	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/portlayer/storage"
)

var _ engine.ImageMaker = (*storage.Images)(nil)

// content is a layer that is given as bytes.
func content(b []byte) spec.ImageLayer {
	return spec.ImageLayer{Open: func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }}
}

func packZstd(t *testing.T, b []byte) []byte {
	t.Helper()
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	return z.EncodeAll(b, nil)
}

const bare = `{"architecture":"amd64","os":"linux","config":{"Cmd":["/x"]},"x-unknown":{"kept":[1]}}`

func (f *fixture) put(src spec.ImageSource) spec.Image {
	f.t.Helper()
	img, err := f.Put(context.Background(), src)
	if err != nil {
		f.t.Fatal(err)
	}
	return img
}

// TestPut makes an image upon a pulled one of layers packed in every way.
func TestPut(t *testing.T) {
	f := newFixture(t)
	parent := f.pull(f.push("base", []string{"base=1", "gone=1"}))
	plain, zipped, zstded := imagetest.Tar(t, "plain=2", ".wh.gone"), imagetest.Tar(t, "gz=3"), imagetest.Tar(t, "zst=4")
	packed := packZstd(t, zstded)
	img := f.put(spec.ImageSource{
		Config: []byte(bare), Parent: parent.ID, Names: []string{"app", "app:v1"},
		Layers: []spec.ImageLayer{content(plain), content(imagetest.Gzip(t, zipped).Packed), content(packed)},
	})
	var got map[string]any
	if err := json.Unmarshal(img.Config, &got); err != nil || got["x-unknown"] == nil || digest.FromBytes(img.Config).String() != img.ID {
		t.Errorf("configuration %s, %v", img.Config, err)
	}
	want := append(append([]string{}, parent.Layers...), digest.FromBytes(plain).String(), digest.FromBytes(zipped).String(), digest.FromBytes(zstded).String())
	if diff := cmp.Diff(want, img.Layers); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"app:latest", "app:v1"}, img.RepoTags); diff != "" || len(img.RepoDigests) != 0 {
		t.Error(diff, img.RepoDigests)
	}
	for name, content := range map[string]string{"base": "1", "plain": "2", "gz": "3", "zst": "4"} {
		if got := f.file(img.ID, name); got != content {
			t.Errorf("%s: %q", name, got)
		}
	}
	// A packed layer is kept as it came.
	if files := strings.Join(f.left(), "\n"); !strings.Contains(files, "blobs/sha256/"+digest.FromBytes(packed).Encoded()) || !strings.Contains(files, "blobs/sha256/"+digest.FromBytes(imagetest.Gzip(t, zipped).Packed).Encoded()) {
		t.Errorf("blobs:\n%s", files)
	}
	// The parent may go: what the image needs stays.
	if _, err := f.remove(context.Background(), parent.ID); err != nil {
		t.Fatal(err)
	}
	f.restart()
	if got := f.file(img.ID, "base"); got != "1" {
		t.Errorf("without its parent: %q", got)
	}
	// Again, by its own complete configuration, it only gets a name.
	before := f.left()
	again := f.put(spec.ImageSource{
		Config: img.Config, Names: []string{"other"},
		Layers: []spec.ImageLayer{blobOf(t, f, img, 0), blobOf(t, f, img, 1), blobOf(t, f, img, 2), blobOf(t, f, img, 3)},
	})
	if again.ID != img.ID || len(again.RepoTags) != 3 {
		t.Errorf("%s %v", again.ID, again.RepoTags)
	}
	if diff := cmp.Diff(before, f.left()); diff != "" {
		t.Error(diff)
	}
	if _, err := f.remove(context.Background(), img.ID); err != nil {
		t.Fatal(err)
	}
	if left := f.left(); len(left) != 0 {
		t.Errorf("%q is left", left)
	}
}

// blobOf is a layer of an image by the digest of its blob.
func blobOf(t *testing.T, f *fixture, img spec.Image, n int) spec.ImageLayer {
	t.Helper()
	r, _, err := f.ds.Get(context.Background(), root+"/images/"+img.ID[7:]+"/image.json", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var rec struct{ Layers []struct{ Digest string } }
	if err := json.NewDecoder(r).Decode(&rec); err != nil {
		t.Fatal(err)
	}
	return spec.ImageLayer{Blob: rec.Layers[n].Digest}
}

// TestPutManifest: a manifest is kept byte for byte, with plain layers plain.
func TestPutManifest(t *testing.T) {
	f := newFixture(t)
	tar := imagetest.Tar(t, "a=1")
	conf := []byte(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["` + digest.FromBytes(tar).String() + `"]}}`)
	m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Layers: []ocispec.Descriptor{{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromBytes(tar), Size: int64(len(tar))}}}
	m.Config = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromBytes(conf), Size: int64(len(conf))}
	m.SchemaVersion, m.Annotations = 2, map[string]string{"kept": "yes"}
	raw, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	src := spec.ImageSource{Config: conf, Manifest: raw, Layers: []spec.ImageLayer{content(tar)}, Names: []string{"m:1"}}
	img := f.put(src)
	if img.ID != digest.FromBytes(conf).String() {
		t.Errorf("id %s", img.ID)
	}
	files := strings.Join(f.left(), "\n")
	for _, b := range [][]byte{raw, conf, tar} {
		if !strings.Contains(files, "blobs/sha256/"+digest.FromBytes(b).Encoded()) {
			t.Errorf("no blob of %.60s in\n%s", b, files)
		}
	}
	// An image that nobody names is there too.
	src.Config, src.Manifest, src.Names = []byte(bare), nil, nil
	if img := f.put(src); len(img.RepoTags) != 0 || f.file(img.ID, "a") != "1" {
		t.Errorf("%+v", img)
	}
}

func TestPutRefuses(t *testing.T) {
	f := newFixture(t)
	tar := imagetest.Tar(t, "a=1")
	other := digest.FromString("other").String()
	withRoot := `{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["` + other + `"]}}`
	for name, c := range map[string]struct {
		src  spec.ImageSource
		want func(error) bool
		text string
	}{
		"no JSON":       {spec.ImageSource{Config: []byte("{"), Layers: []spec.ImageLayer{content(tar)}}, errdefs.IsInvalidArgument, "image configuration"},
		"other layers":  {spec.ImageSource{Config: []byte(withRoot), Layers: []spec.ImageLayer{content(tar)}}, errdefs.IsInvalidArgument, "invalid diffID for layer 0: expected \"" + other},
		"fewer layers":  {spec.ImageSource{Config: []byte(withRoot)}, errdefs.IsInvalidArgument, "it has 1 layers, there are 0"},
		"diff id":       {spec.ImageSource{Config: []byte(bare), Layers: []spec.ImageLayer{{Open: content(tar).Open, DiffID: other}}}, errdefs.IsDataLoss, "verification failed"},
		"parent":        {spec.ImageSource{Config: []byte(bare), Parent: other}, errdefs.IsNotFound, "No such image"},
		"blob":          {spec.ImageSource{Config: []byte(bare), Layers: []spec.ImageLayer{{Blob: other}}}, errdefs.IsNotFound, "not in the image store"},
		"neither":       {spec.ImageSource{Config: []byte(bare), Layers: []spec.ImageLayer{{}}}, errdefs.IsInvalidArgument, "layer 0"},
		"name":          {spec.ImageSource{Config: []byte(bare), Names: []string{"A"}}, errdefs.IsInvalidArgument, "name an image"},
		"digest":        {spec.ImageSource{Config: []byte(bare), Names: []string{"a@" + other}}, errdefs.IsInvalidArgument, "a digest cannot be given"},
		"not a tar":     {spec.ImageSource{Config: []byte(bare), Layers: []spec.ImageLayer{content([]byte(strings.Repeat("no tar", 200)))}}, errdefs.IsInvalidArgument, "tar"},
		"cut gzip":      {spec.ImageSource{Config: []byte(bare), Layers: []spec.ImageLayer{content(imagetest.Gzip(t, tar).Packed[:40])}}, errdefs.IsInvalidArgument, "damaged compressed data"},
		"manifest":      {spec.ImageSource{Config: []byte(bare), Manifest: []byte(`{"schemaVersion":2,"mediaType":"` + ocispec.MediaTypeImageManifest + `","config":{"digest":"` + other + `"}}`)}, errdefs.IsInvalidArgument, "manifest: it is of the configuration"},
		"manifest type": {spec.ImageSource{Config: []byte(bare), Manifest: []byte(`{"manifests":[]}`)}, errdefs.IsInvalidArgument, "media type"},
	} {
		_, err := f.Put(context.Background(), c.src)
		if err == nil || !c.want(err) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v", name, err)
		}
		if left := f.left(); len(left) != 0 || f.folders() != 0 {
			t.Fatalf("%s: %q is left", name, left)
		}
	}
}

// TestFailedPutLeavesNothing fails, and then cancels, every step in turn.
func TestFailedPutLeavesNothing(t *testing.T) {
	f := newFixture(t)
	parent := f.pull(f.push("base", []string{"base=1"}))
	src := func() spec.ImageSource {
		return spec.ImageSource{Config: []byte(bare), Parent: parent.ID, Names: []string{"app"}, Layers: []spec.ImageLayer{content(imagetest.Tar(t, "a=1")), content(imagetest.Tar(t, "b=1"))}}
	}
	want, images := f.left(), f.List()
	boom := errors.New("boom")
	for _, cancelled := range []bool{false, true} {
		for step := 1; ; step++ {
			ctx, cancel := context.WithCancel(context.Background())
			var mu sync.Mutex // guards n and failed; blobs are removed several at once
			n, failed := 0, ""
			f.ds.Before = func(_ context.Context, op, path string) error {
				mu.Lock()
				defer mu.Unlock()
				if n++; n != step {
					return nil
				}
				failed = op + " " + path
				if cancelled {
					cancel()
					return ctx.Err()
				}
				return boom
			}
			_, err := f.Put(ctx, src())
			cancel()
			f.ds.Before = nil
			if err == nil {
				if failed != "" || step < 12 {
					t.Errorf("step %d: %s failed and nobody noticed", step, failed)
				}
				break
			}
			if !errors.Is(err, boom) && !errors.Is(err, context.Canceled) {
				t.Errorf("step %d, %s: %v", step, failed, err)
			}
			if diff := cmp.Diff(want, f.left()); diff != "" {
				t.Fatalf("left when step %d fails, %s:\n%s", step, failed, diff)
			}
			if diff := cmp.Diff(images, f.List()); diff != "" || f.folders() != 1 {
				t.Fatalf("step %d, %s:\n%s", step, failed, diff)
			}
		}
		img, err := f.Resolve("app")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.remove(context.Background(), img.ID); err != nil {
			t.Fatal(err)
		}
	}
}

// TestPutHasNoRoom: neither a datastore nor a scratch disk that is too small
// keeps a part of it.
func TestPutHasNoRoom(t *testing.T) {
	f := newFixture(t)
	f.ds.Capacity = 100
	_, err := f.Put(context.Background(), spec.ImageSource{Config: []byte(bare), Layers: []spec.ImageLayer{content(imagetest.Tar(t, "a="+strings.Repeat("1", 1<<20)))}})
	if !errdefs.IsResourceExhausted(err) || !strings.Contains(err.Error(), "datastore test") {
		t.Error(err)
	}
	if left := f.left(); len(left) != 0 {
		t.Errorf("%q is left", left)
	}
}

// TestPullOfAnotherManifest: an image that is there by another manifest is not
// fetched again.
func TestPullOfAnotherManifest(t *testing.T) {
	f := newFixture(t)
	tar := imagetest.Tar(t, "a=1")
	var ids []string
	for repo, l := range map[string]imagetest.Layer{
		"zipped": imagetest.Gzip(t, tar), "plain": {MediaType: ocispec.MediaTypeImageLayer, Packed: tar, DiffID: digest.FromBytes(tar)},
	} {
		f.reg.PushImage(t, repo, "latest", image.Config{}, l)
		ids = append(ids, f.pull(f.reg.Host()+"/"+repo).ID)
	}
	img, err := f.Resolve(ids[0])
	if err != nil || ids[0] != ids[1] || len(img.RepoTags) != 2 || len(img.RepoDigests) != 2 {
		t.Errorf("%q: %+v, %v", ids, img, err)
	}
	layers := 0
	for _, d := range []digest.Digest{digest.FromBytes(tar), digest.FromBytes(imagetest.Gzip(t, tar).Packed)} {
		for _, repo := range []string{"zipped", "plain"} {
			layers += len(f.reg.Requests("GET /v2/" + repo + "/blobs/" + d.String()))
		}
	}
	if layers != 1 {
		t.Errorf("%d layers were fetched", layers)
	}
}

// TestPutsAtOnce makes images that share layers, saves and deletes them, all at
// once; nothing is left, and nothing that is needed goes.
func TestPutsAtOnce(t *testing.T) {
	f := newFixture(t)
	parent := f.pull(f.push("base", []string{"base=1"}))
	shared := imagetest.Tar(t, "shared=1")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			ctx := context.Background()
			own := imagetest.Tar(t, "own="+string(rune('a'+i/2)))
			img, err := f.Put(ctx, spec.ImageSource{Config: []byte(bare), Parent: parent.ID, Layers: []spec.ImageLayer{content(shared), content(own)}, Names: []string{"app" + string(rune('a'+i/2))}})
			if err != nil {
				t.Error(err)
				return
			}
			if err := f.SaveArchive(ctx, []string{img.ID}, spec.SaveOptions{}, io.Discard); err != nil && !errdefs.IsNotFound(err) {
				t.Error(err)
			}
			if i%4 < 2 {
				if _, err := f.remove(ctx, img.ID); err != nil && !errdefs.IsNotFound(err) {
					t.Error(err)
				}
			}
		}()
	}
	wg.Wait()
	for _, name := range []string{"appb", "appd"} {
		img, err := f.Resolve(name)
		if err != nil || f.file(img.ID, "own") != name[3:] || f.file(img.ID, "shared") != "1" {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, img := range f.List() {
		if _, err := f.remove(context.Background(), img.ID); err != nil {
			t.Error(err)
		}
	}
	if left := f.left(); len(left) != 0 {
		t.Errorf("%q is left", left)
	}
}
