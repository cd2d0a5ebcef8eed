package rpci

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// retryDelay is how long to wait for the host to open its end of a port: until
// it does, a read gives the end of the file at once, and nothing tells of it.
const retryDelay = 50 * time.Millisecond

// port is RPCI over a virtio-serial port.
type port struct {
	f      *os.File
	closed chan struct{}
	once   sync.Once

	mu   sync.Mutex // one request at a time; guards owed
	owed int        // answers of requests that timed out and are still to come
}

func newPort(path string) (*port, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("open virtio port: %w", err)
	}
	return &port{f: f, closed: make(chan struct{})}, nil
}

func (p *port) roundTrip(msg []byte) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	// A port that knows no deadlines (a pipe, a test's file) just blocks.
	_ = p.f.SetDeadline(time.Now().Add(requestTimeout))
	if err := WriteFrame(p.f, msg); err != nil {
		return nil, err
	}
	r := &patientReader{f: p.f, closed: p.closed, until: time.Now().Add(requestTimeout)}
	for {
		reply, err := ReadFrame(r)
		if err != nil {
			p.owed++
			return nil, err
		}
		if p.owed == 0 {
			return reply, nil
		}
		p.owed--
	}
}

func (p *port) Close() error {
	err := os.ErrClosed
	p.once.Do(func() {
		close(p.closed)
		err = p.f.Close()
	})
	return err
}

// patientReader waits at the end of the file: the host's end is not open yet, or
// is being replaced.
type patientReader struct {
	f      io.Reader
	closed <-chan struct{}
	until  time.Time // zero: for ever
}

func (r *patientReader) Read(b []byte) (int, error) {
	for {
		n, err := r.f.Read(b)
		if n > 0 || !errors.Is(err, io.EOF) {
			return n, err
		}
		if !r.until.IsZero() && time.Now().After(r.until) {
			return 0, os.ErrDeadlineExceeded
		}
		wait := time.NewTimer(retryDelay)
		select {
		case <-r.closed:
			wait.Stop()
			return 0, os.ErrClosed
		case <-wait.C:
		}
	}
}

// portTCLO is the host's requests over a virtio-serial port.
type portTCLO struct {
	path string

	mu     sync.Mutex // guards what follows
	f      *os.File
	closed chan struct{}
}

func newPortTCLO(path string) *portTCLO { return &portTCLO{path: path} }

// Start opens the port; a port has one user at a time.
func (p *portTCLO) Start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.f != nil {
		return nil
	}
	f, err := os.OpenFile(p.path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("open virtio port: %w", err)
	}
	p.f, p.closed = f, make(chan struct{})
	return nil
}

// Stop closes the port; a Receive under way returns.
func (p *portTCLO) Stop() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.f == nil {
		return nil
	}
	close(p.closed)
	err := p.f.Close()
	p.f = nil
	return err
}

// Send answers the last request; an empty answer (the toolbox's way of polling)
// sends nothing.
func (p *portTCLO) Send(msg []byte) error {
	f, _, err := p.file()
	if err != nil || len(msg) == 0 {
		return err
	}
	return WriteFrame(f, msg)
}

// Receive blocks until the host asks something.
func (p *portTCLO) Receive() ([]byte, error) {
	f, closed, err := p.file()
	if err != nil {
		return nil, err
	}
	return ReadFrame(&patientReader{f: f, closed: closed})
}

func (p *portTCLO) file() (*os.File, <-chan struct{}, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.f == nil {
		return nil, nil, os.ErrClosed
	}
	return p.f, p.closed, nil
}
