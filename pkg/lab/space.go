package lab

import (
	"errors"
	"io"
	"syscall"
)

// errNoSpace ends a transfer into a datastore that is at its limit.
var errNoSpace = errors.New("no space left on datastore")

func isENOSPC(err error) bool { return errors.Is(err, syscall.ENOSPC) }

// limitedWriter fails once more than left bytes are written.
type limitedWriter struct {
	w    io.Writer
	left int64
}

func (l *limitedWriter) Write(b []byte) (int, error) {
	if int64(len(b)) > l.left {
		return 0, errNoSpace
	}
	n, err := l.w.Write(b)
	l.left -= int64(n)
	return n, err
}
