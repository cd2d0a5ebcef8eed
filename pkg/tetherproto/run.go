package tetherproto

import (
	"context"
	"errors"
	"time"
)

// running is one call of Run.
type running struct {
	s    *Stream
	done chan struct{}
}

// Run carries the link over s until the stream breaks (its error), the link ends
// (its Err) or ctx is done. hello is what was already heard on s, or nil. A Run on
// an older stream is ended first: the newer one is what the host dialled last.
// Run closes s, except when it gives *PeerChanged or the link itself ended: the
// stream is then fit for another link.
func (l *Link) Run(ctx context.Context, s *Stream, hello *Hello) error {
	me := &running{s: s, done: make(chan struct{})}
	l.takeOver(me)
	defer l.leave(me)
	if hello != nil {
		h := hello.frame()
		if err := l.handle(h, false); err != nil {
			return l.after(s, err)
		}
	}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()

	over := make(chan struct{})
	broken := make(chan error, 1)
	go func() { broken <- l.readFrames(s, over) }()
	err, read := l.writeFrames(s, broken)
	err = l.after(s, err)
	close(over)
	if !read {
		<-broken
	}
	if ctx.Err() != nil {
		_ = s.Close()
		return ctx.Err()
	}
	return err
}

// after closes a stream that cannot be used again.
func (l *Link) after(s *Stream, err error) error {
	var changed *PeerChanged
	if !errors.As(err, &changed) && l.Err() == nil {
		_ = s.Close()
	}
	return err
}

// takeOver ends the Run before and makes the link start with a Hello.
func (l *Link) takeOver(me *running) {
	l.mu.Lock()
	for l.run != nil {
		old := l.run
		l.mu.Unlock()
		_ = old.s.Close()
		<-old.done
		l.mu.Lock()
	}
	l.run = me
	l.synced = false
	l.hello, l.answer = true, false
	l.helloDelay, l.helloAt = 0, time.Time{}
	l.lastHeard, l.lastSent = time.Now(), time.Now()
	l.mu.Unlock()
}

func (l *Link) leave(me *running) {
	l.mu.Lock()
	l.run = nil
	l.synced = false
	l.broadcast()
	l.mu.Unlock()
	close(me.done)
}

func (l *Link) readFrames(s *Stream, over <-chan struct{}) error {
	for {
		f, damaged, err := s.next(over)
		if err != nil {
			return err
		}
		if f.typ == 0 {
			return nil
		}
		if err := l.handle(f, damaged); err != nil {
			return err
		}
	}
}

// writeFrames writes until something ends it; read tells that the reader's error
// was taken.
func (l *Link) writeFrames(s *Stream, broken <-chan error) (err error, read bool) { //nolint:revive // the flag belongs to the error
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	buf := make([]byte, 0, (batch+2)*maxFrame)
	for {
		now := time.Now()
		if err := l.keepAlive(now); err != nil {
			return err, false
		}
		out, again := l.collect(buf[:0], now)
		if len(out) > 0 {
			if _, err := s.rw.Write(out); err != nil {
				return err, false
			}
			select {
			case err := <-broken:
				return err, true
			default:
				continue
			}
		}
		if again.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(time.Until(again))
		}
		select {
		case <-l.wake:
		case <-timer.C:
		case err := <-broken:
			return err, true
		case <-l.done:
			return l.Err(), false
		}
	}
}
