package engine_test

import (
	"testing"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/spec"
)

// TestStartRefusedByGuest: what the guest refuses is told in dockerd's words, which
// name neither a task nor an init.
func TestStartRefusedByGuest(t *testing.T) {
	h := start(t, nil)
	const words = "unable to find user nosuch: no matching entries in passwd file"
	h.f.OnStart = func(string) error { return &spec.StartError{Code: spec.ExitRefused, Msg: words} }
	h.create("cc", `{"Image":"busybox","Cmd":["true"],"User":"nosuch"}`)
	err := h.e.Start(h.ctx, "cc")
	if !errdefs.IsInvalidArgument(err) || err.Error() != words {
		t.Errorf("start: %v", err)
	}
	if s := h.inspect("cc").State; s.Running {
		t.Errorf("state %+v", s)
	}
}
