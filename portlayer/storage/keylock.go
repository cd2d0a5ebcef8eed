package storage

import (
	"context"
	"sync"
)

// keyLock is a lock for each key, held across calls to the datastore: the work
// on one image, blob or blank disk is done by one at a time. Locks are taken in
// the order image, then blobs by digest.
type keyLock struct {
	mu   sync.Mutex // guards held
	held map[string]*keyHold
}

type keyHold struct {
	// free has room for one: who puts a token in holds the lock.
	free chan struct{}
	// users are the holder and those who wait.
	users int
}

// lock waits for the key and gives the function that frees it.
func (k *keyLock) lock(ctx context.Context, key string) (func(), error) {
	k.mu.Lock()
	if k.held == nil {
		k.held = map[string]*keyHold{}
	}
	h := k.held[key]
	if h == nil {
		h = &keyHold{free: make(chan struct{}, 1)}
		k.held[key] = h
	}
	h.users++
	k.mu.Unlock()

	select {
	case h.free <- struct{}{}:
		return func() {
			<-h.free
			k.leave(key, h)
		}, nil
	case <-ctx.Done():
		k.leave(key, h)
		return nil, ctx.Err()
	}
}

func (k *keyLock) leave(key string, h *keyHold) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if h.users--; h.users == 0 {
		delete(k.held, key)
	}
}
