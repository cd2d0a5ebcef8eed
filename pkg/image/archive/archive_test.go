package archive_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/vic-engine/vic/pkg/image"
	"github.com/vic-engine/vic/pkg/image/archive"
)

// entries builds a tar; each is "name=content", "dir/", "link->to" or "hard=>to".
func entries(t testing.TB, lines ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, l := range lines {
		h := &tar.Header{Typeflag: tar.TypeReg, Mode: 0o644}
		body := ""
		switch {
		case strings.HasSuffix(l, "/"):
			h.Name, h.Typeflag = l, tar.TypeDir
		case strings.HasSuffix(l, "|"):
			h.Name, h.Typeflag = strings.TrimSuffix(l, "|"), tar.TypeFifo
		case strings.Contains(l, "=>"):
			h.Typeflag = tar.TypeLink
			h.Name, h.Linkname, _ = strings.Cut(l, "=>")
		case strings.Contains(l, "->"):
			h.Typeflag = tar.TypeSymlink
			h.Name, h.Linkname, _ = strings.Cut(l, "->")
		default:
			h.Name, body, _ = strings.Cut(l, "=")
			h.Size = int64(len(body))
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func hexOf(s string) string { return digest.FromString(s).Encoded() }

// config is a configuration of layers with these contents.
func config(arch string, layers ...string) string {
	ids := []string{}
	for _, l := range layers {
		ids = append(ids, `"`+digest.FromString(l).String()+`"`)
	}
	return `{"architecture":"` + arch + `","os":"linux","rootfs":{"type":"layers","diff_ids":[` + strings.Join(ids, ",") + `]}}`
}

func manifest(t testing.TB, conf, layerType string, layers ...string) string {
	t.Helper()
	m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Config: describe(ocispec.MediaTypeImageConfig, conf)}
	m.SchemaVersion = 2
	for _, l := range layers {
		m.Layers = append(m.Layers, describe(layerType, l))
	}
	return marshal(t, m)
}

func describe(kind, content string) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: kind, Digest: digest.FromString(content), Size: int64(len(content))}
}

func index(t testing.TB, ds ...ocispec.Descriptor) string {
	t.Helper()
	return marshal(t, ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: ds})
}

func marshal(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func blob(content string) string { return "blobs/sha256/" + hexOf(content) + "=" + content }

func named(d ocispec.Descriptor, name string) ocispec.Descriptor {
	d.Annotations = map[string]string{"io.containerd.image.name": name}
	return d
}

func read(packed []byte, platform string) ([]archive.Image, error) {
	var kept bytes.Buffer
	a, err := archive.Read(bytes.NewReader(packed), &bounded{&kept, 1 << 20}, &late{&kept})
	if err != nil {
		return nil, err
	}
	return a.Images(platform)
}

// late reads what is in the buffer by then.
type late struct{ b *bytes.Buffer }

func (l *late) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(l.b.Bytes()).ReadAt(p, off)
}

// show is an image in a line: names, architecture, layers, "+m" with a manifest.
func show(t testing.TB, list []archive.Image) []string {
	t.Helper()
	out := []string{}
	for _, i := range list {
		conf, err := image.ParseConfig(i.Config)
		if err != nil {
			t.Fatal(err)
		}
		line := strings.Join(i.Names, ",") + " " + conf.Architecture
		for _, l := range i.Layers {
			b, err := io.ReadAll(l.Open())
			if err != nil {
				t.Fatal(err)
			}
			line += " " + string(b)
		}
		if i.Manifest != nil {
			line += " +m"
		}
		out = append(out, line)
	}
	return out
}

