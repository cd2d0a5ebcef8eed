package engine

import (
	"context"
	"sync"

	"github.com/vic-engine/vic/pkg/spec"

	"golang.org/x/sync/errgroup"
)

// Sites is a port layer that can tell more of its place, for `docker info`, and
// the sizes of containers, for `docker ps -s`. Both ask vSphere.
type Sites interface {
	Site(ctx context.Context) (spec.Site, error)
	// RootSize gives the bytes that the container's own disk takes.
	RootSize(ctx context.Context, id string) (int64, error)
}

// sizesAtOnce bounds how many disks vSphere is asked about at a time.
const sizesAtOnce = 4

// RootSizes gives the sizes of containers' own disks. One that cannot be found out is
// -1, as Docker has it.
func (e *Engine) RootSizes(ctx context.Context, ids []string) map[string]int64 {
	out := make(map[string]int64, len(ids))
	s, ok := e.pl.(Sites)
	if !ok {
		for _, id := range ids {
			out[id] = -1
		}
		return out
	}
	var mu sync.Mutex // guards out
	var g errgroup.Group
	g.SetLimit(sizesAtOnce)
	for _, id := range ids {
		g.Go(func() error {
			n, err := s.RootSize(ctx, id)
			if err != nil {
				e.log.WithField(spec.FieldContainer, id).WithError(err).Debug("size of the container")
				n = -1
			}
			mu.Lock()
			defer mu.Unlock()
			out[id] = n
			return nil
		})
	}
	_ = g.Wait() // its functions give no errors
	return out
}

// site is what SystemInfo knows of the place; what is not told is a warning.
func (e *Engine) site(ctx context.Context) (spec.Site, []string) {
	p, ok := e.pl.(Sites)
	if !ok {
		return spec.Site{}, nil
	}
	s, err := p.Site(ctx)
	if err != nil {
		return s, []string{"WARNING: the pool and the volume stores of the VCH are not known: " + err.Error()}
	}
	var warnings []string
	for _, st := range s.VolumeStores {
		if st.Problem != "" {
			warnings = append(warnings, "WARNING: volume store "+st.Label+" ("+st.Place+"): "+st.Problem)
		}
	}
	return s, warnings
}
