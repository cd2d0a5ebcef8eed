package storage

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"

	"github.com/vic-engine/vic/pkg/image"
	"github.com/vic-engine/vic/pkg/spec"
)

// Describe tells what a registry has under a reference.
func (s *Images) Describe(ctx context.Context, ref string, c spec.Credentials) (spec.RemoteImage, error) {
	named, err := image.ParseReference(ref)
	if err != nil {
		return spec.RemoteImage{}, err
	}
	return s.cfg.Client.Describe(ctx, named, auth(c))
}

// Tags are all tags that a repository has at its registry.
func (s *Images) Tags(ctx context.Context, repo string, c spec.Credentials) ([]string, error) {
	named, err := reference.ParseNormalizedNamed(repo)
	if err != nil {
		return nil, fmt.Errorf("%q: %w: %w", repo, err, errdefs.ErrInvalidArgument)
	}
	return s.cfg.Client.Tags(ctx, reference.TrimNamed(named), auth(c))
}

// Search finds repositories by words.
func (s *Images) Search(ctx context.Context, term string, limit int, c spec.Credentials) ([]spec.FoundRepository, error) {
	found, err := s.cfg.Client.Search(ctx, term, limit, auth(c))
	var out []spec.FoundRepository
	for _, f := range found {
		out = append(out, spec.FoundRepository(f))
	}
	return out, err
}
