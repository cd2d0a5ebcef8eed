package session

import (
	"io"
	"sync"
	"time"

	"github.com/vic-engine/vic/pkg/spec"
)

// clientBuffer is how much output waits for one client before the process has to.
const clientBuffer = 256 << 10

// fan gives a process's output to any number of clients. A client that takes
// nothing holds the process back until its stall time is over; then it is
// dropped.
type fan struct {
	stall func() time.Duration // how long is too long, now

	mu      sync.Mutex // guards what follows
	clients map[*client]bool
	ended   bool
	wg      sync.WaitGroup // clients
}

func newFan(stall func() time.Duration) *fan {
	return &fan{stall: stall, clients: map[*client]bool{}}
}

// client is one reader of the output.
type client struct {
	stdout, stderr bool

	mu       sync.Mutex // guards what follows
	queue    []chunk
	size     int
	ended    bool          // nothing more comes
	dropped  bool          // too slow, or gone
	gone     chan struct{} // closed when dropped
	progress time.Time     // when it last took something, or had nothing to take
	more     chan struct{} // capacity 1: there is something to take, or it ended
	room     chan struct{} // capacity 1: something was taken, or it was dropped
}

type chunk struct {
	stream spec.Stream
	data   []byte
}

// join adds a client: it gets everything from now on.
func (f *fan) join(stdout, stderr bool) *client {
	c := &client{
		stdout: stdout, stderr: stderr, progress: time.Now(),
		gone: make(chan struct{}), more: make(chan struct{}, 1), room: make(chan struct{}, 1),
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended {
		c.ended = true
		return c
	}
	f.clients[c] = true
	f.wg.Add(1)
	return c
}

// leave takes a client out.
func (f *fan) leave(c *client) {
	c.drop()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.clients[c] {
		delete(f.clients, c)
		f.wg.Done()
	}
}

func (f *fan) all() []*client {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := make([]*client, 0, len(f.clients))
	for c := range f.clients {
		list = append(list, c)
	}
	return list
}

// give passes output on. Called by one goroutine per stream.
func (f *fan) give(stream spec.Stream, data []byte) {
	clients := f.all()
	if len(clients) == 0 {
		return
	}
	kept := append([]byte(nil), data...) // shared by the clients, who only read it
	for _, c := range clients {
		if stream == spec.Stdout && c.stdout || stream == spec.Stderr && c.stderr {
			f.push(c, chunk{stream, kept})
		}
	}
}

// push waits for room in the client's queue.
func (f *fan) push(c *client, ch chunk) {
	for {
		c.mu.Lock()
		if c.dropped {
			c.mu.Unlock()
			return
		}
		if c.size == 0 || c.size+len(ch.data) <= clientBuffer {
			if c.size == 0 {
				c.progress = time.Now()
			}
			c.queue = append(c.queue, ch)
			c.size += len(ch.data)
			c.mu.Unlock()
			notify(c.more)
			return
		}
		waited := time.Since(c.progress)
		c.mu.Unlock()
		limit := f.stall()
		if waited >= limit {
			c.drop()
			return
		}
		// Look again once a second: the line may have gone meanwhile, and then
		// there is less patience.
		timer := time.NewTimer(min(limit-waited, time.Second))
		select {
		case <-c.room:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// finish tells the clients that nothing more comes.
func (f *fan) finish() {
	f.mu.Lock()
	f.ended = true
	f.mu.Unlock()
	for _, c := range f.all() {
		c.mu.Lock()
		c.ended = true
		c.mu.Unlock()
		notify(c.more)
	}
}

// wait blocks until every client has left.
func (f *fan) wait() { f.wg.Wait() }

func (f *fan) dropStalled() {
	limit := f.stall()
	for _, c := range f.all() {
		c.mu.Lock()
		late := c.size > 0 && time.Since(c.progress) >= limit
		c.mu.Unlock()
		if late {
			c.drop()
		}
	}
}

func (f *fan) dropAll() {
	for _, c := range f.all() {
		c.drop()
	}
}

// drop gives a client up; what waits for it is lost to it (not to the log).
func (c *client) drop() {
	c.mu.Lock()
	if !c.dropped {
		c.dropped = true
		close(c.gone)
	}
	c.queue, c.size = nil, 0
	c.mu.Unlock()
	notify(c.more)
	notify(c.room)
}

// next waits for output; ok is false at its end, or when the client was dropped
// or left closes.
func (c *client) next(left <-chan struct{}) (ch chunk, dropped, ok bool) {
	for {
		c.mu.Lock()
		switch {
		case c.dropped:
			c.mu.Unlock()
			return chunk{}, true, false
		case len(c.queue) > 0:
			ch = c.queue[0]
			c.queue = c.queue[1:]
			c.mu.Unlock()
			return ch, false, true
		case c.ended:
			c.mu.Unlock()
			return chunk{}, false, false
		}
		c.mu.Unlock()
		select {
		case <-c.more:
		case <-left:
			return chunk{}, true, false
		}
	}
}

// took notes that n bytes have reached the client.
func (c *client) took(n int) {
	c.mu.Lock()
	c.size = max(0, c.size-n)
	c.progress = time.Now()
	c.mu.Unlock()
	notify(c.room)
}

// pump writes output to a client until it ends; dropped tells that it did not get
// all of it.
func (c *client) pump(left <-chan struct{}, stdout, stderr io.Writer) (dropped bool) {
	for {
		ch, dropped, ok := c.next(left)
		if !ok {
			return dropped
		}
		to := stdout
		if ch.stream == spec.Stderr {
			to = stderr
		}
		if _, err := to.Write(ch.data); err != nil {
			return true
		}
		c.took(len(ch.data))
	}
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
