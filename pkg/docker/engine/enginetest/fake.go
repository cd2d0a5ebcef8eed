package enginetest

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/vic-engine/vic/pkg/docker/engine"
	"github.com/vic-engine/vic/pkg/spec"

	"github.com/containerd/errdefs"
)

var _ engine.PortLayer = (*Fake)(nil)

// Fake is a port layer whose containers are goroutines.
type Fake struct {
	// Programs are what containers can run, by Process.Path. A path that is not
	// there gives exit code 127; a nil Program gives 126. Set before use.
	Programs map[string]Program
	// Now is the guest's clock.
	Now func() time.Time
	// CapacityErr, CreateErr and StartErr, when set, are returned by the method.
	CapacityErr, CreateErr, StartErr error
	// OnStart, when set, runs at the beginning of Start; its error is Start's, and
	// the container then exits as one that could not be turned on.
	OnStart func(id string) error
	// Measure says what containers use. Set before use.
	Measure Measure

	mu         sync.Mutex // guards all below
	containers map[string]*container
	subs       map[chan spec.Event]struct{}
	subBuffer  int
	nets       []spec.Network // those that were made
	nextPort   int
	waits      chan struct{} // closed when somebody waits for a start
	// filesErr is what every operation on files fails with, filesBreak what ends
	// every tar before its end.
	filesErr, filesBreak error
}

type container struct {
	view    spec.View
	seen    *spec.View // the last snapshot
	attach  map[*attachment]struct{}
	logs    []spec.LogEntry
	changed chan struct{} // closed at each change, then made anew
	run     *process
	execs   map[string]*process
	files   map[string]string // by path, those that were put there
	asked   int               // how often Stats was
}

// New makes a Fake with the standard programs.
func New() *Fake {
	return &Fake{
		Programs: Standard(), Now: time.Now, containers: map[string]*container{}, subs: map[chan spec.Event]struct{}{}, subBuffer: 4096,
	}
}

// Add puts a container there as if an earlier engine had made it; no event.
func (f *Fake) Add(v spec.View) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.containers[v.Container.ID] = newContainer(v)
}

func newContainer(v spec.View) *container {
	return &container{view: v, attach: map[*attachment]struct{}{}, changed: make(chan struct{}), execs: map[string]*process{}}
}

// DropSubscribers closes every subscription, as for readers that are too slow.
func (f *Fake) DropSubscribers() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.subs {
		delete(f.subs, c)
		close(c)
	}
}

// emit sends an event. Called with mu held.
func (f *Fake) emit(kind spec.EventKind, c *container, oldName string) {
	close(c.changed)
	c.changed = make(chan struct{})
	ev := spec.Event{Kind: kind, ID: c.view.Container.ID, Time: f.Now(), View: copyView(c.view), OldName: oldName}
	for s := range f.subs {
		select {
		case s <- ev:
		default:
			delete(f.subs, s)
			close(s)
		}
	}
}

func copyView(v spec.View) spec.View {
	v.Container.Annotations = copyMap(v.Container.Annotations)
	v.Container.Labels = copyMap(v.Container.Labels)
	v.Container.Endpoints = slices.Clone(v.Container.Endpoints)
	v.Status.Addresses = copyMap(v.Status.Addresses)
	return v
}

