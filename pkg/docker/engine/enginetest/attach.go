package enginetest

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/vic-engine/vic/pkg/spec"

	"github.com/containerd/errdefs"
)

// Stop implements engine.PortLayer.
func (f *Fake) Stop(ctx context.Context, id, signal string, timeout time.Duration) error {
	f.mu.Lock()
	c, err := f.get(id)
	if err != nil || c.run == nil {
		f.mu.Unlock()
		return err
	}
	run := c.run
	if signal == "" {
		signal = c.view.Container.Process.StopSignal
	}
	if signal == "" {
		signal = "SIGTERM"
	}
	f.mu.Unlock()
	run.signal(signal)
	var late <-chan time.Time
	if timeout >= 0 {
		t := time.NewTimer(timeout)
		defer t.Stop()
		late = t.C
	}
	select {
	case <-run.over:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-late:
	}
	run.signal("SIGKILL")
	<-run.over
	return nil
}

// Signal implements engine.PortLayer.
func (f *Fake) Signal(_ context.Context, id, signal string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, err := f.get(id)
	if err != nil {
		return err
	}
	if c.run == nil {
		return fmt.Errorf("container %s does not run: %w", id, errdefs.ErrConflict)
	}
	c.run.signal(signal)
	return nil
}

// Attach implements engine.PortLayer.
func (f *Fake) Attach(ctx context.Context, id string, s spec.Streams) error {
	a := &attachment{s: s, gone: make(chan struct{})}
	f.mu.Lock()
	c, err := f.get(id)
	if err != nil {
		f.mu.Unlock()
		return err
	}
	c.attach[a] = struct{}{}
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		delete(c.attach, a)
		f.mu.Unlock()
	}()
	if s.Joined != nil {
		s.Joined()
	}
	if s.Stdin != nil {
		go f.feed(ctx, c, a)
	}
	select {
	case <-a.gone:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// feed copies a client's stdin to the process, once that runs.
func (f *Fake) feed(ctx context.Context, c *container, a *attachment) {
	var run *process
	for run == nil {
		f.mu.Lock()
		run = c.run
		changed := c.changed
		f.mu.Unlock()
		if run != nil {
			break
		}
		select {
		case <-changed:
		case <-a.gone:
			return
		case <-ctx.Done():
			return
		}
	}
	_, err := io.Copy(run.feed, a.s.Stdin)
	if err == nil && a.s.StdinOnce {
		run.feed.Close()
	}
}

// Resize implements engine.PortLayer.
func (f *Fake) Resize(_ context.Context, id, exec string, rows, cols int) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, err := f.get(id)
	if err != nil {
		return err
	}
	p := c.run
	if exec != "" {
		p = c.execs[exec]
	}
	if p == nil {
		return fmt.Errorf("container %s does not run: %w", id, errdefs.ErrConflict)
	}
	p.resize(rows, cols)
	return nil
}

// Exec implements engine.PortLayer.
func (f *Fake) Exec(ctx context.Context, id, exec string, p spec.Process, s spec.Streams, started func(pid int)) (spec.ExitStatus, error) {
	f.mu.Lock()
	c, err := f.get(id)
	if err == nil && c.run == nil {
		err = fmt.Errorf("container %s does not run: %w", id, errdefs.ErrConflict)
	}
	var prog Program
	if err == nil {
		prog, err = f.program(p.Path)
	}
	if err != nil {
		f.mu.Unlock()
		return spec.ExitStatus{}, err
	}
	x := newProcess(p)
	c.execs[exec] = x
	pid := 100 + len(c.execs)
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		delete(c.execs, exec)
		f.mu.Unlock()
		close(x.over)
	}()
	if started != nil {
		started(pid)
	}
	if s.Stdin != nil {
		go func() {
			_, err := io.Copy(x.feed, s.Stdin)
			if err == nil {
				x.feed.Close()
			}
		}()
	}
	stop := context.AfterFunc(ctx, func() { x.signal("SIGKILL") })
	defer stop()
	return x.exec(prog, orDiscard(s.Stdout), orDiscard(s.Stderr)), nil
}

func orDiscard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}

// SignalExec implements engine.PortLayer.
func (f *Fake) SignalExec(_ context.Context, id, exec, signal string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	c, err := f.get(id)
	if err != nil {
		return err
	}
	x := c.execs[exec]
	if x == nil {
		return fmt.Errorf("exec %s: %w", exec, errdefs.ErrNotFound)
	}
	x.signal(signal)
	return nil
}

// Logs implements engine.PortLayer.
func (f *Fake) Logs(ctx context.Context, id string, o spec.LogOptions, each func(spec.LogEntry) error) error {
	at := 0
	for {
		f.mu.Lock()
		c, err := f.get(id)
		if err != nil {
			f.mu.Unlock()
			return err
		}
		entries := c.logs[at:]
		at = len(c.logs)
		running := c.run != nil
		changed := c.changed
		f.mu.Unlock()
		for _, en := range entries {
			if (en.Stream == spec.Stdout && !o.Stdout) || (en.Stream == spec.Stderr && !o.Stderr) ||
				(!o.Since.IsZero() && en.Time.Before(o.Since)) || (!o.Until.IsZero() && en.Time.After(o.Until)) {
				continue
			}
			if err := each(en); err != nil {
				return err
			}
		}
		if !o.Follow || (!running && len(entries) == 0) {
			return nil
		}
		if !running {
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
