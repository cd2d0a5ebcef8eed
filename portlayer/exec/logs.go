package exec

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/logframe"
	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/portlayer/vmspec"
)

// Logs calls each for the kept output, one entry per line, oldest first. With
// follow it goes on with what the container puts out, until it stops or ctx is
// done. The kept part is read from the datastore, where the VM writes it by
// itself; the live part comes over the line, from the position where the file
// ended, so that there is neither gap nor repeat.
func (m *Manager) Logs(ctx context.Context, id string, o spec.LogOptions, each func(spec.LogEntry) error) error {
	c, err := m.find(id)
	if err != nil {
		return err
	}
	c.mu.Lock()
	r, runs := c.run, active(c.phase)
	c.mu.Unlock()

	l := &logReader{m: m, id: id, out: newLogFilter(o, each)}
	l.lines = logframe.NewLines(l.out.entry)
	if err := l.kept(ctx); err != nil {
		return l.out.finish(err)
	}
	if !o.Follow || !runs {
		return l.out.finish(errors.Join(l.lines.Flush(), l.out.live()))
	}
	if err := l.out.live(); err != nil {
		return l.out.finish(err)
	}
	return l.out.finish(l.follow(ctx, c, r))
}

// logReader goes through a container's output once.
type logReader struct {
	m     *Manager
	id    string
	lines *logframe.Lines
	out   *logFilter
	// at is the last frame that was given, off where the file goes on.
	at  logframe.Position
	any bool
	off int64
}

// kept gives what is in the file after what was given.
func (l *logReader) kept(ctx context.Context) error {
	p := vmspec.Path(l.m.cfg.DatastoreName, l.id, vmspec.OutputLog)
	body, _, err := l.m.cfg.Datastore.Get(ctx, p, l.off)
	if errdefs.IsNotFound(err) {
		return nil // it has never run
	}
	if err != nil {
		return fmt.Errorf("logs of container %s: %w", l.id, err)
	}
	defer body.Close()
	r := logframe.NewReaderAt(body, l.off)
	for {
		f, err := r.Next()
		l.off = r.Offset()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("logs of container %s: %w", l.id, err)
		}
		if err := l.add(f); err != nil {
			return err
		}
	}
}

// add gives a frame unless it was given.
func (l *logReader) add(f logframe.Frame) error {
	if l.any && f.Run == l.at.Run && f.Seq <= l.at.Seq {
		return nil
	}
	l.at, l.any = f.Position, true
	return l.lines.Add(f)
}

// follow goes on live until the run has ended, and then gives what is in the
// file and did not come over the line.
func (l *logReader) follow(ctx context.Context, c *Controller, r *run) error {
	line, err := c.lineOf(ctx, r)
	if err != nil {
		return err
	}
	if line != nil {
		leave := c.use()
		err := line.Follow(ctx, l.at, l.add)
		leave()
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if errors.Is(err, errEnough) || l.out.failed != nil {
				return err
			}
			c.log().WithError(err).Debug("live output ended early")
		}
	}
	select {
	case <-r.done:
	case <-c.gone:
		return l.lines.Flush()
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := l.kept(ctx); err != nil {
		return err
	}
	return l.lines.Flush()
}

// errEnough ends reading when nothing that comes later is wanted.
var errEnough = errors.New("the rest is not asked for")

// logFilter passes on what the options ask for.
type logFilter struct {
	o    spec.LogOptions
	each func(spec.LogEntry) error
	// tail holds the last entries until live; head is the oldest.
	tail   []spec.LogEntry
	head   int
	flows  bool
	failed error // of each
}

func newLogFilter(o spec.LogOptions, each func(spec.LogEntry) error) *logFilter {
	return &logFilter{o: o, each: each, flows: o.Tail < 0}
}

func (f *logFilter) entry(e spec.LogEntry) error {
	switch {
	case e.Stream == spec.Stdout && !f.o.Stdout, e.Stream == spec.Stderr && !f.o.Stderr:
		return nil
	case !f.o.Since.IsZero() && e.Time.Before(f.o.Since):
		return nil
	case !f.o.Until.IsZero() && e.Time.After(f.o.Until):
		// Times grow, but for a clock that is set back; that far, no further.
		if e.Time.Sub(f.o.Until) > time.Minute || f.flows {
			return errEnough
		}
		return nil
	case f.flows:
		return f.give(e)
	case f.o.Tail == 0:
		return nil
	case len(f.tail) < f.o.Tail:
		f.tail = append(f.tail, e)
		return nil
	}
	f.tail[f.head] = e
	f.head = (f.head + 1) % len(f.tail)
	return nil
}

// live gives the tail; what comes after it flows.
func (f *logFilter) live() error {
	if f.flows {
		return nil
	}
	f.flows = true
	for i := range f.tail {
		if err := f.give(f.tail[(f.head+i)%len(f.tail)]); err != nil {
			return err
		}
	}
	f.tail = nil
	return nil
}

func (f *logFilter) give(e spec.LogEntry) error {
	if err := f.each(e); err != nil {
		f.failed = err
		return err
	}
	return nil
}

// finish turns the end of reading into the caller's error.
func (f *logFilter) finish(err error) error {
	switch {
	case f.failed != nil:
		return f.failed
	case errors.Is(err, errEnough):
		return f.live()
	}
	return err
}
