package exec

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/guestinfo"
	"github.com/vic-engine/vic/pkg/vsphere"
)

// lateAnswer keeps back the answer to every power-on until before has returned.
type lateAnswer struct {
	soap.RoundTripper
	before func(types.ManagedObjectReference)
}

func (l *lateAnswer) RoundTrip(ctx context.Context, req, res soap.HasFault) error {
	err := l.RoundTripper.RoundTrip(ctx, req, res)
	if on, ok := req.(*methods.PowerOnVM_TaskBody); ok && err == nil {
		l.before(on.Req.This)
	}
	return err
}

// TestFilesEndEarly: a guest that has turned itself off before the answer to its
// power-on came is not waited for until the boot's time is over, although nothing
// is heard of it any more.
func TestFilesEndEarly(t *testing.T) {
	l := newLab(t, simulator.ESX())
	var e *engine
	l.guests.serve(func(g *line) {
		g.set([]guestinfo.Pair{{Key: guestinfo.KeyTetherState, Value: "FAILED: disks"}})
		g.halt()
	})
	e = l.boot(quick, func(c *Config) {
		c.BootTimeout = 10 * time.Second
		client := c.VSphere.Client()
		client.RoundTripper = &lateAnswer{client.RoundTripper, func(ref types.ManagedObjectReference) {
			l.goesOff(ref)
			if err := e.Refresh(context.Background(), ref); err != nil {
				t.Error(err)
			}
		}}
	})
	c := container(1)
	if _, err := e.Create(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if _, err := e.StatFile(t.Context(), c.ID, "/x"); err == nil || !strings.Contains(err.Error(), "FAILED: disks") {
		t.Errorf("%v", err)
	}
	e.rests(c.ID)
}

// goesOff waits until a VM that was turned on is off again.
func (l *lab) goesOff(ref types.ManagedObjectReference) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	gone := func(vm vsphere.VM) bool { return !vm.On() && vm.Config[guestinfo.KeyTetherState] != "" }
	for {
		vm, err := l.admin.VM(ctx, ref)
		if err != nil {
			l.t.Error(err)
			return
		}
		if gone(vm) {
			return
		}
	}
}
