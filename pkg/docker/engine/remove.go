package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/vic-engine/vic/pkg/spec"

	"github.com/containerd/errdefs"
)

// RemoveOptions of Remove.
type RemoveOptions struct {
	Force bool
	// Volumes also removes anonymous volumes.
	Volumes bool
	Link    bool
}

// Remove destroys a container; one that runs only with Force. It goes on when
// the caller leaves.
func (e *Engine) Remove(ctx context.Context, ref string, o RemoveOptions) error {
	if o.Link {
		return notImplemented("not supported: links between containers (--link)")
	}
	v, err := e.find(ref)
	if err != nil {
		return err
	}
	id := v.Container.ID
	restarting := e.stillRestarting(id)
	if (isRunning(v) || restarting) && !o.Force {
		return fmt.Errorf("cannot remove container %q: %w", ref, conflict("container is %s: stop the container before removing or force remove", stateOf(v.Status, restarting).Status))
	}
	if err := e.removeByID(ctx, id, o.Force, o.Volumes); err != nil {
		return fmt.Errorf("cannot remove container %q: %w", ref, err)
	}
	return nil
}

// errRemoving is given by a removal while another one is under way.
var errRemoving = &classified{errdefs.ErrConflict, ""}

// removeByID removes a container, with volumes its anonymous volumes too. Those
// who wait for the removal are told when these are gone.
func (e *Engine) removeByID(ctx context.Context, id string, force, volumes bool) error {
	var names []string
	if volumes {
		names = e.anonymousOf(id)
	}

	e.mu.Lock()
	t := e.track(id)
	if t.removing {
		e.mu.Unlock()
		return fmt.Errorf("removal of container %s is already in progress%w", id, errRemoving)
	}
	t.removing = true
	dropped := make(chan struct{})
	if len(names) > 0 {
		t.dropping = dropped
	}
	e.mu.Unlock()
	e.stopRestarting(id)
	defer close(dropped)
	ctx, cancel := e.detach(ctx)
	defer cancel()
	err := e.pl.Remove(ctx, id, force)
	if err == nil {
		e.dropAnonymous(ctx, names)
		return nil
	}
	e.mu.Lock()
	if t := e.tracked[id]; t != nil {
		t.removing, t.dropping = false, nil
	}
	var left []*waiter
	for _, w := range e.waiters[id] {
		if w.condition == WaitRemoved {
			w.answer <- WaitResult{Err: err}
			continue
		}
		left = append(left, w)
	}
	e.setWaiters(id, left)
	e.mu.Unlock()
	return err
}

// Prune removes the containers that do not run. The filters are until, label
// and label!. It returns the ids; a container that cannot be removed is logged.
func (e *Engine) Prune(ctx context.Context, f Filters) ([]string, error) {
	if err := f.check("until", "label", "label!"); err != nil {
		return nil, err
	}
	until, err := f.until(e.clock.Now())
	if err != nil {
		return nil, err
	}
	if !e.lockPrune() {
		return nil, conflict("a prune operation is already running")
	}
	defer e.unlockPrune()
	var gone []string
	for _, v := range e.pl.Containers() {
		c := v.Container
		if isRunning(v) || v.Status.Phase == spec.PhaseStarting || v.Status.Phase == spec.PhaseCreating || e.stillRestarting(c.ID) {
			continue
		}
		if (!until.IsZero() && c.Created.After(until)) || !f.labels(c.Labels) || !f.notLabels(c.Labels) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return gone, nil // as Docker: what was done is reported
		}
		if err := e.removeByID(ctx, c.ID, false, false); err != nil {
			e.log.WithField(spec.FieldContainer, c.ID).WithError(err).Warn("prune container")
			continue
		}
		gone = append(gone, c.ID)
	}
	return gone, nil
}

func (e *Engine) lockPrune() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.pruning {
		return false
	}
	e.pruning = true
	return true
}

func (e *Engine) unlockPrune() {
	e.mu.Lock()
	e.pruning = false
	e.mu.Unlock()
}

// until reads the filter of that name: a time, or a duration before now.
func (f Filters) until(now time.Time) (time.Time, error) {
	switch len(f["until"]) {
	case 0:
		return time.Time{}, nil
	case 1:
		return ParseTime(f["until"][0], now)
	default:
		return time.Time{}, invalid("more than one until filter specified")
	}
}
