package engine

import (
	"context"
	"errors"
	"fmt"
	"strconv"
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
	if isPaused(v) && !o.Force {
		return fmt.Errorf("cannot remove container %q: %w", ref, conflict("container is paused and must be unpaused first"))
	}
	if (isRunning(v) || restarting) && !o.Force {
		return fmt.Errorf("cannot remove container %q: %w", ref, conflict("container is %s: stop the container before removing or force remove", stateOf(v.Status, restarting).Status))
	}
	switch err := e.removeByID(ctx, id, o.Force, o.Volumes); {
	case errors.Is(err, errRemoving):
		return conflict("removal of container %s is already in progress", ref)
	case err != nil:
		return fmt.Errorf("cannot remove container %q: %w", ref, err)
	}
	return nil
}

// errRemoving is given by a removal while another one is under way.
var errRemoving = &classified{errdefs.ErrConflict, "the removal is already in progress"}

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
		return errRemoving
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
	if now, err := e.pl.Container(id); err == nil && force && isRunning(now) {
		e.containerEvent(now, "kill", map[string]string{"signal": signalNumber("SIGKILL")})
	}
	err := e.pl.Remove(ctx, id, force)
	if err == nil {
		e.dropAnonymous(ctx, names)
		return nil
	}
	e.mu.Lock()
	if t := e.tracked[id]; t != nil {
		t.removing, t.dropping = false, nil
	}
	if errdefs.IsNotFound(err) {
		delete(e.tracked, id) // nobody else would forget it: it was gone before
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
// and label!. It returns the ids and how many bytes their disks took; a container
// that cannot be removed is logged.
func (e *Engine) Prune(ctx context.Context, f Filters) (ids []string, freed int64, err error) {
	remove := func(id string) error {
		size := max(0, e.RootSizes(ctx, []string{id})[id])
		err := e.removeByID(ctx, id, false, false)
		if err == nil {
			freed += size
		}
		return err
	}
	ids, err = e.prune(ctx, f, func() ([]prunable, error) {
		var list []prunable
		for _, v := range e.pl.Containers() {
			c := v.Container
			if isRunning(v) || v.Status.Phase == spec.PhaseStarting || v.Status.Phase == spec.PhaseCreating || e.stillRestarting(c.ID) {
				continue
			}
			list = append(list, prunable{c.ID, c.Created, c.Labels, func() error { return remove(c.ID) }})
		}
		return list, nil
	})
	if err == nil {
		e.pruned("container", freed)
	}
	return ids, freed, err
}

// pruned tells that a prune is over.
func (e *Engine) pruned(kind string, freed int64) {
	e.post(Event{Type: kind, Action: "prune", Attributes: map[string]string{"reclaimed": strconv.FormatInt(freed, 10)}, Time: e.clock.Now()})
}

// prunable is something unused that prune removes when the filters let it.
type prunable struct {
	name    string // as the client is told
	created time.Time
	labels  map[string]string
	remove  func() error
}

// prune is what the prunes of containers and of networks have in common. What
// cannot be removed is logged.
func (e *Engine) prune(ctx context.Context, f Filters, list func() ([]prunable, error)) ([]string, error) {
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
	all, err := list()
	if err != nil {
		return nil, err
	}
	gone := []string{}
	for _, x := range all {
		if (!until.IsZero() && x.created.After(until)) || !f.labels(x.labels) || !f.notLabels(x.labels) {
			continue
		}
		if ctx.Err() != nil {
			break // as Docker: what was done is reported
		}
		if err := x.remove(); err != nil {
			e.log.WithField("name", x.name).WithError(err).Warn("prune")
			continue
		}
		gone = append(gone, x.name)
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
