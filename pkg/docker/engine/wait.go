package engine

import (
	"context"
	"errors"
	"time"

	"github.com/vic-engine/vic/pkg/spec"

	"github.com/containerd/errdefs"
)

// WaitCondition is what a caller of Wait waits for.
type WaitCondition string

// The conditions, in Docker's words.
const (
	WaitNotRunning WaitCondition = "not-running"
	WaitNextExit   WaitCondition = "next-exit"
	WaitRemoved    WaitCondition = "removed"
)

// WaitResult is the answer. Err is set when the wait ended without one, and for a
// container that could not be started.
type WaitResult struct {
	Exit spec.ExitStatus
	Err  error
}

type waiter struct {
	condition WaitCondition
	answer    chan WaitResult // buffered; gets one value
}

// Wait registers before it returns: an exit that happens after that is never
// missed. The channel gets one answer; when ctx ends, one with its error.
func (e *Engine) Wait(ctx context.Context, ref string, condition WaitCondition) (<-chan WaitResult, error) {
	v, err := e.find(ref)
	if err != nil {
		return nil, err
	}
	id := v.Container.ID
	w := e.register(id, condition)
	// Registered: what is handled from here on answers w. Now look at what was
	// handled before, and only then at the state: the port layer may know of an
	// exit on which the restart policy has not decided yet.
	lastExit, restarting := e.handled(id)
	before := v
	v, err = e.pl.Container(id)
	if err != nil {
		if !e.unregister(id, w) {
			return w.answer, nil
		}
		if errdefs.IsNotFound(err) && before.Status.Phase == spec.PhaseExited {
			w.answer <- WaitResult{Exit: before.Status.Exit}
			return w.answer, nil
		}
		return nil, noSuchContainer(ref) // how it ended is not known any more
	}
	over := !isRunning(v) && v.Status.Phase != spec.PhaseStarting && !restarting && v.Status.Exit.Stopped.Equal(lastExit)
	if condition == WaitNotRunning && over && e.unregister(id, w) {
		r := WaitResult{Exit: v.Status.Exit}
		if startFailed(v) {
			r.Err = errors.New(v.Status.Exit.Error)
		}
		w.answer <- r
	}
	out := make(chan WaitResult, 1)
	go func() {
		select {
		case r := <-w.answer:
			out <- r
		case <-ctx.Done():
			e.unregister(id, w)
			out <- WaitResult{Exit: spec.ExitStatus{Code: -1}, Err: ctx.Err()}
		case <-e.done:
			e.unregister(id, w)
			out <- WaitResult{Exit: spec.ExitStatus{Code: -1}, Err: &classified{errUnavailable, "the engine is shutting down"}}
		}
	}()
	return out, nil
}

// handled tells the last exit that was handled, and whether it is followed by
// a restart that is still to come.
func (e *Engine) handled(id string) (lastExit time.Time, restarting bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if t := e.tracked[id]; t != nil {
		return t.lastExit, t.restarting
	}
	return time.Time{}, false
}

func (e *Engine) register(id string, c WaitCondition) *waiter {
	w := &waiter{condition: c, answer: make(chan WaitResult, 1)}
	e.mu.Lock()
	e.waiters[id] = append(e.waiters[id], w)
	e.mu.Unlock()
	return w
}

// unregister tells whether w was still waiting.
func (e *Engine) unregister(id string, w *waiter) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := e.waiters[id]
	for i, o := range list {
		if o == w {
			e.setWaiters(id, append(append([]*waiter(nil), list[:i]...), list[i+1:]...))
			return true
		}
	}
	return false
}

// setWaiters is called with mu held.
func (e *Engine) setWaiters(id string, list []*waiter) {
	if len(list) == 0 {
		delete(e.waiters, id)
		return
	}
	e.waiters[id] = list
}

// answerExit answers who waits for the end of a run. One that its policy is about to
// start again has ended too, as in Docker (container/state.go, SetRestarting): only who
// comes while it waits for the restart waits for the next end.
func (e *Engine) answerExit(id string, exit spec.ExitStatus) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var left []*waiter
	for _, w := range e.waiters[id] {
		if w.condition == WaitNextExit || w.condition == WaitNotRunning {
			w.answer <- WaitResult{Exit: exit}
			continue
		}
		left = append(left, w)
	}
	e.setWaiters(id, left)
}

// answerRemoved answers everybody: a container that is gone does not run.
func (e *Engine) answerRemoved(id string, exit spec.ExitStatus) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, w := range e.waiters[id] {
		w.answer <- WaitResult{Exit: exit}
	}
	delete(e.waiters, id)
}

// settle looks at the state of a container again for those who wait for it
// not to run, after a restart was given up.
func (e *Engine) settle(id string) {
	v, err := e.pl.Container(id)
	if err != nil || isRunning(v) || v.Status.Phase == spec.PhaseStarting {
		return
	}
	if !e.stillRestarting(id) {
		e.answerExit(id, v.Status.Exit)
	}
}
