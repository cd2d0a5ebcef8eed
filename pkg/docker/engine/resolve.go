package engine

import (
	"strings"

	"github.com/vic-engine/vic/pkg/spec"

	"github.com/containerd/errdefs"
)

// find resolves a full id, a name (with or without slash) or an unambiguous
// prefix of an id, in this order, as Docker does.
func (e *Engine) find(ref string) (spec.View, error) {
	if ref == "" {
		return spec.View{}, invalid("invalid name or ID supplied: %q", ref)
	}
	if len(ref) == 64 {
		v, err := e.pl.Container(ref)
		if err == nil {
			return v, nil
		}
		if !errdefs.IsNotFound(err) {
			return v, err
		}
	}
	name := strings.TrimPrefix(ref, "/")
	views := e.pl.Containers()
	for _, v := range views {
		if v.Container.Name == name {
			return v, nil
		}
	}
	var found []spec.View
	for _, v := range views {
		if strings.HasPrefix(v.Container.ID, ref) {
			found = append(found, v)
		}
	}
	switch len(found) {
	case 0:
		return spec.View{}, noSuchContainer(ref)
	case 1:
		return found[0], nil
	default:
		return spec.View{}, invalid("multiple IDs found with provided prefix: %s", ref)
	}
}

// Resolve gives the full id of a container.
func (e *Engine) Resolve(ref string) (string, error) {
	v, err := e.find(ref)
	return v.Container.ID, err
}

// Inspect gives all that is known of one container.
func (e *Engine) Inspect(ref string) (Info, error) {
	v, err := e.find(ref)
	if err != nil {
		return Info{}, err
	}
	return e.info(v), nil
}
