package builder

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	control "github.com/moby/buildkit/api/services/control"
)

// A connection that nobody calls on starts nothing.
func TestControlStartsNothing(t *testing.T) {
	f := newFixture(t)
	near, far := net.Pipe()
	near.Close()
	_ = f.ServeControl(t.Context(), far) // that the client went is no matter here
	if f.started != 0 {
		t.Errorf("started %d times", f.started)
	}
	// Several calls are one use, which ends with the connection.
	c := control.NewControlClient(newControl(t, &Use{b: f.Builder}))
	for range 3 {
		if _, err := c.Info(t.Context(), &control.InfoRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	if f.started != 1 || f.running != 1 {
		t.Errorf("started %d times, %d run", f.started, f.running)
	}
}

// Why a builder cannot be started is said by the calls, and the next tries again.
func TestControlOfWhatCannotStart(t *testing.T) {
	f := newFixture(t)
	start := f.cfg.Start
	f.cfg.Start = func(context.Context) (func(), error) {
		return nil, errors.Join(errors.New("no image"), errdefs.ErrUnavailable)
	}
	c := control.NewControlClient(newControl(t, &Use{b: f.Builder}))
	if _, err := c.Info(t.Context(), &control.InfoRequest{}); err == nil || !strings.Contains(err.Error(), "no image") {
		t.Errorf("%v", err)
	}
	f.cfg.Start = start
	if _, err := c.Info(t.Context(), &control.InfoRequest{}); err != nil {
		t.Errorf("the next: %v", err)
	}
}

func TestFirstUseAfterItsEnd(t *testing.T) {
	f := newFixture(t)
	first := newFirstUse(f.Use)
	if _, err := first.get(t.Context()); err != nil {
		t.Fatal(err)
	}
	first.close()
	if _, err := first.get(t.Context()); !errdefs.IsUnavailable(err) || f.running != 0 {
		t.Errorf("%v, %d run", err, f.running)
	}
}
