package builder

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"
)

// firstUse starts buildkitd at the first need and holds it until close.
type firstUse struct {
	start  func(ctx context.Context) (*Use, error)
	turn   chan struct{} // capacity 1: held by whoever has to do with the rest
	use    *Use          // nil before
	closed bool
}

func newFirstUse(start func(ctx context.Context) (*Use, error)) *firstUse {
	return &firstUse{start: start, turn: make(chan struct{}, 1)}
}

// get waits for another's start, or starts. One that failed, or whose caller went, is
// tried again by the next.
func (f *firstUse) get(ctx context.Context) (*Use, error) {
	select {
	case f.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-f.turn }()
	if f.closed {
		return nil, fmt.Errorf("the connection is closed: %w", errdefs.ErrUnavailable)
	}
	if f.use == nil {
		u, err := f.start(ctx)
		if err != nil {
			return nil, err
		}
		f.use = u
	}
	return f.use, nil
}

// close ends the hold. Calls that wait in get are to be cancelled before.
func (f *firstUse) close() {
	f.turn <- struct{}{}
	defer func() { <-f.turn }()
	f.closed = true
	if f.use != nil {
		f.use.Close()
	}
}
