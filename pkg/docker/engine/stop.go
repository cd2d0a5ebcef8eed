package engine

import (
	"context"
	"fmt"
	"math"
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
	if err := o.check(); err != nil {
		return fmt.Errorf("cannot stop container: %s: %w", ref, err)
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

// check makes the signal one that the port layer knows, before anything is done.
func (o *StopOptions) check() (err error) {
	if o.Signal != "" {
		o.Signal, err = parseSignal(o.Signal)
	}
	return err
}

// stop does the work of Stop for a container that runs or waits for a restart. The
// options are checked.
func (e *Engine) stop(ctx context.Context, v spec.View, o StopOptions) error {
	id := v.Container.ID
	s := e.storedOf(v)
	sig := o.Signal
	seconds := defaultStopTimeout
	if s.Config.StopTimeout != nil {
		seconds = *s.Config.StopTimeout
	}
	if o.Timeout != nil {
		seconds = *o.Timeout
	}
	if was, err := e.endRestarts(ctx, id); was || err != nil {
		return err
	}
	shown := sig
	if shown == "" {
		shown = s.Config.StopSignal
	}
	e.containerEvent(v, "kill", map[string]string{"signal": signalNumber(shown)})
	w := e.register(id, WaitNextExit)
	defer e.unregister(id, w)
	if err := e.pl.Stop(ctx, id, sig, stopPatience(seconds)); err != nil {
		return err
	}
	e.awaitExit(ctx, id, w)
	return nil
}

// stopPatience is a number of seconds as a duration; more than that can hold is for ever.
func stopPatience(seconds int) time.Duration {
	if seconds < 0 || int64(seconds) > int64(math.MaxInt64/time.Second) {
		return -1
	}
	return time.Duration(seconds) * time.Second
}

// awaitExit lets the event of an exit come before what follows it.
func (e *Engine) awaitExit(ctx context.Context, id string, w *waiter) {
	if e.exitHandled(id) {
		return
	}
	select {
	case <-w.answer:
	case <-ctx.Done():
	case <-e.clock.After(exitGuard):
	}
}

// exitHandled tells whether all that the port layer knows of a container's end is
// known here too.
func (e *Engine) exitHandled(id string) bool {
	v, err := e.pl.Container(id)
	if err != nil {
		return true
	}
	last, _ := e.handled(id)
	return last.Equal(v.Status.Exit.Stopped)
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

// Restart stops a container if it runs and starts it.
func (e *Engine) Restart(ctx context.Context, ref string, o StopOptions) error {
	v, err := e.find(ref)
	if err != nil {
		return err
	}
	if err := o.check(); err != nil {
		return fmt.Errorf("Cannot restart container %s: %w", ref, err) //nolint:staticcheck // Docker's words
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
	if e.exitHandled(id) {
		e.hold(id, false) // the end of what starts now counts
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
	if on {
		e.track(id).keep = true
		return
	}
	if t := e.tracked[id]; t != nil { // it may be gone
		t.keep = false
	}
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
