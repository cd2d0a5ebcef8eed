package engine

import (
	"context"
	"fmt"

	"github.com/vic-engine/vic/pkg/spec"

	"github.com/containerd/errdefs"
)

// Controls is what the engine needs to hold and measure containers that run.
// Implemented by portlayer.PortLayer. A guest that does not answer is
// ErrUnavailable after a bounded time, a container that does not run ErrConflict.
type Controls interface {
	// Pause freezes all processes of a container, Unpause lets them go on; so
	// already: ErrConflict.
	Pause(ctx context.Context, id string) error
	Unpause(ctx context.Context, id string) error
	// Stats and Processes read what a container uses now.
	Stats(ctx context.Context, id string) (spec.Stats, error)
	Processes(ctx context.Context, id string) (spec.ProcessTable, error)
	// Reshape is PortLayer.Update that may change Resources and Limits too. What
	// cannot change while the container runs is ErrFailedPrecondition that says
	// what to do. All is changed, or nothing.
	Reshape(ctx context.Context, id string, change func(*spec.Container) error) error
}

// controllable finds a container whose processes can be held and measured.
func (e *Engine) controllable(ref, what string) (spec.View, error) {
	v, err := e.find(ref)
	if err != nil {
		return v, err
	}
	if e.controls == nil {
		return v, notImplemented("not supported: %s: this VCH cannot", what)
	}
	return v, nil
}

// running refuses a container whose process does not run.
func (e *Engine) mustRun(v spec.View) error {
	id := v.Container.ID
	switch {
	case isRunning(v):
		return nil
	case e.stillRestarting(id):
		return conflict("Container %s is restarting, wait until the container is running", id)
	}
	return notRunning(id)
}

// Pause freezes a container's processes, execs included.
func (e *Engine) Pause(ctx context.Context, ref string) error {
	v, err := e.controllable(ref, "pausing a container")
	if err != nil {
		return err
	}
	if v, err = e.awaitStart(ctx, v); err != nil {
		return err
	}
	id := v.Container.ID
	if err := e.mustRun(v); err != nil {
		return err
	}
	if v.Status.Paused {
		return conflict("container %s is already paused", id)
	}
	if err := e.controls.Pause(ctx, id); err != nil {
		return fmt.Errorf("cannot pause container %s: %w", id, err)
	}
	return nil
}

// Unpause lets them go on.
func (e *Engine) Unpause(ctx context.Context, ref string) error {
	v, err := e.controllable(ref, "pausing a container")
	if err != nil {
		return err
	}
	id := v.Container.ID
	if !isRunning(v) || !v.Status.Paused {
		return internal("Container %s is not paused", id) // Docker's class of it too
	}
	if err := e.controls.Unpause(ctx, id); err != nil {
		if errdefs.IsConflict(err) {
			err = internal("%v", err)
		}
		return fmt.Errorf("Cannot unpause container %s: %w", id, err) //nolint:staticcheck // Docker's words
	}
	return nil
}

// isPaused tells whether a container that runs stands still.
func isPaused(v spec.View) bool { return isRunning(v) && v.Status.Paused }
