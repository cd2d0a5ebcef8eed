package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/containerd/errdefs"
)

// CopyFile copies a file and keeps its holes. dst must not exist; a failed copy
// leaves none.
func CopyFile(ctx context.Context, src, dst string) (err error) {
	in, err := os.Open(src)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("copy %s: %w", src, errdefs.ErrNotFound)
	}
	if err != nil {
		return err
	}
	defer in.Close()
	st, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(dst, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("copy to %s: %w", dst, errdefs.ErrAlreadyExists)
	}
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, out.Close()); err != nil {
			err = errors.Join(err, os.Remove(dst))
		}
	}()
	if reflink(out, in) {
		return nil
	}
	if err := out.Truncate(st.Size()); err != nil {
		return err
	}
	return copyData(ctx, out, in, st.Size())
}

// copyData copies the parts of a file that are not holes.
func copyData(ctx context.Context, out, in *os.File, size int64) error {
	buf := make([]byte, 1<<20)
	for pos := int64(0); pos < size; {
		start, end, err := nextData(in, pos, size)
		if err != nil {
			return err
		}
		for start < end {
			if err := ctx.Err(); err != nil {
				return err
			}
			n, err := in.ReadAt(buf[:min(int64(len(buf)), end-start)], start)
			if n == 0 {
				if errors.Is(err, io.EOF) {
					return nil // it shrank meanwhile
				}
				return err
			}
			if !zero(buf[:n]) {
				if _, err := out.WriteAt(buf[:n], start); err != nil {
					return err
				}
			}
			start += int64(n)
		}
		pos = end
	}
	return nil
}

func zero(b []byte) bool {
	for len(b) >= 8 {
		if b[0]|b[1]|b[2]|b[3]|b[4]|b[5]|b[6]|b[7] != 0 {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
