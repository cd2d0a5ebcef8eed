package engine

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/vic-engine/vic/pkg/spec"

	"github.com/containerd/errdefs"
	"github.com/moby/sys/signal"
)

// StopOptions of Stop and Restart.
type StopOptions struct {
	Signal  string // empty: the container's own
	Timeout *int   // seconds; nil: the container's own; negative: for ever
}

// Stop ends a container with its signal, and after the timeout by power-off.
// ErrNotModified if it does not run. It goes on when the caller leaves.
func (e *Engine) Stop(ctx context.Context, ref string, o StopOptions) error {
	v, err := e.find(ref)
	if err != nil {
		return err
	}
	id := v.Container.ID
	if !isRunning(v) && v.Status.Phase != spec.PhaseStarting && !e.stillRestarting(id) {
		return notModified("container is already stopped")
	}
	ctx, cancel := e.detach(ctx)
	defer cancel()
	e.markStopped(ctx, v)
	if err := e.stop(ctx, v, o); err != nil {
		return fmt.Errorf("cannot stop container: %s: %w", ref, err)
	}
	e.containerEvent(v, "stop", nil)
	return nil
}

// stop does the work of Stop for a container that runs or waits for a restart.
func (e *Engine) stop(ctx context.Context, v spec.View, o StopOptions) error {
	id := v.Container.ID
	s := e.storedOf(v)
	sig := o.Signal
	if sig != "" {
		var err error
		if sig, err = parseSignal(sig); err != nil {
			return err
		}
	}
	seconds := defaultStopTimeout
	if s.Config.StopTimeout != nil {
		seconds = *s.Config.StopTimeout
	}
	if o.Timeout != nil {
		seconds = *o.Timeout
	}
	if e.stopRestarting(id) {
		e.settle(id)
		if now, err := e.pl.Container(id); err != nil || !isRunning(now) {
			return nil
		}
	}
	shown := sig
	if shown == "" {
		shown = s.Config.StopSignal
	}
	e.containerEvent(v, "kill", map[string]string{"signal": signalNumber(shown)})
	w := e.register(id, WaitNextExit)
	defer e.unregister(id, w)
	if err := e.pl.Stop(ctx, id, sig, time.Duration(seconds)*time.Second); err != nil {
		return err
	}
	e.awaitExit(ctx, w)
	return nil
}

// awaitExit lets the event of an exit come before what follows it.
func (e *Engine) awaitExit(ctx context.Context, w *waiter) {
	select {
	case <-w.answer:
	case <-ctx.Done():
	case <-e.clock.After(exitGuard):
	}
}

// signalNumber is the number that Docker's kill events show; the default is TERM.
func signalNumber(name string) string {
	if name == "" {
		name = "SIGTERM"
	}
	sig, err := signal.ParseSignal(name)
	if err != nil {
		return name
	}
	return strconv.Itoa(int(sig))
}

// markStopped remembers that the user stopped the container, for the restart
// policy; where there is one, also across a loss of the VCH.
func (e *Engine) markStopped(ctx context.Context, v spec.View) {
	id := v.Container.ID
	e.mu.Lock()
	e.track(id).stopped = true
	e.mu.Unlock()
	if !e.storedOf(v).host.RestartPolicy.restarts() {
		return
	}
	err := e.pl.Update(ctx, id, func(c *spec.Container) error {
		setAnnotation(c, AnnotationStopped, "true")
		return nil
	})
	if err != nil {
		e.log.WithField(spec.FieldContainer, id).WithError(err).Warn("remember that the container was stopped by its user")
	}
}

// Kill sends a signal (empty: KILL). For KILL it waits for the end.
func (e *Engine) Kill(ctx context.Context, ref, raw string) error {
	if raw == "" {
		raw = "KILL"
	}
	sig, err := parseSignal(raw)
	if err != nil {
		return err
	}
	v, err := e.find(ref)
	if err != nil {
		return err
	}
	id := v.Container.ID
	if !isRunning(v) {
		if sig == "SIGKILL" && e.stopRestarting(id) {
			e.markStopped(ctx, v)
			e.settle(id)
			return nil
		}
		return notRunning(id)
	}
	stop := e.storedOf(v).Config.StopSignal
	if stop == "" {
		stop = "SIGTERM"
	}
	if own, err := parseSignal(stop); sig == "SIGKILL" || (err == nil && own == sig) {
		e.markStopped(ctx, v)
	}
	e.containerEvent(v, "kill", map[string]string{"signal": signalNumber(sig)})
	w := e.register(id, WaitNextExit)
	defer e.unregister(id, w)
	if err := e.pl.Signal(ctx, id, sig); err != nil {
		return err
	}
	if sig == "SIGKILL" {
		select {
		case <-w.answer:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Restart stops a container if it runs and starts it.
func (e *Engine) Restart(ctx context.Context, ref string, o StopOptions) error {
	v, err := e.find(ref)
	if err != nil {
		return err
	}
	id := v.Container.ID
	ctx, cancel := e.detach(ctx)
	defer cancel()
	e.hold(id, true)
	defer e.hold(id, false)
	if isRunning(v) || v.Status.Phase == spec.PhaseStarting || e.stillRestarting(id) {
		if err := e.stop(ctx, v, o); err != nil {
			return fmt.Errorf("Cannot restart container %s: %w", ref, err) //nolint:staticcheck // Docker's words
		}
	}
	if err := e.Start(ctx, id); err != nil && !errdefs.IsNotModified(err) {
		return fmt.Errorf("Cannot restart container %s: %w", ref, err) //nolint:staticcheck // Docker's words
	}
	e.containerEvent(v, "restart", nil)
	return nil
}

// hold keeps --rm and the restart policy from acting on the exit in a restart.
func (e *Engine) hold(id string, on bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	t := e.track(id)
	t.keep, t.stopped = on, on
}

// Rename gives a container another name.
func (e *Engine) Rename(ctx context.Context, ref, name string) error {
	if ref == "" || name == "" {
		return invalid("Neither old nor new names may be empty")
	}
	v, err := e.find(ref)
	if err != nil {
		return err
	}
	id := v.Container.ID
	if strings.TrimPrefix(name, "/") == v.Container.Name {
		return invalid("Renaming a container with the same name as its current name")
	}
	name, err = e.reserve(id, name)
	if err != nil {
		return fmt.Errorf("Error when allocating new name: %w", err) //nolint:staticcheck // Docker's words
	}
	defer e.release(name)
	return e.pl.Update(ctx, id, func(c *spec.Container) error {
		c.Name = name
		return nil
	})
}

// Resize sets the size of a running container's terminal.
func (e *Engine) Resize(ctx context.Context, ref string, rows, cols int) error {
	v, err := e.find(ref)
	if err != nil {
		return err
	}
	if !isRunning(v) {
		return notRunning(v.Container.ID)
	}
	if err := e.pl.Resize(ctx, v.Container.ID, "", rows, cols); err != nil {
		return err
	}
	e.containerEvent(v, "resize", map[string]string{"height": strconv.Itoa(rows), "width": strconv.Itoa(cols)})
	return nil
}
