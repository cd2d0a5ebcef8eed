package enginetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/vic-engine/vic/pkg/spec"

	"github.com/containerd/errdefs"
)

// attachment is one client of a container's process.
type attachment struct {
	s    spec.Streams
	gone chan struct{} // closed when the client cannot be written to
	once sync.Once
}

func (a *attachment) leave() { a.once.Do(func() { close(a.gone) }) }

// process is one run of a Program.
type process struct {
	spec    spec.Process
	stdin   *io.PipeReader
	feed    *io.PipeWriter
	signals chan string
	killed  chan struct{}
	once    sync.Once
	over    chan struct{} // closed when it ended and its state is recorded

	mu         sync.Mutex // guards the size
	rows, cols int
	resized    chan struct{}
}

func newProcess(p spec.Process) *process {
	r, w := io.Pipe()
	out := &process{spec: p, stdin: r, feed: w, signals: make(chan string, 64), killed: make(chan struct{}), over: make(chan struct{}),
		rows: p.Rows, cols: p.Cols, resized: make(chan struct{}, 16)}
	if !p.OpenStdin {
		w.Close()
	}
	return out
}

func (p *process) signal(name string) {
	if name == "SIGKILL" {
		p.once.Do(func() { close(p.killed); p.feed.CloseWithError(io.EOF) })
		return
	}
	select {
	case p.signals <- name:
	default:
	}
}

func (p *process) resize(rows, cols int) {
	p.mu.Lock()
	p.rows, p.cols = rows, cols
	p.mu.Unlock()
	select {
	case p.resized <- struct{}{}:
	default:
	}
}

// exec runs the program to its end.
func (p *process) exec(prog Program, stdout, stderr io.Writer) spec.ExitStatus {
	code := prog(&Proc{Args: p.spec.Args, Process: p.spec, Stdin: p.stdin, Stdout: stdout, Stderr: stderr, Signals: p.signals, Killed: p.killed, Resized: p.resized, p: p})
	st := spec.ExitStatus{Code: code}
	select {
	case <-p.killed:
		st.Code, st.Signal = 137, 9
	default:
	}
	p.stdin.Close()
	return st
}

// program finds what to run, or gives the StartError of the guest.
func (f *Fake) program(path string) (Program, error) {
	prog, ok := f.Programs[path]
	switch {
	case !ok:
		return nil, &spec.StartError{Code: spec.ExitNotFound, Msg: fmt.Sprintf("exec: %q: executable file not found in $PATH", path)}
	case prog == nil:
		return nil, &spec.StartError{Code: spec.ExitNotExecutable, Msg: fmt.Sprintf("exec: %q: permission denied", path)}
	}
	return prog, nil
}

// Start implements engine.PortLayer.
func (f *Fake) Start(_ context.Context, id string) error {
	if f.OnStart != nil {
		f.starting(id)
		if err := f.OnStart(id); err != nil {
			f.notOn(id, err)
			return err
		}
	}
	if f.StartErr != nil {
		return f.StartErr
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	c, err := f.get(id)
	if err != nil {
		return err
	}
	if c.run != nil {
		return fmt.Errorf("container %s runs: %w", id, errdefs.ErrConflict)
	}
	prog, err := f.program(c.view.Container.Process.Path)
	if err != nil {
		var se *spec.StartError
		errors.As(err, &se)
		c.view.Status.Phase = spec.PhaseExited
		c.view.Status.Exit = spec.ExitStatus{Code: se.Code, Error: se.Msg, Stopped: f.Now()}
		for a := range c.attach {
			a.leave()
		}
		f.emit(spec.EventExited, c, "")
		return err
	}
	p := newProcess(c.view.Container.Process)
	c.run = p
	began := f.Now()
	c.view.Status.Phase, c.view.Status.Started, c.view.Status.Pid = spec.PhaseRunning, began, 1
	c.view.Status.Addresses = map[string]string{}
	for _, ep := range c.view.Container.Endpoints {
		c.view.Status.Addresses[ep.Network] = ep.IP
	}
	f.emit(spec.EventStarted, c, "")
	go func() {
		st := p.exec(prog, &output{f, c, spec.Stdout}, &output{f, c, spec.Stderr})
		f.mu.Lock()
		defer f.mu.Unlock()
		st.Started, st.Stopped = began, f.Now()
		c.run = nil
		st.OOM = c.view.Status.OOM
		c.view.Status.Phase, c.view.Status.Exit, c.view.Status.Pid = spec.PhaseExited, st, 0
		c.view.Status.Paused, c.view.Status.OOM = false, false
		for a := range c.attach {
			a.leave()
		}
		for _, x := range c.execs {
			x.signal("SIGKILL")
		}
		f.emit(spec.EventExited, c, "")
		close(p.over)
	}()
	return nil
}

// starting records that a start is under way.
func (f *Fake) starting(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c, err := f.get(id); err == nil && c.run == nil {
		c.view.Status.Phase = spec.PhaseStarting
	}
}

// AwaitStart implements engine.PortLayer.
func (f *Fake) AwaitStart(ctx context.Context, id string) error {
	for {
		f.mu.Lock()
		c, err := f.get(id)
		if err != nil || c.view.Status.Phase != spec.PhaseStarting {
			f.mu.Unlock()
			return err
		}
		changed := c.changed
		if f.waits != nil {
			close(f.waits)
			f.waits = nil
		}
		f.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Waits gives a channel that is closed when somebody next waits for a start.
func (f *Fake) Waits() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waits = make(chan struct{})
	return f.waits
}

// notOn records a start that did not get as far as a process.
func (f *Fake) notOn(id string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, gone := f.get(id)
	if gone != nil {
		return
	}
	c.view.Status.Phase = spec.PhaseExited
	c.view.Status.Exit = spec.ExitStatus{Code: spec.ExitGuestFailed, Error: err.Error(), Stopped: f.Now()}
	f.emit(spec.EventExited, c, "")
}

// output keeps what a process writes and passes it on to who is attached.
type output struct {
	f      *Fake
	c      *container
	stream spec.Stream
}

func (o *output) Write(p []byte) (int, error) {
	o.f.mu.Lock()
	stream := o.stream
	if o.c.view.Container.Process.TTY {
		stream = spec.Stdout
	}
	o.c.logs = append(o.c.logs, spec.LogEntry{Stream: stream, Time: o.f.Now(), Data: append([]byte(nil), p...)})
	close(o.c.changed)
	o.c.changed = make(chan struct{})
	clients := make([]*attachment, 0, len(o.c.attach))
	for a := range o.c.attach {
		clients = append(clients, a)
	}
	o.f.mu.Unlock()
	for _, a := range clients {
		w := a.s.Stdout
		if stream == spec.Stderr {
			w = a.s.Stderr
		}
		if w == nil {
			continue
		}
		if _, err := w.Write(p); err != nil {
			a.leave()
		}
	}
	return len(p), nil
}
