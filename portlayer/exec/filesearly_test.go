package exec

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/guestinfo"
)

// lateAnswer keeps back the answer to every power-on until before has returned, and
// from then on all news of vSphere's events until heard is closed.
type lateAnswer struct {
	soap.RoundTripper
	before func(types.ManagedObjectReference)
	deaf   atomic.Bool
	heard  chan struct{}
}

func (l *lateAnswer) RoundTrip(ctx context.Context, req, res soap.HasFault) error {
	err := l.RoundTripper.RoundTrip(ctx, req, res)
	if err != nil {
		return err
	}
	if on, ok := req.(*methods.PowerOnVM_TaskBody); ok {
		l.deaf.Store(true)
		l.before(on.Req.This)
	}
	if news, ok := res.(*methods.WaitForUpdatesExBody); ok && l.deaf.Load() && ofEvents(news) {
		select {
		case <-l.heard:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func ofEvents(news *methods.WaitForUpdatesExBody) bool {
	if news.Res == nil || news.Res.Returnval == nil {
		return false
	}
	for _, set := range news.Res.Returnval.FilterSet {
		for _, o := range set.ObjectSet {
			if o.Obj.Type == "EventHistoryCollector" {
				return true
			}
		}
	}
	return false
}

// TestFilesEndEarly: a guest that has turned itself off before the answer to its
// power-on came is not waited for until the boot's time is over, although nothing
// is heard of it any more.
func TestFilesEndEarly(t *testing.T) {
	l := newLab(t, simulator.ESX())
	var e *engine
	var late *lateAnswer
	l.guests.serve(func(g *line) {
		g.set([]guestinfo.Pair{{Key: guestinfo.KeyTetherState, Value: "FAILED: disks"}})
		g.halt()
	})
	e = l.boot(quick, func(c *Config) {
		c.BootTimeout = 10 * time.Second
		client := c.VSphere.Client()
		late = &lateAnswer{RoundTripper: client.RoundTripper, heard: make(chan struct{}), before: func(ref types.ManagedObjectReference) {
			l.goesOff(ref)
			if err := e.Refresh(context.Background(), ref); err != nil {
				t.Error(err)
			}
		}}
		client.RoundTripper = late
	})
	c := container(1)
	if _, err := e.Create(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if _, err := e.StatFile(t.Context(), c.ID, "/x"); err == nil || !strings.Contains(err.Error(), "FAILED: disks") {
		t.Errorf("%v", err)
	}
	close(late.heard)
	e.rests(c.ID)
}

// goesOff waits until a VM that was turned on is off again.
func (l *lab) goesOff(ref types.ManagedObjectReference) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		vm, err := l.admin.VM(ctx, ref)
		if err != nil {
			l.t.Error(err)
			return
		}
		if !vm.On() && vm.Config[guestinfo.KeyTetherState] != "" {
			return
		}
	}
}
