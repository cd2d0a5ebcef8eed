package engine

import (
	"context"
	"errors"
	"io"
	"sync/atomic"

	"github.com/vic-engine/vic/pkg/spec"

	"github.com/moby/term"
)

// AttachOptions of Attach.
type AttachOptions struct {
	Stdin, Stdout, Stderr bool
	// Logs sends the kept output first; Stream then goes on with the live one.
	Logs, Stream bool
	// DetachKeys in Docker's form ("ctrl-p,ctrl-q"); empty is that default.
	// They are looked for on a terminal only.
	DetachKeys string
}

// Streams is the client's side of an attach or exec.
type Streams struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
}

// Attach joins a client to a container's process. It may be called before the
// start. open is called once, when the container is ready for it and before
// any byte moves: it answers the client and gives its streams. An error before
// that is returned; after that a failure is only logged, and the return tells
// that it is over.
func (e *Engine) Attach(ctx context.Context, ref string, o AttachOptions, open func(tty bool) (Streams, error)) error {
	keys, err := detachKeys(o.DetachKeys)
	if err != nil {
		return err
	}
	v, err := e.find(ref)
	if err != nil {
		return err
	}
	id := v.Container.ID
	if e.stillRestarting(id) {
		return conflict("container %s is restarting, wait until the container is running", ref)
	}
	if isPaused(v) {
		return conflict("container %s is paused, unpause the container before attach", ref)
	}
	if v.Status.Phase == spec.PhaseRemoving || v.Status.Phase == spec.PhaseDead {
		return conflict("container %s is marked for removal", ref)
	}
	if o.Logs && v.Container.NoLog {
		return errNoReading()
	}
	if !o.Stream {
		s, err := open(v.Container.Process.TTY)
		if err != nil {
			return err
		}
		if o.Logs {
			e.sendLogs(ctx, v, o, s)
		}
		e.containerEvent(v, "attach", nil)
		return nil
	}
	return e.attachStream(ctx, v, o, keys, open)
}

func (e *Engine) attachStream(ctx context.Context, v spec.View, o AttachOptions, keys []byte, open func(bool) (Streams, error)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p := v.Container.Process
	g := &gate{ready: make(chan struct{}), done: ctx.Done()}
	var detached atomic.Bool
	var openErr error
	joined := make(chan struct{})
	ss := spec.Streams{StdinOnce: p.StdinOnce && !p.TTY}
	ss.Joined = func() {
		defer close(joined)
		g.streams, openErr = open(p.TTY)
		if openErr != nil {
			cancel()
			return
		}
		if o.Logs {
			e.sendLogs(ctx, v, o, g.streams)
		}
		e.containerEvent(v, "attach", nil)
		if ss.Stdin == nil && g.streams.Stdin != nil {
			go watchClient(g.streams.Stdin, cancel)
		}
		close(g.ready)
	}
	if o.Stdin && p.OpenStdin {
		in := io.Reader(gateReader{g})
		if p.TTY {
			in = term.NewEscapeProxy(in, keys)
		}
		ss.Stdin = &clientInput{Reader: in, ctx: ctx, leave: cancel, detached: &detached, endsAttach: !ss.StdinOnce}
	}
	if o.Stdout {
		ss.Stdout = gateWriter{g, func(s Streams) io.Writer { return s.Stdout }}
	}
	if o.Stderr {
		ss.Stderr = gateWriter{g, func(s Streams) io.Writer { return s.Stderr }}
	}
	err := e.pl.Attach(ctx, v.Container.ID, ss)
	select {
	case <-joined:
	default:
		return err
	}
	if openErr != nil {
		return openErr
	}
	if now, gone := e.pl.Container(v.Container.ID); gone == nil && isRunning(now) && (detached.Load() || ctx.Err() != nil) {
		e.containerEvent(v, "detach", nil)
	} else if err != nil && ctx.Err() == nil {
		e.log.WithField(spec.FieldContainer, v.Container.ID).WithError(err).Debug("attach ended")
	}
	return nil
}

// watchClient reads what a client without stdin sends, only to learn that it
// is gone. A clean end means nothing: clients half-close at once. It ends when
// the caller of Attach closes the connection.
func watchClient(r io.Reader, leave func()) {
	if _, err := io.Copy(io.Discard, r); err != nil {
		leave()
	}
}

// sendLogs writes the kept output to the client. A failure is logged: the
// client is already answered.
func (e *Engine) sendLogs(ctx context.Context, v spec.View, o AttachOptions, s Streams) {
	lo := LogsOptions{Stdout: o.Stdout, Stderr: o.Stderr, Tail: -1}
	if err := e.writeLogs(ctx, v, lo, "", s.Stdout, s.Stderr); err != nil {
		e.log.WithField(spec.FieldContainer, v.Container.ID).WithError(err).Warn("attach: send the kept output")
	}
}

func detachKeys(text string) ([]byte, error) {
	if text == "" {
		return []byte{16, 17}, nil // ctrl-p, ctrl-q
	}
	keys, err := term.ToBytes(text)
	if err != nil {
		return nil, invalid("Invalid detach keys (%s) provided", text)
	}
	return keys, nil
}

// gate holds streams back until open gave them.
type gate struct {
	ready   chan struct{}
	done    <-chan struct{}
	streams Streams
}

func (g *gate) pass() error {
	select {
	case <-g.ready:
		return nil
	default:
	}
	select {
	case <-g.ready:
		return nil
	case <-g.done:
		return io.ErrClosedPipe
	}
}

type gateReader struct{ g *gate }

func (r gateReader) Read(p []byte) (int, error) {
	if err := r.g.pass(); err != nil {
		return 0, err
	}
	return r.g.streams.Stdin.Read(p)
}

type gateWriter struct {
	g    *gate
	pick func(Streams) io.Writer
}

func (w gateWriter) Write(p []byte) (int, error) {
	if err := w.g.pass(); err != nil {
		return 0, err
	}
	return w.pick(w.g.streams).Write(p)
}

// clientInput is a client's stdin. Its end is the process's end of input only
// when the container wants that (StdinOnce); otherwise, and for the detach
// keys, the client leaves and the process keeps its stdin.
type clientInput struct {
	io.Reader
	ctx        context.Context
	leave      func()
	detached   *atomic.Bool
	endsAttach bool
}

func (c *clientInput) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if err == nil {
		return n, nil
	}
	var escape term.EscapeError
	if errors.As(err, &escape) {
		c.detached.Store(true)
		c.leave()
		<-c.ctx.Done()
		return 0, context.Canceled
	}
	if c.endsAttach {
		if n > 0 {
			return n, nil // the error comes again with the next read
		}
		c.leave()
		<-c.ctx.Done()
		return 0, context.Canceled
	}
	return n, err
}
