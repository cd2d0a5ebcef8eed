package guestrpc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// MaxMessage is the longest message either side may send, in bytes.
const MaxMessage = 2 << 20

// ErrTooLong ends a stream on which a message longer than MaxMessage was
// announced: nothing after it can be trusted to be in step.
var ErrTooLong = errors.New("message longer than 2 MiB")

// ReadFrame reads one message. At the end of the stream it returns io.EOF when
// no message had begun, io.ErrUnexpectedEOF otherwise.
func ReadFrame(r io.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > MaxMessage {
		return nil, fmt.Errorf("message of %d bytes: %w", n, ErrTooLong)
	}
	msg, err := io.ReadAll(io.LimitReader(r, int64(n))) // grows with what comes, not with what is announced
	if err != nil {
		return nil, err
	}
	if len(msg) < int(n) {
		return nil, io.ErrUnexpectedEOF
	}
	return msg, nil
}

// WriteFrame writes one message in a single Write.
func WriteFrame(w io.Writer, msg []byte) error {
	if len(msg) > MaxMessage {
		return fmt.Errorf("message of %d bytes: %w", len(msg), ErrTooLong)
	}
	buf := make([]byte, 4+len(msg))
	binary.BigEndian.PutUint32(buf, uint32(len(msg)))
	copy(buf[4:], msg)
	_, err := w.Write(buf)
	return err
}
