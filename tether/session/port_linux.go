package session

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A UART gives its bytes 14 at a time, each with an interrupt. What comes that
// way in a row is gathered: a reader that sleeps meanwhile costs the interrupts
// nothing, where one that is woken for each takes most of a slow CPU.
const (
	gatherFirst = time.Millisecond
	gatherMost  = 4 * time.Millisecond // at 100 KB/s 400 bytes
	// A read that gives no more than this is of one interrupt.
	crumb = 16
	// crumbs in a row, none a gatherFirst after the one before, are a stream.
	crumbs = 3
)

// port is an open terminal device. Go's poller is not used: every interrupt would
// wake it too, whether anybody reads or not.
type port struct {
	fd     int
	closed chan struct{}
	wake   [2]int         // a pipe whose end wakes who waits for the device
	using  sync.WaitGroup // reads and writes under way

	// These are used by Read alone, which one goroutine calls.
	timer *time.Timer
	inRow int // crumbs in a row
	last  time.Time
	pause time.Duration // before the next read; 0 outside a stream

	mu    sync.Mutex // guards ended
	ended bool       // nothing begins any more
}

func newPort(fd int) (*port, error) {
	p := &port{fd: fd, closed: make(chan struct{}), timer: time.NewTimer(0)}
	<-p.timer.C
	if err := unix.Pipe2(p.wake[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, fmt.Errorf("pipe: %w", err)
	}
	return p, nil
}

// begin keeps the descriptor open until p.using.Done.
func (p *port) begin() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return os.ErrClosed
	}
	p.using.Add(1)
	return nil
}

// Read gives what has come, at least one byte.
func (p *port) Read(b []byte) (int, error) {
	if err := p.begin(); err != nil {
		return 0, err
	}
	defer p.using.Done()
	if err := p.gather(); err != nil {
		return 0, err
	}
	for {
		n, err := unix.Read(p.fd, b)
		switch {
		case n > 0:
			p.note(n)
			return n, nil
		case n == 0 && err == nil:
			return 0, io.EOF // hung up
		case errors.Is(err, unix.EAGAIN):
			p.pause = 0
			err = p.wait(unix.POLLIN)
		case errors.Is(err, unix.EINTR):
			err = nil
		}
		if err != nil {
			return 0, err
		}
	}
}

// gather lets a stream bring more before it is read.
func (p *port) gather() error {
	if p.pause == 0 {
		return nil
	}
	p.timer.Reset(p.pause)
	select {
	case <-p.timer.C:
		return nil
	case <-p.closed:
		return os.ErrClosed
	}
}

// note tells a stream from what comes alone.
func (p *port) note(n int) {
	now := time.Now()
	near := now.Sub(p.last) < gatherFirst
	p.last = now
	switch {
	case p.pause > 0 && n > crumb:
		p.pause = min(2*p.pause, gatherMost)
	case p.pause > 0 || !near:
		p.pause, p.inRow = 0, 0
	case p.inRow+1 < crumbs:
		p.inRow++
	default:
		p.pause = gatherFirst
	}
}

// Write writes all of b.
func (p *port) Write(b []byte) (int, error) {
	if err := p.begin(); err != nil {
		return 0, err
	}
	defer p.using.Done()
	done := 0
	for done < len(b) {
		n, err := unix.Write(p.fd, b[done:])
		done += max(n, 0)
		switch {
		case errors.Is(err, unix.EAGAIN):
			err = p.wait(unix.POLLOUT)
		case errors.Is(err, unix.EINTR):
			err = nil
		}
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// wait blocks until the device is ready or the port closed.
func (p *port) wait(event int16) error {
	fds := []unix.PollFd{{Fd: int32(p.fd), Events: event}, {Fd: int32(p.wake[0]), Events: unix.POLLIN}}
	_, err := unix.Poll(fds, -1)
	switch {
	case fds[1].Revents != 0:
		return os.ErrClosed
	case errors.Is(err, unix.EINTR):
		return nil
	}
	return err
}

// Close ends reads and writes under way, and gives the device back after them.
func (p *port) Close() error {
	p.mu.Lock()
	again := p.ended
	p.ended = true
	p.mu.Unlock()
	if again {
		return os.ErrClosed
	}
	close(p.closed)
	err := unix.Close(p.wake[1]) // a hang-up of the pipe wakes the waiters
	p.using.Wait()
	return errors.Join(err, unix.Close(p.wake[0]), unix.Close(p.fd))
}
