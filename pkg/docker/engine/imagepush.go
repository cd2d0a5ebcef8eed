package engine

import (
	"context"
	"fmt"

	"github.com/vic-engine/vic/pkg/spec"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
)

// ImagePusher is what the engine needs to push images. An image store that can
// has it. Implemented by portlayer/storage.Images.
type ImagePusher interface {
	// Push brings the image that has the tag ref (in full) to its registry.
	Push(ctx context.Context, ref string, o spec.PushOptions) (spec.Pushed, error)
}

// PushOptions of a push.
type PushOptions struct {
	spec.PushOptions
	// Refers is called before anything else, with the repository's full name.
	Refers func(repository string)
	// Pushed is called for each tag when the registry has it.
	Pushed func(spec.Pushed)
}

// PushRef checks the name of a push. Without a tag all tags of the repository
// are pushed.
func PushRef(image, tag string) (reference.Named, error) {
	n, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return nil, invalid("%v", err)
	}
	if tag != "" {
		if n, err = reference.WithTag(reference.TrimNamed(n), tag); err != nil {
			return nil, invalid("%v", err)
		}
	}
	return n, nil
}

// ImagePush brings a tag, or all tags of a repository, to the registry.
func (e *Engine) ImagePush(ctx context.Context, ref reference.Named, o PushOptions) error {
	p, ok := e.images.(ImagePusher)
	if !ok {
		return notImplemented("not supported: pushing images, as the image store only pulls them")
	}
	if o.Refers != nil {
		o.Refers(reference.TrimNamed(ref).Name())
	}
	tags := e.tagsOf(ref)
	if len(tags) == 0 {
		return notFound("An image does not exist locally with the tag: %s", reference.FamiliarName(ref))
	}
	if _, digested := ref.(reference.Digested); digested {
		return invalid("cannot push a digest reference")
	}
	if tagged, ok := ref.(reference.NamedTagged); ok {
		tags = []reference.NamedTagged{tagged}
	}
	for _, t := range tags {
		done, err := p.Push(ctx, t.String(), o.PushOptions)
		if errdefs.IsNotFound(err) && !e.hasTag(t) {
			return notFound("tag does not exist: %s", reference.FamiliarString(t))
		}
		if err != nil {
			return err
		}
		if o.Pushed != nil {
			o.Pushed(done)
		}
	}
	e.imageEvent("push", reference.FamiliarString(ref), reference.FamiliarName(ref))
	return nil
}

// tagsOf are the tags of a repository.
func (e *Engine) tagsOf(ref reference.Named) []reference.NamedTagged {
	var out []reference.NamedTagged
	for _, img := range e.images.List() {
		for _, r := range imageRefs(img) {
			if t, ok := r.(reference.NamedTagged); ok && t.Name() == ref.Name() {
				out = append(out, t)
			}
		}
	}
	return out
}

func (e *Engine) hasTag(t reference.NamedTagged) bool {
	for _, have := range e.tagsOf(t) {
		if have.Tag() == t.Tag() {
			return true
		}
	}
	return false
}

// PushedLine is what Docker says of a tag that was pushed.
func PushedLine(p spec.Pushed) string {
	return fmt.Sprintf("%s: digest: %s size: %d", p.Tag, p.Digest, p.Size)
}
