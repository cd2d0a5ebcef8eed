package logframe

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/vic-engine/vic/pkg/spec"
)

// Writer numbers and writes the frames of one run. It is safe for concurrent
// use: the order of the file is the order of the numbers.
type Writer struct {
	run uint64

	mu  sync.Mutex // guards what follows, and is held during a write
	w   io.Writer
	seq uint64
	buf []byte
	now func() time.Time
}

// NewWriter makes the writer of a run. It writes nothing before the first frame.
func NewWriter(w io.Writer, run uint64) *Writer {
	return &Writer{run: run, w: w, now: time.Now}
}

// Run is the run's number.
func (w *Writer) Run() uint64 { return w.run }

// Write makes frames of data and gives each to see (may be nil) before it is
// written, in order: live readers need not wait for the disk. data may be kept
// by see only until it returns. One call of the underlying Write per frame.
func (w *Writer) Write(stream spec.Stream, data []byte, see func(Frame)) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(data) > 0 {
		piece := data[:min(len(data), MaxData)]
		data = data[len(piece):]
		if err := w.put(KindData, stream, piece, see); err != nil {
			return err
		}
	}
	return nil
}

// Mark writes a frame without data: KindStart or KindEnd.
func (w *Writer) Mark(kind Kind, see func(Frame)) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.put(kind, 0, nil, see)
}

func (w *Writer) put(kind Kind, stream spec.Stream, data []byte, see func(Frame)) error {
	f := Frame{Position: Position{w.run, w.seq}, Kind: kind, Stream: stream, Time: w.now().UTC(), Data: data}
	w.seq++
	if see != nil {
		see(f)
	}
	buf, err := f.Append(w.buf[:0])
	if err != nil {
		return err
	}
	w.buf = buf
	if _, err := w.w.Write(buf); err != nil {
		return fmt.Errorf("write container output: %w", err)
	}
	return nil
}
