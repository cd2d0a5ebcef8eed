package exec

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/vmware/govmomi/vim25/types"
	"golang.org/x/crypto/ssh"

	"github.com/vic-engine/vic/pkg/guestinfo"
	"github.com/vic-engine/vic/pkg/spec"
)

// Manager knows all containers of a VCH. Its methods may be called from any
// goroutine; reads never wait for vSphere.
type Manager struct {
	cfg Config

	jobs   sync.WaitGroup // goroutines that outlive the call that began them
	ctx    context.Context
	cancel context.CancelFunc

	// claims is held while a container takes its volumes, so that of two that
	// start at once one gets them; never across a call to vSphere.
	claims sync.Mutex

	mu      sync.RWMutex // guards all below; never held across a call to vSphere
	byID    map[string]*Controller
	byVM    map[types.ManagedObjectReference]*Controller
	foreign map[types.ManagedObjectReference]struct{} // VMs that were looked at and are not ours
	synced  bool
	backing map[string]types.BaseVirtualDeviceBackingInfo // NIC backings by port group

	// afterStep lets tests fail a create after any of its steps.
	afterStep func(step string) error
}

// New gives a Manager that knows no container until Sync.
func New(cfg Config) (*Manager, error) {
	cfg.defaults()
	if cfg.VCH == "" || cfg.VSphere == nil || cfg.Datastore == nil || cfg.Images == nil || cfg.Lines == nil ||
		cfg.Leases == nil || cfg.Line == nil || cfg.Log == nil || cfg.Marks == "" {
		return nil, errors.New("exec: a field of Config that has no default is not set")
	}
	m := &Manager{
		cfg: cfg, byID: map[string]*Controller{}, byVM: map[types.ManagedObjectReference]*Controller{},
		foreign: map[types.ManagedObjectReference]struct{}{}, backing: map[string]types.BaseVirtualDeviceBackingInfo{},
	}
	// The life of background jobs, ended by Close; not that of any caller.
	m.ctx, m.cancel = context.WithCancel(context.Background())
	return m, nil
}

// Close ends background jobs and waits for them. Containers go on.
func (m *Manager) Close() {
	m.cancel()
	m.jobs.Wait()
}

// background runs f until it returns or Close was called.
func (m *Manager) background(f func(context.Context)) {
	m.jobs.Go(func() { f(m.ctx) })
}

func (m *Manager) find(id string) (*Controller, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	c, ok := m.byID[id]
	if !ok {
		return nil, fmt.Errorf("no such container: %s: %w", id, errdefs.ErrNotFound)
	}
	return c, nil
}

// Container gives one container.
func (m *Manager) Container(id string) (spec.View, error) {
	c, err := m.find(id)
	if err != nil {
		return spec.View{}, err
	}
	v, listed := c.listed()
	if !listed {
		return spec.View{}, fmt.Errorf("no such container: %s: %w", id, errdefs.ErrNotFound)
	}
	return v, nil
}

// Containers gives all containers, newest first.
func (m *Manager) Containers() []spec.View {
	all := m.Snapshots()
	out := make([]spec.View, 0, len(all))
	for _, v := range all {
		out = append(out, *v)
	}
	return out
}

// Snapshots is Containers without a copy: nobody may change them, and a
// container's pointer stays the same as long as nothing about it changes.
func (m *Manager) Snapshots() []*spec.View {
	m.mu.RLock()
	all := make([]*Controller, 0, len(m.byID))
	for _, c := range m.byID {
		all = append(all, c)
	}
	m.mu.RUnlock()
	out := make([]*spec.View, 0, len(all))
	for _, c := range all {
		if v, listed := c.snapshot(); listed {
			out = append(out, v)
		}
	}
	slices.SortFunc(out, func(a, b *spec.View) int {
		return cmp.Or(b.Container.Created.Compare(a.Container.Created), cmp.Compare(a.Container.ID, b.Container.ID))
	})
	return out
}

// add registers a container that is being made or was found.
func (m *Manager) add(c *Controller) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.byID[c.id]; ok {
		return fmt.Errorf("container %s: %w", c.id, errdefs.ErrAlreadyExists)
	}
	m.byID[c.id] = c
	return nil
}

// bind notes which VM is the container's.
func (m *Manager) bind(c *Controller, ref types.ManagedObjectReference) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.byVM[ref] = c
	delete(m.foreign, ref)
}

// forget takes a container that is gone out of memory.
func (m *Manager) forget(c *Controller) {
	m.mu.Lock()
	if m.byID[c.id] == c {
		delete(m.byID, c.id)
	}
	for ref, other := range m.byVM {
		if other == c {
			delete(m.byVM, ref)
		}
	}
	m.mu.Unlock()
	m.cfg.Leases.Release(c.id)
	m.cfg.Lines.Drop(c.id)
}

// nic gives the backing of a NIC on a port group, which does not change while
// the port group is there.
func (m *Manager) nic(ctx context.Context, portGroup string) (types.BaseVirtualDeviceBackingInfo, error) {
	m.mu.RLock()
	b, ok := m.backing[portGroup]
	m.mu.RUnlock()
	if ok {
		return b, nil
	}
	b, err := m.cfg.VSphere.NetworkBacking(ctx, m.cfg.Place, portGroup)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	m.backing[portGroup] = b
	m.mu.Unlock()
	return b, nil
}

// HostKey reads the key that a container's guest has published for its line.
func (m *Manager) HostKey(ctx context.Context, id string) (ssh.PublicKey, error) {
	c, err := m.find(id)
	if err != nil {
		return nil, err
	}
	vm, err := m.cfg.VSphere.VM(ctx, c.ref())
	if err != nil {
		return nil, fmt.Errorf("host key of container %s: %w", id, err)
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(vm.Config[guestinfo.KeyHostKey]))
	if err != nil {
		return nil, fmt.Errorf("host key of container %s: %w", id, errors.Join(errdefs.ErrNotFound, err))
	}
	return key, nil
}

// OnStarted is told by the line that the process runs, and since when by the guest's
// clock, as its output is timed; zero: now, until that is told.
func (m *Manager) OnStarted(id string, pid int, at time.Time) {
	if c, err := m.find(id); err == nil {
		c.started(pid, at)
	}
}

// OnExited is told by the line that the process ended or could not start. The
// container has exited when its VM is off; if that takes too long, it is turned
// off.
func (m *Manager) OnExited(id string, exit spec.ExitStatus) {
	c, err := m.find(id)
	if err != nil {
		return
	}
	r := c.reported(exit)
	if r == nil {
		return
	}
	m.background(func(ctx context.Context) {
		t := time.NewTimer(m.cfg.EndTimeout)
		defer t.Stop()
		select {
		case <-ctx.Done():
		case <-r.done:
		case <-t.C:
			c.log().Warn("process ended but the VM is still on, turning it off")
			if err := m.powerOff(ctx, c); err != nil {
				c.log().WithError(err).Error("VM could not be turned off after its process ended")
			}
		}
	})
}

// OnAddresses is told by the line what addresses the guest has.
func (m *Manager) OnAddresses(id string, a map[string]string) {
	if c, err := m.find(id); err == nil {
		c.addresses(a)
	}
}

// OnOOM is told by the line that the kernel killed for want of memory.
func (m *Manager) OnOOM(id string) {
	if c, err := m.find(id); err == nil {
		c.oom()
	}
}
