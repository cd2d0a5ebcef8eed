package image_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/pem"
	"errors"
	"fmt"
	"math/rand"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	. "github.com/vic-engine/vic/pkg/image"
	"github.com/vic-engine/vic/pkg/image/imagetest"
)

func noise(n int, seed int64) []byte {
	b := make([]byte, n)
	rand.New(rand.NewSource(seed)).Read(b)
	return b
}

func TestPullKeepsBytesAndSaysDockersWords(t *testing.T) {
	reg := imagetest.Start(t)
	layers := [][]byte{noise(300<<10, 1), noise(10, 2), noise(70<<10, 3), noise(5, 4)}
	want, _ := reg.Push(t, "team/app", "v1", "linux/amd64", layers...)
	r, dir, said, err := fetch(t, newClient(t, ClientConfig{}), reg.Host()+"/team/app:v1")
	if err != nil {
		t.Fatal(err)
	}
	if r.Digest != want || len(r.Layers) != 4 || r.Index.Data != nil || r.ID() != digest.FromBytes(r.Config.Data).String() {
		t.Errorf("%+v", r)
	}
	words := map[string][]string{}
	for _, p := range said {
		if w := words[p.ID]; len(w) == 0 || w[len(w)-1] != p.Status {
			words[p.ID] = append(w, p.Status)
		}
		if p.Current > p.Total || p.Status == "Downloading" && p.Total == 0 {
			t.Errorf("progress %+v", p)
		}
	}
	for i, l := range r.Layers {
		b, err := os.ReadFile(filepath.Join(dir, l.Digest.Encoded()))
		if err != nil || !bytes.Equal(b, layers[i]) {
			t.Errorf("layer %d differs (%v)", i, err)
		}
		want := []string{"Downloading", "Verifying Checksum", "Download complete"}
		if i == 3 {
			want = append([]string{"Waiting"}, want...)
		}
		if diff := cmp.Diff(want, words[l.ShortID()]); diff != "" {
			t.Error(diff)
		}
	}
}

func TestPullByDigest(t *testing.T) {
	reg := imagetest.Start(t)
	d, _ := reg.Push(t, "a", "x", "linux/amd64", []byte("l"))
	c := newClient(t, ClientConfig{})
	r, err := c.Resolve(context.Background(), parse(t, reg.Host()+"/a:ignored@"+d.String()), "", Auth{})
	if err != nil || r.Digest != d {
		t.Fatalf("%v, %v", r, err)
	}
	reg.Misbehave(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/manifests/") {
			return false
		}
		w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
		_, _ = w.Write([]byte(`{"config":{}}`))
		return true
	})
	_, err = c.Resolve(context.Background(), parse(t, reg.Host()+"/a@"+d.String()), "", Auth{})
	if !errdefs.IsDataLoss(err) || !strings.Contains(err.Error(), d.String()) {
		t.Errorf("another manifest than asked for: %v", err)
	}
}

func TestWrongLayerDigest(t *testing.T) {
	reg := imagetest.Start(t)
	reg.Push(t, "a", "latest", "linux/amd64", []byte("first layer"), []byte("other layer"))
	bad := digest.FromString("other layer")
	reg.Misbehave(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, bad.String()) {
			return false
		}
		_, _ = w.Write([]byte("OTHER LAYER"))
		return true
	})
	_, dir, _, err := fetch(t, newClient(t, ClientConfig{}), reg.Host()+"/a")
	sent := digest.FromString("OTHER LAYER").String()
	if !errdefs.IsDataLoss(err) || !strings.Contains(err.Error(), "layer "+bad.String()) || !strings.Contains(err.Error(), sent) {
		t.Errorf("error %v, want one naming %s and %s", err, bad, sent)
	}
	if _, err := os.Stat(filepath.Join(dir, bad.Encoded())); !os.IsNotExist(err) {
		t.Errorf("the bad layer is kept: %v", err)
	}
	if n := len(reg.Requests(bad.String())); n != 1 {
		t.Errorf("asked %d times for bytes that are wrong", n)
	}
}

