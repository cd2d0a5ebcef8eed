package engine

import (
	"bytes"
	"context"
	"io"
	"time"

	"github.com/vic-engine/vic/pkg/spec"
)

// LogsOptions bound what Logs writes.
type LogsOptions struct {
	Stdout, Stderr bool
	Since, Until   time.Time
	Follow         bool
	Timestamps     bool
	Details        bool // what the log options name, before each line
	Tail           int  // lines from the end; negative: all
}

// timestampLayout is the one of `docker logs -t`: nanoseconds, never shortened.
const timestampLayout = "2006-01-02T15:04:05.000000000Z07:00"

// LogsOpen checks a request for logs; the returned write does the work and
// tty tells whether the output is one stream. The two steps let a caller
// answer errors before it begins to stream.
func (e *Engine) LogsOpen(ref string, o LogsOptions) (tty bool, write func(ctx context.Context, stdout, stderr io.Writer) error, err error) {
	if !o.Stdout && !o.Stderr {
		return false, nil, invalid("You must choose at least one stream")
	}
	v, err := e.find(ref)
	if err != nil {
		return false, nil, err
	}
	if v.Status.Phase == spec.PhaseRemoving || v.Status.Phase == spec.PhaseDead {
		return false, nil, conflict("can not get logs from container which is dead or marked for removal")
	}
	log := e.storedOf(v).host.LogConfig
	if v.Container.NoLog {
		return false, nil, errNoReading()
	}
	details := ""
	if o.Details {
		if details, err = logDetails(log, v, e.storedOf(v).Config); err != nil {
			return false, nil, err
		}
	}
	return v.Container.Process.TTY, func(ctx context.Context, stdout, stderr io.Writer) error {
		return e.writeLogs(ctx, v, o, details, stdout, stderr)
	}, nil
}

// writeLogs writes the kept output. Port layer entries are pieces of output as
// the process wrote it; lines are counted and stamped here. With a tail it
// reads twice when following: once to count the lines there are, then for good.
func (e *Engine) writeLogs(ctx context.Context, v spec.View, o LogsOptions, details string, stdout, stderr io.Writer) error {
	id := v.Container.ID
	lo := spec.LogOptions{Since: o.Since, Until: o.Until, Tail: -1, Stdout: o.Stdout, Stderr: o.Stderr}
	if o.Tail == 0 && !o.Follow {
		return nil
	}
	w := &lineWriter{stdout: stdout, stderr: stderr, stamp: o.Timestamps, details: details}
	if o.Tail < 0 {
		lo.Follow = o.Follow
		return e.pl.Logs(ctx, id, lo, w.entry)
	}
	if !o.Follow {
		keep := &tailWriter{max: o.Tail}
		if err := e.pl.Logs(ctx, id, lo, keep.entry); err != nil {
			return err
		}
		return keep.flush(w)
	}
	count := &lineCounter{}
	if err := e.pl.Logs(ctx, id, lo, count.entry); err != nil {
		return err
	}
	w.skip = max(count.lines-o.Tail, 0)
	lo.Follow = true
	return e.pl.Logs(ctx, id, lo, w.entry)
}

// pieces calls each for the parts of an entry, each at most one line with its
// newline.
func pieces(en spec.LogEntry, each func(spec.LogEntry) error) error {
	data := en.Data
	for len(data) > 0 {
		n := bytes.IndexByte(data, '\n') + 1
		if n == 0 {
			n = len(data)
		}
		if err := each(spec.LogEntry{Stream: en.Stream, Time: en.Time, Data: data[:n]}); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

// openLines tells, for each stream, whether its last piece did not end its line.
type openLines [3]bool

// begins tells whether the piece begins a line, and takes note of its end.
func (o *openLines) begins(p spec.LogEntry) bool {
	s := p.Stream % 3
	first := !o[s]
	o[s] = p.Data[len(p.Data)-1] != '\n'
	return first
}

type lineCounter struct {
	open  openLines
	lines int
}

func (c *lineCounter) entry(en spec.LogEntry) error {
	return pieces(en, func(p spec.LogEntry) error {
		if c.open.begins(p) {
			c.lines++
		}
		return nil
	})
}

// lineWriter writes pieces to their streams, stamps the beginning of each line
// and leaves out the first skip lines.
type lineWriter struct {
	stdout, stderr io.Writer
	stamp          bool
	details        string // before each line, after the time
	skip           int
	open           openLines
	skipping       openLines // the line in progress is left out
}

func (w *lineWriter) entry(en spec.LogEntry) error { return pieces(en, w.piece) }

func (w *lineWriter) piece(p spec.LogEntry) error {
	s := p.Stream % 3
	first := w.open.begins(p)
	if first {
		w.skipping[s] = w.skip > 0
		if w.skip > 0 {
			w.skip--
		}
	}
	if w.skipping[s] {
		return nil
	}
	data := p.Data
	if first && w.details != "" {
		data = append([]byte(w.details), data...)
	}
	if first && w.stamp {
		data = append([]byte(p.Time.UTC().Format(timestampLayout)+" "), data...)
	}
	out := w.stdout
	if p.Stream == spec.Stderr {
		out = w.stderr
	}
	if out == nil {
		return nil
	}
	_, err := out.Write(data)
	return err
}

// tailWriter keeps the last max lines.
type tailWriter struct {
	max  int
	open openLines
	last [3]int // per stream, the index since the start of the line in progress
	kept [][]spec.LogEntry
	base int // index of kept[0]
}

func (t *tailWriter) entry(en spec.LogEntry) error {
	return pieces(en, func(p spec.LogEntry) error {
		s := p.Stream % 3
		p.Data = append([]byte(nil), p.Data...) // the caller may use its buffer again
		if t.open.begins(p) {
			t.kept = append(t.kept, []spec.LogEntry{p})
			t.last[s] = t.base + len(t.kept) - 1
			if len(t.kept) > t.max {
				t.kept[0] = nil
				t.kept = t.kept[1:]
				t.base++
			}
			return nil
		}
		if i := t.last[s] - t.base; i >= 0 {
			t.kept[i] = append(t.kept[i], p)
		}
		return nil
	})
}

func (t *tailWriter) flush(w *lineWriter) error {
	for _, line := range t.kept {
		for _, p := range line {
			if err := w.piece(p); err != nil {
				return err
			}
		}
	}
	return nil
}
