package storage

import (
	"context"
	"fmt"
	"io"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
)

// Manifest gives the digest of the manifest that an image is kept with; id is the
// image's in full. It, and what it names, can be read by OpenBlob while the image is there.
func (s *Images) Manifest(id string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.records[digest.Digest(id)]
	if r == nil {
		return "", fmt.Errorf("image %s: %w", id, errdefs.ErrNotFound)
	}
	return r.Manifest.Digest.String(), nil
}

// OpenBlob reads a blob of the store from offset on; size, in bytes, is that of the
// whole. One that is not there is ErrNotFound.
func (s *Images) OpenBlob(ctx context.Context, blob string, offset int64) (r io.ReadCloser, size int64, err error) {
	d, err := digest.Parse(blob)
	if err != nil {
		return nil, 0, fmt.Errorf("blob %q: %w: %w", blob, err, errdefs.ErrInvalidArgument)
	}
	if offset < 0 {
		return nil, 0, fmt.Errorf("blob %s from byte %d: %w", d, offset, errdefs.ErrInvalidArgument)
	}
	if !s.has(d) {
		return nil, 0, fmt.Errorf("blob %s: %w", d, errdefs.ErrNotFound)
	}
	r, size, err = s.ds.Get(ctx, s.at.blob(d), offset)
	if err != nil {
		return nil, 0, fmt.Errorf("read blob %s: %w", d, err)
	}
	return r, size, nil
}
