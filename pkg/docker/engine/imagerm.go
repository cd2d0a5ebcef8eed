package engine

import (
	"context"
	"slices"
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
		return e.imageDelete(ctx, img, refs, len(refs), force)
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
	gone, left := namesGoing(reference.TagNameOnly(named), refs)
	// With its last name the image goes, unless it is in use: then it stays without one.
	if len(left) == 0 && e.imageConflict(img, force) == nil {
		done, err := e.imageDelete(ctx, img, gone, 1, force)
		if err == nil || !e.namedSince(img.ID, gone) {
			return done, err
		}
	}
	return e.untag(ctx, img, gone)
}

// namesGoing are the names that go with one of an image's, that one first: the
// digest names of its repository go with its last tag. left are the others.
func namesGoing(named reference.Named, refs []reference.Named) (gone, left []reference.Named) {
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
	gone = []reference.Named{named}
	if _, canonical := named.(reference.Canonical); canonical || tagged {
		return gone, left
	}
	var others []reference.Named
	for _, r := range left {
		if r.Name() != named.Name() {
			others = append(others, r)
			continue
		}
		gone = append(gone, r)
	}
	return gone, others
}

// untag removes names; the event is of the first.
func (e *Engine) untag(ctx context.Context, img spec.Image, names []reference.Named) ([]ImageDeletion, error) {
	var done []ImageDeletion
	for i, r := range names {
		if err := e.images.Untag(ctx, r.String()); err != nil {
			return done, err
		}
		if i == 0 {
			e.imageEvent("untag", img.ID, img.ID)
		}
		done = append(done, ImageDeletion{Untagged: reference.FamiliarString(r)})
	}
	return done, nil
}

// namedSince tells whether an image has a name that is none of these.
func (e *Engine) namedSince(id string, names []reference.Named) bool {
	img, err := e.images.Resolve(id)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(imageRefs(img), func(r reference.Named) bool {
		return !slices.ContainsFunc(names, func(n reference.Named) bool { return n.String() == r.String() })
	})
}

// imageDelete removes an image with its names, which are all that it may have: one
// that somebody has named since stays as it is, and so does one that cannot be
// removed. Of the first told names there is an event.
func (e *Engine) imageDelete(ctx context.Context, img spec.Image, names []reference.Named, told int, force bool) ([]ImageDeletion, error) {
	done, ok := e.uses.remove(img.ID)
	if !ok {
		return nil, conflict("conflict: unable to delete %s (cannot be forced) - a container of it is being created", shortImageID(img.ID))
	}
	defer done()
	if err := e.imageConflict(img, force); err != nil {
		return nil, err
	}
	var full []string
	for _, n := range names {
		full = append(full, n.String())
	}
	labelled := e.imageAttributes(img.ID, img.ID)
	// Once it is begun it is not given up with the caller.
	ctx, cancel := e.detach(ctx)
	defer cancel()
	layers, err := e.images.Delete(ctx, img.ID, full...)
	if err != nil && len(layers) == 0 {
		if e.namedSince(img.ID, names) {
			return nil, conflict("conflict: unable to delete %s - image was given another name meanwhile", shortImageID(img.ID))
		}
		return nil, err
	}
	var list []ImageDeletion
	for i, n := range names {
		if i < told {
			e.addImageEvent("untag", img.ID, labelled)
		}
		list = append(list, ImageDeletion{Untagged: reference.FamiliarString(n)})
	}
	e.imageEvent("delete", img.ID, img.ID)
	list = append(list, ImageDeletion{Deleted: img.ID})
	for _, l := range layers {
		if l != img.ID {
			list = append(list, ImageDeletion{Deleted: l})
		}
	}
	return list, err
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
