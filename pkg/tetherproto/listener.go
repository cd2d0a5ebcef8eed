package tetherproto

import (
	"context"
	"errors"
	"sync"
)

// Listener is the guest's end of the line: it keeps a Link to the engine that
// there is, and begins a new one when the engine did.
type Listener struct {
	cfg LinkConfig

	accepted chan *Link // unbuffered hand-over to Accept
	mu       sync.Mutex // guards link
	link     *Link
}

// NewListener starts nothing.
func NewListener(cfg LinkConfig) *Listener {
	return &Listener{cfg: cfg, accepted: make(chan *Link)}
}

// Accept gives the next link to an engine, as soon as both sides know each
// other. A link given before has ended, or will when its owner closes it.
func (n *Listener) Accept(ctx context.Context) (*Link, error) {
	select {
	case l := <-n.accepted:
		return l, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Link is the current link, nil before the first stream.
func (n *Listener) Link() *Link {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.link
}

// Serve carries links over s until it breaks or ctx is done, and closes it. It
// may be called again with another stream: the link then continues.
func (n *Listener) Serve(ctx context.Context, s *Stream) error {
	defer s.Close()
	var hello *Hello
	for {
		link, fresh := n.current()
		err := n.runOne(ctx, s, link, hello, fresh)
		hello = nil
		var changed *PeerChanged
		switch {
		case errors.As(err, &changed):
			link.fail(ErrReset)
			hello = &changed.Hello
		case link.Err() == nil || ctx.Err() != nil || s.broken():
			// The link, or the next one, waits for another stream. A link that
			// ended is no reason to go on here when a newer stream took over:
			// running on a dead one would take the link away from it.
			return err
		}
	}
}

// current gives a link that lives; fresh means that Accept has not seen it.
func (n *Listener) current() (link *Link, fresh bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.link == nil || n.link.Err() != nil {
		n.link = NewLink(n.cfg)
		return n.link, true
	}
	return n.link, !isClosed(n.link.handed)
}

// runOne runs link on s and, when it is fresh, hands it to Accept once it is
// ready.
func (n *Listener) runOne(ctx context.Context, s *Stream, link *Link, hello *Hello, fresh bool) error {
	if !fresh {
		return link.Run(ctx, s, hello)
	}
	over := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-link.Ready():
		case <-over:
			return
		}
		select {
		case n.accepted <- link:
			close(link.handed)
		case <-link.Done():
		case <-over:
		}
	}()
	err := link.Run(ctx, s, hello)
	close(over)
	<-done
	return err
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
