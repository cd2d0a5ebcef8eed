package tetherproto

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"time"
)

// ErrReset ends a link whose other side has lost its state and begun anew.
var ErrReset = errors.New("the other side began a new link")

// ErrSilent ends a stream on which nothing was heard for three keep-alive times.
var ErrSilent = errors.New("nothing heard on the line")

// Sizes of a link's buffers, which bound its memory: bytes kept until they are
// acknowledged, and bytes received and not yet read.
const (
	sendBuffer    = 64 << 10
	receiveBuffer = 64 << 10
)

// LinkConfig is one side's part of a link.
type LinkConfig struct {
	// ContainerID and BootID are said in the guest's Hello; the engine leaves
	// them empty.
	ContainerID, BootID string
	// KeepAlive is how long the line may be idle before it is tested; after
	// three times that without a byte the stream ends with ErrSilent. 0 is
	// never: a guest's UART cannot be dialled anew, so it does not test.
	KeepAlive time.Duration
}

// Link is a reliable net.Conn over streams that come and go. It lives from New
// to Close, or until the other side begins anew; between streams, reads and
// writes wait. One goroutine runs it on the current stream (Run).
//
// The sender keeps what is not acknowledged and goes back there after a nak, a
// timeout or a Hello; the receiver takes only the next byte in order. That is
// slower than keeping what came early, and needs no more memory than a window.
type Link struct {
	cfg   LinkConfig
	local uint64 // our epoch

	mu     sync.Mutex // guards all that follows
	remote uint64     // the peer's epoch; 0 before its first Hello
	tag    uint32     // of the two epochs
	synced bool       // hellos were exchanged on the current stream
	run    *running   // the current stream, nil between streams

	sent     []byte // bytes from position base on: sent[:next-base] are under way
	base     uint32 // first position that is not acknowledged
	next     uint32 // next position to send
	limit    uint32 // the peer takes positions before this
	ackedEnd bool   // closing: wait for acknowledgement of everything

	recv       []byte // received, not yet read
	recvNext   uint32 // position wanted next
	advertised uint32 // window end that the peer was last told
	eof        bool   // the peer closed at recvNext

	pace
	control

	err     error         // why the link ended
	done    chan struct{} // closed when it ended
	handed  chan struct{} // closed when a Listener gave it to Accept
	ready   chan struct{} // closed at the first exchange of hellos
	changed chan struct{} // closed and replaced at each change readers and writers wait for
	wake    chan struct{} // capacity 1: the writer has something to do

	readDeadline, writeDeadline time.Time
}

// control is what is to be sent besides data.
type control struct {
	hello      bool      // send a Hello now
	answer     bool      // … as an answer
	helloAt    time.Time // repeat the Hello then, while not synced
	helloDelay time.Duration
	ack        bool
	nak        bool
	nakFor     uint32    // position last asked for again
	nakAt      time.Time // … and when
	ping       bool
	closing    bool      // Close was called: send a close frame when all is acknowledged
	strangerAt time.Time // last answer to a frame of another link
}

// NewLink makes a link with a new epoch. It starts nothing.
func NewLink(cfg LinkConfig) *Link {
	epoch := rand.Uint64()
	for epoch == 0 {
		epoch = rand.Uint64()
	}
	return &Link{
		cfg: cfg, local: epoch,
		pace:    newPace(),
		done:    make(chan struct{}),
		handed:  make(chan struct{}),
		ready:   make(chan struct{}),
		changed: make(chan struct{}),
		wake:    make(chan struct{}, 1),
	}
}

// Matches reports whether h comes from the peer of this link and means this
// link: a stream that said it continues here. The epochs are random, so that
// only the two sides know them.
func (l *Link) Matches(h Hello) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err == nil && l.remote != 0 && h.From == l.remote && h.To == l.local
}

// Ready is closed when both sides know each other for the first time.
func (l *Link) Ready() <-chan struct{} { return l.ready }

// Done is closed when the link has ended; Err then says why.
func (l *Link) Done() <-chan struct{} { return l.done }

// Err is nil while the link lives.
func (l *Link) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Synced tells whether the current stream, if any, is known to lead to the peer.
func (l *Link) Synced() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.synced
}

// Stalled tells for how long the other side has taken nothing of what is waiting
// to be sent; 0 when nothing waits.
func (l *Link) Stalled() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.sent) == 0 || l.progress.IsZero() {
		return 0
	}
	return time.Since(l.progress)
}

