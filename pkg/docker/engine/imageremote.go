package engine

import (
	"context"
	"errors"
	"slices"
	"strconv"

	"github.com/vic-engine/vic/pkg/spec"

	"github.com/distribution/reference"
)

// ImageRegistries is what the engine needs to ask registries about what is
// there. An image store that can has it. Implemented by
// portlayer/storage.Images.
type ImageRegistries interface {
	// Describe tells what a reference (in full) points at.
	Describe(ctx context.Context, ref string, c spec.Credentials) (spec.RemoteImage, error)
	// Tags are all tags of a repository.
	Tags(ctx context.Context, repo string, c spec.Credentials) ([]string, error)
	// Search finds repositories by words, at Docker Hub or the host that the term
	// begins with.
	Search(ctx context.Context, term string, limit int, c spec.Credentials) ([]spec.FoundRepository, error)
}

func (e *Engine) imageRegistries() (ImageRegistries, error) {
	r, ok := e.images.(ImageRegistries)
	if !ok {
		return nil, notImplemented("not supported: asking registries about images, as the image store only pulls them")
	}
	return r, nil
}

// DistributionInspect tells what a registry has under a name.
func (e *Engine) DistributionInspect(ctx context.Context, name string, c spec.Credentials) (spec.RemoteImage, error) {
	r, err := e.imageRegistries()
	if err != nil {
		return spec.RemoteImage{}, err
	}
	ref, err := reference.ParseAnyReference(name)
	if err != nil {
		return spec.RemoteImage{}, invalid("%v", err)
	}
	named, ok := ref.(reference.Named)
	if !ok {
		return spec.RemoteImage{}, invalid("no manifest found for full image ID")
	}
	return r.Describe(ctx, reference.TagNameOnly(named).String(), c)
}

// PullTags are the references of all tags of a repository, for pull --all-tags.
func (e *Engine) PullTags(ctx context.Context, repo reference.Named, c spec.Credentials) ([]reference.Named, error) {
	r, err := e.imageRegistries()
	if err != nil {
		return nil, err
	}
	tags, err := r.Tags(ctx, repo.Name(), c)
	if err != nil {
		return nil, err
	}
	slices.Sort(tags)
	var out []reference.Named
	for _, t := range slices.Compact(tags) {
		n, err := reference.WithTag(reference.TrimNamed(repo), t)
		if err != nil {
			return nil, invalid("%s has a tag %q: %v", reference.FamiliarName(repo), t, err)
		}
		out = append(out, n)
	}
	if len(out) == 0 {
		return nil, notFound("no tags found for %s", reference.FamiliarName(repo))
	}
	return out, nil
}

// ImageSearch finds repositories.
func (e *Engine) ImageSearch(ctx context.Context, term string, limit int, f Filters, c spec.Credentials) ([]spec.FoundRepository, error) {
	if err := f.check("is-automated", "is-official", "stars"); err != nil {
		return nil, err
	}
	automated, err1 := f.boolean("is-automated", false)
	official, err2 := f.boolean("is-official", false)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	stars := 0
	for _, s := range f["stars"] {
		n, err := strconv.Atoi(s)
		if err != nil {
			return nil, invalid("invalid filter 'stars=%s'", s)
		}
		stars = max(stars, n)
	}
	out := []spec.FoundRepository{}
	if automated {
		return out, nil // there are none any more, as in Docker
	}
	r, err := e.imageRegistries()
	if err != nil {
		return nil, err
	}
	found, err := r.Search(ctx, term, limit, c)
	if err != nil {
		return nil, err
	}
	for _, one := range found {
		if f.has("is-official") && one.Official != official || one.Stars < stars {
			continue
		}
		out = append(out, one)
	}
	return out, nil
}
