package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/vic-engine/vic/pkg/spec"
)

// defaultStopTimeout is Docker's, when neither the request nor the container sets one.
const defaultStopTimeout = 10

// exitGuard bounds the wait for the event of an exit that the port layer has
// already reported as done; it only matters for the order of events.
const exitGuard = 5 * time.Second

// Start runs a container. ErrNotModified if it runs already. A program that
// cannot be run is ErrInvalidArgument with the words that make the docker
// client exit with 127 or 126; with --rm the container is then removed.
//
// The start goes on when the caller leaves: half started is worse than late.
func (e *Engine) Start(ctx context.Context, ref string) error {
	v, err := e.find(ref)
	if err == nil {
		v, err = e.awaitStart(ctx, v)
	}
	if err != nil {
		return err
	}
	id := v.Container.ID
	e.mu.Lock()
	t := e.track(id)
	restarting := t.restarting
	removing := t.removing
	e.mu.Unlock()
	switch {
	case removing || v.Status.Phase == spec.PhaseRemoving || v.Status.Phase == spec.PhaseDead:
		return conflict("container is marked for removal and cannot be started")
	case isPaused(v):
		return conflict("cannot start a paused container, try unpause instead")
	case isRunning(v) || restarting || v.Status.Phase == spec.PhaseStarting:
		return notModified("container is already running")
	}
	ctx, cancel := e.detach(ctx)
	defer cancel()
	if err := e.checkLinks(v); err != nil {
		return e.startFailure(ctx, v, err)
	}
	e.mu.Lock()
	t = e.track(id)
	t.stopped, t.signalled, t.attempts = false, false, 0
	e.mu.Unlock()
	if v.Container.Annotations[AnnotationStopped] != "" || restartCount(v) > 0 {
		err := e.pl.Update(ctx, id, func(c *spec.Container) error {
			setAnnotation(c, AnnotationStopped, "")
			setAnnotation(c, AnnotationRestarts, "")
			return nil
		})
		if err != nil {
			return fmt.Errorf("start container %s: %w", ref, err)
		}
	}
	if err := e.pl.Start(ctx, id); err != nil {
		return e.startFailure(ctx, v, err)
	}
	return nil
}

// awaitStart waits for a start of the container that is under way, as dockerd does for
// all that takes the container's lock, and gives the container as it is then. A virtual
// machine takes longer to boot than a process to start, so that more falls into it: the
// interrupt of somebody who runs a container and thinks better of it.
func (e *Engine) awaitStart(ctx context.Context, v spec.View) (spec.View, error) {
	id := v.Container.ID
	if v.Status.Phase != spec.PhaseStarting || e.stillRestarting(id) {
		return v, nil
	}
	if err := e.pl.AwaitStart(ctx, id); err != nil {
		return v, fmt.Errorf("wait for the start of container %s: %w", id, err)
	}
	return e.find(id)
}

// startFailure tidies up after a start that failed and words the error.
func (e *Engine) startFailure(ctx context.Context, v spec.View, err error) error {
	id := v.Container.ID
	if now, gone := e.pl.Container(id); gone == nil && !isRunning(now) {
		e.answerExit(id, now.Status.Exit)
	}
	if e.storedOf(v).host.AutoRemove {
		e.autoRemove(ctx, id)
	}
	var se *spec.StartError
	if !errors.As(err, &se) {
		return err
	}
	return startError("failed to create task for container: unable to start container process: ", se)
}

// startError words a StartError. docker's client looks for these words to
// choose its exit code, so they are added where the guest said it differently.
func startError(prefix string, se *spec.StartError) error {
	msg := se.Msg
	has := func(words string) bool { return strings.Contains(strings.ToLower(msg), words) }
	switch se.Code {
	case spec.ExitNotFound:
		if !has("executable file not found") && !has("no such file or directory") {
			msg += ": executable file not found in $PATH"
		}
	case spec.ExitNotExecutable:
		if !has("permission denied") {
			msg += ": permission denied"
		}
	case spec.ExitRefused: // dockerd finds this out itself, before there is a task
		return invalid("%s", msg)
	default:
		return internal("%s%s: unknown", prefix, msg)
	}
	return invalid("%s%s: unknown", prefix, msg)
}
