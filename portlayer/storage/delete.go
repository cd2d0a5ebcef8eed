package storage

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/vic-engine/vic/pkg/image"
)

// Delete removes an image with its names, its disk, and the blobs that no
// other image needs. It gives what Docker lists as deleted: the image's id,
// then the chain ids of its layers that no other image has, the topmost first.
// known are the names that the image may have: one that was given another since is
// ErrConflict. It knows nothing of containers; a disk in use fails, and the image
// stays with its names.
func (s *Images) Delete(ctx context.Context, id string, known ...string) (freed []string, err error) {
	full := map[string]bool{}
	for _, n := range known {
		named, err := image.ParseReference(n)
		if err != nil {
			return nil, fmt.Errorf("delete image %s: %w", id, err)
		}
		full[named.String()] = true
	}
	unlock, err := s.work.lock(ctx, "image:"+id)
	if err != nil {
		return nil, err
	}
	defer unlock()
	s.mu.Lock()
	r := s.records[digest.Digest(id)]
	other := s.names.beside(digest.Digest(id), full)
	s.mu.Unlock()
	if r == nil {
		return nil, &noSuchImage{id}
	}
	// Nobody can name it from here on: that takes its lock.
	if other != "" {
		return nil, fmt.Errorf("delete image %s: it is called %s: %w", id, image.Familiar(other), errdefs.ErrConflict)
	}
	hex := r.ID.Encoded()
	// The disk goes first: it is what can be refused. From then on the rest
	// must go too.
	if err := s.ds.DeleteDisk(ctx, s.at.disk(hex)); err != nil {
		return nil, fmt.Errorf("delete image %s: %w", id, err)
	}
	ctx = context.WithoutCancel(ctx)
	if err := s.rename(ctx, func(n names) names {
		return n.without(func(_ string, to digest.Digest) bool { return to == r.ID })
	}); err != nil {
		return nil, fmt.Errorf("delete image %s: %w", id, err)
	}
	// Then image.json, without which a restart takes the folder for unfinished.
	if err := s.ds.Delete(ctx, s.at.meta(hex)); err != nil {
		return nil, fmt.Errorf("delete image %s: %w", id, err)
	}
	s.mu.Lock()
	delete(s.records, r.ID)
	freed = append([]string{id}, s.freedLayers(r)...)
	s.mu.Unlock()
	err = errors.Join(s.ds.Delete(ctx, s.at.image(hex)), s.sweep(ctx, r.digests()))
	if err != nil {
		return freed, fmt.Errorf("delete image %s: %w", id, err)
	}
	return freed, nil
}

// freedLayers is called with mu held.
func (s *Images) freedLayers(gone *record) []string {
	needed := map[digest.Digest]bool{}
	for _, r := range s.records {
		for _, c := range image.ChainIDs(r.diffIDs()) {
			needed[c] = true
		}
	}
	var out []string
	chain := image.ChainIDs(gone.diffIDs())
	for i := len(chain) - 1; i >= 0; i-- {
		if !needed[chain[i]] {
			out = append(out, chain[i].String())
		}
	}
	return out
}
