package lab

import (
	"errors"
	"io"
	"syscall"

	"github.com/containerd/errdefs"
)

// noSpace tells whether an error means that a datastore is full: at its limit,
// or its disk.
func noSpace(err error) bool {
	return errdefs.IsResourceExhausted(err) || errors.Is(err, syscall.ENOSPC)
}

// limitedWriter fails once more than left bytes are written.
type limitedWriter struct {
	w    io.Writer
	left int64
}

func (l *limitedWriter) Write(b []byte) (int, error) {
	if int64(len(b)) > l.left {
		return 0, errdefs.ErrResourceExhausted
	}
	n, err := l.w.Write(b)
	l.left -= int64(n)
	return n, err
}
