package exec

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/guestinfo"
	"github.com/vic-engine/vic/pkg/spec"
)

type correction struct {
	by     time.Duration
	atOnce bool
}

// controlled is the part of a line that holds and measures processes.
type controlled struct {
	cmu    sync.Mutex
	paused bool
	limits spec.Limits
	refuse error // of Limit
	sizes  []spec.Size
	deaf   error // of Enlarge
	full   error // of Enlarge ahead
	heard  chan spec.Limits

	now       func() time.Time // nil: time.Now
	wrong     time.Duration    // what the clock is ahead by
	tell      chan struct{}    // told of each correction
	blind     error            // of Time
	corrected []correction
}

func (c *controlled) Pause(context.Context) error {
	c.cmu.Lock()
	defer c.cmu.Unlock()
	c.paused = true
	return nil
}

func (c *controlled) Resume(context.Context) error {
	c.cmu.Lock()
	defer c.cmu.Unlock()
	c.paused = false
	return nil
}

func (c *controlled) Limit(_ context.Context, l spec.Limits) error {
	c.cmu.Lock()
	defer c.cmu.Unlock()
	if c.refuse != nil {
		return c.refuse
	}
	c.limits = l
	if c.heard != nil {
		c.heard <- l
	}
	return nil
}

func (c *controlled) Enlarge(_ context.Context, s spec.Size) error {
	c.cmu.Lock()
	defer c.cmu.Unlock()
	if s.Ahead {
		return c.full
	}
	if c.deaf != nil {
		return c.deaf
	}
	c.sizes = append(c.sizes, s)
	return nil
}

// Time is ahead or behind by what c is wrong.
func (c *controlled) Time(context.Context) (time.Time, error) {
	c.cmu.Lock()
	defer c.cmu.Unlock()
	now := time.Now
	if c.now != nil {
		now = c.now
	}
	return now().Add(c.wrong), c.blind
}

func (c *controlled) Correct(_ context.Context, by time.Duration, atOnce bool) error {
	c.cmu.Lock()
	defer c.cmu.Unlock()
	c.wrong += by
	c.corrected = append(c.corrected, correction{by, atOnce})
	if c.tell != nil {
		c.tell <- struct{}{}
	}
	return nil
}

func (c *controlled) Stats(context.Context) (spec.Stats, error) {
	return spec.Stats{Pids: spec.PidsStats{Current: 3}}, nil
}

func (c *controlled) Processes(context.Context) (spec.ProcessTable, error) {
	return spec.ProcessTable{Processes: []spec.ProcessInfo{{PID: 7}}}, nil
}

