package engine

import (
	"context"
	"io"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
)

// blobReader is an image store that shows what its images are kept as. Implemented by
// portlayer/storage.Images.
type blobReader interface {
	// Manifest gives the digest of an image's manifest.
	Manifest(id string) (string, error)
	// OpenBlob reads a blob from offset on; size is that of the whole.
	OpenBlob(ctx context.Context, digest string, offset int64) (r io.ReadCloser, size int64, err error)
}

// LocalImages gives the names in full ("docker.io/library/app:1") that only the
// image store knows, with the digests of the images' manifests: names of images that
// were pulled or pushed by that name are the registry's.
func (e *Engine) LocalImages() map[string]string {
	b, ok := e.images.(blobReader)
	if !ok {
		return nil
	}
	out := map[string]string{}
	for _, img := range e.images.List() {
		there := map[string]bool{} // repositories of registries that have it
		for _, d := range img.RepoDigests {
			if n, err := reference.ParseNormalizedNamed(d); err == nil {
				there[n.Name()] = true
			}
		}
		for _, t := range img.RepoTags {
			n, err := reference.ParseNormalizedNamed(t)
			if err != nil || there[n.Name()] {
				continue
			}
			if m, err := b.Manifest(img.ID); err == nil { // else it was removed meanwhile
				out[n.String()] = m
			}
		}
	}
	return out
}

// ImageBlob reads a blob of the image store from offset on.
func (e *Engine) ImageBlob(ctx context.Context, digest string, offset int64) (r io.ReadCloser, size int64, err error) {
	b, ok := e.images.(blobReader)
	if !ok {
		return nil, 0, errdefs.ErrNotFound
	}
	return b.OpenBlob(ctx, digest, offset)
}
