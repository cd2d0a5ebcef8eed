package exec

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"

	viclab "github.com/vic-engine/vic/pkg/lab"
	"github.com/vic-engine/vic/pkg/spec"
)

// grown is a container that runs, and how it is looked at.
type grown struct {
	*engine
	id, vm string
}

func startGrown(t *testing.T, l *lab) *grown {
	t.Helper()
	g := &grown{engine: l.boot()}
	c := container(1)
	c.Resources = spec.Resources{CPUs: 1, MemoryMB: 256}
	v, err := g.Create(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	g.id, g.vm = c.ID, v.Status.VM
	if err := g.Start(t.Context(), g.id); err != nil {
		t.Fatal(err)
	}
	return g
}

func (g *grown) change(ctx context.Context, cpus int, mb int64, lim spec.Limits) error {
	return g.Reshape(ctx, g.id, func(s *spec.Container) error {
		s.Resources.CPUs, s.Resources.MemoryMB, s.Limits = cpus, mb, lim
		return nil
	})
}

// is checks the VM, what is stored, and the limits.
func (g *grown) is(t *testing.T, what string, cpus int32, mb int32, stored spec.Resources, lim spec.Limits) {
	t.Helper()
	hw := g.lab.hardware(g.vm).Hardware
	v, err := g.Container(g.id)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]any{cpus, mb, stored, lim}, []any{hw.NumCPU, hw.MemoryMB, v.Container.Resources, v.Container.Limits}); d != "" {
		t.Errorf("%s:\n%s", what, d)
	}
}

// TestGrow: a VM that runs gets what it can have, and its guest is told; what is more
// than was asked for goes with the next start.
func TestGrow(t *testing.T) {
	both(t, func(t *testing.T, l *lab) {
		g := startGrown(t, l)
		ctx := t.Context()
		hw := l.hardware(g.vm)
		if hw.CpuHotAddEnabled == nil || !*hw.CpuHotAddEnabled || hw.MemoryHotAddEnabled == nil || !*hw.MemoryHotAddEnabled {
			t.Errorf("made without hot add: %v, %v", hw.CpuHotAddEnabled, hw.MemoryHotAddEnabled)
		}
		line := lineOfGuest(t, l, g.id)
		first := spec.Limits{Memory: 512 << 20, CPUQuota: 200000}
		if err := g.change(ctx, 2, 512, first); err != nil {
			t.Fatal(err)
		}
		g.is(t, "grown", 2, 512, spec.Resources{CPUs: 2, MemoryMB: 512}, first)
		second := spec.Limits{Memory: 600 << 20}
		if err := g.change(ctx, 2, 600, second); err != nil {
			t.Fatal(err)
		}
		g.is(t, "grown by a part of a block", 2, 640, spec.Resources{CPUs: 2, MemoryMB: 600, Resize: true}, second)
		third := spec.Limits{Memory: 610 << 20}
		if err := g.change(ctx, 2, 610, third); err != nil {
			t.Fatal(err)
		}
		g.is(t, "within what it has", 2, 640, spec.Resources{CPUs: 2, MemoryMB: 610, Resize: true}, third)
		if d := cmp.Diff([]spec.Size{{CPUs: 2, MemoryMB: 512}, {CPUs: 2, MemoryMB: 640}, {CPUs: 2, MemoryMB: 640}}, line.sizes); d != "" || line.limits != third {
			t.Errorf("the guest was told %+v:\n%s", line.limits, d)
		}
		small := spec.Limits{Memory: 128 << 20}
		if err := g.change(ctx, 1, 128, small); err != nil {
			t.Fatal(err)
		}
		g.is(t, "less", 2, 640, spec.Resources{CPUs: 1, MemoryMB: 128, Resize: true}, small)
		if err := g.Stop(ctx, g.id, "", 10*time.Second); err != nil {
			t.Fatal(err)
		}
		g.is(t, "off", 2, 640, spec.Resources{CPUs: 1, MemoryMB: 128, Resize: true}, small)
		if err := g.Start(ctx, g.id); err != nil {
			t.Fatal(err)
		}
		g.is(t, "started again", 1, 128, spec.Resources{CPUs: 1, MemoryMB: 128}, small)
	})
}