func TestRead(t *testing.T) {
	one, arm := config("amd64", "L1", "L2"), config("arm64", "L1")
	packed := manifest(t, one, ocispec.MediaTypeImageLayerGzip, "L1", "L2")
	plain := manifest(t, one, ocispec.MediaTypeImageLayer, "L1", "L2")
	armed := manifest(t, arm, ocispec.MediaTypeImageLayerGzip, "L1")
	on := func(arch, m string) ocispec.Descriptor {
		d := describe(ocispec.MediaTypeImageManifest, m)
		d.Platform = &ocispec.Platform{OS: "linux", Architecture: arch}
		return d
	}
	both := index(t, on("amd64", packed), on("arm64", armed))
	absent := index(t, on("amd64", "not here"), on("arm64", armed))
	about := describe(ocispec.MediaTypeImageManifest, armed)
	about.Annotations = map[string]string{"vnd.docker.reference.type": "attestation-manifest"}
	layout := func(index string, more ...string) []string {
		return append([]string{"oci-layout={}", "index.json=" + index, "blobs/", blob(one), blob(arm), blob(packed), blob(plain), blob(armed), blob("L1"), blob("L2")}, more...)
	}
	for name, c := range map[string]struct {
		lines    []string
		platform string
		want     []string
	}{
		"docker before 25": {[]string{
			"a/", "a/layer.tar=L1", "b/layer.tar->../a/../x/layer.tar", "x/layer.tar=>y", "y=L2", "./" + hexOf(one) + ".json=" + one, "repositories={}",
			`manifest.json=[{"Config":"` + hexOf(one) + `.json","RepoTags":["app:1","host:5000/x/app:2"],"Layers":["a/layer.tar","b/layer.tar"]}]`,
		}, "", []string{"docker.io/library/app:1,host:5000/x/app:2 amd64 L1 L2"}},
		"docker with a layout": {layout(index(t, named(describe(ocispec.MediaTypeImageManifest, packed), "other:1")),
			`manifest.json=[{"Config":"blobs/sha256/`+hexOf(one)+`","RepoTags":["app:1"],"Layers":["blobs/sha256/`+hexOf("L1")+`","blobs/sha256/`+hexOf("L2")+`"]}]`),
			"", []string{"docker.io/library/app:1 amd64 L1 L2 +m"}},
		"docker with a layout of plain layers": {layout(index(t, describe(ocispec.MediaTypeImageManifest, plain)),
			`manifest.json=[{"Config":"blobs/sha256/`+hexOf(one)+`","RepoTags":null,"Layers":["blobs/sha256/`+hexOf("L1")+`","blobs/sha256/`+hexOf("L2")+`"]}]`),
			"", []string{" amd64 L1 L2"}},
		"docker with a broken layout": {layout("{", `manifest.json=[{"Config":"blobs/sha256/`+hexOf(arm)+`","Layers":["blobs/sha256/`+hexOf("L1")+`"]}]`), "", []string{" arm64 L1"}},
		"docker for another platform": {layout("{", `manifest.json=[{"Config":"blobs/sha256/`+hexOf(arm)+`","Layers":["blobs/sha256/`+hexOf("L1")+`"]}]`), "linux/amd64", []string{}},
		"docker of none":              {[]string{"manifest.json=[]"}, "", []string{}},
		"layout": {layout(index(t, named(describe(ocispec.MediaTypeImageManifest, plain), "docker.io/library/app:1"), named(describe(ocispec.MediaTypeImageManifest, plain), "app:2"), describe(ocispec.MediaTypeImageManifest, armed))),
			"", []string{"docker.io/library/app:1,docker.io/library/app:2 amd64 L1 L2 +m", " arm64 L1 +m"}},
		"layout for one":             {layout(index(t, describe(ocispec.MediaTypeImageManifest, packed), describe(ocispec.MediaTypeImageManifest, armed))), "linux/arm64", []string{" arm64 L1 +m"}},
		"layout of an index":         {layout(index(t, named(describe(ocispec.MediaTypeImageIndex, both), "app:1")), blob(both)), "", []string{"docker.io/library/app:1 amd64 L1 L2 +m"}},
		"layout of an index for one": {layout(index(t, named(describe(ocispec.MediaTypeImageIndex, both), "app:1")), blob(both)), "arm64", []string{"docker.io/library/app:1 arm64 L1 +m"}},
		"layout without a platform":  {layout(index(t, describe(ocispec.MediaTypeImageIndex, absent)), blob(absent)), "linux/arm64", []string{" arm64 L1 +m"}},
		"layout with an attestation": {layout(index(t, describe(ocispec.MediaTypeImageManifest, packed), about)), "", []string{" amd64 L1 L2 +m"}},
	} {
		tarred := entries(t, c.lines...)
		var zipped bytes.Buffer
		z := gzip.NewWriter(&zipped)
		if _, err := z.Write(tarred); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		e, err := zstd.NewWriter(nil)
		if err != nil {
			t.Fatal(err)
		}
		for packing, b := range map[string][]byte{"plain": tarred, "gzip": zipped.Bytes(), "zstd": e.EncodeAll(tarred, nil)} {
			got, err := read(b, c.platform)
			if err != nil {
				t.Errorf("%s, %s: %v", name, packing, err)
				continue
			}
			if d := cmp.Diff(c.want, show(t, got)); d != "" {
				t.Errorf("%s, %s: %s", name, packing, d)
			}
		}
		e.Close()
	}
}