// Read gives bytes of the other side in order. After its Close it is io.EOF.
func (l *Link) Read(b []byte) (int, error) {
	for {
		l.mu.Lock()
		if len(l.recv) > 0 {
			n := copy(b, l.recv)
			l.recv = l.recv[n:]
			l.offerWindow()
			l.mu.Unlock()
			return n, nil
		}
		err, changed, deadline := l.err, l.changed, l.readDeadline
		if l.eof {
			err = io.EOF
		}
		l.mu.Unlock()
		if err != nil {
			return 0, err
		}
		if err := wait(changed, deadline); err != nil {
			return 0, err
		}
	}
}

// notSent is how much may wait behind what is under way: little, so that what is
// written next (a signal, a key) does not stand in a long queue.
const notSent = 8 << 10

// mayHold is how many bytes may be kept now.
func (l *Link) mayHold() int {
	if !l.synced {
		return sendBuffer
	}
	return min(l.cwnd+notSent, sendBuffer)
}

// Write queues bytes; it waits while too many are not acknowledged.
func (l *Link) Write(b []byte) (n int, err error) {
	for {
		l.mu.Lock()
		if l.err != nil {
			err = l.err
		} else if l.closing {
			err = net.ErrClosed
		}
		if err == nil {
			room := min(l.mayHold()-len(l.sent), len(b))
			if room > 0 {
				if len(l.sent) == 0 {
					l.progress = time.Now()
				}
				l.sent = append(l.sent, b[:room]...)
				b = b[room:]
				n += room
				l.signal()
			}
		}
		changed, deadline := l.changed, l.writeDeadline
		l.mu.Unlock()
		if err != nil || len(b) == 0 {
			return n, err
		}
		if err := wait(changed, deadline); err != nil {
			return n, err
		}
	}
}

// Close sends what is waiting, tells the other side, and ends the link. It waits
// for that no longer than closeWait, and not at all without a stream.
func (l *Link) Close() error {
	l.mu.Lock()
	if l.err != nil || l.closing {
		l.mu.Unlock()
		return nil
	}
	l.closing = true
	deadline := time.Now().Add(closeWait)
	for l.err == nil && l.synced && len(l.sent) > 0 {
		changed := l.changed
		l.mu.Unlock()
		if wait(changed, deadline) != nil {
			l.mu.Lock()
			break
		}
		l.mu.Lock()
	}
	synced := l.synced
	l.ackedEnd = true
	l.signal()
	l.mu.Unlock()
	if synced {
		l.awaitGoodbye()
	}
	l.fail(net.ErrClosed)
	return nil
}

// closeWait bounds how long Close waits for the other side.
const closeWait = 2 * time.Second

// awaitGoodbye waits until the close frame was written.
func (l *Link) awaitGoodbye() {
	deadline := time.Now().Add(closeWait)
	for {
		l.mu.Lock()
		over := l.err != nil || !l.ackedEnd || l.run == nil
		changed := l.changed
		l.mu.Unlock()
		if over || wait(changed, deadline) != nil {
			return
		}
	}
}

// fail ends the link; the first reason stays.
func (l *Link) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return
	}
	l.err = err
	close(l.done)
	l.broadcast()
	l.signal()
}

// broadcast wakes readers and writers. Called with mu held.
func (l *Link) broadcast() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// signal wakes the goroutine that writes to the stream.
func (l *Link) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// wait blocks until changed or the deadline (zero: none).
func wait(changed <-chan struct{}, deadline time.Time) error {
	if deadline.IsZero() {
		<-changed
		return nil
	}
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case <-changed:
		return nil
	case <-timer.C:
		return os.ErrDeadlineExceeded
	}
}

// SetDeadline, SetReadDeadline and SetWriteDeadline are net.Conn's.
func (l *Link) SetDeadline(t time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.readDeadline, l.writeDeadline = t, t
	l.broadcast()
	return nil
}

// SetReadDeadline bounds reads.
func (l *Link) SetReadDeadline(t time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.readDeadline = t
	l.broadcast()
	return nil
}

// SetWriteDeadline bounds writes.
func (l *Link) SetWriteDeadline(t time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.writeDeadline = t
	l.broadcast()
	return nil
}

// LocalAddr names this side.
func (l *Link) LocalAddr() net.Addr { return linkAddr(l.local) }

// RemoteAddr names the other side.
func (l *Link) RemoteAddr() net.Addr {
	l.mu.Lock()
	defer l.mu.Unlock()
	return linkAddr(l.remote)
}

type linkAddr uint64

func (linkAddr) Network() string  { return "vic-line" }
func (a linkAddr) String() string { return fmt.Sprintf("epoch-%016x", uint64(a)) }

var _ net.Conn = (*Link)(nil)