// TestGrowRefused: what a VM cannot get while it runs changes nothing, and says why
// and what to do; a guest that does not use it takes the rest back.
func TestGrowRefused(t *testing.T) {
	l := newLab(t, simulator.VPX())
	g := startGrown(t, l)
	ctx := t.Context()
	stored, lim := spec.Resources{CPUs: 1, MemoryMB: 256}, spec.Limits{}
	refused := func(what string, cpus int, mb int64, words ...string) {
		t.Helper()
		err := g.change(ctx, cpus, mb, spec.Limits{Memory: mb << 20})
		if !errdefs.IsFailedPrecondition(err) {
			t.Errorf("%s: %v", what, err)
			return
		}
		for _, w := range append(words, "stop the container, update it, and start it again") {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %v does not say %q", what, err, w)
			}
		}
		g.is(t, what, 1, 256, stored, lim)
	}
	refused("past 3 GiB", 1, 4096, "has 256 MiB of memory and cannot get 4096 while it runs", "KB 2008405")
	ref := types.ManagedObjectReference{Type: "VirtualMachine", Value: g.vm}
	flags := func(on bool) {
		t.Helper()
		s := types.VirtualMachineConfigSpec{CpuHotAddEnabled: &on, MemoryHotAddEnabled: &on}
		if err := l.admin.Reconfigure(ctx, ref, s); err != nil {
			t.Fatal(err)
		}
	}
	flags(false) // as an older version made it
	refused("memory without the flag", 1, 512, "made without memory hot add")
	refused("CPUs without the flag", 2, 256, "made without CPU hot add")
	flags(true)

	line := lineOfGuest(t, l, g.id)
	line.full = fmt.Errorf("the guest has 3 MiB of memory to spare: %w", errdefs.ErrResourceExhausted)
	err := g.change(ctx, 2, 512, spec.Limits{Memory: 512 << 20})
	if !errdefs.IsResourceExhausted(err) || !strings.Contains(err.Error(), "cannot get 512 while it runs: the guest has 3 MiB") || !strings.Contains(err.Error(), "stop the container") {
		t.Errorf("a guest without memory for more memory: %v", err)
	}
	g.is(t, "full", 1, 256, stored, lim)
	line.full = nil
	line.deaf = fmt.Errorf("there are 1 CPUs of 2: %w", errdefs.ErrUnavailable)
	err = g.change(ctx, 2, 512, spec.Limits{Memory: 512 << 20})
	if !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), "has got 2 CPUs and 512 MiB of memory, but its guest does not use them") {
		t.Errorf("a guest that does not use it: %v", err)
	}
	stored.Resize = true
	g.is(t, "not used", 2, 512, stored, lim)
	line.deaf, line.refuse = nil, errors.New("no such controller")
	if err := g.change(ctx, 2, 384, spec.Limits{Memory: 384 << 20}); !errors.Is(err, line.refuse) {
		t.Errorf("a guest that does not take its limits: %v", err)
	}
	g.is(t, "not limited", 2, 512, stored, lim)
	line.refuse, line.sizes = nil, nil
	lim = spec.Limits{Memory: 512 << 20}
	if err := g.change(ctx, 2, 512, lim); err != nil {
		t.Fatal(err)
	}
	g.is(t, "once more", 2, 512, spec.Resources{CPUs: 2, MemoryMB: 512}, lim)
	if d := cmp.Diff([]spec.Size{{CPUs: 2, MemoryMB: 512}}, line.sizes); d != "" {
		t.Errorf("the guest was told:\n%s", d)
	}
}

// TestGrowRefusedBySphere: a host without room.
func TestGrowRefusedBySphere(t *testing.T) {
	l := newOwnLab(t, viclab.ModeESXi)
	g := startGrown(t, l)
	room := func(err error) {
		l.guests.mu.Lock()
		defer l.guests.mu.Unlock()
		l.guests.noRoom = err
	}
	room(fmt.Errorf("all memory is taken: %w", errdefs.ErrResourceExhausted))
	err := g.change(t.Context(), 1, 512, spec.Limits{Memory: 512 << 20})
	if !errdefs.IsResourceExhausted(err) {
		t.Errorf("a host without room: %v", err)
	}
	for _, w := range []string{"cannot get it while it runs", "all memory is taken", "stop the container, update it, and start it again"} {
		if err != nil && !strings.Contains(err.Error(), w) {
			t.Errorf("%v does not say %q", err, w)
		}
	}
	g.is(t, "refused", 1, 256, spec.Resources{CPUs: 1, MemoryMB: 256}, spec.Limits{})
	room(nil)
	if err := g.change(t.Context(), 2, 384, spec.Limits{}); err != nil {
		t.Fatal(err)
	}
	g.is(t, "grown", 2, 384, spec.Resources{CPUs: 2, MemoryMB: 384}, spec.Limits{})
}

// TestToldAgain: an engine that ended before it told the guest is followed by one
// that does.
func TestToldAgain(t *testing.T) {
	l := newLab(t, simulator.ESX())
	g := startGrown(t, l)
	lim := spec.Limits{Memory: 512 << 20}
	if err := g.change(t.Context(), 2, 512, lim); err != nil {
		t.Fatal(err)
	}
	line := lineOfGuest(t, l, g.id)
	g.stop()
	line.cmu.Lock()
	line.sizes, line.heard = nil, make(chan spec.Limits, 1)
	line.cmu.Unlock()
	next := l.boot()
	next.OnUp(g.id)
	select {
	case got := <-line.heard:
		if got != lim || len(line.sizes) != 1 || line.sizes[0] != (spec.Size{}) {
			t.Errorf("the guest was told %+v, %+v", line.sizes, got)
		}
	case <-time.After(time.Minute):
		t.Fatal("the guest was told nothing")
	}
}
