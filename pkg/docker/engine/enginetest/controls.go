package enginetest

import (
	"context"
	"fmt"
	"time"

	"github.com/vic-engine/vic/pkg/docker/engine"
	"github.com/vic-engine/vic/pkg/spec"

	"github.com/containerd/errdefs"
)

var _ engine.Controls = (*Fake)(nil)

// Measure, when set, is what Stats and Processes give of a container that runs.
type Measure struct {
	Stats     func(n int) (spec.Stats, error) // n counts the calls from 0
	Processes func() (spec.ProcessTable, error)
}

// runs gives a container that runs. Called with mu held.
func (f *Fake) runs(id string) (*container, error) {
	c, err := f.get(id)
	if err != nil {
		return nil, err
	}
	if c.run == nil {
		return nil, fmt.Errorf("container %s is not running: %w", id, errdefs.ErrConflict)
	}
	return c, nil
}

// Pause implements engine.Controls; the programs go on, as they are goroutines.
func (f *Fake) Pause(_ context.Context, id string) error { return f.pause(id, true) }

// Unpause implements engine.Controls.
func (f *Fake) Unpause(_ context.Context, id string) error { return f.pause(id, false) }

func (f *Fake) pause(id string, on bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, err := f.runs(id)
	if err != nil {
		return err
	}
	if c.view.Status.Paused == on {
		return fmt.Errorf("container %s: paused %v already: %w", id, on, errdefs.ErrConflict)
	}
	c.view.Status.Paused = on
	kind := spec.EventUnpaused
	if on {
		kind = spec.EventPaused
	}
	f.emit(kind, c, "")
	return nil
}

// OOM is a kill for want of memory in a container that goes on.
func (f *Fake) OOM(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c, err := f.runs(id); err == nil {
		c.view.Status.OOM = true
		f.emit(spec.EventOOM, c, "")
	}
}

// Stats implements engine.Controls: a tenth of a CPU is used.
func (f *Fake) Stats(_ context.Context, id string) (spec.Stats, error) {
	f.mu.Lock()
	c, err := f.runs(id)
	if err != nil {
		f.mu.Unlock()
		return spec.Stats{}, err
	}
	n := c.asked
	c.asked++
	f.mu.Unlock()
	if f.Measure.Stats != nil {
		return f.Measure.Stats(n)
	}
	return spec.Stats{
		Read:     f.Now().UTC(),
		CPU:      spec.CPUStats{Total: uint64(n+1) * uint64(time.Second/10), System: uint64(n+1) * uint64(time.Second), Online: 1},
		Memory:   spec.MemoryStats{Usage: 1 << 20, Limit: 256 << 20, Details: map[string]uint64{"anon": 5, "workingset_refault_anon": 2, "workingset_refault_file": 3}},
		Pids:     spec.PidsStats{Current: 1},
		IO:       []spec.DiskStats{{Major: 8, Minor: 16, ReadBytes: 4096, WriteBytes: 512}},
		Networks: map[string]spec.LinkStats{"eth0": {RxBytes: 10, TxBytes: 20}},
	}, nil
}

// Processes implements engine.Controls.
func (f *Fake) Processes(_ context.Context, id string) (spec.ProcessTable, error) {
	f.mu.Lock()
	c, err := f.runs(id)
	f.mu.Unlock()
	if err != nil {
		return spec.ProcessTable{}, err
	}
	if f.Measure.Processes != nil {
		return f.Measure.Processes()
	}
	p := c.view.Container.Process
	return spec.ProcessTable{Read: f.Now(), MemoryBytes: 256 << 20, Processes: []spec.ProcessInfo{{
		PID: 92, PPID: 1, PGID: 92, SID: 92, User: "root", Group: "root", Command: p.Path, Args: append([]string{p.Path}, p.Args...),
		State: "S", Threads: 1, Priority: 20, RSS: 4 << 20, VSize: 8 << 20, Started: f.Now().Add(-10 * time.Second), CPU: time.Second,
	}}}, nil
}

// mostMB is what a container that runs can get, in MiB.
const mostMB = 3072

// Reshape implements engine.Controls: a container that runs gets no more than mostMB,
// and its VM gets no smaller.
func (f *Fake) Reshape(_ context.Context, id string, change func(*spec.Container) error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, err := f.get(id)
	if err != nil {
		return err
	}
	next := copyView(c.view).Container
	if err := change(&next); err != nil {
		return err
	}
	if c.run != nil {
		if next.Resources.MemoryMB > mostMB {
			return fmt.Errorf("stop the container first: %w", errdefs.ErrFailedPrecondition)
		}
		was := c.view.Container.Resources
		next.Resources.Resize = next.Resources.MemoryMB < was.MemoryMB || next.Resources.CPUs < was.CPUs
	}
	c.view.Container = next
	return nil
}