// lineOfGuest gives the line of a container that is up.
func lineOfGuest(t *testing.T, l *lab, id string) *line {
	t.Helper()
	got, err := l.guests.Session(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return got.(*line)
}

// TestPause: told once as an event, known after a restart of the VCH, and over with
// the run.
func TestPause(t *testing.T) {
	l := newLab(t, simulator.ESX())
	e := l.boot()
	c := container(1)
	ctx := t.Context()
	if _, err := e.Create(ctx, c); err != nil {
		t.Fatal(err)
	}
	if err := e.Pause(ctx, c.ID); !errdefs.IsConflict(err) {
		t.Errorf("pause of one that does not run: %v", err)
	}
	if _, err := e.Stats(ctx, c.ID); !errdefs.IsConflict(err) {
		t.Errorf("stats of one that does not run: %v", err)
	}
	if err := e.Start(ctx, c.ID); err != nil {
		t.Fatal(err)
	}
	if err := e.Unpause(ctx, c.ID); !errdefs.IsConflict(err) {
		t.Errorf("unpause of one that is not paused: %v", err)
	}
	if err := e.Pause(ctx, c.ID); err != nil {
		t.Fatal(err)
	}
	line := lineOfGuest(t, l, c.ID)
	line.set(guestinfo.PausedPairs(c.ID, true)) // as tether does
	e.OnPaused(c.ID, true)                      // the line says it too
	if v, _ := e.Container(c.ID); !v.Status.Paused || !line.paused || v.Status.Phase != spec.PhaseRunning {
		t.Errorf("paused: %+v, in the guest %v", v.Status, line.paused)
	}
	if err := e.Pause(ctx, c.ID); !errdefs.IsConflict(err) {
		t.Errorf("pause of one that is paused: %v", err)
	}
	if s, err := e.Stats(ctx, c.ID); err != nil || s.Pids.Current != 3 {
		t.Errorf("stats %+v, %v", s, err)
	}
	if p, err := e.Processes(ctx, c.ID); err != nil || len(p.Processes) != 1 {
		t.Errorf("processes %+v, %v", p, err)
	}
	if d := cmp.Diff([]string{"created c1", "started c1", "paused c1"}, e.next(3)); d != "" {
		t.Errorf("events:\n%s", d)
	}
	e.stop()

	e = l.boot()
	if v, err := e.Container(c.ID); err != nil || !v.Status.Paused {
		t.Errorf("after a restart: %+v, %v", v.Status, err)
	}
	if err := e.Unpause(ctx, c.ID); err != nil || line.paused {
		t.Errorf("unpause: %v, in the guest %v", err, line.paused)
	}
	if err := e.Pause(ctx, c.ID); err != nil {
		t.Fatal(err)
	}
	if err := e.Stop(ctx, c.ID, "", patience); err != nil {
		t.Fatal(err)
	}
	if v, _ := e.Container(c.ID); v.Status.Paused {
		t.Error("paused after its end")
	}
	if d := cmp.Diff([]string{"unpaused c1", "paused c1", "exited c1 0"}, e.next(3)); d != "" {
		t.Errorf("events:\n%s", d)
	}
}

// TestReshape: hardware when the VM is off, limits and shares when it is on, and
// everything or nothing.
func TestReshape(t *testing.T) {
	both(t, func(t *testing.T, l *lab) {
		e := l.boot()
		c := container(1)
		ctx := t.Context()
		v, err := e.Create(ctx, c)
		if err != nil {
			t.Fatal(err)
		}
		change := func(r spec.Resources, lim spec.Limits) error {
			return e.Reshape(ctx, c.ID, func(s *spec.Container) error {
				s.Resources, s.Limits = r, lim
				return nil
			})
		}
		check := func(what string, cpus int32, memory int64, limit, shares int64, want spec.Limits) {
			t.Helper()
			vm := l.hardware(v.Status.VM)
			h, a := vm.Hardware, vm.CpuAllocation
			got := []int64{int64(h.NumCPU), int64(h.MemoryMB), *a.Limit, int64(a.Shares.Shares)}
			if d := cmp.Diff([]int64{int64(cpus), memory, limit, shares}, got); d != "" {
				t.Errorf("%s: CPUs, MiB, MHz, shares:\n%s", what, d)
			}
			if now, _ := e.Container(c.ID); now.Container.Limits != want {
				t.Errorf("%s: limits %+v, want %+v", what, now.Container.Limits, want)
			}
		}
		first := spec.Limits{Memory: 512 << 20, Pids: 9}
		if err := change(spec.Resources{CPUs: 2, MemoryMB: 512, CPULimitMHz: 3000, CPUShares: 512, ReservationMB: 64}, first); err != nil {
			t.Fatal(err)
		}
		check("off", 2, 512, 3000, 512, first)
		if err := e.Start(ctx, c.ID); err != nil {
			t.Fatal(err)
		}
		second := spec.Limits{Memory: 100 << 20, CPUQuota: 50000}
		if err := change(spec.Resources{CPUs: 1, MemoryMB: 100, CPULimitMHz: 1000, CPUShares: 256}, second); err != nil {
			t.Fatal(err)
		}
		check("on", 2, 512, 1000, 256, second)
		line := lineOfGuest(t, l, c.ID)
		if line.limits != second {
			t.Errorf("the guest has %+v", line.limits)
		}
		if err := change(spec.Resources{CPUs: 2, MemoryMB: 4096}, spec.Limits{}); !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), "stop the container") {
			t.Errorf("more than it can have while it runs: %v", err)
		}
		if err := change(spec.Resources{}, spec.Limits{Pids: -3}); !errdefs.IsInvalidArgument(err) {
			t.Errorf("a negative limit: %v", err)
		}
		check("refused", 2, 512, 1000, 256, second)
		broken := errors.New("no such controller")
		line.refuse = broken
		if err := change(spec.Resources{CPUs: 2, MemoryMB: 512, CPULimitMHz: 77, CPUShares: 99}, first); !errors.Is(err, broken) {
			t.Errorf("refused by the guest: %v", err)
		}
		check("refused by the guest", 2, 512, 1000, 256, second)
	})
}

// hardware reads a VM's configuration.
func (l *lab) hardware(vm string) *types.VirtualMachineConfigInfo {
	l.t.Helper()
	var v mo.VirtualMachine
	ref := types.ManagedObjectReference{Type: "VirtualMachine", Value: vm}
	if err := property.DefaultCollector(l.admin.Client()).RetrieveOne(l.t.Context(), ref, []string{"config"}, &v); err != nil {
		l.t.Fatal(err)
	}
	return v.Config
}
