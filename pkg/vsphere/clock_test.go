package vsphere

import (
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// fast is a server whose clock is ahead.
type fast struct {
	*simulator.ServiceInstance
	by time.Duration
}

func (f *fast) CurrentTime(*types.CurrentTime) soap.HasFault {
	return &methods.CurrentTimeBody{Res: &types.CurrentTimeResponse{Returnval: time.Now().Add(f.by).UTC()}}
}

func TestClockOffset(t *testing.T) {
	for _, by := range []time.Duration{0, 90 * time.Minute, -440 * time.Millisecond} {
		s := newSim(t, simulator.ESX())
		m := s.model.Map()
		m.Put(&fast{m.Get(types.ManagedObjectReference{Type: "ServiceInstance", Value: "ServiceInstance"}).(*simulator.ServiceInstance), by})
		se := s.dial(t)
		offset, within, err := se.ClockOffset(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if d := (offset - by).Abs(); within <= 0 || d > within {
			t.Errorf("a server that is %s ahead: %s within %s", by, offset, within)
		}
		s.srv.Close()
		if _, _, err := se.ClockOffset(t.Context()); !errdefs.IsUnavailable(err) {
			t.Errorf("of a server that has gone: %v", err)
		}
	}
}
