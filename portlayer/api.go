package portlayer

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/spec"
)

// Create makes the VM of c; see engine.PortLayer for this and what follows.
func (p *PortLayer) Create(ctx context.Context, c spec.Container) (spec.View, error) {
	m, err := p.manage()
	if err != nil {
		return spec.View{}, err
	}
	return m.Create(ctx, c)
}

// Start powers a container's VM on and returns when its process runs.
func (p *PortLayer) Start(ctx context.Context, id string) error {
	m, err := p.manage()
	if err != nil {
		return err
	}
	return m.Start(ctx, id)
}

// AwaitStart waits for the end of a start that is under way.
func (p *PortLayer) AwaitStart(ctx context.Context, id string) error {
	m, err := p.manage()
	if err != nil {
		return err
	}
	return m.AwaitStart(ctx, id)
}

// Stop ends a container's process, and its VM.
func (p *PortLayer) Stop(ctx context.Context, id, signal string, timeout time.Duration) error {
	m, err := p.manage()
	if err != nil {
		return err
	}
	return m.Stop(ctx, id, signal, timeout)
}

// Signal sends a signal to a container's process.
func (p *PortLayer) Signal(ctx context.Context, id, signal string) error {
	m, err := p.manage()
	if err != nil {
		return err
	}
	return m.Signal(ctx, id, signal)
}

// Remove destroys a container's VM and all that is its own.
func (p *PortLayer) Remove(ctx context.Context, id string, force bool) error {
	m, err := p.manage()
	if err != nil {
		return err
	}
	return m.Remove(ctx, id, force)
}

// Wait blocks until a container exits.
func (p *PortLayer) Wait(ctx context.Context, id string, next bool) (spec.ExitStatus, error) {
	m, err := p.manage()
	if err != nil {
		return spec.ExitStatus{}, err
	}
	return m.Wait(ctx, id, next)
}

// WaitRemoved blocks until a container is gone.
func (p *PortLayer) WaitRemoved(ctx context.Context, id string) (spec.ExitStatus, error) {
	m, err := p.manage()
	if err != nil {
		return spec.ExitStatus{}, err
	}
	return m.WaitRemoved(ctx, id)
}

// Container gives one container, from memory.
func (p *PortLayer) Container(id string) (spec.View, error) {
	m, err := p.manage()
	if err != nil {
		return spec.View{}, err
	}
	return m.Container(id)
}

// Containers gives all containers, newest first, from memory.
func (p *PortLayer) Containers() []spec.View {
	m, err := p.manage()
	if err != nil {
		return nil
	}
	return m.Containers()
}

// Snapshots are Containers without a copy.
func (p *PortLayer) Snapshots() []*spec.View {
	m, err := p.manage()
	if err != nil {
		return nil
	}
	return m.Snapshots()
}

// Update changes what may change without a new VM.
func (p *PortLayer) Update(ctx context.Context, id string, change func(*spec.Container) error) error {
	m, err := p.manage()
	if err != nil {
		return err
	}
	return m.Update(ctx, id, change)
}

// Attach joins client streams to a container's process.
func (p *PortLayer) Attach(ctx context.Context, id string, s spec.Streams) error {
	m, err := p.manage()
	if err != nil {
		return err
	}
	return m.Attach(ctx, id, s)
}

// Resize sets a terminal's size.
func (p *PortLayer) Resize(ctx context.Context, id, exec string, rows, cols int) error {
	m, err := p.manage()
	if err != nil {
		return err
	}
	return m.Resize(ctx, id, exec, rows, cols)
}

// Exec runs another process in a container.
func (p *PortLayer) Exec(ctx context.Context, id, exec string, proc spec.Process, s spec.Streams, started func(pid int)) (spec.ExitStatus, error) {
	m, err := p.manage()
	if err != nil {
		return spec.ExitStatus{}, err
	}
	return m.Exec(ctx, id, exec, proc, s, started)
}

// SignalExec sends a signal to an exec's process.
func (p *PortLayer) SignalExec(ctx context.Context, id, exec, signal string) error {
	m, err := p.manage()
	if err != nil {
		return err
	}
	return m.SignalExec(ctx, id, exec, signal)
}

// Logs gives a container's output, kept and live.
func (p *PortLayer) Logs(ctx context.Context, id string, o spec.LogOptions, each func(spec.LogEntry) error) error {
	m, err := p.manage()
	if err != nil {
		return err
	}
	return m.Logs(ctx, id, o, each)
}

// Subscribe gives every event from now on.
func (p *PortLayer) Subscribe(ctx context.Context) <-chan spec.Event { return p.bus.Subscribe(ctx) }

// Capacity tells what the VCH may use. It asks vSphere.
func (p *PortLayer) Capacity(ctx context.Context) (spec.Capacity, error) {
	l := p.live.Load()
	if l == nil {
		return spec.Capacity{}, fmt.Errorf("capacity: not connected to vSphere yet: %w", errdefs.ErrUnavailable)
	}
	pool, err := l.session.PoolCapacity(ctx, l.place.Pool)
	if err != nil {
		return spec.Capacity{}, err
	}
	capacity, free, err := l.ds.Space(ctx)
	if err != nil {
		return spec.Capacity{}, err
	}
	about := l.session.About()
	return spec.Capacity{
		CPUs: pool.CPUs, CPUMHz: pool.CPUMHz, MemoryBytes: pool.MemoryBytes, Pool: pool.Name,
		ProductName: about.FullName, ProductVersion: about.Version,
		StorageCapacity: capacity, StorageFree: free, Datastore: l.ds.Name(),
	}, nil
}
