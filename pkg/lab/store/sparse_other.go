//go:build !linux

package store

import (
	"fmt"
	"os"

	"github.com/containerd/errdefs"
)

func nextData(_ *os.File, pos, size int64) (start, end int64, err error) { return pos, size, nil }

func reflink(_, _ *os.File) bool { return false }

// crossDevice: a failed rename is tried as a copy.
func crossDevice(err error) bool { return err != nil }

// Usage is known on Linux only.
func Usage(dir string) (size, free int64, err error) {
	return 0, 0, fmt.Errorf("free space of %s: %w", dir, errdefs.ErrNotImplemented)
}

// Allocated is what a file takes on disk, as far as can be told here.
func Allocated(fi os.FileInfo) int64 { return fi.Size() }
