package engine

import (
	"encoding/json"

	"github.com/vic-engine/vic/pkg/image"
	"github.com/vic-engine/vic/pkg/spec"

	"github.com/opencontainers/go-digest"
)

// chains are the chain ids of an image's layers: a layer is the same one in two
// images when all below it are the same too.
func chains(img spec.Image) []string {
	var diffs []digest.Digest
	for _, l := range img.Layers {
		diffs = append(diffs, digest.Digest(l))
	}
	var out []string
	for _, c := range image.ChainIDs(diffs) {
		out = append(out, c.String())
	}
	return out
}

// chainSizes are the uncompressed bytes of every layer of the store by its chain
// id.
func (e *Engine) chainSizes() map[string]int64 {
	sizes, _ := e.layerUse()
	return sizes
}

// layerUse is chainSizes, and how many images have each layer.
func (e *Engine) layerUse() (sizes map[string]int64, users map[string]int) {
	sizes, users = map[string]int64{}, map[string]int{}
	for _, img := range e.images.List() {
		for i, c := range chains(img) {
			if i < len(img.LayerSizes) {
				sizes[c] = img.LayerSizes[i]
			}
			users[c]++
		}
	}
	return sizes, users
}

// SharedSizes are, by image id, the bytes of the image's layers that other
// images have too.
func (e *Engine) SharedSizes() map[string]int64 {
	sizes, users := e.layerUse()
	out := map[string]int64{}
	for _, img := range e.images.List() {
		out[img.ID] = 0
		for _, c := range chains(img) {
			if users[c] > 1 {
				out[img.ID] += sizes[c]
			}
		}
	}
	return out
}

// LayersSize is the bytes of all layers, each counted once.
func (e *Engine) LayersSize() int64 {
	var n int64
	for _, s := range e.chainSizes() {
		n += s
	}
	return n
}

// ImageInspectFor gives one image, which must be for a platform ("linux/arm64")
// unless that is empty.
func (e *Engine) ImageInspectFor(ref, platform string) (ImageInfo, error) {
	i, err := e.ImageInspect(ref)
	if err != nil || platform == "" {
		return i, err
	}
	want, err := image.ParsePlatform(platform)
	if err != nil {
		return i, invalid("%v", err)
	}
	if !image.Runs(i.Spec.Platform, platform) {
		return i, notFound("image with reference %s was found but its platform (%s) does not match the specified platform (%s)",
			ref, image.PlatformString(i.Spec.Platform), image.PlatformString(want))
	}
	return i, nil
}

// DockerFields are those of an image's configuration that only Docker writes: its
// comment and the version of Docker that made it.
func DockerFields(img spec.Image) (comment, version string) {
	var c struct {
		Comment       string `json:"comment"`
		DockerVersion string `json:"docker_version"`
	}
	// A configuration that does not parse has none; the rest of it is checked
	// when the image comes into the store.
	_ = json.Unmarshal(img.Config, &c)
	return c.Comment, c.DockerVersion
}
