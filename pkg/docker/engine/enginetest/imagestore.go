package enginetest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/vic-engine/vic/pkg/docker/engine"
	"github.com/vic-engine/vic/pkg/spec"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
)

var (
	_ engine.ImageArchives   = (*Images)(nil)
	_ engine.ImagePusher     = (*Images)(nil)
	_ engine.ImageRegistries = (*Images)(nil)
)

// savedImage is what the fake's archives are made of: a JSON list of these.
type savedImage struct {
	Names  []string
	Config string
}

// LoadArchive implements engine.ImageArchives for archives of SaveArchive.
func (s *Images) LoadArchive(_ context.Context, r io.Reader, o spec.LoadOptions) error {
	var list []savedImage
	if err := json.NewDecoder(r).Decode(&list); err != nil {
		return fmt.Errorf("archive: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	for _, one := range list {
		if o.Unnamed {
			one.Names = nil
		}
		img := Image("x", one.Config)
		img.RepoTags, img.RepoDigests = one.Names, nil
		s.mu.Lock()
		s.images = slices.DeleteFunc(s.images, func(have spec.Image) bool { return have.ID == img.ID })
		s.images = append(s.images, img)
		s.mu.Unlock()
		if o.Loaded != nil {
			o.Loaded(spec.LoadedImage{Image: clone(img), Names: one.Names})
		}
	}
	return nil
}

// SaveArchive implements engine.ImageArchives.
func (s *Images) SaveArchive(_ context.Context, refs []string, o spec.SaveOptions, w io.Writer) error {
	var list []savedImage
	var ids []string
	for _, ref := range refs {
		img, err := s.Resolve(ref)
		if err != nil {
			return err
		}
		ids = append(ids, img.ID)
		list = append(list, savedImage{img.RepoTags, string(img.Config)})
	}
	if o.Saving != nil {
		o.Saving(ids)
	}
	return json.NewEncoder(w).Encode(list)
}

// Push implements engine.ImagePusher: the registry has the image from then on.
func (s *Images) Push(_ context.Context, ref string, _ spec.PushOptions) (spec.Pushed, error) {
	img, err := s.Resolve(ref)
	if err != nil {
		return spec.Pushed{}, err
	}
	n, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return spec.Pushed{}, fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	}
	name := reference.FamiliarString(reference.TagNameOnly(n))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.registry[name] = img
	_, tag, _ := strings.Cut(name, ":")
	return spec.Pushed{Tag: tag, Digest: digest("manifest of " + string(img.Config)), Size: len(img.Config)}, nil
}

// Describe implements engine.ImageRegistries.
func (s *Images) Describe(_ context.Context, ref string, _ spec.Credentials) (spec.RemoteImage, error) {
	n, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return spec.RemoteImage{}, fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	img, ok := s.registry[reference.FamiliarString(reference.TagNameOnly(n))]
	if !ok {
		return spec.RemoteImage{}, fmt.Errorf("manifest for %s not found: %w", reference.FamiliarString(n), errdefs.ErrNotFound)
	}
	return spec.RemoteImage{
		Digest: digest("manifest of " + string(img.Config)), MediaType: "application/vnd.oci.image.manifest.v1+json", Size: int64(len(img.Config)),
		Platforms: []spec.RemotePlatform{{OS: "linux", Architecture: "amd64"}},
	}, nil
}

// Tags implements engine.ImageRegistries.
func (s *Images) Tags(_ context.Context, repo string, _ spec.Credentials) ([]string, error) {
	n, err := reference.ParseNormalizedNamed(repo)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for name := range s.registry {
		if tag, ok := strings.CutPrefix(name, reference.FamiliarName(n)+":"); ok {
			out = append(out, tag)
		}
	}
	slices.Sort(out)
	return out, nil
}

// Search implements engine.ImageRegistries: names that contain the term.
func (s *Images) Search(_ context.Context, term string, _ int, _ spec.Credentials) ([]spec.FoundRepository, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []spec.FoundRepository
	for name := range s.registry {
		if repo, _, _ := strings.Cut(name, ":"); strings.Contains(repo, term) {
			out = append(out, spec.FoundRepository{Name: repo})
		}
	}
	slices.SortFunc(out, func(a, b spec.FoundRepository) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}
