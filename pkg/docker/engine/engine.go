package engine

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/vic-engine/vic/pkg/spec"

	"github.com/sirupsen/logrus"
)

// Runtime is the one container runtime, as info and inspect show it.
const Runtime = "vic"

// Clock tells the time and waits. Tests bring their own.
type Clock interface {
	Now() time.Time
	After(d time.Duration) <-chan time.Time
}

type realClock struct{}

func (realClock) Now() time.Time                         { return time.Now() }
func (realClock) After(d time.Duration) <-chan time.Time { return time.After(d) }

// Config of an Engine. PortLayer, Images and Log must be set.
type Config struct {
	PortLayer PortLayer
	Images    Images
	Log       *logrus.Entry
	Clock     Clock // nil is the real one
	// Rand gives a number in [0,n), for names; nil is math/rand.
	Rand func(n int) int
	// History is how many events are kept for `events --since`; 0 is 1024.
	History int
	// EventBuffer is how far a reader of events may fall behind; 0 is 1024.
	EventBuffer int
}

// Engine is the Docker engine of one VCH. Its methods may be called from any
// goroutine. Everything that waits for a change (wait, --rm, restart policies,
// events) needs Run.
type Engine struct {
	pl     PortLayer
	images Images
	log    *logrus.Entry
	clock  Clock
	rand   func(int) int
	events *eventLog
	born   time.Time

	// done is closed when Run ends; it ends what detach started.
	done  chan struct{}
	ready chan struct{} // closed when Run follows the port layer
	// posted brings events of the API's own paths to follow.
	posted chan Event
	jobs   sync.WaitGroup // goroutines that Run waits for

	// mu guards all below. It is never held across a call to the port layer.
	mu       sync.Mutex
	running  bool
	ended    bool
	reserved map[string]string      // names in use by creates and renames under way → id
	tracked  map[string]*tracked    // by container id, what is not in the View
	waiters  map[string][]*waiter   // by container id
	stored   map[string]storedEntry // decoded annotations by container id
	execs    map[string]*execution
	pruning  bool
}

// tracked is the engine's own state of one container.
type tracked struct {
	// stopped is set while and after the user stops the container.
	stopped bool
	// restarting is set from an exit that the policy answers to the next start.
	restarting bool
	// giveUp ends the wait for the next restart.
	giveUp chan struct{}
	// attempts counts restarts in a row; it sets the delay.
	attempts int
	// lastExit is when the last exit that was handled happened.
	lastExit time.Time
	removing bool
	// keep is set while the user restarts the container: --rm waits.
	keep bool
}

type storedEntry struct {
	text string
	s    *Stored
}

// New makes an engine; Run makes it live.
func New(cfg Config) (*Engine, error) {
	if cfg.PortLayer == nil || cfg.Images == nil || cfg.Log == nil {
		return nil, errors.New("engine: PortLayer, Images and Log are needed")
	}
	if cfg.Clock == nil {
		cfg.Clock = realClock{}
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.IntN
	}
	if cfg.History == 0 {
		cfg.History = 1024
	}
	if cfg.EventBuffer == 0 {
		cfg.EventBuffer = 1024
	}
	return &Engine{
		pl: cfg.PortLayer, images: cfg.Images, log: cfg.Log, clock: cfg.Clock, rand: cfg.Rand,
		events:   newEventLog(cfg.History, cfg.EventBuffer),
		born:     cfg.Clock.Now(),
		done:     make(chan struct{}),
		ready:    make(chan struct{}),
		posted:   make(chan Event),
		reserved: map[string]string{},
		tracked:  map[string]*tracked{},
		waiters:  map[string][]*waiter{},
		stored:   map[string]storedEntry{},
		execs:    map[string]*execution{},
	}, nil
}

// Ready is closed when Run follows the port layer. What is started before that
// may end unseen, so serve the API after it.
func (e *Engine) Ready() <-chan struct{} { return e.ready }

// resubscribePause keeps a port layer that closes subscriptions at once from
// turning Run into a busy loop.
const resubscribePause = 100 * time.Millisecond

