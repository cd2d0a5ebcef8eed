package engine

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vic-engine/vic/pkg/spec"

	"github.com/distribution/reference"
)

// Event is one event as Docker reports it.
type Event struct {
	Type   string // container, image, network
	Action string // create, start, die, …
	ID     string
	// Attributes hold image, name, labels and what the action adds.
	Attributes map[string]string
	Time       time.Time
}

// eventLog keeps the last events and passes new ones on.
type eventLog struct {
	mu     sync.Mutex // guards all below
	past   []Event    // oldest first, at most keep
	keep   int
	buffer int
	subs   map[chan Event]struct{}
}

func newEventLog(keep, buffer int) *eventLog {
	return &eventLog{keep: keep, buffer: buffer, subs: map[chan Event]struct{}{}}
}

func (l *eventLog) add(ev Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.past) >= l.keep {
		n := copy(l.past, l.past[len(l.past)-l.keep+1:])
		l.past = l.past[:n]
	}
	l.past = append(l.past, ev)
	for c := range l.subs {
		select {
		case c <- ev:
		default:
			// Too slow: an end is better than a gap.
			delete(l.subs, c)
			close(c)
		}
	}
}

func (l *eventLog) subscribe() (past []Event, live chan Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	live = make(chan Event, l.buffer)
	l.subs[live] = struct{}{}
	return append([]Event(nil), l.past...), live
}

func (l *eventLog) drop(c chan Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.subs[c]; ok {
		delete(l.subs, c)
		close(c)
	}
}

func (l *eventLog) readers() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.subs)
}

func (l *eventLog) closeAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.subs {
		delete(l.subs, c)
		close(c)
	}
}

// EventOptions bound a subscription; zero times are no bound. Without Since no
// past event is given.
type EventOptions struct {
	Since, Until time.Time
	Filters      Filters
}

// ErrEventsLost ends Events when the reader is too slow, or when the engine
// itself lost events: what follows would have a gap.
var ErrEventsLost = &classified{errUnavailable, "events were lost: reader too slow or engine stopped"}

// Events calls each for the past events that o selects and then for every new
// one, until Until, ctx's end (both nil error) or each fails. ready, when not
// nil, is called once the subscription stands.
func (e *Engine) Events(ctx context.Context, o EventOptions, ready func(), each func(Event) error) error {
	if err := o.Filters.check(eventFilters...); err != nil {
		return err
	}
	past, live := e.events.subscribe()
	defer e.events.drop(live)
	if ready != nil {
		ready()
	}
	if !o.Since.IsZero() || (!o.Until.IsZero() && o.Until.Before(e.clock.Now())) {
		for _, ev := range past {
			if ev.Time.Before(o.Since) || (!o.Until.IsZero() && ev.Time.After(o.Until)) || !o.Filters.event(ev) {
				continue
			}
			if err := each(ev); err != nil {
				return err
			}
		}
	}
	var until <-chan time.Time
	if !o.Until.IsZero() {
		left := o.Until.Sub(e.clock.Now())
		if left <= 0 {
			return nil
		}
		until = e.clock.After(left)
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-until:
			return nil
		case ev, ok := <-live:
			if !ok {
				return ErrEventsLost
			}
			if !o.Filters.event(ev) {
				continue
			}
			if err := each(ev); err != nil {
				return err
			}
		}
	}
}

var eventFilters = []string{
	"config", "container", "daemon", "event", "image", "label", "network", "node", "plugin", "scope", "secret", "service", "type", "volume",
}

// event tells whether the filters select ev.
func (f Filters) event(ev Event) bool {
	fuzzyAction := false
	for _, v := range f["event"] {
		if v == "health_status" || v == "exec_create" || v == "exec_start" {
			fuzzyAction = true
		}
	}
	if fuzzyAction && !f.prefix("event", ev.Action) || !fuzzyAction && !f.exact("event", ev.Action) {
		return false
	}
	if !f.exact("type", ev.Type) || !f.exact("scope", "local") || !f.labels(ev.Attributes) {
		return false
	}
	for _, kind := range []string{"daemon", "container", "plugin", "volume", "network", "service", "node", "secret", "config"} {
		if len(f[kind]) == 0 {
			continue
		}
		if kind != ev.Type || !(f.prefix(kind, ev.ID) || f.prefix(kind, ev.Attributes["name"])) {
			return false
		}
	}
	image := ev.Attributes["image"]
	if ev.Type == "image" {
		image = ev.Attributes["name"]
	}
	return f.exact("image", ev.ID) || f.exact("image", image) || f.exact("image", repository(ev.ID)) || f.exact("image", repository(image))
}

// repository is a reference without tag and digest, or the text itself.
func repository(ref string) string {
	n, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return ref
	}
	return reference.FamiliarName(n)
}

// containerEvent reports what an API call did to a container, after what the
// port layer has reported so far.
func (e *Engine) containerEvent(v spec.View, action string, more map[string]string) {
	e.post(e.newEvent(v, action, time.Time{}, more))
}

// posting is an event on its way to who follows the port layer.
type posting struct {
	Event
	told chan struct{} // closed when it was
}

// post returns when the event is told: what its poster does next is told after it.
func (e *Engine) post(ev Event) {
	select {
	case <-e.ready:
	default:
		e.events.add(ev)
		return
	}
	p := posting{ev, make(chan struct{})}
	select {
	case e.posted <- p:
		<-p.told
	case <-e.done:
		e.events.add(ev)
	}
}

// recordEvent records an event of the port layer. Called only from Run.
func (e *Engine) recordEvent(v spec.View, action string, at time.Time, more map[string]string) {
	e.events.add(e.newEvent(v, action, at, more))
}

func (e *Engine) newEvent(v spec.View, action string, at time.Time, more map[string]string) Event {
	attr := make(map[string]string, len(v.Container.Labels)+len(more)+2)
	for k, val := range v.Container.Labels {
		attr[k] = val
	}
	attr["image"] = v.Container.Repo
	attr["name"] = v.Container.Name
	for k, val := range more {
		attr[k] = val
	}
	if at.IsZero() {
		at = e.clock.Now()
	}
	return Event{Type: "container", Action: action, ID: v.Container.ID, Attributes: attr, Time: at}
}

func dieAttributes(v spec.View) map[string]string {
	a := map[string]string{"exitCode": strconv.Itoa(v.Status.Exit.Code)}
	if d := v.Status.Exit.Stopped.Sub(v.Status.Started); !v.Status.Started.IsZero() && d >= 0 {
		a["execDuration"] = strconv.Itoa(int(d.Seconds()))
	}
	return a
}

func execAction(action, path string, args []string) string {
	return action + ": " + strings.Join(append([]string{path}, args...), " ")
}
