package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/guestinfo"
	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/pkg/tetherproto"
	"github.com/vic-engine/vic/tether/proc"
)

// handler is what the engine may ask for; it keeps the protocol's methods out of
// the Manager's own.
type handler struct{ *Manager }

var _ tetherproto.Handler = handler{}

// Release lets the process start and waits until it runs.
func (h handler) Release(ctx context.Context) (int, error) {
	h.mu.Lock()
	if !h.isFree {
		h.isFree = true
		close(h.released)
	}
	h.mu.Unlock()
	select {
	case <-h.started:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.startErr != nil {
		return 0, startError(h.startErr)
	}
	return h.process.Pid(), nil
}

// Attach joins a client until the output has ended.
func (h handler) Attach(ctx context.Context, r tetherproto.AttachRequest, join func() (tetherproto.IO, error)) error {
	c := h.fan.join(r.Stdout, r.Stderr)
	defer h.fan.leave(c)
	s, err := join()
	if err != nil {
		return err
	}
	if s.Stdin != nil {
		go h.feed(ctx, s.Stdin, r.StdinOnce || h.cfg.Container.Process.StdinOnce)
	}
	// A writer blocks while the client does not read; when the client is
	// dropped it must not hold us, and the end of the channel frees it.
	done := make(chan bool, 1)
	go func() { done <- c.pump(ctx.Done(), s.Stdout, s.Stderr) }()
	select {
	case dropped := <-done:
		if dropped && ctx.Err() == nil {
			return fmt.Errorf("the client did not read the output: %w", errdefs.ErrUnavailable)
		}
		return ctx.Err()
	case <-c.gone:
		return fmt.Errorf("the client did not read the output: %w", errdefs.ErrUnavailable)
	}
}

// feed passes a client's stdin on. With once, its end is the process's.
func (h handler) feed(ctx context.Context, from io.Reader, once bool) {
	select {
	case <-h.started:
	case <-ctx.Done():
		return
	}
	p, err := h.main()
	if err != nil {
		return
	}
	_, err = io.Copy(p.Stdin(), from)
	// ErrCut: the engine or the line is gone, not the user's input.
	if once && !errors.Is(err, tetherproto.ErrCut) && !h.cfg.Container.Process.TTY {
		_ = p.Stdin().Close()
	}
}

// Exec runs a process beside the container's. It goes on when the client leaves.
func (h handler) Exec(ctx context.Context, r tetherproto.ExecRequest, s tetherproto.IO, started func(int)) (spec.ExitStatus, error) {
	p, err := h.startExec(r)
	if err != nil {
		return spec.ExitStatus{}, err
	}
	defer h.execWG.Done()
	started(p.Pid())

	f := newFan(h.execStall)
	c := f.join(s.Stdout != nil, s.Stderr != nil)
	if s.Stdin != nil {
		go func() { // ends with the channel
			_, _ = io.Copy(p.Stdin(), s.Stdin)
			_ = p.Stdin().Close()
		}()
	}
	var output sync.WaitGroup
	output.Go(func() { drain(f, spec.Stdout, p.Stdout()) })
	output.Go(func() { drain(f, spec.Stderr, p.Stderr()) })
	pumped := make(chan struct{})
	go func() {
		defer close(pumped)
		if c.pump(ctx.Done(), s.Stdout, s.Stderr) {
			c.drop() // the process goes on without it
		}
	}()
	output.Wait()
	f.finish()
	f.awaitLast(c, pumped)
	exit := p.Status()
	h.mu.Lock()
	delete(h.execs, r.ID)
	h.mu.Unlock()
	p.Release()
	return exit, nil
}

func (h handler) startExec(r tetherproto.ExecRequest) (*proc.Process, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.process == nil || h.state.ending {
		return nil, fmt.Errorf("container %s is not running: %w", h.id, errdefs.ErrConflict)
	}
	if h.frozen {
		return nil, fmt.Errorf("container %s is paused: %w", h.id, errdefs.ErrConflict)
	}
	if r.ID == "" || h.execs[r.ID] != nil {
		return nil, fmt.Errorf("exec id %q is in use or empty: %w", r.ID, errdefs.ErrAlreadyExists)
	}
	process := h.withHostname(r.Process)
	process.OpenStdin = r.Stdin
	group, err := h.execGroup()
	if err != nil {
		return nil, err
	}
	p, err := proc.Start(h.cfg.Reaper, proc.Options{Root: h.root, Process: process, Group: group, NeedDir: true})
	if err != nil {
		return nil, err
	}
	h.execs[r.ID] = p
	h.execWG.Add(1)
	return p, nil
}

// drain gives an exec's output to its client.
func drain(f *fan, stream spec.Stream, from io.Reader) {
	buf := make([]byte, readSize)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			f.give(stream, buf[:n])
		}
		if err != nil {
			return // the end; an exec's output is kept nowhere
		}
	}
}

// Signal sends a signal to a process.
func (h handler) Signal(ctx context.Context, exec, name string) error {
	p, err := h.find(exec)
	if err != nil {
		return err
	}
	if exec == "" {
		return h.signalMain(ctx, p, name)
	}
	return p.Signal(name)
}

// Resize sets a terminal's size; before the start it is the first size.
func (h handler) Resize(_ context.Context, exec string, rows, cols int) error {
	if rows < 1 || cols < 1 || rows > 0xffff || cols > 0xffff {
		return fmt.Errorf("terminal size %d×%d: %w", rows, cols, errdefs.ErrInvalidArgument)
	}
	h.mu.Lock()
	if exec == "" && h.process == nil {
		h.rows, h.cols = rows, cols
		h.mu.Unlock()
		return nil
	}
	h.mu.Unlock()
	p, err := h.find(exec)
	if err != nil {
		return err
	}
	return p.Resize(rows, cols)
}

// CloseStdin closes a process's stdin.
func (h handler) CloseStdin(_ context.Context, exec string) error {
	p, err := h.find(exec)
	if err != nil {
		return err
	}
	return p.Stdin().Close()
}

// Network makes the guest's networks as the engine says.
func (h handler) Network(ctx context.Context, u spec.NetworkUpdate) error {
	if h.cfg.Network == nil {
		return fmt.Errorf("networks of a running guest: %w", errdefs.ErrNotImplemented)
	}
	return h.cfg.Network(ctx, u)
}

// Grow lets a filesystem fill its disk.
func (h handler) Grow(ctx context.Context, unit int) error {
	if h.cfg.Grow == nil {
		return fmt.Errorf("growing a filesystem in a running guest: %w", errdefs.ErrNotImplemented)
	}
	return h.cfg.Grow(ctx, unit)
}

// Follow writes log frames as they are made.
func (h handler) Follow(ctx context.Context, r tetherproto.LogRequest, w io.Writer) error {
	return h.recent.follow(ctx, r, w)
}

// GuestinfoReporter writes reports to guestinfo through c (an rpci.Client).
func GuestinfoReporter(c interface{ Set(key, value string) error }) Reporter {
	return guestinfoReporter{c}
}

type guestinfoReporter struct {
	c interface{ Set(key, value string) error }
}

func (g guestinfoReporter) Started(id string, pid int, at time.Time) error {
	return g.write(guestinfo.StartedPairs(id, pid, at))
}

func (g guestinfoReporter) Paused(id string, paused bool) error {
	return g.write(guestinfo.PausedPairs(id, paused))
}

func (g guestinfoReporter) OOM(id string) error { return g.write(guestinfo.OOMPairs(id)) }

func (g guestinfoReporter) Exited(id string, exit spec.ExitStatus) error {
	return g.write(guestinfo.ExitedPairs(id, exit))
}
