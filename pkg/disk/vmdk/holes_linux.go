package vmdk

import (
	"errors"
	"io"

	"golang.org/x/sys/unix"
)

// dataRuns finds a file's data with SEEK_DATA and SEEK_HOLE. It moves the
// file's offset, which ReadAt does not use.
func dataRuns(src io.ReaderAt, size int64) func(int64) (int64, int64, bool) {
	f, ok := src.(interface{ Fd() uintptr })
	if !ok {
		return nil
	}
	return func(off int64) (int64, int64, bool) {
		fd := int(f.Fd())
		start, err := unix.Seek(fd, off, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return size, size + GrainSize, true // no more data
		}
		if err != nil {
			return 0, 0, false
		}
		end, err := unix.Seek(fd, start, unix.SEEK_HOLE)
		if err != nil {
			return 0, 0, false
		}
		return start, end, true
	}
}