func TestReadRefuses(t *testing.T) {
	one := config("amd64", "L1")
	m := manifest(t, one, ocispec.MediaTypeImageLayerGzip, "L1")
	docker := func(item string, more ...string) []byte {
		return entries(t, append([]string{"manifest.json=[" + item + "]", "c=" + one, "l=L1"}, more...)...)
	}
	whole := docker(`{"Config":"c","Layers":["l"]}`)
	for name, c := range map[string]struct {
		packed []byte
		text   string
	}{
		"empty":           {nil, "it is empty"},
		"no tar":          {[]byte(strings.Repeat("no tar", 300)), "invalid tar header"},
		"cut":             {whole[:1300], "unexpected EOF"},
		"xz":              {[]byte("\xfd7zXZ\x00 and so on"), "packed with xz"},
		"damaged gzip":    {[]byte("\x1f\x8b\x08\x00 and so on, not gzip"), "damaged compressed data"},
		"damaged bzip2":   {[]byte("BZh9 and so on, not bzip2"), "bzip2"},
		"nothing known":   {entries(t, "bin/sh=1"), "neither manifest.json"},
		"old docker":      {entries(t, "repositories={}", "a/json={}"), "Docker 1.9"},
		"climbs":          {entries(t, "../evil=1"), "leads out of it"},
		"climbs deep":     {entries(t, "a/../../evil=1"), "leads out of it"},
		"link climbs":     {entries(t, "a/b->../../etc/passwd"), "leads out of it"},
		"link to root":    {entries(t, "a->/etc/passwd"), "leads out of it"},
		"hard link":       {entries(t, "a=>../etc/passwd"), "leads out of it"},
		"fifo":            {entries(t, "manifest.json|"), "neither a file"},
		"links in a ring": {docker(`{"Config":"a","Layers":[]}`, "a->b", "b->a"), "more than 10 links"},
		"null":            {entries(t, "manifest.json=null"), "cannot be null"},
		"no JSON":         {entries(t, "manifest.json={"), "manifest.json"},
		"no config":       {docker(`{"Config":"x","Layers":["l"]}`), "it has no x"},
		"config climbs":   {docker(`{"Config":"../../etc/passwd","Layers":["l"]}`), "leads out of it"},
		"bad config":      {docker(`{"Config":"l","Layers":["l"]}`), "image configuration"},
		"no layer":        {docker(`{"Config":"c","Layers":["x"]}`), "it has no x"},
		"layers":          {docker(`{"Config":"c","Layers":[]}`), "layers length mismatch: expected 0, got 1"},
		"name":            {docker(`{"Config":"c","RepoTags":["UP:1"],"Layers":["l"]}`), "name \"UP:1\""},
		"name only":       {docker(`{"Config":"c","RepoTags":["app"],"Layers":["l"]}`), "invalid tag"},
		"windows":         {entries(t, `manifest.json=[{"Config":"c","Layers":["l"]}]`, "l=L1", "c="+strings.Replace(one, "linux", "windows", 1)), "cannot load windows image"},
		"empty layout":    {entries(t, "index.json={}"), "none for linux/amd64"},
		"layout no JSON":  {entries(t, "index.json=["), "index"},
		"no manifest":     {entries(t, "index.json="+index(t, describe(ocispec.MediaTypeImageManifest, "x"))), "it has no blobs/sha256"},
		"wrong manifest":  {entries(t, "index.json="+index(t, describe(ocispec.MediaTypeImageManifest, m)), "blobs/sha256/"+hexOf(m)+"=other"), "verification failed"},
		"layout no layer": {entries(t, "index.json="+index(t, describe(ocispec.MediaTypeImageManifest, m)), blob(m), blob(one)), "it has no blobs/sha256"},
		"digest":          {entries(t, `index.json={"manifests":[{"digest":"sha256:../../x"}]}`), "digest"},
	} {
		got, err := read(c.packed, "")
		if !errdefs.IsInvalidArgument(err) && !errdefs.IsDataLoss(err) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v, %v", name, err, got)
		}
	}
	if _, err := read(whole, "a/b/c/d"); !errdefs.IsInvalidArgument(err) {
		t.Errorf("platform: %v", err)
	}
}

