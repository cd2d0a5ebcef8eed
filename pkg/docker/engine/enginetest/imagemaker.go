package enginetest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/moby/docker-image-spec/specs-go/v1"

	"github.com/vic-engine/vic/pkg/docker/engine"
	"github.com/vic-engine/vic/pkg/spec"
)

var _ engine.ImageMaker = (*Images)(nil)

// Put implements engine.ImageMaker. Layers are read and their diff ids are of
// what was read; nothing is unpacked.
func (s *Images) Put(ctx context.Context, src spec.ImageSource) (spec.Image, error) {
	if s.PutErr != nil {
		return spec.Image{}, s.PutErr
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var conf map[string]any
	if err := json.Unmarshal(src.Config, &conf); err != nil {
		return spec.Image{}, fmt.Errorf("image configuration: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	img := spec.Image{}
	if src.Parent != "" {
		i, err := s.find(src.Parent)
		if err != nil {
			return spec.Image{}, err
		}
		img.Layers = slices.Clone(s.images[i].Layers)
		img.LayerSizes = slices.Clone(s.images[i].LayerSizes)
	}
	for _, l := range src.Layers {
		diff, n := l.DiffID, int64(0)
		if l.Open != nil {
			r, err := l.Open(ctx)
			if err != nil {
				return spec.Image{}, err
			}
			b, err := io.ReadAll(r)
			if err = closed(r, err); err != nil {
				return spec.Image{}, err
			}
			diff, n = digest(string(b)), int64(len(b))
		}
		img.Layers, img.LayerSizes = append(img.Layers, diff), append(img.LayerSizes, n)
	}
	conf["rootfs"] = map[string]any{"type": "layers", "diff_ids": img.Layers}
	raw, err := json.Marshal(conf)
	if err != nil {
		return spec.Image{}, err
	}
	var known v1.DockerOCIImage
	if err := json.Unmarshal(raw, &known); err != nil {
		return spec.Image{}, fmt.Errorf("image configuration: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	if known.Created != nil {
		img.Created = *known.Created
	}
	for _, n := range img.LayerSizes {
		img.Size += n
	}
	img.ID, img.Config = digest(string(raw)), raw
	for _, n := range src.Names {
		named, err := reference.ParseNormalizedNamed(n)
		if err != nil {
			return spec.Image{}, fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
		}
		tag := reference.FamiliarString(reference.TagNameOnly(named))
		for i := range s.images {
			s.images[i].RepoTags = slices.DeleteFunc(s.images[i].RepoTags, func(t string) bool { return t == tag })
		}
		img.RepoTags = append(img.RepoTags, tag)
	}
	for i := range s.images {
		if s.images[i].ID == img.ID {
			s.images[i].RepoTags = append(s.images[i].RepoTags, img.RepoTags...)
			return clone(s.images[i]), nil
		}
	}
	s.images = append(s.images, img)
	return clone(img), nil
}

func closed(r io.Closer, err error) error {
	if cerr := r.Close(); err == nil {
		return cerr
	}
	return err
}
