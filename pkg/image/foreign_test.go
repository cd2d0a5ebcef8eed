package image_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	. "github.com/vic-engine/vic/pkg/image"
	"github.com/vic-engine/vic/pkg/image/imagetest"
)

// TestForeignLayer: what the registry does not keep comes from the address in
// the manifest, with no credentials, and verified all the same.
func TestForeignLayer(t *testing.T) {
	reg := imagetest.Start(t)
	blob := []byte("a layer from elsewhere")
	d := digest.FromBytes(blob)
	conf := reg.Blob(t, "app", []byte(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["`+d.String()+`"]}}`))
	manifest := func(kind, at string) string {
		return fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json","config":{"mediaType":"application/vnd.docker.container.image.v1+json","digest":%q},`+
			`"layers":[{"mediaType":%q,"size":%d,"digest":%q,"urls":["ftp://x/y",%q]}]}`, conf, kind, len(blob), d, at)
	}
	var mu sync.Mutex // guards sent and text
	sent, text := string(blob), ""
	reg.Misbehave(func(w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case r.URL.Path == "/elsewhere":
			if r.Header.Get("Authorization") != "" {
				t.Error("credentials went elsewhere")
			}
			fmt.Fprint(w, sent)
		case strings.HasPrefix(r.URL.Path, "/v2/app/manifests/"):
			w.Header().Set("Content-Type", "application/vnd.docker.distribution.manifest.v2+json")
			fmt.Fprint(w, text)
		case strings.HasSuffix(r.URL.Path, d.String()):
			w.WriteHeader(http.StatusNotFound)
		default:
			return false
		}
		return true
	})
	c := newClient(t, ClientConfig{})
	try := func() (string, error) {
		t.Helper()
		r, err := c.Resolve(context.Background(), parse(t, reg.Host()+"/app"), "", Auth{Username: "me", Password: "geheim"})
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "layer")
		if err := r.Download(context.Background(), r.Layers, func(Layer) string { return file }, nil, nil); err != nil {
			return "", err
		}
		b, err := os.ReadFile(file)
		return string(b), err
	}
	const foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
	say := func(layer, m string) {
		mu.Lock()
		defer mu.Unlock()
		sent, text = layer, m
	}
	say(string(blob), manifest(foreign, reg.URL+"/elsewhere"))
	if got, err := try(); err != nil || got != string(blob) {
		t.Errorf("%q, %v", got, err)
	}
	say(strings.ToUpper(string(blob)), manifest(foreign, reg.URL+"/elsewhere"))
	if _, err := try(); !errdefs.IsDataLoss(err) {
		t.Errorf("other bytes: %v", err)
	}
	say("", manifest(foreign, "http://registry.example/elsewhere"))
	if _, err := try(); err == nil || !strings.Contains(err.Error(), "ftp://x/y") || !strings.Contains(err.Error(), "not listed as one") {
		t.Errorf("plain HTTP: %v", err)
	}
	say(string(blob), manifest("application/vnd.docker.image.rootfs.diff.tar.gzip", reg.URL+"/elsewhere"))
	if _, err := try(); !errdefs.IsNotFound(err) {
		t.Errorf("a layer that is not foreign: %v", err)
	}
}

// FuzzResolve: whatever a registry says, what comes of it is whole or an error.
func FuzzResolve(f *testing.F) {
	conf := `{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}`
	f.Add([]byte(`{"schemaVersion":2,"config":{"digest":"`+digest.FromString(conf).String()+`"},"layers":[]}`), []byte(conf), "application/vnd.oci.image.manifest.v1+json")
	f.Add([]byte(`{"manifests":[{"digest":"`+digest.FromString(conf).String()+`","platform":{"os":"linux","architecture":"amd64"}}]}`), []byte(conf), "application/vnd.oci.image.index.v1+json")
	f.Add([]byte(`{"schemaVersion":1}`), []byte(`{}`), "application/vnd.docker.distribution.manifest.v1+json")
	reg := imagetest.Start(f)
	var mu sync.Mutex // guards the three below
	var manifest, config []byte
	var kind string
	reg.Misbehave(func(w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		if r.URL.Path == "/v2/" {
			return false
		}
		w.Header()["Content-Type"] = []string{kind}
		if strings.HasSuffix(r.URL.Path, "/manifests/latest") {
			_, _ = w.Write(manifest)
			return true
		}
		_, _ = w.Write(config)
		return true
	})
	f.Fuzz(func(t *testing.T, m, c []byte, k string) {
		if strings.ContainsAny(k, "\r\n\x00") {
			return
		}
		mu.Lock()
		manifest, config, kind = m, c, k
		mu.Unlock()
		cl := newClient(t, ClientConfig{Attempts: 1})
		r, err := cl.Resolve(context.Background(), parse(t, reg.Host()+"/app"), "", Auth{})
		if err != nil {
			return
		}
		if r.Config.Digest != digest.FromBytes(c) || r.Digest != digest.FromBytes(m) {
			t.Fatalf("%+v", r)
		}
		conf, err := ParseConfig(r.Config.Data)
		if err != nil || len(conf.RootFS.DiffIDs) != len(r.Layers) {
			t.Fatalf("%v: %+v", err, r)
		}
		if _, err := cl.Describe(context.Background(), parse(t, reg.Host()+"/app"), Auth{}); err != nil {
			t.Fatalf("described otherwise: %v", err)
		}
	})
}
