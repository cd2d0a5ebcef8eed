package storage

import (
	"maps"
	"slices"
	"strings"

	"github.com/vic-engine/vic/pkg/spec"
)

// Places tells where the volume stores are, by label, and which cannot be used.
// Their sizes are not looked at.
func (v *Volumes) Places() []spec.StoreSpace {
	var out []spec.StoreSpace
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, label := range slices.Sorted(maps.Keys(v.stores)) {
		s := v.stores[label]
		p := spec.StoreSpace{Label: s.label, Place: s.datastore}
		for _, err := range []error{s.refused, s.problem} {
			if err != nil && p.Problem == "" {
				p.Problem, _, _ = strings.Cut(err.Error(), "\n")
			}
		}
		out = append(out, p)
	}
	return out
}