// Run follows the port layer's events until ctx is done. It may be called once.
func (e *Engine) Run(ctx context.Context) error {
	e.mu.Lock()
	if e.running {
		e.mu.Unlock()
		return errors.New("engine: Run was called twice")
	}
	e.running = true
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		e.ended = true
		e.mu.Unlock()
		close(e.done)
		e.events.closeAll()
		e.jobs.Wait()
	}()
	for first := true; ; first = false {
		sub := e.pl.Subscribe(ctx)
		e.resync(ctx, first)
		if first {
			close(e.ready)
		}
		e.follow(ctx, sub)
		if ctx.Err() != nil {
			return nil
		}
		e.log.Warn("the port layer closed the event subscription; subscribing again")
		// Events were lost: readers must not take what follows for the whole.
		e.events.closeAll()
		select {
		case <-ctx.Done():
		case <-e.clock.After(resubscribePause):
		}
	}
}

// follow handles events until the subscription is closed. Events of the API's
// own paths come after the port layer's that were there before them, so that
// no "kill" is seen before its "create".
func (e *Engine) follow(ctx context.Context, sub <-chan spec.Event) {
	for {
		select {
		case ev, ok := <-sub:
			if !ok {
				return
			}
			e.handle(ctx, ev)
		case own := <-e.posted:
			for pending := true; pending; {
				select {
				case ev, ok := <-sub:
					if !ok {
						e.events.add(own)
						return
					}
					e.handle(ctx, ev)
				default:
					pending = false
				}
			}
			e.events.add(own)
		}
	}
}

// detach gives a context for work that outlives the request that started it
// (an exec, a removal): it ends with Run only. The values of ctx are kept.
func (e *Engine) detach(ctx context.Context) (context.Context, context.CancelFunc) {
	c, cancel := context.WithCancel(context.WithoutCancel(ctx))
	go func() {
		select {
		case <-e.done:
			cancel()
		case <-c.Done():
		}
	}()
	return c, cancel
}

// job runs f in a goroutine that Run waits for. After Run ended it does nothing.
func (e *Engine) job(ctx context.Context, f func(ctx context.Context)) {
	e.mu.Lock()
	if e.ended {
		e.mu.Unlock()
		return
	}
	e.jobs.Add(1)
	e.mu.Unlock()
	go func() {
		defer e.jobs.Done()
		c, cancel := e.detach(ctx)
		defer cancel()
		f(c)
	}()
}

// track gives the engine's state of a container. Call with mu held.
func (e *Engine) track(id string) *tracked {
	t := e.tracked[id]
	if t == nil {
		t = &tracked{}
		e.tracked[id] = t
	}
	return t
}

// handle turns one port layer event into Docker's events, restarts, removals
// and answers to wait. Called only from Run.
func (e *Engine) handle(ctx context.Context, ev spec.Event) {
	log := e.log.WithField(spec.FieldContainer, ev.ID)
	switch ev.Kind {
	case spec.EventCreated:
		e.recordEvent(ev.View, "create", ev.Time, nil)
	case spec.EventStarted:
		e.mu.Lock()
		t := e.track(ev.ID)
		t.restarting = false
		t.giveUp = nil
		e.mu.Unlock()
		e.recordEvent(ev.View, "start", ev.Time, nil)
	case spec.EventExited:
		e.exited(ctx, ev.View, ev.Time, true)
	case spec.EventRenamed:
		e.recordEvent(ev.View, "rename", ev.Time, map[string]string{"oldName": "/" + ev.OldName})
	case spec.EventOOM:
		e.recordEvent(ev.View, "oom", ev.Time, nil)
	case spec.EventRemoved:
		e.forget(ev.View)
		e.recordEvent(ev.View, "destroy", ev.Time, nil)
		log.Info("container removed")
	default:
		log.WithField("kind", ev.Kind).Debug("port layer event of unknown kind")
	}
}

