package image

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// WithRootFS gives a configuration the root filesystem of these layers, and
// keeps every other field, also those that are not known here. One that has
// just this root filesystem stays byte for byte; one that has another, or is no
// image configuration, is ErrInvalidArgument.
func WithRootFS(config []byte, diffIDs []digest.Digest) ([]byte, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(config, &fields); err != nil {
		return nil, bad("image configuration: %v", err)
	}
	if len(config) > maxConfig {
		return nil, bad("image configuration: more than %d bytes", maxConfig)
	}
	if len(diffIDs) > maxLayers {
		return nil, bad("image: %d layers, at most %d are possible", len(diffIDs), maxLayers)
	}
	var root ocispec.RootFS
	if raw, ok := fields["rootfs"]; ok {
		if err := json.Unmarshal(raw, &root); err != nil {
			return nil, bad("image configuration: root filesystem: %v", err)
		}
	}
	if len(root.DiffIDs) > 0 || len(diffIDs) == 0 && root.Type == "layers" {
		if len(root.DiffIDs) != len(diffIDs) {
			return nil, bad("image configuration: it has %d layers, there are %d", len(root.DiffIDs), len(diffIDs))
		}
		for i, d := range diffIDs {
			if root.DiffIDs[i] != d {
				return nil, bad("invalid diffID for layer %d: expected %q, got %q", i, root.DiffIDs[i], d)
			}
		}
		_, err := ParseConfig(config)
		return config, err
	}
	raw, err := json.Marshal(ocispec.RootFS{Type: "layers", DiffIDs: append([]digest.Digest{}, diffIDs...)})
	if err != nil {
		return nil, fmt.Errorf("encode root filesystem: %w", err)
	}
	if fields == nil {
		fields = map[string]json.RawMessage{}
	}
	fields["rootfs"] = raw
	out, err := json.Marshal(fields)
	if err != nil {
		return nil, fmt.Errorf("encode image configuration: %w", err)
	}
	_, err = ParseConfig(out)
	return out, err
}

// ManifestOf checks that a manifest names just this configuration and these
// layers; without one (nil) it makes it: Docker's schema 2 where that can name
// the layers, as it is what every registry takes, else OCI's. It also gives the
// configuration's media type.
func ManifestOf(given, config []byte, layers []ocispec.Descriptor) (Blob, string, error) {
	if given == nil {
		return makeManifest(config, layers)
	}
	var m ocispec.Manifest
	if len(given) > maxManifest {
		return Blob{}, "", bad("manifest: more than %d bytes", maxManifest)
	}
	if err := json.Unmarshal(given, &m); err != nil {
		return Blob{}, "", bad("manifest: %v", err)
	}
	kind := mediaType("", given)
	if !isManifest(kind) {
		return Blob{}, "", bad("manifest: media type %q is not an image's", kind)
	}
	if d := digest.FromBytes(config); m.Config.Digest != d {
		return Blob{}, "", bad("manifest: it is of the configuration %s, not of %s", m.Config.Digest, d)
	}
	if len(m.Layers) != len(layers) {
		return Blob{}, "", bad("manifest: it has %d layers, there are %d", len(m.Layers), len(layers))
	}
	for i, l := range layers {
		if m.Layers[i].Digest != l.Digest || m.Layers[i].Size != l.Size {
			return Blob{}, "", bad("manifest: layer %d is %s of %d bytes, there is %s of %d", i, m.Layers[i].Digest, m.Layers[i].Size, l.Digest, l.Size)
		}
	}
	return Blob{Digest: digest.FromBytes(given), MediaType: kind, Data: given}, m.Config.MediaType, nil
}

func makeManifest(config []byte, layers []ocispec.Descriptor) (Blob, string, error) {
	m := ocispec.Manifest{MediaType: string(types.DockerManifestSchema2)}
	m.SchemaVersion = 2
	m.Config = ocispec.Descriptor{MediaType: string(types.DockerConfigJSON), Digest: digest.FromBytes(config), Size: int64(len(config))}
	for _, l := range layers {
		if !strings.HasSuffix(l.MediaType, Gzip) {
			m.MediaType, m.Config.MediaType = ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageConfig
		}
	}
	m.Layers = []ocispec.Descriptor{}
	for _, l := range layers {
		l = ocispec.Descriptor{MediaType: layerType(l.MediaType, m.MediaType), Digest: l.Digest, Size: l.Size}
		m.Layers = append(m.Layers, l)
	}
	// Docker indents manifests with three spaces.
	raw, err := json.MarshalIndent(m, "", "   ")
	if err != nil {
		return Blob{}, "", fmt.Errorf("encode manifest: %w", err)
	}
	return Blob{Digest: digest.FromBytes(raw), MediaType: m.MediaType, Data: raw}, m.Config.MediaType, nil
}

// layerType is a layer's media type in a manifest of the given type.
func layerType(layer, manifest string) string {
	switch {
	case manifest == string(types.DockerManifestSchema2):
		return string(types.DockerLayer)
	case strings.HasSuffix(layer, Zstd):
		return ocispec.MediaTypeImageLayerZstd
	case strings.HasSuffix(layer, Gzip):
		return ocispec.MediaTypeImageLayerGzip
	}
	return ocispec.MediaTypeImageLayer
}
