package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vic-engine/vic/pkg/spec"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
)

// ImageTag gives an image another name.
func (e *Engine) ImageTag(ctx context.Context, ref, repo, tag string) error {
	img, err := e.findImage(ref)
	if err != nil {
		return err
	}
	named, err := parseTarget(repo, tag)
	if err != nil {
		return err
	}
	if err := e.images.Tag(ctx, img.ID, named.String()); err != nil {
		return err
	}
	e.imageEvent("tag", img.ID, reference.FamiliarString(named))
	return nil
}

func parseTarget(repo, tag string) (reference.Named, error) {
	n, err := reference.ParseNormalizedNamed(repo)
	if err != nil {
		return nil, invalid("%v", err)
	}
	if _, digested := n.(reference.Digested); digested {
		return nil, invalid("refusing to create a tag with a digest reference")
	}
	if tag != "" {
		if n, err = reference.WithTag(reference.TrimNamed(n), tag); err != nil {
			return nil, invalid("%v", err)
		}
	}
	return reference.TagNameOnly(n), nil
}

// PullRef checks the name of a pull and gives it in full and as Docker prints it.
func PullRef(image, tag string) (reference.Named, error) {
	n, err := reference.ParseNormalizedNamed(strings.TrimSuffix(image, ":"))
	if err != nil {
		return nil, invalid("%v", err)
	}
	if tag != "" {
		if strings.Contains(tag, ":") {
			n, err = reference.ParseNormalizedNamed(reference.TrimNamed(n).String() + "@" + tag)
		} else {
			n, err = reference.WithTag(reference.TrimNamed(n), tag)
		}
		if err != nil {
			return nil, invalid("%v", err)
		}
	}
	if reference.FamiliarName(n) == "scratch" {
		return nil, &classified{errdefs.ErrPermissionDenied, "'scratch' is a reserved name"}
	}
	return n, nil
}

// Pull brings an image into the store and tells whether anything was new. It
// ends with ctx: a client that goes away stops it.
func (e *Engine) Pull(ctx context.Context, ref reference.Named, o spec.PullOptions) (img spec.Image, fresh bool, digest string, err error) {
	img, fresh, err = e.images.Pull(ctx, ref.String(), o)
	if err != nil {
		return img, false, "", err
	}
	e.imageEvent("pull", reference.FamiliarString(ref), reference.FamiliarName(ref))
	return img, fresh, img.Digest, nil
}

// HistoryEntry is one line of history.
type HistoryEntry struct {
	ID                 string // of the image on the newest line, else "<missing>"
	Created            time.Time
	CreatedBy, Comment string
	Tags               []string
	Size               int64
}

// ImageHistory gives an image's history, newest first. An image for another
// platform than the given one (empty: any) is ErrNotFound.
func (e *Engine) ImageHistory(ref, platform string) ([]HistoryEntry, error) {
	i, err := e.ImageInspectFor(ref, platform)
	if err != nil {
		return nil, err
	}
	layer := 0
	out := []HistoryEntry{}
	for _, h := range i.Spec.History {
		en := HistoryEntry{ID: "<missing>", CreatedBy: h.CreatedBy, Comment: h.Comment}
		if h.Created != nil {
			en.Created = *h.Created
		}
		if !h.EmptyLayer {
			if layer >= len(i.Layers) {
				return nil, fmt.Errorf("too many non-empty layers in History section of image %s: %w", i.ID, errdefs.ErrDataLoss)
			}
			if layer < len(i.LayerSizes) {
				en.Size = i.LayerSizes[layer]
			}
			layer++
		}
		out = append(out, en)
	}
	slices.Reverse(out)
	if len(out) > 0 {
		out[0].ID, out[0].Tags = i.ID, i.RepoTags
	}
	return out, nil
}

// descendants gives the ids of img and of every image built on its layers.
func (e *Engine) descendants(img spec.Image) []string {
	out := []string{img.ID}
	for _, o := range e.images.List() {
		if o.ID != img.ID && len(img.Layers) > 0 && len(o.Layers) > len(img.Layers) && slices.Equal(o.Layers[:len(img.Layers)], img.Layers) {
			out = append(out, o.ID)
		}
	}
	return out
}

// ImagePrune removes images that no container uses: those without a name, or
// with dangling=false all. It returns what was done and the bytes freed.
func (e *Engine) ImagePrune(ctx context.Context, f Filters) ([]ImageDeletion, int64, error) {
	if err := f.check("dangling", "label", "label!", "until"); err != nil {
		return nil, 0, err
	}
	danglingOnly, err := f.boolean("dangling", true)
	if err != nil {
		return nil, 0, err
	}
	rest := Filters{}
	for k, v := range f {
		if k != "dangling" {
			rest[k] = v
		}
	}
	list, err := e.ImageList(rest)
	if err != nil {
		return nil, 0, err
	}
	if !e.lockPrune() {
		return nil, 0, conflict("a prune operation is already running")
	}
	defer e.unlockPrune()
	var done []ImageDeletion
	sizes := e.chainSizes()
	for _, i := range list {
		if i.Containers > 0 || (danglingOnly && len(i.RepoTags) > 0) {
			continue
		}
		if ctx.Err() != nil {
			break
		}
		// What was listed may be long ago: as it is now it may be wanted.
		img, err := e.images.Resolve(i.ID)
		if err != nil || danglingOnly && len(img.RepoTags) > 0 {
			continue
		}
		refs := imageRefs(img)
		d, err := e.imageDelete(ctx, img, refs, len(refs), false)
		done = append(done, d...)
		if err != nil {
			// One that is in use or was named by now is not to be pruned.
			if !errors.Is(err, context.Canceled) && !errdefs.IsConflict(err) {
				e.log.WithField(spec.FieldImage, i.ID).WithError(err).Warn("prune image")
			}
			continue
		}
	}
	var bytes int64
	for _, d := range done {
		bytes += sizes[d.Deleted]
	}
	e.imagePruneEvent(bytes)
	return done, bytes, nil
}
