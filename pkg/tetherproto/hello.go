package tetherproto

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/containerd/errdefs"
)

// Version is the version of the link layer in every Hello. Another one is
// refused: the link layer is the one thing that cannot be negotiated later.
const Version = 1

// Hello is what each side says of itself on a new stream.
type Hello struct {
	Version int `json:"v"`
	// ContainerID and BootID are the guest's; the engine's Hello leaves them out.
	ContainerID string `json:"id,omitempty"`
	BootID      string `json:"boot,omitempty"`
	// From is the sender's epoch, a random number that stands for its state of
	// this link; To the epoch that it knows of the receiver, 0 when none.
	From uint64 `json:"from"`
	To   uint64 `json:"to,omitempty"`
	// Next is the position that the sender wants next, and Window how much it
	// can take. They count only when To is the receiver's epoch.
	Next   uint32 `json:"next,omitempty"`
	Window uint32 `json:"win,omitempty"`
	// Answer is set when no Hello is wanted in return.
	Answer bool `json:"ans,omitempty"`
}

func (h *Hello) frame() frame {
	payload, err := json.Marshal(h)
	if err != nil { // strings and numbers: cannot happen
		payload = nil
	}
	return frame{typ: frameHello, payload: payload}
}

func parseHello(payload []byte) (Hello, error) {
	var h Hello
	if err := json.Unmarshal(payload, &h); err != nil {
		return h, fmt.Errorf("hello: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	if h.Version != Version {
		return h, fmt.Errorf("hello of link version %d, want %d: %w", h.Version, Version, errdefs.ErrNotImplemented)
	}
	if h.From == 0 {
		return h, fmt.Errorf("hello without an epoch: %w", errdefs.ErrInvalidArgument)
	}
	return h, nil
}

// linkTag stands for a pair of epochs in every frame, so that a frame from
// another life of either side is never taken. It is the same seen from both.
func linkTag(a, b uint64) uint32 {
	if a > b {
		a, b = b, a
	}
	var buf [16]byte
	binary.BigEndian.PutUint64(buf[:], a)
	binary.BigEndian.PutUint64(buf[8:], b)
	return castagnoli(buf[:])
}

// Stream is one underlying stream together with what was read ahead from it, so
// that it can go from Greet to a Link and from one Link to the next. One goroutine
// reads it from the first use until it breaks or is closed.
type Stream struct {
	rw     io.ReadWriteCloser
	in     *frameReader
	start  sync.Once
	ch     chan incoming
	once   sync.Once
	closed chan struct{}
	err    error // of closing

	dead    chan struct{} // closed when nothing more comes
	readErr error         // why; set before dead is closed
}

type incoming struct {
	f       frame
	damaged bool
}

// NewStream wraps a connection or an open serial port.
func NewStream(rw io.ReadWriteCloser) *Stream {
	return &Stream{rw: rw, in: newFrameReader(rw), ch: make(chan incoming), closed: make(chan struct{}), dead: make(chan struct{})}
}

// Close closes the underlying stream; a read or write under way returns.
func (s *Stream) Close() error {
	s.once.Do(func() {
		close(s.closed)
		s.err = s.rw.Close()
	})
	return s.err
}

// next waits for a frame; over (may be nil) ends the wait with no error and no
// frame (type 0). After the stream broke, its error comes every time.
func (s *Stream) next(over <-chan struct{}) (frame, bool, error) {
	s.start.Do(func() { go s.read() })
	select {
	case in := <-s.ch:
		return in.f, in.damaged, nil
	case <-s.dead:
		return frame{}, false, s.readErr
	case <-over:
		return frame{}, false, nil
	}
}

// broken tells that the stream was closed or has ended.
func (s *Stream) broken() bool { return isClosed(s.closed) || isClosed(s.dead) }

func (s *Stream) read() {
	defer close(s.dead)
	for {
		f, damaged, err := s.in.next()
		if err != nil {
			s.readErr = err
			return
		}
		select {
		case s.ch <- incoming{f, damaged}:
		case <-s.closed:
			s.readErr = io.ErrClosedPipe
			return
		}
	}
}

// Probe is the bytes of the question "who are you?", which need no state. None
// of them is 0xff, so that they mean themselves on a telnet connection too.
func Probe() []byte { return (&frame{typ: frameProbe}).append(nil) }

// probeDelays bound how often an unanswered question is repeated: the guest may
// still be in its boot, and what is sent meanwhile piles up before it.
const (
	firstDelay = 250 * time.Millisecond
	lastDelay  = 5 * time.Second
)

// Greet asks on s who is at the other end until it says Hello, which may take as
// long as a VM boots. Serial noise is passed over. When ctx is done the stream
// is closed.
func Greet(ctx context.Context, s *Stream) (Hello, error) {
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	heard := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		askUntil(heard, s)
	}()
	h, err := waitHello(s)
	close(heard)
	if err != nil {
		_ = s.Close() // ends a write that blocks
	}
	<-done
	if ctx.Err() != nil {
		return h, ctx.Err()
	}
	return h, err
}

func askUntil(heard <-chan struct{}, s *Stream) {
	probe := Probe()
	for delay := firstDelay; ; delay = min(2*delay, lastDelay) {
		if _, err := s.rw.Write(probe); err != nil {
			return // the reader sees the broken stream too
		}
		wait := time.NewTimer(delay)
		select {
		case <-heard:
			wait.Stop()
			return
		case <-wait.C:
		}
	}
}

// waitHello reads up to the first Hello of a guest.
func waitHello(s *Stream) (Hello, error) {
	for {
		f, _, err := s.next(nil)
		if err != nil {
			return Hello{}, fmt.Errorf("wait for hello: %w", err)
		}
		if f.typ != frameHello {
			continue
		}
		h, err := parseHello(f.payload)
		if errors.Is(err, errdefs.ErrNotImplemented) {
			return h, err
		}
		if err == nil && h.ContainerID != "" {
			return h, nil
		}
	}
}
