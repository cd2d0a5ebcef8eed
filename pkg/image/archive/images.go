package archive

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/vic-engine/vic/pkg/image"
)

// Image is one image of an archive.
type Image struct {
	// Names are its tags in full ("docker.io/library/app:1").
	Names  []string
	Config []byte
	// Manifest is the one that the image had; nil when the archive has none
	// that tells how the image is kept.
	Manifest []byte
	Layers   []Layer // the lowest first
}

// ID is the image's: the digest of its configuration.
func (i Image) ID() digest.Digest { return digest.FromBytes(i.Config) }

// Layer is a layer's content.
type Layer struct {
	DiffID digest.Digest
	// Digest of the content, where the archive tells it.
	Digest digest.Digest
	Size   int64
	at     section
	a      *Archive
}

// Open reads the content.
func (l Layer) Open() io.Reader { return io.NewSectionReader(l.a.at, l.at.offset, l.at.size) }

const (
	dockerManifest = "manifest.json"
	blobFolder     = "blobs/sha256/"
	// imageName is containerd's annotation with the whole name.
	imageName = "io.containerd.image.name"
)

// dockerItem is one image in manifest.json.
type dockerItem struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// Images are those of the archive. With a platform ("linux/arm64") only those
// for it; without, an index gives the one for linux/amd64. An archive of none
// of the known forms, or that does not have what it tells of, is
// ErrInvalidArgument.
func (a *Archive) Images(platform string) ([]Image, error) {
	if err := image.CheckPlatform(platform); err != nil {
		return nil, err
	}
	raw, err := a.read(dockerManifest, maxIndex)
	switch {
	case err == nil:
		return a.dockerImages(raw, platform)
	case !errdefs.IsNotFound(err):
		return nil, err
	}
	raw, err = a.read(ocispec.ImageIndexFile, maxIndex)
	switch {
	case err == nil:
		return a.layoutImages(raw, platform)
	case !errdefs.IsNotFound(err):
		return nil, err
	}
	if _, err := a.find("repositories"); err == nil {
		return nil, bad("archive of images: it is of Docker 1.9 or older, which is not supported; load and save it with Docker 1.10 to 24")
	}
	return nil, bad("archive of images: it has neither manifest.json (docker save) nor index.json (OCI layout); a file system is brought in by import")
}

// gone makes what an archive lacks a fault of the archive.
func gone(err error) error {
	if errdefs.IsNotFound(err) {
		return bad("%v", err)
	}
	return err
}

func (a *Archive) dockerImages(raw []byte, platform string) ([]Image, error) {
	var items []dockerItem
	if err := json.Unmarshal(raw, &items); err != nil {
		return nil, bad("archive of images: %s: %v", dockerManifest, err)
	}
	if items == nil {
		return nil, bad("invalid manifest: manifest cannot be null (but can be [])")
	}
	kept := a.keptManifests()
	var out []Image
	for _, m := range items {
		config, err := a.read(m.Config, maxConfig)
		if err != nil {
			return nil, gone(err)
		}
		img := Image{Config: config}
		conf, err := parse(config)
		if err != nil {
			return nil, err
		}
		if platform != "" && !image.Runs(conf.Platform, platform) {
			continue
		}
		if len(m.Layers) != len(conf.RootFS.DiffIDs) {
			return nil, bad("invalid manifest, layers length mismatch: expected %d, got %d", len(m.Layers), len(conf.RootFS.DiffIDs))
		}
		for i, name := range m.Layers {
			at, err := a.find(name)
			if err != nil {
				return nil, gone(err)
			}
			img.Layers = append(img.Layers, Layer{DiffID: conf.RootFS.DiffIDs[i], Size: at.size, at: at, a: a})
		}
		for _, tag := range m.RepoTags {
			named, err := reference.ParseNormalizedNamed(tag)
			if err != nil {
				return nil, bad("archive of images: name %q: %v", tag, err)
			}
			if _, ok := named.(reference.NamedTagged); !ok {
				return nil, bad("invalid tag %q", tag)
			}
			img.Names = append(img.Names, named.String())
		}
		a.keep(&img, kept[img.ID()])
		out = append(out, img)
	}
	return out, nil
}

