package image_test

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	. "github.com/vic-engine/vic/pkg/image"
	"github.com/vic-engine/vic/pkg/image/imagetest"
)

// TestSizesTogether: what layers have together is a number, whatever each says.
func TestSizesTogether(t *testing.T) {
	reg := imagetest.Start(t)
	conf := Config{}
	conf.OS, conf.Architecture, conf.RootFS.Type = "linux", "amd64", "layers"
	m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest}
	m.SchemaVersion = 2
	for _, l := range []string{"a", "b", "c"} {
		conf.RootFS.DiffIDs = append(conf.RootFS.DiffIDs, digest.FromString(l))
		m.Layers = append(m.Layers, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: digest.FromString(l), Size: 1 << 62})
	}
	raw, err := json.Marshal(conf)
	if err != nil {
		t.Fatal(err)
	}
	m.Config = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: reg.Blob(t, "a", raw), Size: int64(len(raw))}
	for _, l := range []string{"a", "b", "c"} {
		reg.Blob(t, "a", []byte(l))
	}
	reg.Manifest(t, "a", "latest", m.MediaType, m)
	if _, err := newClient(t, ClientConfig{}).Resolve(context.Background(), parse(t, reg.Host()+"/a"), "", Auth{}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("%v", err)
	}
}

// TestOtherDigests: a manifest that is named by another kind of digest is refused, as
// what came could not be verified.
func TestOtherDigests(t *testing.T) {
	reg := imagetest.Start(t)
	reg.Push(t, "a", "latest", "linux/amd64", []byte("l"))
	ref := parse(t, reg.Host()+"/a@sha512:"+strings.Repeat("ab", 64))
	if _, err := newClient(t, ClientConfig{}).Resolve(context.Background(), ref, "", Auth{}); !errdefs.IsNotImplemented(err) || !strings.Contains(err.Error(), "only those of sha256") {
		t.Errorf("%v", err)
	}
}

// TestBusyAtALayer: who watches a pull is told why nothing comes.
func TestBusyAtALayer(t *testing.T) {
	reg := imagetest.Start(t)
	reg.Push(t, "a", "latest", "linux/amd64", []byte("l"))
	refused := false
	reg.Misbehave(func(w http.ResponseWriter, r *http.Request) bool {
		if refused || !strings.HasSuffix(r.URL.Path, digest.FromString("l").String()) {
			return false
		}
		refused = true
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	})
	_, _, said, err := fetch(t, newClient(t, ClientConfig{}), reg.Host()+"/a")
	if err != nil {
		t.Fatal(err)
	}
	var words []string
	for _, p := range said {
		words = append(words, p.Status)
	}
	if got := strings.Join(slices.Compact(words), ", "); got != "Downloading, Retrying in 1 second, Downloading, Verifying Checksum, Download complete" {
		t.Error(got)
	}
}
