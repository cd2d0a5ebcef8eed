package engine

import (
	"path"
	"sort"
	"time"

	"github.com/vic-engine/vic/pkg/spec"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
)

// ImageInfo is an image with its configuration decoded.
type ImageInfo struct {
	spec.Image
	Spec dockerspec.DockerOCIImage
	// Containers is how many containers use it.
	Containers int
}

// findImage resolves a reference or id with Docker's error.
func (e *Engine) findImage(ref string) (spec.Image, error) {
	if err := checkImageRef(ref); err != nil {
		return spec.Image{}, err
	}
	img, err := e.images.Resolve(ref)
	if err == nil {
		return img, nil
	}
	switch {
	case errdefs.IsNotFound(err):
		return img, noSuchImage(familiar(ref))
	case errdefs.IsInvalidArgument(err), errdefs.IsConflict(err):
		return img, invalid("%v", err)
	}
	return img, err
}

// familiar is a reference as Docker prints it: with a tag, without the
// default registry. What is no reference (an id) stays as it is.
func familiar(ref string) string {
	n, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return ref
	}
	return reference.FamiliarString(reference.TagNameOnly(n))
}

// ImageInspect gives one image.
func (e *Engine) ImageInspect(ref string) (ImageInfo, error) {
	img, err := e.findImage(ref)
	if err != nil {
		return ImageInfo{}, err
	}
	return e.imageInfo(img)
}

func (e *Engine) imageInfo(img spec.Image) (ImageInfo, error) {
	c, err := imageConfig(img)
	n := 0
	for _, v := range e.pl.Containers() {
		if v.Container.ImageID == img.ID {
			n++
		}
	}
	return ImageInfo{Image: img, Spec: c, Containers: n}, err
}

// ImageList gives the images that the filters select, newest first. Dangling
// images (without a name) are shown too, as Docker does.
func (e *Engine) ImageList(f Filters) ([]ImageInfo, error) {
	if err := f.check("dangling", "label", "label!", "before", "since", "reference", "until"); err != nil {
		return nil, err
	}
	dangling, err := f.boolean("dangling", false)
	if err != nil {
		return nil, err
	}
	until, err := f.until(e.clock.Now())
	if err != nil {
		return nil, err
	}
	var before, since time.Time
	for _, ref := range f["before"] {
		img, err := e.findImage(ref)
		if err != nil {
			return nil, err
		}
		before = img.Created
	}
	for _, ref := range f["since"] {
		img, err := e.findImage(ref)
		if err != nil {
			return nil, err
		}
		since = img.Created
	}
	for _, p := range f["reference"] {
		if _, err := path.Match(p, ""); err != nil {
			return nil, invalid("%v", err)
		}
	}
	uses := map[string]int{}
	for _, v := range e.pl.Containers() {
		uses[v.Container.ImageID]++
	}
	out := []ImageInfo{}
	for _, img := range e.images.List() {
		switch {
		// As in Docker one that has only a digest is dangling, and is listed with
		// those that are not too.
		case dangling && len(img.RepoTags) > 0,
			f.has("dangling") && !dangling && len(img.RepoTags)+len(img.RepoDigests) == 0,
			!before.IsZero() && !img.Created.Before(before),
			!since.IsZero() && !img.Created.After(since),
			!until.IsZero() && !img.Created.Before(until):
			continue
		}
		c, err := imageConfig(img)
		if err != nil {
			e.log.WithField(spec.FieldImage, img.ID).WithError(err).Warn("image left out of the list")
			continue
		}
		if !f.labels(c.Config.Labels) || !f.notLabels(c.Config.Labels) {
			continue
		}
		if f.has("reference") {
			img.RepoTags = matching(img.RepoTags, f["reference"])
			img.RepoDigests = matching(img.RepoDigests, f["reference"])
			if len(img.RepoTags)+len(img.RepoDigests) == 0 {
				continue
			}
		}
		out = append(out, ImageInfo{Image: img, Spec: c, Containers: uses[img.ID]})
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].Created.After(out[j].Created) })
	return out, nil
}

// matching keeps the names that one of the patterns matches: a glob over the
// whole name or over the repository.
func matching(names, patterns []string) []string {
	var out []string
	for _, n := range names {
		ref, err := reference.ParseNormalizedNamed(n)
		if err != nil {
			continue
		}
		for _, p := range patterns {
			ok, _ := reference.FamiliarMatch(p, ref) // ImageList has checked the patterns
			if !ok {
				ok, _ = path.Match(p, reference.FamiliarName(ref))
			}
			if ok {
				out = append(out, n)
				break
			}
		}
	}
	return out
}
