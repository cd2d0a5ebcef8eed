package engine

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"github.com/vic-engine/vic/pkg/spec"

	"github.com/moby/term"
)

// joint is the seam between a client and an exec's process: when the client
// detaches or goes, the process keeps its streams.
type joint struct {
	streams  spec.Streams
	left     chan struct{} // closed when the client has left
	over     chan struct{} // closed when the exec is over
	detached atomic.Bool   // it left by its detach keys
	gone     atomic.Bool
	once     sync.Once
}

func newJoint(o ExecOptions, keys []byte, s Streams) *joint {
	j := &joint{left: make(chan struct{}), over: make(chan struct{})}
	j.streams.StdinOnce = true
	if o.Stdin && s.Stdin != nil {
		in := s.Stdin
		if o.Tty {
			in = term.NewEscapeProxy(in, keys)
		}
		j.streams.Stdin = jointReader{j, in, o.Tty}
	}
	if o.Stdout && s.Stdout != nil {
		j.streams.Stdout = jointWriter{j, s.Stdout}
	}
	if o.Stderr && s.Stderr != nil {
		j.streams.Stderr = jointWriter{j, s.Stderr}
	}
	return j
}

func (j *joint) close() { close(j.over) }

func (j *joint) leave() {
	j.gone.Store(true)
	j.once.Do(func() { close(j.left) })
}

// jointReader is the client's stdin. At its end on a terminal the client leaves, as
// it does with the detach keys: the terminal has no end of its own, and who is gone
// would be waited for as long as the process runs (container/stream/attach.go of
// Docker).
type jointReader struct {
	j   *joint
	r   io.Reader
	tty bool
}

func (r jointReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	var escape term.EscapeError
	switch {
	case errors.As(err, &escape):
		r.j.detached.Store(true)
	case err == nil || !r.tty:
		return n, err
	case n > 0:
		return n, nil // the error comes again with the next read
	}
	r.j.leave()
	<-r.j.over // the process keeps its stdin open
	return 0, io.EOF
}

// jointWriter never fails the process's output because of its client, which leaves
// when it cannot be written to.
type jointWriter struct {
	j *joint
	w io.Writer
}

func (w jointWriter) Write(p []byte) (int, error) {
	if w.j.gone.Load() {
		return len(p), nil
	}
	if _, err := w.w.Write(p); err != nil {
		w.j.leave()
	}
	return len(p), nil
}