// TestCutConnection cuts each answer after 100 KB; the rest is asked for.
func TestCutConnection(t *testing.T) {
	for _, ranges := range []bool{true, false} {
		t.Run(fmt.Sprintf("ranges=%v", ranges), func(t *testing.T) {
			reg := imagetest.Start(t)
			layer := noise(350<<10, 1)
			reg.Push(t, "a", "latest", "linux/amd64", layer)
			d := digest.FromBytes(layer)
			n := 0
			reg.Misbehave(func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.HasSuffix(r.URL.Path, d.String()) {
					return false
				}
				n++
				from := 0
				if s, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes="); ok && ranges {
					from, _ = strconv.Atoi(strings.TrimSuffix(s, "-"))
					w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(layer)-1, len(layer)))
				}
				w.Header().Set("Content-Length", strconv.Itoa(len(layer)-from))
				if from > 0 {
					w.WriteHeader(http.StatusPartialContent)
				}
				part := layer[from:]
				if len(part) > 100<<10 && (ranges || n < 3) {
					part = part[:100<<10]
				}
				_, _ = w.Write(part)
				return true
			})
			r, dir, _, err := fetch(t, newClient(t, ClientConfig{}), reg.Host()+"/a")
			if err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(filepath.Join(dir, r.Layers[0].Digest.Encoded()))
			if err != nil || !bytes.Equal(b, layer) {
				t.Errorf("layer differs (%v)", err)
			}
			got := reg.Requests(d.String())
			if ranges && (len(got) != 4 || !strings.HasSuffix(got[3], "bytes=307200-")) || !ranges && len(got) != 3 {
				t.Errorf("requests %q", got)
			}
		})
	}
}

func TestConnectionThatNeverGetsOn(t *testing.T) {
	reg := imagetest.Start(t)
	layer := noise(3000, 1)
	reg.Push(t, "a", "latest", "linux/amd64", layer)
	d := digest.FromBytes(layer)
	release := make(chan struct{})
	defer close(release)
	for name, answer := range map[string]func(w http.ResponseWriter, r *http.Request){
		"500":     func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500) },
		"nothing": func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Content-Length", "3000") },
		"stall": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "3000")
			w.(http.Flusher).Flush()
			select {
			case <-release:
			case <-r.Context().Done():
			}
		},
	} {
		reg.Misbehave(func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, d.String()) {
				return false
			}
			answer(w, r)
			return true
		})
		before := len(reg.Requests(d.String()))
		_, dir, _, err := fetch(t, newClient(t, ClientConfig{Attempts: 3, Stall: 50 * time.Millisecond}), reg.Host()+"/a")
		if !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), reg.Host()) || !strings.Contains(err.Error(), d.String()) {
			t.Errorf("%s: %v", name, err)
		}
		if n := len(reg.Requests(d.String())) - before; n != 3 {
			t.Errorf("%s: asked %d times", name, n)
		}
		if left, _ := os.ReadDir(dir); len(left) != 0 {
			t.Errorf("%s: %v is left", name, left)
		}
	}
}

func TestLongerThanAnnounced(t *testing.T) {
	reg := imagetest.Start(t)
	reg.Push(t, "a", "latest", "linux/amd64", []byte("short"))
	reg.Misbehave(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, digest.FromString("short").String()) {
			return false
		}
		_, _ = w.Write(noise(1<<20, 1))
		return true
	})
	if _, _, _, err := fetch(t, newClient(t, ClientConfig{}), reg.Host()+"/a"); !errdefs.IsDataLoss(err) {
		t.Errorf("%v", err)
	}
}