// errFull is what a writer without room says.
var errFull = errors.New("no room")

// bounded takes so many bytes.
type bounded struct {
	w    io.Writer
	left int
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return 0, errFull
	}
	return b.w.Write(p)
}

func TestReadKeepsTheWritersError(t *testing.T) {
	if _, err := archive.Read(bytes.NewReader(entries(t, "a=1")), &bounded{}, bytes.NewReader(nil)); !errors.Is(err, errFull) || errdefs.IsInvalidArgument(err) {
		t.Error(err)
	}
}

// TestWrite: what is written is read back whole, in the same bytes every time.
func TestWrite(t *testing.T) {
	layers := map[digest.Digest]string{digest.FromString("L1"): "L1", digest.FromString("L2"): "L2"}
	open := func(_ context.Context, d digest.Digest) (io.ReadCloser, int64, error) {
		return io.NopCloser(strings.NewReader(layers[d])), int64(len(layers[d])), nil
	}
	var images []archive.Saved
	for i, ls := range [][]string{{"L1", "L2"}, {"L1"}} {
		conf := config("amd64", ls...)
		man := manifest(t, conf, ocispec.MediaTypeImageLayerGzip, ls...)
		img := archive.Saved{
			Manifest: image.Blob{Digest: digest.FromString(man), MediaType: ocispec.MediaTypeImageManifest, Data: []byte(man)},
			Config:   image.Blob{Digest: digest.FromString(conf), Data: []byte(conf)}, Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"},
		}
		for _, l := range ls {
			img.Layers = append(img.Layers, digest.FromString(l))
		}
		if i == 0 {
			for _, n := range []string{"app:1", "host:5000/app:2"} {
				ref, err := reference.ParseNormalizedNamed(n)
				if err != nil {
					t.Fatal(err)
				}
				img.Names = append(img.Names, ref.(reference.NamedTagged))
			}
		}
		images = append(images, img)
	}
	var first, second bytes.Buffer
	for _, b := range []*bytes.Buffer{&first, &second} {
		if err := archive.Write(t.Context(), b, images, open); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("the same images give other bytes")
	}
	got, err := read(first.Bytes(), "")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"docker.io/library/app:1,host:5000/app:2 amd64 L1 L2 +m", " amd64 L1 +m"}, show(t, got)); d != "" {
		t.Error(d)
	}
	files := map[string]int{}
	var layout string
	for r := tar.NewReader(&first); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		files[h.Name]++
		if h.Name == "index.json" {
			b, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			layout = string(b)
		}
	}
	for name, n := range files {
		if n != 1 {
			t.Errorf("%s is there %d times", name, n)
		}
	}
	if len(files) != 2+3+2+2+2 || !strings.Contains(layout, `"io.containerd.image.name":"docker.io/library/app:1","org.opencontainers.image.ref.name":"1"`) {
		t.Errorf("%v\n%s", files, layout)
	}
}

// FuzzRead: whatever is sent, only the classes of bad input come back, and what
// is read is within the archive.
func FuzzRead(f *testing.F) {
	one := config("amd64", "L1")
	m := manifest(f, one, ocispec.MediaTypeImageLayerGzip, "L1")
	f.Add(entries(f, `manifest.json=[{"Config":"c","RepoTags":["a:1"],"Layers":["l"]}]`, "c="+one, "l=L1"))
	f.Add(entries(f, "index.json="+index(f, named(describe(ocispec.MediaTypeImageManifest, m), "a:1")), blob(m), blob(one), blob("L1"), "oci-layout={}"))
	f.Add(entries(f, "a->b", "b=>a"))
	f.Add(entries(f, `index.json={"manifests":[{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"`+digest.FromString(`{"manifests":[{}]}`).String()+`"}]}`, blob(`{"manifests":[{}]}`)))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := read(b, "")
		if err != nil {
			if !errdefs.IsInvalidArgument(err) && !errdefs.IsDataLoss(err) && !errors.Is(err, errFull) {
				t.Fatalf("%v", err)
			}
			return
		}
		for _, i := range got {
			if _, err := image.ParseConfig(i.Config); err != nil {
				t.Fatal(err)
			}
			for _, l := range i.Layers {
				if n, err := io.Copy(io.Discard, l.Open()); err != nil || n != l.Size {
					t.Fatal(n, err)
				}
			}
		}
	})
}
