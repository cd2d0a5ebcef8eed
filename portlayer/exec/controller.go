package exec

import (
	"context"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/guestinfo"
	"github.com/vic-engine/vic/pkg/spec"
)

// Controller is one container.
type Controller struct {
	id string
	m  *Manager

	// op is held, across calls to vSphere, by whoever starts, stops or removes
	// the container: a channel of one, so that waiting for it ends with a ctx.
	op chan struct{}
	// config is held, across calls to vSphere, by whoever changes the VM's
	// configuration, so that changes of ours do not refuse each other.
	config chan struct{}
	// clock is held by whoever compares and corrects the guest's clock: clocked is
	// the line on which that was done at boot.
	clock   chan struct{}
	clocked Line

	gone chan struct{} // closed when the container is no more

	mu    stateLock // guards all below; short: never held across a call
	phase spec.Phase
	// spec is replaced as a whole and never changed in place, so that a View
	// may share its maps.
	spec   spec.Container
	status spec.Status
	vm     types.ManagedObjectReference
	// gen grows with everything that we do to the VM: what was read of it before
	// is old then.
	gen uint64
	// read is the version of the VM's configuration that spec was read from when
	// gen was readGen; empty: not known.
	read    string
	readGen uint64
	// run is the current run, or the one to come.
	run *run
	// ready is what the VM was made with a moment ago: its first start need not
	// look at it again.
	ready *readiness
	// wanted is the name that an Update under way gives it.
	wanted string
	// stopping is a stop under way that waits for the process.
	stopping *stopping
	// interrupt ends a start under way.
	interrupt context.CancelCauseFunc
	// dropped is closed when the line of the run before is forgotten.
	dropped chan struct{}
	// streams counts clients on the line; idle is closed when the last has left.
	streams int
	idle    chan struct{}
	// waiting are clients that attached before the line was up.
	waiting map[*attacher]struct{}
	// maint is the boot that serves the files of a container that does not run.
	maint *maintenance
	// marked: the VM's configuration may have the mode of such a boot. sweeping:
	// somebody takes care of that.
	marked, sweeping bool
}

// stateLock guards a controller's state and knows whether a view of it is still
// true: Lock is for whoever may change the state, and drops the view; Look is for
// who only reads. So a Lock that need not be one costs a little time, and no
// change can be forgotten.
type stateLock struct {
	mu   sync.Mutex
	seen *spec.View // nil when the state may have changed since; never changed itself
}

func (l *stateLock) Lock() {
	l.mu.Lock()
	l.seen = nil
}

func (l *stateLock) Look() { l.mu.Lock() }

func (l *stateLock) Unlock() { l.mu.Unlock() }

// readiness is a VM as we made it.
type readiness struct {
	line string // where its serial port dials
	made time.Time
}

// run is one life of the process, from start to exit.
type run struct {
	started chan struct{} // closed when the guest said that the process runs
	done    chan struct{} // closed when the container has exited
	exit    spec.ExitStatus
	// on: the VM was on in this run, so that off is its end.
	on bool
	// early: the VM was seen off when it was not known yet that it was on.
	early bool
	// report is what the guest said on its line of the end.
	report *spec.ExitStatus
	// before is what guestinfo says of the run before: until it says something
	// else, it says nothing of this one.
	before spec.ExitStatus
	asked  bool // started by us
	killed bool // turned off by us
}

func newRun(before spec.ExitStatus) *run {
	return &run{started: make(chan struct{}), done: make(chan struct{}), before: before}
}

// isStarted tells whether the process of the run has been seen running.
func (r *run) isStarted() bool {
	select {
	case <-r.started:
		return true
	default:
		return false
	}
}

func newController(m *Manager, c spec.Container, p spec.Phase) *Controller {
	return &Controller{
		id: c.ID, m: m, spec: c, phase: p, run: newRun(spec.ExitStatus{}),
		op: make(chan struct{}, 1), config: make(chan struct{}, 1), clock: make(chan struct{}, 1), gone: make(chan struct{}),
		waiting: map[*attacher]struct{}{}, dropped: closed(),
	}
}

func closed() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

func (c *Controller) log() *logrus.Entry { return c.m.cfg.Log.WithField(spec.FieldContainer, c.id) }

