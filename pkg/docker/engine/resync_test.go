package engine_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vic-engine/vic/pkg/docker/engine"
	"github.com/vic-engine/vic/pkg/docker/engine/enginetest"
	"github.com/vic-engine/vic/pkg/spec"
)

// deafened is a port layer that the engine cannot follow again until the test lets it.
type deafened struct {
	*enginetest.Fake
	let chan struct{}
}

func (d *deafened) Subscribe(ctx context.Context) <-chan spec.Event {
	<-d.let
	return d.Fake.Subscribe(ctx)
}

// TestGoneWhileEventsWereLost: nothing goes on for a container whose removal was not
// seen.
func TestGoneWhileEventsWereLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := enginetest.New()
		f.Programs["check"] = func(*enginetest.Proc) int { return 0 }
		pl := &deafened{Fake: f, let: make(chan struct{}, 1)}
		pl.let <- struct{}{}
		clock := &stepped{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), waits: map[chan time.Time]time.Time{}}
		h := start(t, f, func(c *engine.Config) { c.PortLayer, c.Clock = pl, clock })
		id := h.run("sick", `"Cmd":["deaf"],"Healthcheck":{"Test":["CMD","check"],"Interval":7000000000}`)
		synctest.Wait()
		if !clock.waiting(7 * time.Second) {
			t.Fatal("it is not watched")
		}
		f.DropSubscribers()
		if err := f.Remove(h.ctx, id, true); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		clock.step(100 * time.Millisecond) // the pause before it follows again
		pl.let <- struct{}{}
		synctest.Wait()
		clock.step(7 * time.Second)
		synctest.Wait()
		if clock.waiting(7 * time.Second) {
			t.Error("it is watched though it is gone")
		}
		h.stop()
	})
}
