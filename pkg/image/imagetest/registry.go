package imagetest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/vic-engine/vic/pkg/image"
)

// Registry is a real registry behind a handler that may misbehave.
type Registry struct {
	*httptest.Server
	// before sees each request; true means that it answered.
	before func(w http.ResponseWriter, r *http.Request) bool

	mu   sync.Mutex
	seen []string // requests as "GET /v2/… [range]"
	auth []string // Authorization headers that came
}

// Start starts a registry that ends with the test.
func Start(t testing.TB) *Registry {
	t.Helper()
	reg := &Registry{}
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	reg.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reg.mu.Lock()
		reg.seen = append(reg.seen, strings.TrimSpace(r.Method+" "+r.URL.Path+" "+r.Header.Get("Range")))
		if a := r.Header.Get("Authorization"); a != "" {
			reg.auth = append(reg.auth, a)
		}
		before := reg.before
		reg.mu.Unlock()
		if before != nil && before(w, r) {
			return
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(reg.Close)
	return reg
}

// Host is its host:port.
func (r *Registry) Host() string { return strings.TrimPrefix(r.URL, "http://") }

// Misbehave makes f see each request first; true means that it answered.
func (r *Registry) Misbehave(f func(http.ResponseWriter, *http.Request) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.before = f
}

// Requests gives those that contain part.
func (r *Registry) Requests(part string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, s := range r.seen {
		if strings.Contains(s, part) {
			out = append(out, s)
		}
	}
	return out
}

// Upload sends data to the registry itself.
func (r *Registry) Upload(t testing.TB, method, path, contentType string, data []byte) {
	t.Helper()
	req, err := http.NewRequest(method, r.URL+path, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		t.Fatalf("%s %s: %s", method, path, resp.Status)
	}
}

// Blob puts a blob into a repository.
func (r *Registry) Blob(t testing.TB, repo string, data []byte) digest.Digest {
	t.Helper()
	d := digest.FromBytes(data)
	r.Upload(t, http.MethodPost, "/v2/"+repo+"/blobs/uploads/?digest="+d.String(), "application/octet-stream", data)
	return d
}

// Manifest puts a manifest or index, encoded from m, into a repository.
func (r *Registry) Manifest(t testing.TB, repo, tag, mediaType string, m any) (digest.Digest, []byte) {
	t.Helper()
	data, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	r.Upload(t, http.MethodPut, "/v2/"+repo+"/manifests/"+tag, mediaType, data)
	return digest.FromBytes(data), data
}

// Push makes an image whose layers are the given bytes, unpacked.
func (r *Registry) Push(t testing.TB, repo, tag, platform string, layers ...[]byte) (digest.Digest, int64) {
	t.Helper()
	var ls []Layer
	for _, l := range layers {
		ls = append(ls, Layer{MediaType: ocispec.MediaTypeImageLayer, Packed: l, DiffID: digest.FromBytes(l)})
	}
	conf := image.Config{}
	conf.OS, conf.Architecture, _ = strings.Cut(platform, "/")
	return r.PushImage(t, repo, tag, conf, ls...)
}

// Layer is a layer as it is pushed.
type Layer struct {
	MediaType string
	Packed    []byte
	DiffID    digest.Digest
}

// Gzip packs a tar as a layer.
func Gzip(t testing.TB, tar []byte) Layer {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(tar); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return Layer{MediaType: ocispec.MediaTypeImageLayerGzip, Packed: b.Bytes(), DiffID: digest.FromBytes(tar)}
}

// PushImage pushes an image of these layers; the configuration's root
// filesystem is filled in. It gives the manifest's digest and size.
func (r *Registry) PushImage(t testing.TB, repo, tag string, conf image.Config, layers ...Layer) (digest.Digest, int64) {
	t.Helper()
	conf.RootFS.Type = "layers"
	m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest}
	m.SchemaVersion = 2
	for _, l := range layers {
		conf.RootFS.DiffIDs = append(conf.RootFS.DiffIDs, l.DiffID)
		m.Layers = append(m.Layers, ocispec.Descriptor{MediaType: l.MediaType, Digest: r.Blob(t, repo, l.Packed), Size: int64(len(l.Packed))})
	}
	raw, err := json.Marshal(conf)
	if err != nil {
		t.Fatal(err)
	}
	m.Config = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: r.Blob(t, repo, raw), Size: int64(len(raw))}
	d, data := r.Manifest(t, repo, tag, ocispec.MediaTypeImageManifest, m)
	return d, int64(len(data))
}

// Tar builds a layer's tar from lines such as "dir/", "file=content",
// "link->target" and "hard=>target".
func Tar(t testing.TB, lines ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, l := range lines {
		h := &tar.Header{Typeflag: tar.TypeReg, Mode: 0o644, ModTime: time.Unix(1000, 0), Format: tar.FormatPAX}
		body := ""
		switch {
		case strings.Contains(l, "=>"):
			h.Name, h.Linkname, _ = strings.Cut(l, "=>")
			h.Typeflag = tar.TypeLink
		case strings.Contains(l, "->"):
			h.Name, h.Linkname, _ = strings.Cut(l, "->")
			h.Typeflag = tar.TypeSymlink
		case strings.Contains(l, "="):
			h.Name, body, _ = strings.Cut(l, "=")
			h.Size = int64(len(body))
		case strings.HasSuffix(l, "/"):
			h.Name, h.Typeflag, h.Mode = l, tar.TypeDir, 0o755
		default:
			h.Name = l
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

// Auth gives the Authorization headers that came.
func (r *Registry) Auth() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.auth...)
}
