//go:build linux

package session

import (
	"context"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/spec"
)

// TestHooks: what a guest offers is called with what was asked for, and what it
// does not is refused by its class.
func TestHooks(t *testing.T) {
	var got spec.NetworkUpdate
	unit := 0
	var size spec.Size
	m := &Manager{cfg: Config{
		Network: func(_ context.Context, u spec.NetworkUpdate) error { got = u; return nil },
		Grow:    func(_ context.Context, n int) error { unit = n; return errdefs.ErrNotFound },
		Enlarge: func(_ context.Context, s spec.Size) error { size = s; return errdefs.ErrUnavailable },
	}}
	if err := (handler{m}).Network(t.Context(), spec.NetworkUpdate{GatewayMAC: "g", Filter: true}); err != nil || got.GatewayMAC != "g" || !got.Filter {
		t.Errorf("network: %v %+v", err, got)
	}
	if err := (handler{m}).Grow(t.Context(), 3); !errdefs.IsNotFound(err) || unit != 3 {
		t.Errorf("grow: %v, unit %d", err, unit)
	}
	if err := (handler{m}).Enlarge(t.Context(), spec.Size{CPUs: 2}); !errdefs.IsUnavailable(err) || size.CPUs != 2 {
		t.Errorf("enlarge: %v, %+v", err, size)
	}
	none := handler{&Manager{}}
	if err := none.Enlarge(t.Context(), spec.Size{}); !errdefs.IsNotImplemented(err) {
		t.Errorf("enlarge of a guest without it: %v", err)
	}
	if err := none.Network(t.Context(), spec.NetworkUpdate{}); !errdefs.IsNotImplemented(err) {
		t.Errorf("network of a guest without it: %v", err)
	}
	if err := none.Grow(t.Context(), 1); !errdefs.IsNotImplemented(err) {
		t.Errorf("grow of a guest without it: %v", err)
	}
}
