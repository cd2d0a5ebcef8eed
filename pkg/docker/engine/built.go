package engine

import (
	"context"
	"fmt"
	"io"

	"github.com/vic-engine/vic/pkg/spec"

	"github.com/distribution/reference"
)

// archiveLoader is an image store that takes archives of images. Implemented by
// portlayer/storage.Images.
type archiveLoader interface {
	LoadArchive(ctx context.Context, r io.Reader, o spec.LoadOptions) error
}

// LoadBuilt brings the archive of one image that was built into the image store,
// and gives its id. Names in the archive do not count: it comes from the builder,
// which runs what others wrote, and any name would be taken from the image that has it.
func (e *Engine) LoadBuilt(ctx context.Context, archive io.Reader) (id string, err error) {
	l, ok := e.images.(archiveLoader)
	if !ok {
		return "", notImplemented("not supported: building images, as the image store only pulls them")
	}
	err = l.LoadArchive(ctx, archive, spec.LoadOptions{Unnamed: true, Loaded: func(i spec.LoadedImage) { id = i.Image.ID }})
	if err != nil {
		return "", err
	}
	if id == "" {
		return "", internal("the builder sent an archive without an image")
	}
	return id, nil
}

// TagBuilt gives an image that was built a name in full ("docker.io/library/a:b").
func (e *Engine) TagBuilt(ctx context.Context, id, name string) error {
	n, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return invalid("image name %q: %v", name, err)
	}
	t, ok := n.(reference.Tagged)
	if !ok {
		return invalid("image name %q has no tag", name)
	}
	if err := e.ImageTag(ctx, id, n.Name(), t.Tag()); err != nil {
		return fmt.Errorf("name the image that was built: %w", err)
	}
	return nil
}