// hold takes one of the controller's long locks.
func hold(ctx context.Context, lock chan struct{}) error {
	select {
	case lock <- struct{}{}:
		return nil
	default:
	}
	select {
	case lock <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func letGo(lock chan struct{}) { <-lock }

func (c *Controller) ref() types.ManagedObjectReference {
	c.mu.Look()
	defer c.mu.Unlock()
	return c.vm
}

// view is called with mu held.
func (c *Controller) view() spec.View {
	s := c.status
	s.Phase = c.phase
	s.VM = c.vm.Value
	return spec.View{Container: c.spec, Status: s}
}

// listed gives the view of a container that exists for others.
func (c *Controller) listed() (spec.View, bool) {
	v, listed := c.snapshot()
	return *v, listed
}

// snapshot is listed without a copy: the same pointer until something changes.
func (c *Controller) snapshot() (*spec.View, bool) {
	c.mu.Look()
	defer c.mu.Unlock()
	if c.mu.seen == nil {
		v := c.view()
		c.mu.seen = &v
	}
	return c.mu.seen, c.phase != spec.PhaseCreating && c.phase != phaseGone
}

// publish is called with mu held, so that events are in the order of changes.
func (c *Controller) publish(kind spec.EventKind, external bool) {
	c.m.cfg.Publish(c.event(kind, external))
}

func (c *Controller) event(kind spec.EventKind, external bool) spec.Event {
	return spec.Event{Kind: kind, ID: c.id, Time: c.m.cfg.Now().UTC(), View: c.view(), External: external}
}

// move changes the phase by the table. Called with mu held.
func (c *Controller) move(e event) error {
	to, err := next(c.phase, e)
	if err != nil {
		return err
	}
	if to != c.phase {
		c.log().WithFields(logrus.Fields{"from": name(c.phase), "to": name(to), "event": string(e)}).Info("container changes")
	}
	c.phase = to
	return nil
}

// started notes that the process runs: from the line, or from guestinfo.
func (c *Controller) started(pid int, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.phase
	if c.move(evStarted) != nil || !active(c.phase) {
		// Too late, or too early: of a VM that somebody else has turned on a
		// moment ago. Then guestinfo says it too, but not yet in what may have
		// been read of the VM before this.
		c.gen++
		return
	}
	known := !at.IsZero()
	if !known {
		at = c.m.cfg.Now().UTC() // until the guest tells
	}
	if !c.run.on {
		// The call that turned it on may not have come back yet: what was read
		// of the VM before it is old from now on.
		c.run.on = true
		c.gen++
	}
	c.status.Pid = pid
	if c.run.isStarted() {
		if known {
			c.status.Started = at
		}
		return
	}
	close(c.run.started)
	c.status.Started = at
	c.status.OOM = false
	if before == spec.PhaseStarting {
		c.publish(spec.EventStarted, !c.run.asked)
	}
}

// reported notes the end that the guest told on its line, and gives the run
// that it ends with; nil when there is none.
func (c *Controller) reported(exit spec.ExitStatus) *run {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !active(c.phase) {
		return nil
	}
	c.run.report = &exit
	c.status.Pid = 0
	return c.run
}

func (c *Controller) addresses(a map[string]string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if active(c.phase) {
		c.status.Addresses = a
	}
}

func (c *Controller) oom() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if active(c.phase) {
		c.status.OOM = true
		c.publish(spec.EventOOM, false)
	}
}

// end closes the current run and makes the next one. status is what guestinfo
// says, nil when the VM is gone. Called with mu held, after the phase has become
// exited.
func (c *Controller) end(status *guestinfo.Status) {
	r := c.run
	exit, external := c.endOf(status)
	before := r.before
	if status != nil {
		before = status.Exit
	}
	if !exit.Started.IsZero() && !r.isStarted() {
		// It was over before anybody saw it running.
		c.status.Started = exit.Started
		c.phase = spec.PhaseRunning
		c.publish(spec.EventStarted, !r.asked)
		c.phase = spec.PhaseExited
	}
	r.exit = exit
	c.status.Exit = exit
	c.status.Pid = 0
	c.status.Paused, c.status.OOM = false, false
	c.status.Addresses = nil
	if !exit.Started.IsZero() {
		c.status.Started = exit.Started
	}
	c.run = newRun(before)
	c.publish(spec.EventExited, external)
	close(r.done)
	// Nobody can say anything on the line of a VM that is off. Not under mu:
	// the line may be about to report. The next start waits for it.
	dropped, idle := make(chan struct{}), c.idle
	if r.report == nil {
		idle = nil // the guest was cut off: nothing ends by itself
	}
	c.dropped = dropped
	c.m.background(func(ctx context.Context) {
		defer close(dropped)
		if idle != nil {
			c.drain(ctx, idle)
		}
		c.m.cfg.Lines.Drop(c.id)
	})
}

// drain lets clients get what the process has put out before its end.
func (c *Controller) drain(ctx context.Context, idle <-chan struct{}) {
	t := time.NewTimer(drainTimeout)
	defer t.Stop()
	select {
	case <-idle:
	case <-ctx.Done():
	case <-t.C:
		c.log().Warn("a client has not taken all output of the process, it is cut off")
	}
}

// use notes a client on the line, until leave is called.
func (c *Controller) use() (leave func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.streams++; c.streams == 1 {
		c.idle = make(chan struct{})
	}
	return sync.OnceFunc(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.streams--; c.streams == 0 {
			close(c.idle)
			c.idle = nil
		}
	})
}

// vanish ends a container whose VM is gone without us.
func (c *Controller) vanish() {
	c.mu.Lock()
	before := c.phase
	if before == spec.PhaseRemoving || before == spec.PhaseCreating || c.move(evVanished) != nil {
		// Whoever removes or creates it finds out by itself.
		c.mu.Unlock()
		return
	}
	c.finish(before, true)
}

// finish publishes the end of a container that is gone, which was in a phase
// before. Whoever hears of it finds that it is not listed any more and that its
// addresses are free. Called with mu held, which it gives up.
func (c *Controller) finish(before spec.Phase, external bool) {
	if c.interrupt != nil {
		c.interrupt(errGone)
	}
	c.phase = before
	if active(before) {
		c.phase = spec.PhaseExited
		c.end(nil)
	}
	ev := c.event(spec.EventRemoved, external)
	c.phase = phaseGone
	c.mu.Unlock()
	c.m.forget(c)
	c.m.cfg.Publish(ev)
	close(c.gone)
}
