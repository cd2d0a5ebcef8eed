package lab

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/sirupsen/logrus"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
	"golang.org/x/sync/errgroup"

	"github.com/vic-engine/vic/pkg/lab/collector"
	"github.com/vic-engine/vic/pkg/lab/machine"
)

// Lab is one embedded vSphere.
type Lab struct {
	cfg   Config
	log   *logrus.Entry
	svc   *simulator.Service
	hv    machine.Hypervisor
	cert  tls.Certificate
	print string // SHA-256 thumbprint of cert

	faults faults
	space  spaceMeter
	leases leaseBook
	calls  callBook
	saver  *saver
	files  vmxFiles
	door   ticketBook
	macs   macPool
	ports  sync.Mutex // held while Config.Published is called

	storagePolicies *policyBook // nil in an ESXi

	boot  string // tells this process's tasks from an earlier one's
	tasks atomic.Int64

	// ctx is Run's: it bounds the work that calls leave behind (tasks,
	// watchers of VMs), which no request's context can.
	ctx   context.Context
	ready chan struct{}
	url   *url.URL
	wg    sync.WaitGroup // the work that ctx bounds

	// making is held while the simulator makes a VM, see makeVM.
	making sync.Mutex
	// maker is who makes a VM now; written with making held, read by the
	// watcher in the goroutine that the maker's task runs in.
	maker atomic.Pointer[creation]

	mu   sync.Mutex // guards all below
	idle *sync.Cond // an operation on a VM ended
	vms  map[types.ManagedObjectReference]*run
	busy map[types.ManagedObjectReference]opKind
}

// building makes labs of one process one after the other: the simulator's
// constructors write to its package variables.
var building sync.Mutex

// New reads or makes the inventory in cfg.StateDir. It starts nothing.
func New(cfg Config) (*Lab, error) {
	if err := cfg.complete(); err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	dir, err := filepath.Abs(cfg.StateDir)
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	cfg.StateDir = dir
	if err := os.MkdirAll(cfg.StateDir, 0o700); err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	l := &Lab{
		cfg:   cfg,
		log:   cfg.Log,
		hv:    cfg.Hypervisor,
		boot:  randomHex(3),
		ready: make(chan struct{}),
		vms:   map[types.ManagedObjectReference]*run{},
		busy:  map[types.ManagedObjectReference]opKind{},
	}
	l.idle = sync.NewCond(&l.mu)
	l.saver = newSaver(l)
	if err := l.identity(); err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	building.Lock()
	defer building.Unlock()
	if err := l.inventory(); err != nil {
		return nil, fmt.Errorf("lab: inventory in %s: %w", cfg.StateDir, err)
	}
	l.storagePolicies = newPolicies(l)
	m := l.svc.Context.Map
	m.Handler = l.dispatch
	m.Cookie = l.calls.cookie
	m.AddHandler(&watcher{l: l})
	collector.Install(m)
	l.pools(l.context(nil), nil)
	return l, nil
}

// Run serves the API until ctx ends, then saves the inventory. Running VMs are
// left running: StopVMs is for who wants them off, another lab on the same
// state directory adopts them.
func (l *Lab) Run(ctx context.Context) error {
	unlock, err := lockDir(l.cfg.StateDir)
	if err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	defer unlock()
	ln := l.cfg.Listener
	if ln == nil {
		if ln, err = (&net.ListenConfig{}).Listen(ctx, "tcp", l.cfg.Listen); err != nil {
			return fmt.Errorf("lab: %w", err)
		}
	}
	defer ln.Close() // as a rule the server has closed it
	// The work of ctx ends after the server, so that a request in flight at
	// the end is answered.
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	l.ctx = work
	l.listenAt(ln.Addr().(*net.TCPAddr))
	l.adopt()

	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return l.serve(gctx, ln) })
	g.Go(func() error { return l.housekeeping(gctx) })
	g.Go(func() error { return l.saver.run(gctx) })
	close(l.ready)
	l.log.WithField("url", l.url.String()).Info("lab serves the vSphere API")
	err = g.Wait()
	stop()
	l.wg.Wait()
	return errors.Join(err, l.saver.saveAll())
}

// Ready is closed when the API can be called.
func (l *Lab) Ready() <-chan struct{} { return l.ready }

// URL of the SDK, without a password. Valid once Ready.
func (l *Lab) URL() *url.URL {
	u := *l.url
	return &u
}

// User is the administrator's name.
func (l *Lab) User() string { return l.cfg.User }

// Password is the administrator's.
func (l *Lab) Password() string { return l.cfg.Password }

// Thumbprint is the SHA-256 of the server's certificate, as govc and vic-machine
// want it: upper-case bytes parted by colons.
func (l *Lab) Thumbprint() string { return l.print }

// context returns a context of its own: the simulator's locks are re-entrant
// for each *Context, so every goroutine needs another.
func (l *Lab) context(s *simulator.Session) *simulator.Context {
	c := *l.svc.Context
	if l.ctx != nil {
		c.Context = l.ctx
	}
	if s != nil {
		c.Session = s
	} else {
		own := *c.Session
		own.UserName = l.cfg.User
		c.Session = &own
	}
	return &c
}

// locked runs fn while obj is locked, and unlocks when fn panics.
func locked(c *simulator.Context, obj refer, fn func()) {
	defer c.Map.AcquireLock(c, obj)()
	fn()
}

// refer is mo.Reference: what has a managed object reference.
type refer interface {
	Reference() types.ManagedObjectReference
}

// background runs fn as part of the lab's work, which Run waits for.
func (l *Lab) background(fn func()) {
	l.wg.Add(1)
	go func() {
		defer l.wg.Done()
		fn()
	}()
}
