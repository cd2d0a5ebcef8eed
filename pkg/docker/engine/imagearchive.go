package engine

import (
	"context"
	"io"

	"github.com/vic-engine/vic/pkg/spec"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
)

// ImageArchives is what the engine needs to save and load images. An image
// store that can has it. Implemented by portlayer/storage.Images.
type ImageArchives interface {
	// LoadArchive brings the images of a tar, docker save's or an OCI layout,
	// packed or not, into the store.
	LoadArchive(ctx context.Context, r io.Reader, o spec.LoadOptions) error
	// SaveArchive writes the images that refs name: a tag with that name, a
	// repository with all its tags, an id with none. What is not there is
	// ErrNotFound before the first byte.
	SaveArchive(ctx context.Context, refs []string, o spec.SaveOptions, w io.Writer) error
}

func (e *Engine) imageArchives() (ImageArchives, error) {
	a, ok := e.images.(ImageArchives)
	if !ok {
		return nil, notImplemented("not supported: archives of images, as the image store only pulls them")
	}
	return a, nil
}

// ImageLoad brings the images of an archive into the store.
func (e *Engine) ImageLoad(ctx context.Context, r io.Reader, o spec.LoadOptions) error {
	a, err := e.imageArchives()
	if err != nil {
		return err
	}
	tell := o.Loaded
	o.Loaded = func(l spec.LoadedImage) {
		e.imageEvent("load", l.Image.ID, l.Image.ID)
		if tell != nil {
			tell(l)
		}
	}
	return a.LoadArchive(ctx, r, o)
}

// ImageSave writes an archive of the images that names tell.
func (e *Engine) ImageSave(ctx context.Context, names []string, o spec.SaveOptions, w io.Writer) error {
	a, err := e.imageArchives()
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return invalid("image name cannot be blank")
	}
	for _, n := range names {
		if _, err := e.images.Resolve(n); errdefs.IsNotFound(err) && !e.savesRepository(n) {
			return notSaved(n)
		}
	}
	o.Saving = func(ids []string) {
		for _, id := range ids {
			e.imageEvent("save", id, id)
		}
	}
	return a.SaveArchive(ctx, names, o, w)
}

// savesRepository tells whether a name without a tag is that of a repository
// that has any.
func (e *Engine) savesRepository(name string) bool {
	want, err := reference.ParseNormalizedNamed(name)
	if err != nil || !reference.IsNameOnly(want) {
		return false
	}
	for _, img := range e.images.List() {
		for _, r := range imageRefs(img) {
			if r.Name() == want.Name() {
				return true
			}
		}
	}
	return false
}

// notSaved is Docker's error: another one for a tag or digest than for a name
// or id.
func notSaved(name string) error {
	n, err := reference.ParseNormalizedNamed(name)
	if err == nil && !reference.IsNameOnly(n) && reference.FamiliarName(n) != "sha256" {
		return notFound("reference does not exist")
	}
	return notFound("No such image: %s", name)
}