func TestCancelledDownload(t *testing.T) {
	reg := imagetest.Start(t)
	layer := noise(3000, 1)
	reg.Push(t, "a", "latest", "linux/amd64", layer)
	c := newClient(t, ClientConfig{})
	r, err := c.Resolve(context.Background(), parse(t, reg.Host()+"/a"), "", Auth{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	reg.Misbehave(func(w http.ResponseWriter, req *http.Request) bool {
		w.Header().Set("Content-Length", "3000")
		w.(http.Flusher).Flush()
		cancel()
		<-req.Context().Done()
		return true
	})
	dir := t.TempDir()
	err = r.Download(ctx, r.Layers, func(l Layer) string { return filepath.Join(dir, "x") }, nil, nil)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("%v is left", left)
	}
}

func TestNotThere(t *testing.T) {
	reg := imagetest.Start(t)
	reg.Push(t, "library/busybox", "latest", "linux/amd64", []byte("l"))
	mirrored := newClient(t, ClientConfig{Mirrors: []string{reg.URL}, Dial: dialTo(map[string]string{reg.Host(): reg.Host()})})
	direct := newClient(t, ClientConfig{})
	for _, c := range []struct {
		client *Client
		ref    string
		want   string
	}{
		{mirrored, "nosuch", "pull access denied for nosuch, repository does not exist or may require 'docker login': denied: requested access to the resource is denied"},
		{mirrored, "busybox:nosuch", "manifest for busybox:nosuch not found: manifest unknown: "},
		{direct, reg.Host() + "/nosuch:1", "repository " + reg.Host() + "/nosuch not found: name unknown: "},
		{direct, reg.Host() + "/library/busybox:2", "manifest for " + reg.Host() + "/library/busybox:2 not found: manifest unknown: "},
	} {
		_, err := c.client.Resolve(context.Background(), parse(t, c.ref), "", Auth{})
		if !errdefs.IsNotFound(err) || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: %v", c.ref, err)
		}
	}
}

func TestRegistryDown(t *testing.T) {
	reg := imagetest.Start(t)
	host := reg.Host()
	reg.Close()
	_, err := newClient(t, ClientConfig{}).Resolve(context.Background(), parse(t, host+"/a"), "", Auth{})
	if !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), host) || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("%v", err)
	}
	noDNS := newClient(t, ClientConfig{Dial: dialTo(nil)})
	if _, err = noDNS.Resolve(context.Background(), parse(t, "busybox"), "", Auth{}); !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), "registry-1.docker.io") {
		t.Errorf("%v", err)
	}
}

func TestServerErrorNamesTheRegistry(t *testing.T) {
	reg := imagetest.Start(t)
	reg.Misbehave(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/v2/" {
			return false
		}
		w.WriteHeader(http.StatusBadGateway)
		return true
	})
	_, err := newClient(t, ClientConfig{Attempts: 2}).Resolve(context.Background(), parse(t, reg.Host()+"/a"), "", Auth{})
	if !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), reg.Host()) || !strings.Contains(err.Error(), "502 Bad Gateway") {
		t.Errorf("%v", err)
	}
}

func TestMirrorsInOrder(t *testing.T) {
	empty, full, hub := imagetest.Start(t), imagetest.Start(t), imagetest.Start(t)
	full.Push(t, "library/busybox", "latest", "linux/amd64", []byte("mirror"))
	hub.Push(t, "library/busybox", "latest", "linux/amd64", []byte("hub"))
	hub.Push(t, "library/only", "latest", "linux/amd64", []byte("hub"))
	c := newClient(t, ClientConfig{
		Mirrors: []string{empty.URL, full.URL}, Insecure: []string{"registry-1.docker.io"},
		Dial: dialTo(map[string]string{empty.Host(): empty.Host(), full.Host(): full.Host(), "registry-1.docker.io" + ":80": hub.Host()}),
	})
	secret := Auth{Username: "me", Password: "geheim"}
	for ref, want := range map[string]string{"busybox": "mirror", "only": "hub"} {
		r, err := c.Resolve(context.Background(), parse(t, ref), "", secret)
		if err != nil {
			t.Fatal(err)
		}
		if r.Layers[0].Digest != digest.FromString(want) {
			t.Errorf("%s is not from the %s", ref, want)
		}
	}
	if len(empty.Requests("/v2/library/busybox/")) == 0 {
		t.Error("the first mirror was not asked")
	}
	if len(hub.Requests("GET /v2/library/busybox")) != 0 {
		t.Error("Docker Hub was asked for what a mirror has")
	}
	if len(empty.Auth())+len(full.Auth()) != 0 {
		t.Error("a mirror got credentials")
	}
	if len(hub.Auth()) == 0 {
		t.Error("Docker Hub got no credentials")
	}
	// Other registries have no mirror.
	other := imagetest.Start(t)
	c2 := newClient(t, ClientConfig{Mirrors: []string{full.URL}})
	if _, err := c2.Resolve(context.Background(), parse(t, other.Host()+"/library/busybox"), "", Auth{}); !errdefs.IsNotFound(err) {
		t.Errorf("%v", err)
	}
}

