package engine

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/vic-engine/vic/pkg/spec"

	"github.com/containerd/errdefs"
)

// Delays between automatic restarts, Docker's: they double from the first to
// the last, and begin anew after a run of restartResetAfter.
const (
	firstRestartDelay = 100 * time.Millisecond
	lastRestartDelay  = time.Minute
	restartResetAfter = 10 * time.Second
)

func restartDelay(attempts int) time.Duration {
	d := firstRestartDelay
	for range attempts {
		if d *= 2; d >= lastRestartDelay {
			return lastRestartDelay
		}
	}
	return d
}

// restartLoop starts a container again after delay; at boot, it is as if the user
// did, as dockerd has it. While vSphere is not there it goes on trying; any other
// failure ends it, as in Docker.
func (e *Engine) restartLoop(ctx context.Context, id string, delay time.Duration, giveUp <-chan struct{}, boot bool) {
	log := e.log.WithField(spec.FieldContainer, id)
	for attempt := 0; ; attempt++ {
		select {
		case <-ctx.Done():
			return
		case <-giveUp:
			return
		case <-e.clock.After(delay):
		}
		over, mayStart := e.beginAttempt(id)
		if !mayStart {
			return
		}
		err := e.startAgain(ctx, id, boot)
		over()
		if err == nil {
			log.Info("container restarted by its policy")
			return
		}
		if errors.Is(err, errGivenUp) {
			return
		}
		log.WithError(err).Warn("restart by policy")
		if !errdefs.IsUnavailable(err) {
			e.stopRestarting(id)
			e.settle(id)
			return
		}
		delay = restartDelay(attempt + 1)
	}
}

// errGivenUp ends a restart that nobody wants any more.
var errGivenUp = errors.New("the restart was given up")

// beginAttempt notes that the policy starts a container now, until over is called.
// What gives the restart up after that waits for it.
func (e *Engine) beginAttempt(id string) (over func(), mayStart bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	t := e.tracked[id]
	if t == nil || !t.restarting {
		return nil, false
	}
	done := make(chan struct{})
	t.attempt = done
	return func() {
		e.mu.Lock()
		t.attempt = nil
		e.mu.Unlock()
		close(done)
	}, true
}

func (e *Engine) startAgain(ctx context.Context, id string, boot bool) error {
	err := e.pl.Update(ctx, id, func(c *spec.Container) error {
		if boot {
			setAnnotation(c, AnnotationStopped, "")
			setAnnotation(c, AnnotationRestarts, "")
			return nil
		}
		n, _ := strconv.Atoi(c.Annotations[AnnotationRestarts]) // absent or unreadable is 0
		setAnnotation(c, AnnotationRestarts, strconv.Itoa(n+1))
		return nil
	})
	if err != nil {
		return err
	}
	if !e.stillRestarting(id) {
		return errGivenUp
	}
	return e.pl.Start(ctx, id)
}

func (e *Engine) stillRestarting(id string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	t := e.tracked[id]
	return t != nil && t.restarting
}

// stopRestarting ends a wait for the next restart; it tells whether there was one.
func (e *Engine) stopRestarting(id string) bool {
	was, _ := e.giveUpRestart(id)
	return was
}

// giveUpRestart is stopRestarting that also gives what is closed when a restart that
// is being made at this moment is over; nil: none is, nor will be.
func (e *Engine) giveUpRestart(id string) (was bool, attempt <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	t := e.tracked[id]
	if t == nil || !t.restarting {
		return false, nil
	}
	t.restarting = false
	if t.giveUp != nil {
		close(t.giveUp)
		t.giveUp = nil
	}
	return true, t.attempt
}

// autoRemove does what --rm asks for. Somebody else may be at it already.
func (e *Engine) autoRemove(ctx context.Context, id string) {
	err := e.removeByID(ctx, id, true, true)
	if err != nil && !errdefs.IsNotFound(err) && !errors.Is(err, errRemoving) {
		e.log.WithField(spec.FieldContainer, id).WithError(err).Error("automatic removal (--rm)")
	}
}

func setAnnotation(c *spec.Container, key, value string) {
	m := make(map[string]string, len(c.Annotations)+1)
	for k, v := range c.Annotations {
		m[k] = v
	}
	if value == "" {
		delete(m, key)
	} else {
		m[key] = value
	}
	c.Annotations = m
}
