package engine

import (
	"context"
	"time"

	"github.com/vic-engine/vic/pkg/spec"

	"github.com/containerd/errdefs"
)

// StatsOptions of Stats. Without Stream there is one sample; with OneShot it is the
// first one, of which no use of CPU can be told.
type StatsOptions struct{ Stream, OneShot bool }

// StatsSample is what a container uses at one moment. All is zero but ID and Name
// while it does not run.
type StatsSample struct {
	ID, Name string
	spec.Stats
	// Before and BeforeRead are the CPU figures of the sample before this.
	Before     spec.CPUStats
	BeforeRead time.Time
	// Networked is false for a container without networks, which has no figures.
	Networked bool
}

// Docker's period of samples, and how long one may take before it is left out.
const (
	statsPeriod = time.Second
	statsWait   = 5 * time.Second
)

// Stats calls each for samples of a container until it is gone, ctx ends (both nil
// error) or each fails. ready is called before the first, once nothing can be said
// to be wrong any more. Every sample but one of OneShot comes a period after another
// one, so that the use of CPU is right from the first line on.
func (e *Engine) Stats(ctx context.Context, ref string, o StatsOptions, ready func(), each func(StatsSample) error) error {
	v, err := e.controllable(ref, "resource usage of a container (stats)")
	if err != nil {
		return err
	}
	if o.Stream && o.OneShot {
		return invalid("cannot have stream=true and one-shot=true")
	}
	id := v.Container.ID
	before, err := e.sample(ctx, id)
	still := before.Read.IsZero()
	if !o.Stream && (err != nil || still || o.OneShot) {
		if err != nil {
			return err
		}
		ready()
		return each(before)
	}
	if errdefs.IsNotFound(err) {
		return err
	}
	ready()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-e.done:
			return nil
		case <-e.clock.After(statsPeriod):
		}
		s, err := e.sample(ctx, id)
		switch {
		case errdefs.IsNotFound(err) || ctx.Err() != nil:
			return nil // the container is gone, or the client
		case err != nil && !o.Stream:
			return err
		case err != nil:
			continue // a guest that does not answer now may do so later
		}
		// Of a container that was started anew meanwhile, nothing was before.
		if s.CPU.System >= before.CPU.System {
			s.Before, s.BeforeRead = before.CPU, before.Read
		}
		before = s
		if err := each(s); err != nil || !o.Stream {
			return err
		}
	}
}

// sample asks the guest. A container that is gone is ErrNotFound.
func (e *Engine) sample(ctx context.Context, id string) (StatsSample, error) {
	v, err := e.pl.Container(id)
	if err != nil {
		return StatsSample{}, err
	}
	s := StatsSample{ID: id, Name: v.Container.Name, Networked: len(v.Container.Endpoints) > 0}
	if !isRunning(v) {
		return s, nil
	}
	ctx, cancel := context.WithTimeout(ctx, statsWait)
	defer cancel()
	got, err := e.controls.Stats(ctx, id)
	if errdefs.IsConflict(err) {
		return s, nil // it has ended at that moment
	}
	if err != nil {
		return s, err
	}
	s.Stats = got
	return s, nil
}
