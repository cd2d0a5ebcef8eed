package engine

import (
	"context"
	"time"

	"github.com/vic-engine/vic/pkg/spec"

	"github.com/containerd/errdefs"
)

// handle turns one port layer event into Docker's events, restarts, removals
// and answers to wait. Called only from Run.
func (e *Engine) handle(ctx context.Context, ev spec.Event) {
	log := e.log.WithField(spec.FieldContainer, ev.ID)
	switch ev.Kind {
	case spec.EventCreated:
		e.found(ev.View)
		e.recordEvent(ev.View, "create", ev.Time, nil)
	case spec.EventStarted:
		e.mu.Lock()
		t := e.track(ev.ID)
		t.restarting = false
		t.giveUp = nil
		e.mu.Unlock()
		e.recordMounts(ev.View, "mount", ev.Time)
		e.recordNetworks(ev.View, "connect", ev.Time)
		e.recordEvent(ev.View, "start", ev.Time, nil)
		e.watchHealth(ctx, ev.View)
	case spec.EventExited:
		e.exited(ctx, ev.View, ev.Time, true)
	case spec.EventRenamed:
		e.recordEvent(ev.View, "rename", ev.Time, map[string]string{"oldName": "/" + ev.OldName})
	case spec.EventPaused:
		e.unwatchHealth(ev.ID)
		e.recordEvent(ev.View, "pause", ev.Time, nil)
	case spec.EventUnpaused:
		e.watchHealth(ctx, ev.View)
		e.recordEvent(ev.View, "unpause", ev.Time, nil)
	case spec.EventOOM:
		e.recordEvent(ev.View, "oom", ev.Time, nil)
	case spec.EventRemoved:
		e.removed(ctx, ev)
		log.Info("container removed")
	default:
		log.WithField("kind", ev.Kind).Debug("port layer event of unknown kind")
	}
}

// removed ends what is kept of a container that is gone, once its anonymous
// volumes are gone too.
func (e *Engine) removed(ctx context.Context, ev spec.Event) {
	e.mu.Lock()
	var dropping chan struct{}
	if t := e.tracked[ev.ID]; t != nil {
		dropping = t.dropping
	}
	e.mu.Unlock()
	if dropping == nil {
		e.forget(ev.View)
		e.recordEvent(ev.View, "destroy", ev.Time, nil)
		return
	}
	e.job(ctx, func(ctx context.Context) {
		select {
		case <-dropping:
		case <-ctx.Done():
		}
		e.forget(ev.View)
		e.post(e.newEvent(ev.View, "destroy", ev.Time, nil))
	})
}

// resync looks at every container as it is now. At the first time it does
// what Docker does when the daemon comes up: restarts what its policy wants,
// removes what --rm left. Later it makes good for events that were lost.
func (e *Engine) resync(ctx context.Context, first bool) {
	views := e.pl.Containers()
	alive := make(map[string]bool, len(views))
	for _, v := range views {
		id := v.Container.ID
		alive[id] = true
		ended := v.Status.Phase == spec.PhaseExited || v.Status.Phase == spec.PhaseCreated
		old := v.Container.Created.Before(e.born)
		e.mu.Lock()
		t := e.tracked[id]
		fresh := t == nil || !v.Status.Exit.Stopped.Equal(t.lastExit)
		e.mu.Unlock()
		switch {
		case first && ended && old:
			e.boot(ctx, v)
		case t == nil && (first || old):
			e.found(v) // it was there before us, or was registered just now
		case v.Status.Phase == spec.PhaseExited && fresh:
			e.exited(ctx, v, v.Status.Exit.Stopped, false)
		}
		if isRunning(v) {
			e.watchHealth(ctx, v)
		} else {
			e.unwatchHealth(id)
		}
	}
	e.mu.Lock()
	gone := map[string]bool{}
	for id := range e.waiters {
		gone[id] = !alive[id]
	}
	for id := range e.tracked {
		gone[id] = !alive[id]
	}
	e.mu.Unlock()
	for id, is := range gone {
		if !is {
			continue
		}
		// One that was made since the look above is no such.
		if _, err := e.pl.Container(id); errdefs.IsNotFound(err) {
			e.forget(spec.View{Container: spec.Container{ID: id}})
		}
	}
}

