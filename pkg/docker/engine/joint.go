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
	streams spec.Streams
	left    chan struct{} // closed when the client detached
	over    chan struct{} // closed when the exec is over
	gone    atomic.Bool
	once    sync.Once
}

func newJoint(o ExecOptions, keys []byte, s Streams) *joint {
	j := &joint{left: make(chan struct{}), over: make(chan struct{})}
	j.streams.StdinOnce = true
	if o.Stdin && s.Stdin != nil {
		in := s.Stdin
		if o.Tty {
			in = term.NewEscapeProxy(in, keys)
		}
		j.streams.Stdin = jointReader{j, in}
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

type jointReader struct {
	j *joint
	r io.Reader
}

func (r jointReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	var escape term.EscapeError
	if errors.As(err, &escape) {
		r.j.leave()
		<-r.j.over // the process keeps its stdin open
		return 0, io.EOF
	}
	return n, err
}

// jointWriter never fails the process's output because of its client.
type jointWriter struct {
	j *joint
	w io.Writer
}

func (w jointWriter) Write(p []byte) (int, error) {
	if w.j.gone.Load() {
		return len(p), nil
	}
	if _, err := w.w.Write(p); err != nil {
		w.j.gone.Store(true)
	}
	return len(p), nil
}
