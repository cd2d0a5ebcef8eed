package image

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/google/go-containerregistry/pkg/v1/types"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// DefaultPlatform is what a containerVM runs.
const DefaultPlatform = "linux/amd64"

var platformPart = regexp.MustCompile(`^[a-z0-9_.-]+$`)

// parsePlatform reads "os/arch[/variant]" or an architecture alone. Empty is
// the default.
func parsePlatform(s string) (ocispec.Platform, error) {
	if s == "" {
		s = DefaultPlatform
	}
	parts := strings.Split(strings.ToLower(s), "/")
	for _, p := range parts {
		if !platformPart.MatchString(p) {
			return ocispec.Platform{}, fmt.Errorf("%q is not a platform: %w", s, errdefs.ErrInvalidArgument)
		}
	}
	if len(parts) == 1 {
		parts = []string{"linux", parts[0]}
	}
	if len(parts) > 3 {
		return ocispec.Platform{}, fmt.Errorf("%q is not a platform: %w", s, errdefs.ErrInvalidArgument)
	}
	p := ocispec.Platform{OS: parts[0], Architecture: parts[1]}
	switch p.Architecture {
	case "x86_64", "x86-64":
		p.Architecture = "amd64"
	case "aarch64":
		p.Architecture = "arm64"
	}
	if len(parts) == 3 {
		p.Variant = parts[2]
	}
	return plain(p), nil
}

// plain drops a variant that is the architecture's first.
func plain(p ocispec.Platform) ocispec.Platform {
	if p.Architecture == "amd64" && p.Variant == "v1" || p.Architecture == "arm64" && p.Variant == "v8" {
		p.Variant = ""
	}
	return p
}

// matches tells whether an image for have runs where want is asked for.
func matches(have, want ocispec.Platform) bool {
	have = plain(have)
	return have.OS == want.OS && have.Architecture == want.Architecture && (have.Variant == want.Variant || have.Variant == "")
}

func platformString(p ocispec.Platform) string {
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}

// choose gives the manifest of an index that fits best: one that names the
// platform exactly, then one without a variant, then the only one that names
// no platform at all.
func choose(index ocispec.Index, want ocispec.Platform) (ocispec.Descriptor, error) {
	var found, bare *ocispec.Descriptor
	images := 0
	for i, m := range index.Manifests {
		if m.MediaType != "" && !isManifest(m.MediaType) {
			continue
		}
		if IsAttestation(m) {
			continue
		}
		images++
		if m.Platform == nil {
			bare = &index.Manifests[i]
			continue
		}
		if !matches(*m.Platform, want) {
			continue
		}
		if plain(*m.Platform).Variant == want.Variant {
			return m, nil
		}
		if found == nil {
			found = &index.Manifests[i]
		}
	}
	if found != nil {
		return *found, nil
	}
	if bare != nil && images == 1 {
		return *bare, nil
	}
	return ocispec.Descriptor{}, fmt.Errorf("no matching manifest for %s in the manifest list entries: %w", platformString(want), errdefs.ErrNotFound)
}

// CheckPlatform tells what is wrong with a platform as users write it. Empty is
// right.
func CheckPlatform(platform string) error {
	_, err := parsePlatform(platform)
	return err
}

// ParsePlatform reads a platform as users write it ("linux/arm64", "amd64").
// Empty is the default.
func ParsePlatform(platform string) (ocispec.Platform, error) { return parsePlatform(platform) }

// Runs tells whether an image for have runs where platform is asked for. A
// configuration without a platform runs anywhere.
func Runs(have ocispec.Platform, platform string) bool {
	want, err := parsePlatform(platform)
	return err == nil && (have.OS == "" || matches(have, want))
}

// Choose gives the manifest of an index that fits the platform best. That there
// is none is ErrNotFound.
func Choose(index ocispec.Index, platform string) (ocispec.Descriptor, error) {
	want, err := parsePlatform(platform)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	return choose(index, want)
}

// IsAttestation tells whether a manifest in an index is about another one.
func IsAttestation(d ocispec.Descriptor) bool {
	return d.Annotations["vnd.docker.reference.type"] == "attestation-manifest"
}

// IsIndex tells whether a media type is an index's.
func IsIndex(mediaType string) bool { return isIndex(mediaType) }

// IsConfig tells whether a media type may be an image configuration's.
func IsConfig(mediaType string) bool {
	switch mediaType {
	case string(types.DockerConfigJSON), ocispec.MediaTypeImageConfig, "application/octet-stream", "":
		return true
	}
	return false
}

// PlatformString is a platform as users write it.
func PlatformString(p ocispec.Platform) string { return platformString(plain(p)) }
