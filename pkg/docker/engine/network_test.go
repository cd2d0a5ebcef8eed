package engine_test

import (
	"testing"

	"github.com/vic-engine/vic/pkg/docker/engine"
	"github.com/vic-engine/vic/pkg/spec"

	"github.com/containerd/errdefs"
)

// TestWithoutNetworks: an engine that cannot change networks says so, and that
// comes after what is wrong with the request itself.
func TestWithoutNetworks(t *testing.T) {
	h := start(t, nil, func(c *engine.Config) { c.Networks = nil })
	h.create("box", `{"Image":"busybox","Cmd":["true"]}`)
	create := func(name string) error {
		_, err := h.e.NetworkCreate(h.ctx, spec.Network{Name: name})
		return err
	}
	for _, c := range []struct {
		what string
		err  error
		is   func(error) bool
	}{
		{"create", create("x"), errdefs.IsNotImplemented},
		{"create a second bridge", create("bridge"), errdefs.IsPermissionDenied},
		{"remove bridge", h.e.NetworkRemove(h.ctx, "bridge"), errdefs.IsPermissionDenied},
		{"remove what is not there", h.e.NetworkRemove(h.ctx, "x"), errdefs.IsNotFound},
		{"connect twice", h.e.NetworkConnect(h.ctx, "bridge", "box", engine.EndpointRequest{}), errdefs.IsPermissionDenied},
		{"disconnect", h.e.NetworkDisconnect(h.ctx, "bridge", "box", false), errdefs.IsNotImplemented},
	} {
		if c.err == nil || !c.is(c.err) {
			t.Errorf("%s: %v", c.what, c.err)
		}
	}
}

// TestNetworkOfRemoving: what is being removed joins no network.
func TestNetworkOfRemoving(t *testing.T) {
	h := start(t, nil)
	id := h.create("box", `{"Image":"busybox","Cmd":["true"]}`)
	v, err := h.f.Container(id)
	if err != nil {
		t.Fatal(err)
	}
	v.Status.Phase = spec.PhaseRemoving
	h.f.Add(v)
	if err := h.e.NetworkConnect(h.ctx, "bridge", id, engine.EndpointRequest{}); !errdefs.IsConflict(err) {
		t.Errorf("connect: %v", err)
	}
}
