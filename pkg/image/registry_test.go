package image

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sirupsen/logrus"

	"github.com/vic-engine/vic/pkg/spec"
)

// testRegistry is a real registry behind a handler that may misbehave.
type testRegistry struct {
	*httptest.Server
	// before sees each request; true means that it answered.
	before func(w http.ResponseWriter, r *http.Request) bool

	mu   sync.Mutex
	seen []string // requests as "GET /v2/… [range]"
	auth []string // Authorization headers that came
}

func startRegistry(t testing.TB) *testRegistry {
	t.Helper()
	reg := &testRegistry{}
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

func (r *testRegistry) host() string { return strings.TrimPrefix(r.URL, "http://") }

func (r *testRegistry) misbehave(f func(http.ResponseWriter, *http.Request) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.before = f
}

// requests gives those that contain part.
func (r *testRegistry) requests(part string) []string {
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

func (r *testRegistry) upload(t testing.TB, method, path, contentType string, data []byte) {
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

func (r *testRegistry) blob(t testing.TB, repo string, data []byte) digest.Digest {
	t.Helper()
	d := digest.FromBytes(data)
	r.upload(t, http.MethodPost, "/v2/"+repo+"/blobs/uploads/?digest="+d.String(), "application/octet-stream", data)
	return d
}

func (r *testRegistry) manifest(t testing.TB, repo, tag, mediaType string, m any) (digest.Digest, []byte) {
	t.Helper()
	data, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	r.upload(t, http.MethodPut, "/v2/"+repo+"/manifests/"+tag, mediaType, data)
	return digest.FromBytes(data), data
}

// push makes an image whose layers are the given bytes, unpacked.
func (r *testRegistry) push(t testing.TB, repo, tag, platform string, layers ...[]byte) (digest.Digest, int64) {
	t.Helper()
	os, arch, _ := strings.Cut(platform, "/")
	conf := Config{}
	conf.OS, conf.Architecture = os, arch
	conf.RootFS.Type = "layers"
	m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest}
	m.SchemaVersion = 2
	for _, l := range layers {
		d := r.blob(t, repo, l)
		conf.RootFS.DiffIDs = append(conf.RootFS.DiffIDs, d)
		m.Layers = append(m.Layers, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: d, Size: int64(len(l))})
	}
	raw, err := json.Marshal(conf)
	if err != nil {
		t.Fatal(err)
	}
	m.Config = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: r.blob(t, repo, raw), Size: int64(len(raw))}
	d, data := r.manifest(t, repo, tag, ocispec.MediaTypeImageManifest, m)
	return d, int64(len(data))
}

func quiet() *logrus.Entry {
	l := logrus.New()
	l.SetOutput(io.Discard)
	return logrus.NewEntry(l)
}

func newClient(t testing.TB, cfg ClientConfig) *Client {
	t.Helper()
	cfg.Log = quiet()
	cfg.Backoff = func(int) time.Duration { return 0 }
	c, err := NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// dialTo leads every name in hosts ("registry-1.docker.io:443") to an address;
// what is not in it is refused.
func dialTo(hosts map[string]string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		to, ok := hosts[addr]
		if !ok {
			return nil, &net.OpError{Op: "dial", Net: network, Err: fmt.Errorf("lookup %s: no such host", addr)}
		}
		return (&net.Dialer{}).DialContext(ctx, network, to)
	}
}

func parse(t testing.TB, s string) reference.Named {
	t.Helper()
	n, err := ParseReference(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// fetch resolves and downloads, and gives the files' folder and the progress.
func fetch(t testing.TB, c *Client, ref string) (*Remote, string, []spec.Progress, error) {
	t.Helper()
	r, err := c.Resolve(context.Background(), parse(t, ref), "", Auth{})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var said []spec.Progress
	err = r.Download(context.Background(), r.Layers, func(l Layer) string { return filepath.Join(dir, l.Digest.Encoded()) },
		func(p spec.Progress) { said = append(said, p) }, nil)
	return r, dir, said, err
}
