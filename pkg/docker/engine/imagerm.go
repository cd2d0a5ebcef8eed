package engine

import (
	"context"
	"strings"

	"github.com/vic-engine/vic/pkg/spec"

	"github.com/distribution/reference"
)

// ImageDeletion is one line of what rmi did; one field is set.
type ImageDeletion struct {
	Untagged, Deleted string
}

// ImageRemove does `docker rmi`. A name is untagged, and the image goes with
// its last name; an id takes the image with all its names, if they are of one
// repository. An image that a container uses stays: a running one cannot be
// forced, a stopped one can.
func (e *Engine) ImageRemove(ctx context.Context, ref string, force bool) ([]ImageDeletion, error) {
	if strings.TrimSpace(ref) == "" {
		return nil, invalid("image name cannot be blank")
	}
	img, err := e.findImage(ref)
	if err != nil {
		return nil, err
	}
	refs := imageRefs(img)
	if isIDPrefix(img.ID, ref) && !hasName(refs, ref) {
		if !force && len(refs) > 0 && !singleReference(refs) {
			return nil, conflict("conflict: unable to delete %s (must be forced) - image is referenced in multiple repositories", shortImageID(img.ID))
		}
		if err := e.imageConflict(img, force); err != nil {
			return nil, err
		}
		return e.imageDelete(ctx, img, force)
	}
	if !force && singleReference(refs) {
		if c := e.userOf(img.ID, false); c != "" {
			return nil, conflict("conflict: unable to remove repository reference %q (must force) - container %s is using its referenced image %s", ref, c[:12], shortImageID(img.ID))
		}
	}
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return nil, invalid("%v", err)
	}
	named = reference.TagNameOnly(named)
	done, refs, err := e.untag(ctx, img, named, refs)
	if err != nil || len(refs) > 0 {
		return done, err
	}
	// The last name went. An image in use stays without one.
	if e.imageConflict(img, force) != nil {
		return done, nil
	}
	more, err := e.imageDelete(ctx, spec.Image{ID: img.ID}, force)
	return append(done, more...), err
}

// untag removes a name, and the digest names of its repository with its last tag.
func (e *Engine) untag(ctx context.Context, img spec.Image, named reference.Named, refs []reference.Named) ([]ImageDeletion, []reference.Named, error) {
	if err := e.images.Untag(ctx, named.String()); err != nil {
		return nil, refs, err
	}
	e.imageEvent("untag", img.ID, img.ID)
	done := []ImageDeletion{{Untagged: reference.FamiliarString(named)}}
	var left []reference.Named
	tagged := false
	for _, r := range refs {
		if r.String() == named.String() {
			continue
		}
		left = append(left, r)
		if _, canonical := r.(reference.Canonical); !canonical && r.Name() == named.Name() {
			tagged = true
		}
	}
	if _, canonical := named.(reference.Canonical); canonical || tagged {
		return done, left, nil
	}
	var others []reference.Named
	for _, r := range left {
		if r.Name() != named.Name() {
			others = append(others, r)
			continue
		}
		if err := e.images.Untag(ctx, r.String()); err != nil {
			return done, left, err
		}
		done = append(done, ImageDeletion{Untagged: reference.FamiliarString(r)})
	}
	return done, others, nil
}

// imageDelete removes an image with all its names. The caller has checked for
// conflicts.
func (e *Engine) imageDelete(ctx context.Context, img spec.Image, force bool) ([]ImageDeletion, error) {
	var done []ImageDeletion
	if err := e.imageConflict(img, force); err != nil {
		return nil, err
	}
	for _, r := range imageRefs(img) {
		if err := e.images.Untag(ctx, r.String()); err != nil {
			return done, err
		}
		e.imageEvent("untag", img.ID, img.ID)
		done = append(done, ImageDeletion{Untagged: reference.FamiliarString(r)})
	}
	// Once the names are gone the rest is not given up with the caller.
	ctx, cancel := e.detach(ctx)
	defer cancel()
	layers, err := e.images.Delete(ctx, img.ID)
	if err != nil {
		return done, err
	}
	e.imageEvent("delete", img.ID, img.ID)
	done = append(done, ImageDeletion{Deleted: img.ID})
	for _, l := range layers {
		if l != img.ID {
			done = append(done, ImageDeletion{Deleted: l})
		}
	}
	return done, nil
}

// imageConflict tells what stands against deleting an image.
func (e *Engine) imageConflict(img spec.Image, force bool) error {
	if c := e.userOf(img.ID, true); c != "" {
		return conflict("conflict: unable to delete %s (cannot be forced) - image is being used by running container %s", shortImageID(img.ID), c[:12])
	}
	if force {
		return nil
	}
	if c := e.userOf(img.ID, false); c != "" {
		return conflict("conflict: unable to delete %s (must be forced) - image is being used by stopped container %s", shortImageID(img.ID), c[:12])
	}
	return nil
}

// userOf gives the id of a container that uses an image; with running, of one
// that runs.
func (e *Engine) userOf(imageID string, running bool) string {
	for _, v := range e.pl.Containers() {
		if v.Container.ImageID == imageID && (!running || isRunning(v) || v.Status.Phase == spec.PhaseStarting) {
			return v.Container.ID
		}
	}
	return ""
}

func imageRefs(img spec.Image) []reference.Named {
	var out []reference.Named
	for _, n := range append(append([]string(nil), img.RepoTags...), img.RepoDigests...) {
		if r, err := reference.ParseNormalizedNamed(n); err == nil {
			out = append(out, r)
		}
	}
	return out
}

func hasName(refs []reference.Named, name string) bool {
	for _, r := range refs {
		if reference.FamiliarString(r) == familiar(name) {
			return true
		}
	}
	return false
}

// singleReference tells whether all names are of one repository with at most
// one tag.
func singleReference(refs []reference.Named) bool {
	if len(refs) == 0 {
		return false
	}
	tags := 0
	for _, r := range refs {
		if r.Name() != refs[0].Name() {
			return false
		}
		if _, canonical := r.(reference.Canonical); !canonical {
			tags++
		}
	}
	return tags <= 1
}

func isIDPrefix(id, ref string) bool {
	_, hex, _ := strings.Cut(id, ":")
	return strings.HasPrefix(id, ref) || strings.HasPrefix(hex, ref)
}

func shortImageID(id string) string {
	_, hex, ok := strings.Cut(id, ":")
	if !ok {
		hex = id
	}
	return hex[:min(12, len(hex))]
}
