package portlayer

import (
	"context"
	"sync"
)

// keyLock is one lock for each key. The zero value is ready.
type keyLock struct {
	mu   sync.Mutex // guards held
	held map[string]*heldLock
}

type heldLock struct {
	lock  chan struct{}
	users int
}

// lock takes a key's lock, or gives up with ctx.
func (k *keyLock) lock(ctx context.Context, key string) (unlock func(), err error) {
	k.mu.Lock()
	if k.held == nil {
		k.held = map[string]*heldLock{}
	}
	h := k.held[key]
	if h == nil {
		h = &heldLock{lock: make(chan struct{}, 1)}
		k.held[key] = h
	}
	h.users++
	k.mu.Unlock()
	leave := func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		if h.users--; h.users == 0 {
			delete(k.held, key)
		}
	}
	select {
	case h.lock <- struct{}{}:
		return func() { <-h.lock; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}
