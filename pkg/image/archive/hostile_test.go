package archive_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/vic-engine/vic/pkg/image/archive"
)

// TestNoDigests: what an archive has in place of a digest may be anything, in
// every place where one belongs.
func TestNoDigests(t *testing.T) {
	one := config("amd64", "L1")
	for _, no := range []string{"", "no digest", "sha256:", "sha256:../../x", "sha512:" + strings.Repeat("ab", 64)} {
		bad := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.Digest(no), Platform: &ocispec.Platform{OS: "linux", Architecture: "amd64"}}
		layer := marshal(t, ocispec.Manifest{
			MediaType: ocispec.MediaTypeImageManifest, Config: describe(ocispec.MediaTypeImageConfig, one),
			Layers: []ocispec.Descriptor{{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: digest.Digest(no), Size: 2}},
		})
		below := index(t, bad)
		for name, lines := range map[string][]string{
			"layer":           {"index.json=" + index(t, describe(ocispec.MediaTypeImageManifest, layer)), blob(layer), blob(one)},
			"manifest":        {"index.json=" + index(t, bad)},
			"index below one": {"index.json=" + index(t, describe(ocispec.MediaTypeImageIndex, below)), blob(below)},
		} {
			if _, err := read(entries(t, lines...), ""); !errdefs.IsInvalidArgument(err) {
				t.Errorf("%s with digest %q: %v", name, no, err)
			}
		}
		// Beside a manifest.json a layout is only asked for a manifest to keep.
		got, err := read(entries(t, "index.json="+index(t, bad, describe(ocispec.MediaTypeImageManifest, layer)), blob(layer), blob(one), "l=L1",
			`manifest.json=[{"Config":"blobs/sha256/`+hexOf(one)+`","RepoTags":["a:1"],"Layers":["l"]}]`), "")
		if err != nil {
			t.Errorf("docker's with digest %q: %v", no, err)
			continue
		}
		if d := cmp.Diff([]string{"docker.io/library/a:1 amd64 L1"}, show(t, got)); d != "" {
			t.Errorf("docker's with digest %q: %s", no, d)
		}
	}
}

// TestManyNames: the names of an archive take memory, and how much is bounded.
func TestManyNames(t *testing.T) {
	var lines []string
	for i := range 2500 {
		lines = append(lines, strings.Repeat("n/", 2000)+strings.Repeat("x", 1+i%90)+"=")
	}
	if _, err := read(entries(t, lines...), ""); !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), "names of more than") {
		t.Errorf("%v", err)
	}
}

// TestOneFileManyTimes: an archive of a few megabytes cannot have us keep any number of
// copies of a file that it has once.
func TestOneFileManyTimes(t *testing.T) {
	conf := config("amd64") + strings.Repeat(" ", 2<<20)
	item := `{"Config":"c","Layers":[]}`
	docker := entries(t, "c="+conf, "manifest.json=["+strings.Repeat(item+",", 2000)+item+"]")
	var kept bytes.Buffer
	a, err := archive.Read(bytes.NewReader(docker), &kept, &late{&kept})
	if err == nil {
		_, err = a.Images("")
	}
	if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), "altogether") {
		t.Errorf("%v", err)
	}
}