func parse(config []byte) (image.Config, error) {
	conf, err := image.ParseConfig(config)
	if err != nil {
		return conf, fmt.Errorf("archive of images: %w", err)
	}
	if conf.OS != "" && conf.OS != "linux" {
		return conf, bad("cannot load %s image on linux", conf.OS)
	}
	return conf, nil
}

// keptManifests are the manifests of the layout by the configurations they are
// of. What is wrong with a layout beside a manifest.json is no error.
func (a *Archive) keptManifests() map[digest.Digest][]byte {
	out := map[digest.Digest][]byte{}
	raw, err := a.read(ocispec.ImageIndexFile, maxIndex)
	if err != nil {
		return out
	}
	var index ocispec.Index
	if json.Unmarshal(raw, &index) != nil {
		return out
	}
	for queue, n := index.Manifests, 0; len(queue) > 0 && n < maxManifests; n++ {
		d := queue[0]
		queue = queue[1:]
		data, err := a.blob(d, maxIndex)
		if err != nil {
			continue
		}
		var below ocispec.Index
		var m ocispec.Manifest
		switch {
		case image.IsIndex(d.MediaType) && json.Unmarshal(data, &below) == nil && n+len(queue) < maxManifests:
			queue = append(queue, below.Manifests...)
		case json.Unmarshal(data, &m) == nil:
			out[m.Config.Digest] = data
		}
	}
	return out
}

// keep gives an image the manifest if its layers are the archive's and packed.
// Docker with a graph driver writes manifests of unpacked layers, which are not
// what the image has elsewhere.
func (a *Archive) keep(img *Image, manifest []byte) {
	var m ocispec.Manifest
	if manifest == nil || json.Unmarshal(manifest, &m) != nil || len(m.Layers) != len(img.Layers) {
		return
	}
	for i, l := range m.Layers {
		at, err := a.find(blobName(l.Digest))
		if err != nil || at != img.Layers[i].at || at.size != l.Size || !strings.HasSuffix(l.MediaType, image.Gzip) && !strings.HasSuffix(l.MediaType, image.Zstd) {
			return
		}
	}
	img.Manifest = manifest
	for i, l := range m.Layers {
		img.Layers[i].Digest = l.Digest
	}
}

func (a *Archive) layoutImages(raw []byte, platform string) ([]Image, error) {
	w := walk{a: a, platform: platform, byManifest: map[digest.Digest]int{}}
	if err := w.index(raw, "", true); err != nil {
		return nil, err
	}
	if len(w.out) == 0 {
		if platform == "" {
			platform = image.DefaultPlatform
		}
		return nil, bad("archive of images: it has none for %s", platform)
	}
	return w.out, nil
}

// walk gathers the images of a layout.
type walk struct {
	a          *Archive
	platform   string
	out        []Image
	byManifest map[digest.Digest]int // index in out
	seen       int
}

// maxManifests is how many manifests a layout may have.
const maxManifests = 10_000

