package engine

import (
	"context"

	"github.com/vic-engine/vic/pkg/spec"
)

// ImageMaker is what the engine needs to make images itself (commit, import,
// build). An image store that can has it. Implemented by
// portlayer/storage.Images.
type ImageMaker interface {
	// Put makes an image, its disk included, and gives it its names. An image
	// that is there already only gets the names. A failure leaves nothing.
	Put(ctx context.Context, src spec.ImageSource) (spec.Image, error)
}

// imageMaker gives the image store's ability to make images.
func (e *Engine) imageMaker() (ImageMaker, error) {
	m, ok := e.images.(ImageMaker)
	if !ok {
		return nil, notImplemented("not supported: making images, as the image store only pulls them")
	}
	return m, nil
}