func copyMap(m map[string]string) map[string]string {
	out := make(map[string]string, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}

func (f *Fake) get(id string) (*container, error) {
	c := f.containers[id]
	if c == nil {
		return nil, fmt.Errorf("container %s: %w", id, errdefs.ErrNotFound)
	}
	return c, nil
}

// Create implements engine.PortLayer.
func (f *Fake) Create(ctx context.Context, c spec.Container) (spec.View, error) {
	if f.CreateErr != nil {
		return spec.View{}, f.CreateErr
	}
	if err := ctx.Err(); err != nil {
		return spec.View{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	c.Endpoints = slices.Clone(c.Endpoints)
	for i := range c.Endpoints {
		if err := f.lease(&c.Endpoints[i], c.ID, 2+len(f.containers)); err != nil {
			return spec.View{}, err
		}
	}
	v := spec.View{Container: c, Status: spec.Status{Phase: spec.PhaseCreated, VM: fmt.Sprintf("vm-%d", 10+len(f.containers)), VMName: c.ID}}
	n := newContainer(v)
	f.containers[c.ID] = n
	f.emit(spec.EventCreated, n, "")
	return copyView(v), nil
}

// Container implements engine.PortLayer.
func (f *Fake) Container(id string) (spec.View, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, err := f.get(id)
	if err != nil {
		return spec.View{}, err
	}
	return copyView(c.view), nil
}

// Containers implements engine.PortLayer.
func (f *Fake) Containers() []spec.View {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make([]spec.View, 0, len(f.containers))
	for _, c := range f.containers {
		out = append(out, copyView(c.view))
	}
	slices.SortFunc(out, func(a, b spec.View) int { return b.Container.Created.Compare(a.Container.Created) })
	return out
}

// Snapshots implements engine.PortLayer.
func (f *Fake) Snapshots() []*spec.View {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make([]*spec.View, 0, len(f.containers))
	for _, c := range f.containers {
		if v := copyView(c.view); c.seen == nil || !reflect.DeepEqual(*c.seen, v) {
			c.seen = &v
		}
		out = append(out, c.seen)
	}
	slices.SortFunc(out, func(a, b *spec.View) int { return b.Container.Created.Compare(a.Container.Created) })
	return out
}

// Update implements engine.PortLayer.
func (f *Fake) Update(_ context.Context, id string, change func(*spec.Container) error) error {
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
	old := c.view.Container.Name
	c.view.Container = next
	if next.Name != old {
		f.emit(spec.EventRenamed, c, old)
	}
	return nil
}

// Remove implements engine.PortLayer.
func (f *Fake) Remove(ctx context.Context, id string, force bool) error {
	f.mu.Lock()
	c, err := f.get(id)
	if err != nil {
		f.mu.Unlock()
		return err
	}
	run := c.run
	f.mu.Unlock()
	if run != nil {
		if !force {
			return fmt.Errorf("container %s runs: %w", id, errdefs.ErrConflict)
		}
		run.signal("SIGKILL")
		select {
		case <-run.over:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.containers[id] != c {
		return fmt.Errorf("container %s: %w", id, errdefs.ErrNotFound)
	}
	delete(f.containers, id)
	c.view.Status.Phase = spec.PhaseRemoving
	f.emit(spec.EventRemoved, c, "")
	return nil
}

// Subscribe implements engine.PortLayer.
func (f *Fake) Subscribe(ctx context.Context) <-chan spec.Event {
	c := make(chan spec.Event, f.subBuffer)
	f.mu.Lock()
	f.subs[c] = struct{}{}
	f.mu.Unlock()
	context.AfterFunc(ctx, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if _, ok := f.subs[c]; ok {
			delete(f.subs, c)
			close(c)
		}
	})
	return c
}

// Wait implements engine.PortLayer.
func (f *Fake) Wait(ctx context.Context, id string, next bool) (spec.ExitStatus, error) {
	f.mu.Lock()
	c, err := f.get(id)
	if err != nil {
		f.mu.Unlock()
		return spec.ExitStatus{}, err
	}
	first := c.view.Status.Exit.Stopped
	for {
		running := c.run != nil
		if !running && (!next || c.view.Status.Exit.Stopped != first) {
			st := c.view.Status.Exit
			f.mu.Unlock()
			return st, nil
		}
		changed := c.changed
		f.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return spec.ExitStatus{}, ctx.Err()
		}
		f.mu.Lock()
	}
}

// WaitRemoved implements engine.PortLayer.
func (f *Fake) WaitRemoved(ctx context.Context, id string) (spec.ExitStatus, error) {
	for {
		f.mu.Lock()
		c, err := f.get(id)
		if err != nil {
			f.mu.Unlock()
			return spec.ExitStatus{}, nil
		}
		changed := c.changed
		f.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return spec.ExitStatus{}, ctx.Err()
		}
	}
}

// Capacity implements engine.PortLayer.
func (f *Fake) Capacity(context.Context) (spec.Capacity, error) {
	if f.CapacityErr != nil {
		return spec.Capacity{}, f.CapacityErr
	}
	return spec.Capacity{
		CPUs: 4, CPUMHz: 8000, MemoryBytes: 16 << 30, ProductName: "VMware ESXi 8.0.2 build-1", ProductVersion: "8.0.2", StorageCapacity: 1 << 40,
		StorageFree: 1 << 39, Datastore: "mydatastore", Pool: "/ha-datacenter/host/esxi01.lab.test/Resources/VCH001",
	}, nil
}
