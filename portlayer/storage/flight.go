package storage

import (
	"context"
	"sync"

	"github.com/vic-engine/vic/pkg/spec"
)

// flights are the pulls under way. Callers that want the same join one.
type flights struct {
	mu  sync.Mutex // guards all, and the fields of each flight
	all map[string]*flight
}

// flight is one pull with everybody who waits for it.
type flight struct {
	key    string
	cancel context.CancelFunc
	done   chan struct{} // closed when img, fresh and err are set
	img    spec.Image
	fresh  bool
	err    error

	// watchers is guarded by flights.mu, as is history: the last word on each
	// id in the order of first mention, for who joins late.
	watchers map[*watcher]bool
	history  []spec.Progress
}

// watcher is one caller's queue of progress. The caller empties it itself, so
// that a slow one delays nobody; of numbers it gets only the newest.
type watcher struct {
	queue []spec.Progress // guarded by flights.mu
	// ready has room for one token: there is something in the queue.
	ready chan struct{}
}

// do runs work once for all callers that give the same key at the same time.
// Each gets progress from its own goroutine, what was said before it came
// included. The work is cancelled when the last of them has gone, and then do
// returns only after it has cleaned up.
func (fs *flights) do(ctx context.Context, key string, progress func(spec.Progress), work func(context.Context, func(spec.Progress)) (spec.Image, bool, error)) (spec.Image, bool, error) {
	w := &watcher{ready: make(chan struct{}, 1)}
	f := fs.join(ctx, key, w, work)
	for {
		select {
		case <-w.ready:
			fs.deliver(w, progress)
		case <-f.done:
			fs.deliver(w, progress)
			return f.img, f.fresh, f.err
		case <-ctx.Done():
			if fs.leave(f, w) {
				f.cancel()
				<-f.done
				if f.err == nil { // it was quicker than the cancelling
					return f.img, f.fresh, nil
				}
			}
			return spec.Image{}, false, ctx.Err()
		}
	}
}

func (fs *flights) join(ctx context.Context, key string, w *watcher, work func(context.Context, func(spec.Progress)) (spec.Image, bool, error)) *flight {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if f := fs.all[key]; f != nil {
		f.watchers[w] = true
		for _, p := range f.history {
			w.push(p)
		}
		return f
	}
	// The first caller may go while others wait; the last to go cancels.
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	f := &flight{key: key, cancel: cancel, done: make(chan struct{}), watchers: map[*watcher]bool{w: true}}
	if fs.all == nil {
		fs.all = map[string]*flight{}
	}
	fs.all[key] = f
	go func() {
		defer cancel()
		f.img, f.fresh, f.err = work(ctx, func(p spec.Progress) { fs.say(f, p) })
		fs.mu.Lock()
		defer fs.mu.Unlock()
		fs.forget(f)
		close(f.done)
	}()
	return f
}

// leave tells whether w was the last. Nobody can join f any more then.
func (fs *flights) leave(f *flight, w *watcher) bool {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	delete(f.watchers, w)
	if len(f.watchers) > 0 {
		return false
	}
	fs.forget(f)
	return true
}

// forget is called with mu held.
func (fs *flights) forget(f *flight) {
	if fs.all[f.key] == f {
		delete(fs.all, f.key)
	}
}

func (fs *flights) say(f *flight, p spec.Progress) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	known := false
	for i := range f.history {
		if f.history[i].ID == p.ID {
			f.history[i], known = p, true
		}
	}
	if !known {
		f.history = append(f.history, p)
	}
	for w := range f.watchers {
		w.push(p)
	}
}

// push is called with mu held.
func (w *watcher) push(p spec.Progress) {
	for i := len(w.queue) - 1; i >= 0; i-- {
		if q := w.queue[i]; q.ID == p.ID {
			if q.Status == p.Status {
				w.queue[i] = p
				return
			}
			break
		}
	}
	w.queue = append(w.queue, p)
	select {
	case w.ready <- struct{}{}:
	default: // a token is there
	}
}

func (fs *flights) deliver(w *watcher, progress func(spec.Progress)) {
	fs.mu.Lock()
	queue := w.queue
	w.queue = nil
	fs.mu.Unlock()
	if progress == nil {
		return
	}
	for _, p := range queue {
		progress(p)
	}
}