func TestBasicAndTokenAuth(t *testing.T) {
	reg := imagetest.Start(t)
	reg.Push(t, "private", "latest", "linux/amd64", []byte("l"))
	basic := func(w http.ResponseWriter, r *http.Request) bool {
		if u, p, ok := r.BasicAuth(); ok && u == "me" && p == "geheim" {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
		http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
		return true
	}
	token := func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/token" {
			u, p, _ := r.BasicAuth()
			_ = r.ParseForm()
			if u == "me" && p == "geheim" || r.Form.Get("refresh_token") == "idtoken" {
				fmt.Fprint(w, `{"token":"good","access_token":"good"}`)
			} else {
				http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"incorrect username or password"}]}`, http.StatusUnauthorized)
			}
			return true
		}
		if r.Header.Get("Authorization") == "Bearer good" {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Bearer realm="`+reg.URL+`/token",service="s"`)
		http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
		return true
	}
	c := newClient(t, ClientConfig{})
	ref := parse(t, reg.Host()+"/private")
	for name, h := range map[string]func(http.ResponseWriter, *http.Request) bool{"basic": basic, "token": token} {
		reg.Misbehave(h)
		if _, err := c.Resolve(context.Background(), ref, "", Auth{Username: "me", Password: "geheim"}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		_, err := c.Resolve(context.Background(), ref, "", Auth{Username: "me", Password: "wrong"})
		if !errdefs.IsUnauthorized(err) || strings.Contains(err.Error(), "wrong") || !strings.Contains(err.Error(), reg.Host()) {
			t.Errorf("%s, wrong password: %v", name, err)
		}
		_, err = c.Resolve(context.Background(), ref, "", Auth{})
		if !errdefs.IsNotFound(err) || !strings.HasPrefix(err.Error(), "pull access denied for "+reg.Host()+"/private, ") {
			t.Errorf("%s, nobody: %v", name, err)
		}
	}
	reg.Misbehave(token)
	if _, err := c.Resolve(context.Background(), ref, "", Auth{Token: "idtoken"}); err != nil {
		t.Errorf("identity token: %v", err)
	}
}

func TestPlatformFromIndex(t *testing.T) {
	reg := imagetest.Start(t)
	index := ocispec.Index{MediaType: ocispec.MediaTypeImageIndex}
	index.SchemaVersion = 2
	for _, p := range []string{"linux/arm64", "linux/amd64", "windows/amd64"} {
		d, size := reg.Push(t, "multi", strings.ReplaceAll(p, "/", "-"), p, []byte(p))
		o, a, _ := strings.Cut(p, "/")
		index.Manifests = append(index.Manifests, ocispec.Descriptor{
			MediaType: ocispec.MediaTypeImageManifest, Digest: d, Size: size, Platform: &ocispec.Platform{OS: o, Architecture: a},
		})
	}
	top, _ := reg.Manifest(t, "multi", "latest", ocispec.MediaTypeImageIndex, index)
	c := newClient(t, ClientConfig{})
	ref := parse(t, reg.Host()+"/multi")
	for platform, want := range map[string]string{"": "linux/amd64", "linux/arm64": "linux/arm64", "amd64": "linux/amd64"} {
		r, err := c.Resolve(context.Background(), ref, platform, Auth{})
		if err != nil {
			t.Fatal(err)
		}
		if r.Layers[0].Digest != digest.FromString(want) || r.Digest != top || r.Index.Digest != top || r.Manifest.Digest == top {
			t.Errorf("platform %q gives %+v", platform, r)
		}
	}
	_, err := c.Resolve(context.Background(), ref, "linux/riscv64", Auth{})
	if !errdefs.IsNotFound(err) || !strings.Contains(err.Error(), "no matching manifest for linux/riscv64 in the manifest list entries") {
		t.Errorf("%v", err)
	}
	_, err = c.Resolve(context.Background(), parse(t, reg.Host()+"/multi:linux-arm64"), "", Auth{})
	if !errdefs.IsNotFound(err) || !strings.Contains(err.Error(), "its platform (linux/arm64) does not match the specified platform (linux/amd64)") {
		t.Errorf("%v", err)
	}
	if _, err = c.Resolve(context.Background(), ref, "li nux/amd64", Auth{}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("%v", err)
	}
}

