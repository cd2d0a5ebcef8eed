package logframe

import (
	"bytes"

	"github.com/vic-engine/vic/pkg/spec"
)

// MaxLine is where Lines breaks a line that does not end, as Docker's loggers do.
const MaxLine = 16 << 10

// Lines joins the pieces of output to lines, one entry per line and stream with
// the time of the line's first byte. The newline stays part of the data; a line
// without one is given when its run ends, at MaxLine, or by Flush.
type Lines struct {
	each    func(spec.LogEntry) error
	partial [2]spec.LogEntry // by stream, stdout first
}

// NewLines gives every line to each.
func NewLines(each func(spec.LogEntry) error) *Lines { return &Lines{each: each} }

// Add takes the next frame. Its error is that of each.
func (l *Lines) Add(f Frame) error {
	if f.Kind != KindData {
		return l.Flush()
	}
	if f.Stream != spec.Stdout && f.Stream != spec.Stderr {
		return nil
	}
	p := &l.partial[f.Stream-spec.Stdout]
	for data := f.Data; len(data) > 0; {
		n := bytes.IndexByte(data, '\n') + 1
		ended := n > 0
		if !ended {
			n = len(data)
		}
		if room := MaxLine - len(p.Data); n > room {
			n, ended = room, true
		}
		if len(p.Data) == 0 {
			*p = spec.LogEntry{Stream: f.Stream, Time: f.Time}
		}
		p.Data = append(p.Data, data[:n]...)
		data = data[n:]
		if ended {
			if err := l.give(p); err != nil {
				return err
			}
		}
	}
	return nil
}

// Flush gives what is left of lines without an end.
func (l *Lines) Flush() error {
	for i := range l.partial {
		if len(l.partial[i].Data) == 0 {
			continue
		}
		if err := l.give(&l.partial[i]); err != nil {
			return err
		}
	}
	return nil
}

func (l *Lines) give(p *spec.LogEntry) error {
	e := *p
	*p = spec.LogEntry{}
	return l.each(e)
}
