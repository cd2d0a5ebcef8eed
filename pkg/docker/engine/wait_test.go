package engine_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/vic-engine/vic/pkg/docker/engine"
	"github.com/vic-engine/vic/pkg/docker/engine/enginetest"
	"github.com/vic-engine/vic/pkg/spec"

	"github.com/containerd/errdefs"
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

// TestWaitAndRestarts: as in dockerd a run that ends is an end for who waits for it,
// though the policy starts the container again; who comes meanwhile waits for the next.
func TestWaitAndRestarts(t *testing.T) {
	slow := &slowEvents{Fake: enginetest.New(), let: make(chan struct{})}
	h := start(t, slow.Fake, func(c *engine.Config) { c.PortLayer = slow })
	id := h.create("", `{"Image":"busybox","Cmd":["trap"],"HostConfig":{"RestartPolicy":{"Name":"on-failure"}}}`)
	slow.let <- struct{}{} // created
	if err := h.e.Start(h.ctx, id); err != nil {
		t.Fatal(err)
	}
	slow.let <- struct{}{} // started
	before := h.wait(id, engine.WaitNotRunning)
	if err := h.f.Signal(h.ctx, id, "SIGKILL"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.f.Wait(h.ctx, id, false); err != nil {
		t.Fatal(err)
	}
	// The port layer knows of the end, the engine has not decided on it yet.
	meanwhile := h.wait(id, engine.WaitNotRunning)
	select {
	case r := <-meanwhile:
		t.Fatalf("answered before the exit was handled: %+v", r)
	default:
	}
	slow.let <- struct{}{} // exited
	for _, w := range []<-chan engine.WaitResult{before, meanwhile} {
		if st := h.answer(w); st.Code != 137 {
			t.Errorf("exit code %d", st.Code)
		}
	}
	close(slow.let)
	h.until("the restart", func() bool { return h.status(id) == "running" && h.inspect(id).RestartCount == 1 })
	w := h.wait(id, engine.WaitNotRunning)
	if err := h.e.Stop(h.ctx, id, engine.StopOptions{}); err != nil {
		t.Fatal(err)
	}
	if st := h.answer(w); st.Code != 0 {
		t.Errorf("exit code %d", st.Code)
	}
}

// goneAfter is a port layer in which a container goes between two looks at it.
type goneAfter struct {
	*enginetest.Fake
	gone atomic.Bool
}

func (g *goneAfter) Container(id string) (spec.View, error) {
	if g.gone.Load() {
		return spec.View{}, fmt.Errorf("container %s: %w", id, errdefs.ErrNotFound)
	}
	return g.Fake.Container(id)
}

// TestWaitForOneThatGoes: how a container ended that is removed at that moment is
// told when it is known, and never made up.
func TestWaitForOneThatGoes(t *testing.T) {
	pl := &goneAfter{Fake: enginetest.New()}
	h := start(t, pl.Fake, func(c *engine.Config) { c.PortLayer = pl })
	ended := h.run("ended", `"Cmd":["exit","3"]`)
	h.answer(h.wait(ended, engine.WaitNotRunning))
	h.run("runs", `"Cmd":["sleep","1h"]`)
	pl.gone.Store(true)
	if st := h.answer(h.wait("ended", engine.WaitNotRunning)); st.Code != 3 {
		t.Errorf("exit code %d, want 3", st.Code)
	}
	if _, err := h.e.Wait(h.ctx, "runs", engine.WaitRemoved); !errdefs.IsNotFound(err) || err.Error() != "No such container: runs" {
		t.Errorf("wait: %v", err)
	}
}