func TestPlainHTTPOnlyWhenListed(t *testing.T) {
	reg := imagetest.Start(t)
	reg.Push(t, "a", "latest", "linux/amd64", []byte("l"))
	dial := dialTo(map[string]string{"registry.test:5000": reg.Host(), "10.1.2.3:5000": reg.Host()})
	for _, host := range []string{"registry.test:5000", "10.1.2.3:5000"} {
		ref := parse(t, host+"/a")
		if _, err := newClient(t, ClientConfig{Dial: dial}).Resolve(context.Background(), ref, "", Auth{}); err == nil {
			t.Errorf("%s: plain HTTP without being listed", host)
		}
		for _, listed := range []string{host, strings.Split(host, ":")[0], "10.1.0.0/16"} {
			if listed == "10.1.0.0/16" && host != "10.1.2.3:5000" {
				continue
			}
			if _, err := newClient(t, ClientConfig{Dial: dial, Insecure: []string{listed}}).Resolve(context.Background(), ref, "", Auth{}); err != nil {
				t.Errorf("%s listed as %s: %v", host, listed, err)
			}
		}
	}
}

func TestRegistryCA(t *testing.T) {
	reg := imagetest.Start(t)
	reg.Push(t, "a", "latest", "linux/amd64", []byte("l"))
	tls := httptest.NewTLSServer(reg.Config.Handler) // its certificate is for example.com
	defer tls.Close()
	dial := dialTo(map[string]string{"example.com:443": strings.TrimPrefix(tls.URL, "https://")})
	ref := parse(t, "example.com/a")
	_, err := newClient(t, ClientConfig{Dial: dial}).Resolve(context.Background(), ref, "", Auth{})
	if !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("unknown authority: %v", err)
	}
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: tls.Certificate().Raw}))
	for _, cfg := range []ClientConfig{{Dial: dial, CAs: ca}, {Dial: dial, Insecure: []string{"example.com"}}} {
		if _, err := newClient(t, cfg).Resolve(context.Background(), ref, "", Auth{}); err != nil {
			t.Error(err)
		}
	}
}

func TestNotAnImage(t *testing.T) {
	reg := imagetest.Start(t)
	empty := reg.Blob(t, "a", []byte("{}"))
	conf := func(mt string) ocispec.Descriptor {
		return ocispec.Descriptor{MediaType: mt, Digest: empty, Size: 2}
	}
	m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Config: conf("application/vnd.cncf.helm.config.v1+json")}
	m.SchemaVersion = 2
	reg.Manifest(t, "a", "helm", ocispec.MediaTypeImageManifest, m)
	m.Config = conf(ocispec.MediaTypeImageConfig)
	reg.Manifest(t, "a", "empty", ocispec.MediaTypeImageManifest, m)
	c := newClient(t, ClientConfig{})
	for _, tag := range []string{"helm", "empty"} {
		if _, err := c.Resolve(context.Background(), parse(t, reg.Host()+"/a:"+tag), "", Auth{}); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%s: %v", tag, err)
		}
	}
	reg.Misbehave(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/manifests/") {
			return false
		}
		w.Header().Set("Content-Type", "application/vnd.docker.distribution.manifest.v1+prettyjws")
		fmt.Fprint(w, `{"schemaVersion":1}`)
		return true
	})
	if _, err := c.Resolve(context.Background(), parse(t, reg.Host()+"/a:old"), "", Auth{}); !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), "schema 1 support has been removed") {
		t.Errorf("schema 1: %v", err)
	}
}

func TestBadConfiguration(t *testing.T) {
	_, err := NewClient(ClientConfig{Log: quiet(), Mirrors: []string{"mirror:5000", "ftp://x"}, Insecure: []string{"a b"}, CAs: "nothing"})
	for _, want := range []string{"mirror:5000", "ftp://x", "a b", "registry CAs"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %s", err, want)
		}
	}
}

func TestChainIDs(t *testing.T) {
	a, b := digest.FromString("a"), digest.FromString("b")
	sum := sha256.Sum256([]byte(a.String() + " " + b.String()))
	want := []digest.Digest{a, digest.NewDigestFromBytes(digest.SHA256, sum[:])}
	if diff := cmp.Diff(want, ChainIDs([]digest.Digest{a, b})); diff != "" {
		t.Error(diff)
	}
}
