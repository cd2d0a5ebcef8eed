package events

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/sirupsen/logrus"
	"github.com/vmware/govmomi/vim25/types"
	"golang.org/x/sync/errgroup"

	"github.com/vic-engine/vic/pkg/vsphere"
)

// manyVMs is from how many changed VMs on reading them all at once is cheaper
// than one by one.
const manyVMs = 25

// Containers is who knows what the VMs mean. Implemented by exec.Manager.
type Containers interface {
	// Sync reads all VMs.
	Sync(ctx context.Context) error
	// Refresh reads one VM, which may be anybody's. One that is gone is not an
	// error.
	Refresh(ctx context.Context, vm types.ManagedObjectReference) error
	// Gone is told that a VM is not in the inventory any more.
	Gone(vm types.ManagedObjectReference)
	// Concerns tells whether what happens to a VM of that name may be news of
	// one of ours. isNew: it may have become one just now.
	Concerns(vm types.ManagedObjectReference, name string, isNew bool) bool
}

// Feed is vsphere.Session's Watch.
type Feed interface {
	Watch(ctx context.Context, entity types.ManagedObjectReference, subscribed func(), changes func([]vsphere.Change)) error
}

// Config of a Reconciler.
type Config struct {
	Feed       Feed
	Folder     types.ManagedObjectReference // whose VMs are followed
	Containers Containers
	// Every is how often everything is read again though nothing was heard;
	// zero: 5 minutes.
	Every time.Duration
	// Retry is the longest wait after a feed that could not be followed; zero:
	// 30 seconds. The first is 1/32 of it.
	Retry time.Duration
	Log   *logrus.Entry
}

// Reconciler keeps memory true to vSphere.
type Reconciler struct {
	cfg   Config
	ready chan struct{} // closed after the first full read

	wake chan struct{} // holds one token when there is work
	mu   sync.Mutex    // guards all and changed
	all  bool          // everything is to be read
	// changed are the VMs to read, true for those that are gone.
	changed map[types.ManagedObjectReference]bool
	order   []types.ManagedObjectReference
}

// New gives a reconciler that does nothing until Run.
func New(cfg Config) *Reconciler {
	if cfg.Every == 0 {
		cfg.Every = 5 * time.Minute
	}
	if cfg.Retry == 0 {
		cfg.Retry = 30 * time.Second
	}
	return &Reconciler{
		cfg: cfg, ready: make(chan struct{}), wake: make(chan struct{}, 1),
		changed: map[types.ManagedObjectReference]bool{},
	}
}

// Ready is closed when everything was read for the first time.
func (r *Reconciler) Ready() <-chan struct{} { return r.ready }

// Run follows vSphere until ctx is done, whatever happens to the connection.
func (r *Reconciler) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.watch(ctx) })
	g.Go(func() error { return r.work(ctx) })
	if err := g.Wait(); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// watch holds the subscription, and makes it anew when it is lost.
func (r *Reconciler) watch(ctx context.Context) error {
	wait := r.cfg.Retry / 32
	for {
		err := r.cfg.Feed.Watch(ctx, r.cfg.Folder, func() {
			wait = r.cfg.Retry / 32
			r.readAll()
		}, r.note)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		r.cfg.Log.WithError(err).Warn("lost the feed of vSphere's events, following it anew")
		if err := sleep(ctx, wait); err != nil {
			return err
		}
		wait = min(2*wait, r.cfg.Retry)
	}
}

func (r *Reconciler) readAll() {
	r.mu.Lock()
	r.all = true
	r.mu.Unlock()
	r.signal()
}

func (r *Reconciler) note(changes []vsphere.Change) {
	r.mu.Lock()
	for _, c := range changes {
		if _, ok := r.changed[c.VM]; !ok {
			if !c.Removed() && !r.concerns(c) {
				continue
			}
			r.order = append(r.order, c.VM)
		}
		r.changed[c.VM] = c.Removed()
	}
	r.mu.Unlock()
	r.signal()
}

func (r *Reconciler) concerns(c vsphere.Change) bool {
	if c.Kind == "VmCreatedEvent" && r.cfg.Containers.Concerns(c.VM, c.Name, false) {
		return false // known already: we made it, and know how
	}
	return r.cfg.Containers.Concerns(c.VM, c.Name, isNew(c.Kind))
}

// isNew tells the events after which a VM may have become one of ours.
func isNew(kind string) bool {
	switch kind {
	case "VmCreatedEvent", "VmClonedEvent", "VmRegisteredEvent", "VmReconfiguredEvent", "VmResourcePoolMovedEvent", "VmConnectedEvent":
		return true
	}
	return false
}

func (r *Reconciler) signal() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// work reads what is to be read. It is the only one that does.
func (r *Reconciler) work(ctx context.Context) error {
	t := time.NewTicker(r.cfg.Every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
			r.readAll()
		case <-r.wake:
			if err := r.reconcile(ctx); err != nil {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				r.cfg.Log.WithError(err).Warn("could not read the containers' VMs, trying again")
				if err := sleep(ctx, r.cfg.Retry/32); err != nil {
					return err
				}
				r.readAll()
			}
		}
	}
}

func (r *Reconciler) reconcile(ctx context.Context) error {
	r.mu.Lock()
	all, changed, order := r.all, r.changed, r.order
	r.all, r.changed, r.order = false, map[types.ManagedObjectReference]bool{}, nil
	r.mu.Unlock()

	for _, ref := range order {
		if changed[ref] {
			r.cfg.Containers.Gone(ref)
		}
	}
	if all || len(order) >= manyVMs {
		if err := r.cfg.Containers.Sync(ctx); err != nil {
			return fmt.Errorf("read all VMs: %w", err)
		}
		select {
		case <-r.ready:
		default:
			close(r.ready)
		}
		return nil
	}
	for _, ref := range order {
		if changed[ref] {
			continue
		}
		if err := r.cfg.Containers.Refresh(ctx, ref); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("read VM %s: %w", ref.Value, err)
		}
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
