package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/vic-engine/vic/pkg/image"
	"github.com/vic-engine/vic/pkg/spec"
)

// Push brings the image that has the tag ref to the registry that ref names, with
// the manifest that is kept, and gives the image the name with its digest. A tag
// that is not there is ErrNotFound.
func (s *Images) Push(ctx context.Context, ref string, o spec.PushOptions) (done spec.Pushed, err error) {
	named, err := image.ParseReference(ref)
	if err != nil {
		return done, err
	}
	tagged, ok := named.(reference.NamedTagged)
	if !ok {
		return done, fmt.Errorf("push %s: cannot push a digest reference: %w", ref, errdefs.ErrInvalidArgument)
	}
	r, unpin := s.tagged(tagged)
	if r == nil {
		return done, &noSuchImage{image.Familiar(ref)}
	}
	defer func() { err = errors.Join(err, unpin(ctx)) }()
	if _, err := savedRecord(r, o.Platform); err != nil {
		return done, err
	}
	raw, err := s.manifest(ctx, r.Manifest.Digest)
	if err != nil {
		return done, fmt.Errorf("push image %s: %w", r.ID, err)
	}
	u := image.Upload{
		Manifest: image.Blob{Digest: r.Manifest.Digest, MediaType: r.Manifest.MediaType, Data: raw},
		Config:   image.Blob{Digest: r.ID, MediaType: r.ConfigType, Data: []byte(r.Config)},
		Open: func(ctx context.Context, l image.Layer) (io.ReadCloser, error) {
			b, _, err := s.openBlob(ctx, l.Digest)
			return b, err
		},
		From: s.mountable(tagged, r),
	}
	for _, l := range r.Layers {
		u.Layers = append(u.Layers, image.Layer{Digest: l.Digest, DiffID: l.DiffID, MediaType: l.MediaType, Size: l.Size})
	}
	if err := s.cfg.Client.Push(ctx, tagged, u, auth(o.Credentials), o.Progress); err != nil {
		return done, err
	}
	unlock, err := s.work.lock(ctx, "image:"+r.ID.String())
	if err != nil {
		return done, err
	}
	defer unlock()
	s.mu.Lock()
	there := s.records[r.ID] != nil
	s.mu.Unlock()
	if there { // else it was removed meanwhile, and has no names
		digested := reference.TrimNamed(tagged).Name() + "@" + r.Manifest.Digest.String()
		if err := s.rename(ctx, func(n names) names { return n.with(r.ID, digested) }); err != nil {
			return done, err
		}
	}
	return spec.Pushed{Tag: tagged.Tag(), Digest: r.Manifest.Digest.String(), Size: len(raw)}, nil
}

// tagged gives the image of a tag, with its blobs pinned; nil when there is none.
func (s *Images) tagged(ref reference.NamedTagged) (*record, func(context.Context) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.records[s.names[ref.String()]]
	if r == nil {
		return nil, nil
	}
	return r, s.pinLocked(r.digests())
}

func auth(c spec.Credentials) image.Auth {
	return image.Auth{Username: c.Username, Password: c.Password, Token: c.Token, RegistryToken: c.RegistryToken}
}

// maxMounts is how many repositories are tried for one layer, as in Docker.
const maxMounts = 4

// mountable are the repositories of the same registry from which the image's
// layers were pulled, or to which they were pushed: those with a digest.
func (s *Images) mountable(to reference.Named, r *record) map[digest.Digest][]string {
	out := map[digest.Digest][]string{}
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, id := range s.names.sorted() {
		n, err := reference.ParseNormalizedNamed(name)
		if err != nil || reference.Domain(n) != reference.Domain(to) || n.Name() == to.Name() || s.records[id] == nil {
			continue
		}
		if _, ok := n.(reference.Canonical); !ok {
			continue
		}
		for _, have := range s.records[id].Layers {
			wanted := slices.ContainsFunc(r.Layers, func(l layerRecord) bool { return l.Digest == have.Digest })
			if wanted && len(out[have.Digest]) < maxMounts && !slices.Contains(out[have.Digest], reference.Path(n)) {
				out[have.Digest] = append(out[have.Digest], reference.Path(n))
			}
		}
	}
	return out
}
