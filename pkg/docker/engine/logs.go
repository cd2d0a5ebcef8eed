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

// tailBytes is how much of the end of a log is kept in memory while it is read.
const tailBytes = 1 << 20

// writeLogs writes the kept output. Port layer entries are pieces of output as
// the process wrote it; lines are counted and stamped here. With a tail that is
// large, or when following, it reads twice: once to count the lines there are, then
// for good.
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
	t := &tailWriter{max: o.Tail}
	if o.Follow {
		t.spill()
	}
	if err := e.pl.Logs(ctx, id, lo, t.entry); err != nil {
		return err
	}
	if !t.spilled {
		return t.flush(w)
	}
	w.skip = max(t.lines-o.Tail, 0)
	lo.Follow = o.Follow
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

// tailWriter counts lines and keeps the last max, as long as they are not more than
// tailBytes: a line may have no end, and max be as large as the client likes.
type tailWriter struct {
	max     int
	open    openLines
	lines   int
	last    [3]int // per stream, the index since the start of the line in progress
	kept    [][]spec.LogEntry
	base    int // index of kept[0]
	bytes   int // of kept, with what its pieces take beside their data
	spilled bool
}

// pieceBytes is about what a piece takes beside its data.
const pieceBytes = 96

// spill gives up keeping lines: they are counted alone.
func (t *tailWriter) spill() { t.kept, t.bytes, t.spilled = nil, 0, true }

func (t *tailWriter) entry(en spec.LogEntry) error {
	return pieces(en, func(p spec.LogEntry) error {
		begins := t.open.begins(p)
		if begins {
			t.lines++
		}
		if t.spilled {
			return nil
		}
		s := p.Stream % 3
		if begins {
			t.kept = append(t.kept, nil)
			t.last[s] = t.base + len(t.kept) - 1
			if len(t.kept) > t.max {
				for _, old := range t.kept[0] {
					t.bytes -= len(old.Data) + pieceBytes
				}
				t.kept[0] = nil
				t.kept = t.kept[1:]
				t.base++
			}
		}
		i := t.last[s] - t.base
		if i < 0 {
			return nil // the rest of a line that is too far back
		}
		p.Data = append([]byte(nil), p.Data...) // the caller may use its buffer again
		t.kept[i] = append(t.kept[i], p)
		if t.bytes += len(p.Data) + pieceBytes; t.bytes > tailBytes {
			t.spill()
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