// index takes an index's images. Those of index.json (top) are images of their
// own; an index below it is one image for several platforms, and has no further
// index.
func (w *walk) index(raw []byte, name string, top bool) error {
	var index ocispec.Index
	if err := json.Unmarshal(raw, &index); err != nil {
		return bad("archive of images: index: %v", err)
	}
	if !top {
		index.Manifests = slices.DeleteFunc(index.Manifests, func(d ocispec.Descriptor) bool {
			_, err := w.a.find(blobName(d.Digest))
			return err != nil // for a platform that is not in the archive
		})
		d, err := image.Choose(index, w.platform)
		if errdefs.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
		index.Manifests = []ocispec.Descriptor{d}
	}
	for _, d := range index.Manifests {
		if w.seen++; w.seen > maxManifests {
			return bad("archive of images: more than %d manifests", maxManifests)
		}
		called := name
		if n := nameOf(d); n != "" {
			called = n
		}
		data, err := w.a.blob(d, maxIndex)
		if err != nil {
			return gone(err)
		}
		if image.IsIndex(d.MediaType) {
			err = w.index(data, called, false)
		} else {
			err = w.manifest(d, data, called)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// nameOf is the name that an index gives to an image. A reference that is a tag
// alone names nothing.
func nameOf(d ocispec.Descriptor) string {
	for _, n := range []string{d.Annotations[imageName], d.Annotations[ocispec.AnnotationRefName]} {
		named, err := reference.ParseNormalizedNamed(n)
		if err != nil || !strings.ContainsAny(n, "/:") {
			continue
		}
		if tagged, ok := reference.TagNameOnly(named).(reference.NamedTagged); ok {
			return tagged.String()
		}
	}
	return ""
}

// manifest takes one image, unless it is for another platform or no image.
func (w *walk) manifest(d ocispec.Descriptor, data []byte, name string) error {
	if i, ok := w.byManifest[d.Digest]; ok {
		if name != "" && !slices.Contains(w.out[i].Names, name) {
			w.out[i].Names = append(w.out[i].Names, name)
		}
		return nil
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return bad("archive of images: manifest %s: %v", d.Digest, err)
	}
	if image.IsAttestation(d) || !image.IsConfig(m.Config.MediaType) || m.Config.Digest == "" {
		return nil
	}
	config, err := w.a.blob(m.Config, maxConfig)
	if err != nil {
		return gone(err)
	}
	conf, err := parse(config)
	if err != nil {
		return err
	}
	if w.platform != "" && !image.Runs(conf.Platform, w.platform) {
		return nil
	}
	if len(m.Layers) != len(conf.RootFS.DiffIDs) {
		return bad("archive of images: manifest %s has %d layers, its configuration %d", d.Digest, len(m.Layers), len(conf.RootFS.DiffIDs))
	}
	img := Image{Config: config, Manifest: data}
	for i, l := range m.Layers {
		if err := checkDigest(l.Digest); err != nil {
			return fmt.Errorf("layer %d of manifest %s: %w", i, d.Digest, err)
		}
		at, err := w.a.find(blobName(l.Digest))
		if err != nil {
			return gone(err)
		}
		img.Layers = append(img.Layers, Layer{DiffID: conf.RootFS.DiffIDs[i], Digest: l.Digest, Size: at.size, at: at, a: w.a})
	}
	if name != "" {
		img.Names = []string{name}
	}
	w.byManifest[d.Digest] = len(w.out)
	w.out = append(w.out, img)
	return nil
}

// blobName is the file of a blob in a layout. A digest may be anything that
// somebody wrote: for one that is none there is no such file.
func blobName(d digest.Digest) string { return blobFolder + strings.TrimPrefix(string(d), "sha256:") }

func checkDigest(d digest.Digest) error {
	if err := d.Validate(); err != nil || d.Algorithm() != digest.SHA256 {
		return bad("archive of images: digest %q is no sha256:<64 hex digits>", d)
	}
	return nil
}

// blob reads a small blob and verifies it.
func (a *Archive) blob(d ocispec.Descriptor, limit int64) ([]byte, error) {
	if err := checkDigest(d.Digest); err != nil {
		return nil, err
	}
	b, err := a.read(blobName(d.Digest), limit)
	if err != nil {
		return nil, err
	}
	if got := digest.FromBytes(b); got != d.Digest {
		return nil, fmt.Errorf("archive of images: verification failed: want content with digest %s, it has %s: %w", d.Digest, got, errdefs.ErrDataLoss)
	}
	return b, nil
}
