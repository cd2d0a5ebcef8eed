package engine_test

import (
	"context"
	"testing"

	"github.com/vic-engine/vic/pkg/docker/engine"
	"github.com/vic-engine/vic/pkg/docker/engine/enginetest"
	"github.com/vic-engine/vic/pkg/spec"
)

// slowEvents is a port layer whose events come when the test lets them.
type slowEvents struct {
	*enginetest.Fake
	let chan struct{} // each value lets one event through; closed: all
}

func (s *slowEvents) Subscribe(ctx context.Context) <-chan spec.Event {
	in, out := s.Fake.Subscribe(ctx), make(chan spec.Event)
	go func() {
		defer close(out)
		for ev := range in {
			<-s.let
			select {
			case out <- ev:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

// TestWaitBeforeAnExitIsHandled: between an exit and the decision on it,
// nobody can say that a container with a restart policy does not run.
func TestWaitBeforeAnExitIsHandled(t *testing.T) {
	slow := &slowEvents{Fake: enginetest.New(), let: make(chan struct{})}
	h := start(t, slow.Fake, func(c *engine.Config) { c.PortLayer = slow })
	id := h.create("", `{"Image":"busybox","Cmd":["trap"],"HostConfig":{"RestartPolicy":{"Name":"on-failure"}}}`)
	slow.let <- struct{}{} // created
	if err := h.e.Start(h.ctx, id); err != nil {
		t.Fatal(err)
	}
	slow.let <- struct{}{} // started
	if err := h.f.Signal(h.ctx, id, "SIGKILL"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.f.Wait(h.ctx, id, false); err != nil {
		t.Fatal(err)
	}
	w := h.wait(id, engine.WaitNotRunning)
	close(slow.let) // exited
	h.until("the restart", func() bool { return h.status(id) == "running" && h.inspect(id).RestartCount == 1 })
	select {
	case r := <-w:
		t.Fatalf("wait not-running was answered before the restart: %+v", r)
	default:
	}
	if err := h.e.Stop(h.ctx, id, engine.StopOptions{}); err != nil {
		t.Fatal(err)
	}
	if st := h.answer(w); st.Code != 0 {
		t.Errorf("exit code %d", st.Code)
	}
}
