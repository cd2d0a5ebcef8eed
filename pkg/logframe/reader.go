package logframe

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// Reader finds the frames in a file or stream. What is no frame (torn by a power
// cut, foreign bytes, the middle of a frame when reading from an offset) is
// passed over and counted.
type Reader struct {
	br      *bufio.Reader
	off     int64
	skipped int64
}

// NewReader reads from r; Offset counts from 0 there.
func NewReader(r io.Reader) *Reader { return NewReaderAt(r, 0) }

// NewReaderAt reads from r, which begins at offset off of the file.
func NewReaderAt(r io.Reader, off int64) *Reader {
	return &Reader{br: bufio.NewReaderSize(r, headerSize+MaxData), off: off}
}

// Offset is where the next frame is looked for: reading later from here goes on
// without a gap or repeat, also after an incomplete frame at the end.
func (r *Reader) Offset() int64 { return r.off }

// Skipped counts bytes that belonged to no frame.
func (r *Reader) Skipped() int64 { return r.skipped }

// Next gives the next frame; its data is the caller's. io.EOF means that no
// whole frame is left; what is there of another one stays before Offset.
func (r *Reader) Next() (Frame, error) {
	for {
		head, err := r.br.Peek(headerSize)
		if err != nil {
			return Frame{}, r.end(head, err)
		}
		f, length, sum, ok := header(head)
		if !ok {
			r.skip(head)
			continue
		}
		whole, err := r.br.Peek(headerSize + length)
		if err != nil && !errors.Is(err, io.EOF) {
			return Frame{}, fmt.Errorf("read container output: %w", err)
		}
		if err != nil {
			// The rest is not there (yet), or the header is damaged and a sound
			// frame follows in these bytes.
			if next := r.soundAfter(whole); next > 0 {
				r.pass(next)
				continue
			}
			return Frame{}, io.EOF
		}
		if !sound(whole, sum) {
			r.skip(whole)
			continue
		}
		f.Data = bytes.Clone(whole[headerSize:])
		if length == 0 {
			f.Data = nil
		}
		_, _ = r.br.Discard(len(whole)) // peeked before
		r.off += int64(len(whole))
		return f, nil
	}
}

// end handles less than a header at the end: bytes that cannot begin a frame are
// passed over, so that Offset is where the next frame will be.
func (r *Reader) end(rest []byte, err error) error {
	if !errors.Is(err, io.EOF) {
		return fmt.Errorf("read container output: %w", err)
	}
	at := len(rest)
	for i := range rest {
		tail := rest[i:]
		if bytes.HasPrefix(tail, []byte(magic)) || bytes.HasPrefix([]byte(magic), tail) {
			at = i
			break
		}
	}
	r.pass(at)
	return io.EOF
}

// soundAfter looks for a whole sound frame in b after its first byte.
func (r *Reader) soundAfter(b []byte) int {
	for i := 1; i+headerSize <= len(b); i++ {
		n := bytes.IndexByte(b[i:], magic[0])
		if n < 0 {
			return 0
		}
		i += n
		if i+headerSize > len(b) {
			return 0
		}
		_, length, sum, ok := header(b[i:])
		if ok && i+headerSize+length <= len(b) && sound(b[i:i+headerSize+length], sum) {
			return i
		}
	}
	return 0
}

// skip passes over the first byte of b and on to the next possible frame.
func (r *Reader) skip(b []byte) {
	n := len(b)
	if i := bytes.IndexByte(b[1:], magic[0]); i >= 0 {
		n = i + 1
	}
	r.pass(n)
}

func (r *Reader) pass(n int) {
	_, _ = r.br.Discard(n) // peeked before
	r.off += int64(n)
	r.skipped += int64(n)
}
