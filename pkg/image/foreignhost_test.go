package image_test

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"

	. "github.com/vic-engine/vic/pkg/image"
	"github.com/vic-engine/vic/pkg/image/imagetest"
)

// TestForeignLayerOfOurOwn: a manifest cannot have us ask what listens on our own
// loopback, directly or by an address that leads there.
func TestForeignLayerOfOurOwn(t *testing.T) {
	reg := imagetest.Start(t)
	blob := []byte("what the manifest wants of us")
	d := digest.FromBytes(blob)
	conf := reg.Blob(t, "app", []byte(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["`+d.String()+`"]}}`))
	var asked atomic.Int64
	url := ""
	reg.Misbehave(func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.URL.Path == "/secret":
			asked.Add(1)
			_, _ = w.Write(blob)
		case r.URL.Path == "/leads":
			http.Redirect(w, r, reg.URL+"/secret", http.StatusFound)
		case strings.HasPrefix(r.URL.Path, "/v2/app/manifests/"):
			w.Header().Set("Content-Type", "application/vnd.docker.distribution.manifest.v2+json")
			fmt.Fprintf(w, `{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json","config":{"mediaType":"application/vnd.docker.container.image.v1+json","digest":%q},`+
				`"layers":[{"mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip","size":%d,"digest":%q,"urls":[%q]}]}`, conf, len(blob), d, url)
		case strings.HasSuffix(r.URL.Path, d.String()):
			w.WriteHeader(http.StatusNotFound)
		default:
			return false
		}
		return true
	})
	c := newClient(t, ClientConfig{
		Insecure: []string{"registry.test", "cdn.test"},
		Dial:     dialTo(map[string]string{"registry.test:80": reg.Host(), "cdn.test:80": reg.Host(), reg.Host(): reg.Host()}),
	})
	_, port, _ := strings.Cut(reg.Host(), ":")
	for from, want := range map[string]bool{
		reg.URL + "/secret": false, "http://localhost:" + port + "/secret": false, "http://[::ffff:127.0.0.1]:" + port + "/secret": false,
		"http://cdn.test/leads": false, "http://cdn.test/secret": true,
	} {
		url = from
		r, err := c.Resolve(context.Background(), parse(t, "registry.test/app"), "", Auth{})
		if err != nil {
			t.Fatal(err)
		}
		before := asked.Load()
		err = r.Download(context.Background(), r.Layers, func(Layer) string { return filepath.Join(t.TempDir(), "layer") }, nil, nil)
		if (err == nil) != want || asked.Load() > before != want || !want && !strings.Contains(err.Error(), "leads to this computer") {
			t.Errorf("%s: asked %v, %v", from, asked.Load() > before, err)
		}
	}
}
