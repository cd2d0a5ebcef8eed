package events

import (
	"context"
	"sync"

	"github.com/vic-engine/vic/pkg/spec"
)

// backlog is how many events a subscriber may be behind. It covers a hundred
// containers that start and stop at once; who is slower is cut off.
const backlog = 512

// Bus hands every event to every subscriber, in the order of Publish. The zero
// value is ready.
type Bus struct {
	mu   sync.Mutex // guards subs; held while handing out, which never blocks
	subs map[chan spec.Event]struct{}
}

// Publish never blocks. A subscriber with a full backlog gets its channel
// closed, so that it knows of the gap.
func (b *Bus) Publish(e spec.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range b.subs {
		select {
		case c <- e:
		default:
			delete(b.subs, c)
			close(c)
		}
	}
}

// Subscribe gives every event from now on until ctx is done; then, or when the
// reader was too slow, the channel is closed.
func (b *Bus) Subscribe(ctx context.Context) <-chan spec.Event {
	c := make(chan spec.Event, backlog)
	b.mu.Lock()
	if b.subs == nil {
		b.subs = map[chan spec.Event]struct{}{}
	}
	b.subs[c] = struct{}{}
	b.mu.Unlock()
	context.AfterFunc(ctx, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if _, ok := b.subs[c]; ok {
			delete(b.subs, c)
			close(c)
		}
	})
	return c
}
