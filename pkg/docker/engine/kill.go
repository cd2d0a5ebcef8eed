package engine

import (
	"context"
	"fmt"

	"github.com/vic-engine/vic/pkg/spec"
)

// Kill sends a signal (empty: KILL). For KILL it waits for the end. KILL ends a start
// that is under way, as Stop does; other signals wait until there is a process.
//
// As in Docker (daemon/kill.go, killWithSignal), a signal may also say that the
// policy is to start the container no more: KILL does, the container's own stop
// signal, and any signal when it has none of its own. Others leave the policy alone
// but for unless-stopped, for which a container that was sent any signal counts as
// stopped once it ends. Both hold until the user starts it.
func (e *Engine) Kill(ctx context.Context, ref, raw string) error {
	if raw == "" {
		raw = "KILL"
	}
	sig, err := parseSignal(raw)
	if err != nil {
		return err
	}
	v, err := e.find(ref)
	if err == nil && sig != "SIGKILL" { // that one ends a start
		v, err = e.awaitStart(ctx, v)
	}
	if err != nil {
		return err
	}
	id := v.Container.ID
	restarting := e.stillRestarting(id)
	if !isRunning(v) && v.Status.Phase != spec.PhaseStarting && !restarting {
		return notRunning(id)
	}
	stops := stopsFor(e.storedOf(v), sig)
	if stops {
		e.markStopped(ctx, v)
	} else {
		e.markSignalled(ctx, v)
	}
	switch {
	case restarting && stops:
		if was, err := e.endRestarts(ctx, id); was || err != nil {
			return err
		}
	case restarting && !isRunning(v):
		return nil // there is no process between two runs
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

// stopsFor tells whether a signal, as parseSignal gives it, is one after which the
// policy starts the container no more.
func stopsFor(s *Stored, sig string) bool {
	own := s.Config.StopSignal
	if sig == "SIGKILL" || own == "" {
		return true
	}
	own, err := parseSignal(own)
	return err == nil && own == sig
}

// markStopped remembers that the user stopped the container, for the restart
// policy; where there is one, also across a loss of the VCH.
func (e *Engine) markStopped(ctx context.Context, v spec.View) {
	e.mu.Lock()
	e.track(v.Container.ID).stopped = true
	e.mu.Unlock()
	if e.storedOf(v).host.RestartPolicy.restarts() {
		e.keepStopped(ctx, v)
	}
}

// markSignalled remembers that the user sent a signal that does not stop it.
func (e *Engine) markSignalled(ctx context.Context, v spec.View) {
	e.mu.Lock()
	e.track(v.Container.ID).signalled = true
	e.mu.Unlock()
	if e.storedOf(v).host.RestartPolicy.Name == unlessStopped {
		e.keepStopped(ctx, v)
	}
}

// countsAsStopped tells whether the user did to a container what a policy counts as
// stopping it, as far as this engine knows.
func (e *Engine) countsAsStopped(id string, p RestartPolicy) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	t := e.tracked[id]
	return t != nil && p.restarts() && (t.stopped || t.signalled && p.Name == unlessStopped)
}

func (e *Engine) keepStopped(ctx context.Context, v spec.View) {
	id := v.Container.ID
	err := e.pl.Update(ctx, id, func(c *spec.Container) error {
		setAnnotation(c, AnnotationStopped, "true")
		return nil
	})
	if err != nil {
		e.log.WithField(spec.FieldContainer, id).WithError(err).Warn("remember that the container was stopped by its user")
	}
}

// endRestarts ends a wait for the next restart, and a restart that is being made at
// this moment: was tells that there was one, and that the container does not run now.
func (e *Engine) endRestarts(ctx context.Context, id string) (was bool, err error) {
	was, attempt := e.giveUpRestart(id)
	if !was {
		return false, nil
	}
	if attempt != nil {
		// Without a process there is nobody to be asked. A start that has not begun
		// is not ended by this; it is seen below.
		if now, err := e.pl.Container(id); err == nil && !isRunning(now) {
			if err := e.pl.Stop(ctx, id, "", 0); err != nil {
				return true, fmt.Errorf("end its restart: %w", err)
			}
		}
		select {
		case <-attempt:
		case <-ctx.Done():
			return true, ctx.Err()
		}
	}
	now, err := e.pl.Container(id)
	if err == nil && (isRunning(now) || now.Status.Phase == spec.PhaseStarting) {
		return false, nil
	}
	e.settle(id)
	return true, nil
}
