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
	// Networks makes and changes networks; nil: they cannot be changed.
	Networks Networks
	// Volumes are the volume stores; nil: there are no volumes.
	Volumes Volumes
	// Controls holds and measures containers that run; nil: they cannot be.
	Controls Controls
	// Policies knows the rules of microsegmentation; nil: there are none.
	Policies Policies
	// DockerSocket lets containers bind /var/run/docker.sock.
	DockerSocket bool
	Log          *logrus.Entry
	Clock        Clock // nil is the real one
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
	pl       PortLayer
	images   Images
	nets     Networks // nil: networks cannot be changed
	vols     Volumes  // nil: there are none
	controls Controls // nil: there are none
	// policies is nil where there are none.
	policies Policies
	socket   bool // containers may bind the Docker API's
	log      *logrus.Entry
	clock    Clock
	rand     func(int) int
	events   *eventLog
	uses     imageUses
	born     time.Time

	// done is closed when Run ends; it ends what detach started.
	done  chan struct{}
	ready chan struct{} // closed when Run follows the port layer
	// posted brings events of the API's own paths to follow.
	posted chan posting
	jobs   sync.WaitGroup // goroutines that Run waits for

	// mu guards all below. It is never held across a call to the port layer.
	mu       sync.Mutex
	running  bool
	ended    bool
	reserved map[string]string      // names in use by creates and renames under way → id
	tracked  map[string]*tracked    // by container id, what is not in the View
	waiters  map[string][]*waiter   // by container id
	stored   map[string]storedEntry // decoded annotations by container id
	rowsByID map[string]*row        // what lists showed last, by container id
	execs    map[string]*execution
	making   map[string][]string // by the id of a container being made, its volumes
	pruning  bool
}

// tracked is the engine's own state of one container.
type tracked struct {
	// stopped is set while and after the user stops the container: its policy
	// starts it no more.
	stopped bool
	// signalled is set when the user sent it a signal that does not stop it; it
	// counts for unless-stopped, see Kill.
	signalled bool
	// restarting is set from an exit that the policy answers to the next start.
	restarting bool
	// giveUp ends the wait for the next restart.
	giveUp chan struct{}
	// attempt is not nil while the policy starts it; closed when that is over.
	attempt chan struct{}
	// attempts counts restarts in a row; it sets the delay.
	attempts int
	// lastExit is when the last exit that was handled happened. An exit with
	// another time is one that the port layer knows and handle does not yet.
	lastExit time.Time
	removing bool
	// dropping is closed when what goes with a removed container is gone too.
	dropping chan struct{}
	// health is nil for a container without a health check, or one never started.
	health *monitored
	// keep is set while the user restarts the container, until its end was handled:
	// --rm and the restart policy wait.
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
		pl: cfg.PortLayer, images: cfg.Images, nets: cfg.Networks, vols: cfg.Volumes, controls: cfg.Controls, policies: cfg.Policies, socket: cfg.DockerSocket, log: cfg.Log, clock: cfg.Clock, rand: cfg.Rand,
		events:   newEventLog(cfg.History, cfg.EventBuffer),
		born:     cfg.Clock.Now(),
		done:     make(chan struct{}),
		ready:    make(chan struct{}),
		posted:   make(chan posting),
		reserved: map[string]string{},
		tracked:  map[string]*tracked{},
		waiters:  map[string][]*waiter{},
		stored:   map[string]storedEntry{},
		rowsByID: map[string]*row{},
		execs:    map[string]*execution{},
		making:   map[string][]string{},
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
			before, open := len(sub), true
			for ; before > 0 && open; before-- {
				var ev spec.Event
				if ev, open = <-sub; open {
					e.handle(ctx, ev)
				}
			}
			e.events.add(own.Event)
			close(own.told)
			if !open {
				return
			}
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