// found takes note of a container that is new to the engine. If it has exited,
// that was before, and nobody restarts it.
func (e *Engine) found(v spec.View) {
	id := v.Container.ID
	e.mu.Lock()
	t := e.track(id)
	t.lastExit = v.Status.Exit.Stopped
	t.signalled = t.signalled || v.Container.Annotations[AnnotationStopped] == "true"
	e.mu.Unlock()
	if v.Status.Phase == spec.PhaseExited {
		e.answerExit(id, v.Status.Exit)
	}
}

// boot handles one container that was not running when the engine came up.
func (e *Engine) boot(ctx context.Context, v spec.View) {
	s := e.storedOf(v)
	started := !v.Status.Started.IsZero()
	stopped := v.Container.Annotations[AnnotationStopped] == "true"
	e.mu.Lock()
	t := e.track(v.Container.ID)
	t.stopped = stopped
	t.lastExit = v.Status.Exit.Stopped
	restart := started && s.host.RestartPolicy.wantsAtBoot(v.Status.Exit, restartCount(v), stopped)
	if restart {
		t.restarting = true
		t.stopped = false
		t.giveUp = make(chan struct{})
	}
	giveUp := t.giveUp
	e.mu.Unlock()
	switch {
	case restart:
		e.job(ctx, func(ctx context.Context) { e.restartLoop(ctx, v.Container.ID, 0, giveUp, true) })
	case s.host.AutoRemove:
		e.job(ctx, func(ctx context.Context) { e.autoRemove(ctx, v.Container.ID) })
	}
}

// exited handles the end of a run; event is false when it is made good for.
func (e *Engine) exited(ctx context.Context, v spec.View, at time.Time, event bool) {
	id := v.Container.ID
	s := e.storedOf(v)
	exit := v.Status.Exit
	ran := !startFailed(v)
	e.unwatchHealth(id)
	e.mu.Lock()
	t := e.track(id)
	t.lastExit = exit.Stopped
	if !ran && t.restarting {
		e.mu.Unlock()
		return // a start by restartLoop, which decides on the next one
	}
	ranFor := exit.Stopped.Sub(v.Status.Started)
	if ranFor > restartResetAfter {
		t.attempts = 0
	}
	policy := s.host.RestartPolicy
	stopped := t.stopped || t.keep || t.signalled && policy.Name == unlessStopped
	restart := ran && !t.removing && policy.wants(exit, restartCount(v), stopped)
	var delay time.Duration
	if restart {
		t.restarting = true
		t.giveUp = make(chan struct{})
		delay = restartDelay(t.attempts)
		t.attempts++
	} else {
		t.restarting = false
	}
	giveUp, keep := t.giveUp, t.keep
	e.mu.Unlock()

	if ran && event {
		e.recordNetworks(v, "disconnect", at)
		e.recordMounts(v, "unmount", at)
		e.recordEvent(v, "die", at, dieAttributes(v))
	}
	e.endExecs(id)
	e.answerExit(id, exit)
	switch {
	case restart:
		e.job(ctx, func(ctx context.Context) { e.restartLoop(ctx, id, delay, giveUp, false) })
	case s.host.AutoRemove && !keep:
		e.job(ctx, func(ctx context.Context) { e.autoRemove(ctx, id) })
	}
}

// startFailed tells a run that never was: the guest could not start the program.
func startFailed(v spec.View) bool {
	return v.Status.Exit.Error != "" && v.Status.Exit.Started.IsZero()
}

// forget drops all that is kept of a container that is gone.
func (e *Engine) forget(v spec.View) {
	id := v.Container.ID
	e.unwatchHealth(id)
	e.mu.Lock()
	if t := e.tracked[id]; t != nil && t.giveUp != nil {
		close(t.giveUp)
	}
	delete(e.tracked, id)
	delete(e.stored, id)
	delete(e.rowsByID, id)
	for k, x := range e.execs {
		if x.container == id {
			delete(e.execs, k)
		}
	}
	e.mu.Unlock()
	e.answerRemoved(id, v.Status.Exit)
}
