package rpci

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/containerd/errdefs"
)

// MaxMessage is the size limit of one message in bytes.
const MaxMessage = 2 << 20

// WriteFrame writes one message in one Write.
func WriteFrame(w io.Writer, msg []byte) error {
	if len(msg) > MaxMessage {
		return fmt.Errorf("message of %d bytes exceeds the limit of %d: %w", len(msg), MaxMessage, errdefs.ErrInvalidArgument)
	}
	buf := make([]byte, 4+len(msg))
	binary.BigEndian.PutUint32(buf, uint32(len(msg)))
	copy(buf[4:], msg)
	_, err := w.Write(buf)
	return err
}

// ReadFrame reads one message. io.EOF means that the stream ended between two
// messages.
func ReadFrame(r io.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > MaxMessage {
		return nil, fmt.Errorf("message of %d bytes exceeds the limit of %d: %w", n, MaxMessage, errdefs.ErrDataLoss)
	}
	// Read as it comes: a length alone must not make us allocate 2 MiB.
	msg, err := io.ReadAll(io.LimitReader(r, int64(n)))
	if err != nil {
		return nil, err
	}
	if len(msg) < int(n) {
		return nil, io.ErrUnexpectedEOF
	}
	return msg, nil
}