// resync looks at every container as it is now. At the first time it does
// what Docker does when the daemon comes up: restarts what its policy wants,
// removes what --rm left. Later it makes good for events that were lost.
func (e *Engine) resync(ctx context.Context, first bool) {
	views := e.pl.Containers()
	alive := make(map[string]bool, len(views))
	for _, v := range views {
		id := v.Container.ID
		alive[id] = true
		if v.Status.Phase != spec.PhaseExited && v.Status.Phase != spec.PhaseCreated {
			continue
		}
		if first && v.Container.Created.Before(e.born) {
			e.boot(ctx, v)
			continue
		}
		e.mu.Lock()
		t := e.tracked[id]
		missed := t != nil && v.Status.Phase == spec.PhaseExited && t.lastExit.Before(v.Status.Exit.Stopped)
		e.mu.Unlock()
		if missed {
			e.exited(ctx, v, v.Status.Exit.Stopped, false)
		}
	}
	e.mu.Lock()
	var gone []string
	for id := range e.waiters {
		if !alive[id] {
			gone = append(gone, id)
		}
	}
	e.mu.Unlock()
	for _, id := range gone {
		e.forget(spec.View{Container: spec.Container{ID: id}})
	}
}

// boot handles one container that was not running when the engine came up.
func (e *Engine) boot(ctx context.Context, v spec.View) {
	s := e.storedOf(v)
	started := !v.Status.Started.IsZero()
	stopped := v.Container.Annotations[AnnotationStopped] == "true"
	e.mu.Lock()
	t := e.track(v.Container.ID)
	t.stopped = stopped
	t.lastExit = v.Status.Exit.Stopped
	restart := started && s.host.RestartPolicy.wantsAtBoot(v.Status.Exit, restartCount(v), stopped)
	if restart {
		t.restarting = true
		t.stopped = false
		t.giveUp = make(chan struct{})
	}
	giveUp := t.giveUp
	e.mu.Unlock()
	switch {
	case restart:
		e.job(ctx, func(ctx context.Context) { e.restartLoop(ctx, v.Container.ID, 0, giveUp) })
	case s.host.AutoRemove:
		e.job(ctx, func(ctx context.Context) { e.autoRemove(ctx, v.Container.ID) })
	}
}

// exited handles the end of a run; event is false when it is made good for.
func (e *Engine) exited(ctx context.Context, v spec.View, at time.Time, event bool) {
	id := v.Container.ID
	s := e.storedOf(v)
	exit := v.Status.Exit
	ran := !startFailed(v)
	e.mu.Lock()
	t := e.track(id)
	t.lastExit = exit.Stopped
	ranFor := exit.Stopped.Sub(v.Status.Started)
	if ranFor > restartResetAfter {
		t.attempts = 0
	}
	restart := ran && !t.removing && s.host.RestartPolicy.wants(exit, restartCount(v), t.stopped)
	var delay time.Duration
	if restart {
		t.restarting = true
		t.giveUp = make(chan struct{})
		delay = restartDelay(t.attempts)
		t.attempts++
	} else {
		t.restarting = false
	}
	giveUp, keep := t.giveUp, t.keep
	e.mu.Unlock()

	if ran && event {
		e.recordEvent(v, "die", at, dieAttributes(v))
	}
	e.endExecs(id)
	e.answerExit(id, exit, restart)
	switch {
	case restart:
		e.job(ctx, func(ctx context.Context) { e.restartLoop(ctx, id, delay, giveUp) })
	case s.host.AutoRemove && !keep:
		e.job(ctx, func(ctx context.Context) { e.autoRemove(ctx, id) })
	}
}

// startFailed tells a run that never was: the guest could not start the program.
func startFailed(v spec.View) bool {
	return v.Status.Exit.Error != "" && v.Status.Exit.Started.IsZero()
}

// forget drops all that is kept of a container that is gone.
func (e *Engine) forget(v spec.View) {
	id := v.Container.ID
	e.mu.Lock()
	if t := e.tracked[id]; t != nil && t.giveUp != nil {
		close(t.giveUp)
	}
	delete(e.tracked, id)
	delete(e.stored, id)
	for k, x := range e.execs {
		if x.container == id {
			delete(e.execs, k)
		}
	}
	e.mu.Unlock()
	e.answerRemoved(id, v.Status.Exit)
}
