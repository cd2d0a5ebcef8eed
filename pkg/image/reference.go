package image

import (
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
)

// dockerHub is the registry of names without one, hubHost where it really is.
const (
	dockerHub = "docker.io"
	hubHost   = "registry-1.docker.io"
)

// ParseReference reads a reference as users write it ("busybox",
// "host:5000/a/b@sha256:…"). One with neither tag nor digest gets the tag latest;
// one with both keeps the digest alone, as Docker does for pulls.
func ParseReference(s string) (reference.Named, error) {
	named, err := reference.ParseNormalizedNamed(s)
	if err != nil {
		return nil, fmt.Errorf("%q: %w: %w", s, err, errdefs.ErrInvalidArgument)
	}
	if d, ok := named.(reference.Digested); ok {
		canonical, err := reference.WithDigest(reference.TrimNamed(named), d.Digest())
		if err != nil {
			return nil, fmt.Errorf("%q: %w: %w", s, err, errdefs.ErrInvalidArgument)
		}
		return canonical, nil
	}
	return reference.TagNameOnly(named), nil
}

// Familiar is a reference as Docker prints it: "busybox:latest" for
// "docker.io/library/busybox:latest". What is no reference is given unchanged.
func Familiar(s string) string {
	named, err := reference.ParseNormalizedNamed(s)
	if err != nil {
		return s
	}
	return reference.FamiliarString(named)
}
