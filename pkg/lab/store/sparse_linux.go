package store

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// nextData finds the next range at or after pos that is not a hole.
func nextData(f *os.File, pos, size int64) (start, end int64, err error) {
	start, err = unix.Seek(int(f.Fd()), pos, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) {
		return size, size, nil
	}
	if err != nil {
		return pos, size, nil // a file system without holes: all is data
	}
	end, err = unix.Seek(int(f.Fd()), start, unix.SEEK_HOLE)
	if err != nil {
		return start, size, nil
	}
	return start, end, nil
}

// reflink shares the blocks where the file system can (btrfs, XFS).
func reflink(dst, src *os.File) bool {
	return unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())) == nil
}

func crossDevice(err error) bool { return errors.Is(err, unix.EXDEV) }

// Usage is what a file system has: its size and what is free for us, in bytes.
func Usage(dir string) (size, free int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return int64(st.Blocks) * st.Bsize, int64(st.Bavail) * st.Bsize, nil
}

// Allocated is what a file takes on disk: holes are free.
func Allocated(fi os.FileInfo) int64 {
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return st.Blocks * 512 // st_blocks is in units of 512 bytes whatever the file system
	}
	return fi.Size()
}
