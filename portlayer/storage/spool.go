package storage

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/containerd/errdefs"
	"github.com/docker/go-units"
)

// spoolReserve is what is left free on the spool's filesystem, which the
// appliance's logs share.
const spoolReserve = 64 << 20

// spool is a folder for the files of one piece of work, with a budget.
type spool struct {
	dir  string
	base string // for messages
	left int64  // bytes that may still be written
}

func (s *Images) newSpool() (*spool, error) { return newSpool(s.cfg.Spool, spoolPrefix) }

// newSpool makes a folder below base whose name begins with prefix.
func newSpool(base, prefix string) (*spool, error) {
	dir, err := os.MkdirTemp(base, prefix)
	if err != nil {
		return nil, fmt.Errorf("make spool folder: %w", err)
	}
	free, err := freeBytes(dir)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read free space of %s: %w", base, err), os.RemoveAll(dir))
	}
	return &spool{dir: dir, base: base, left: free - spoolReserve}, nil
}

func (sp *spool) path(name string) string { return filepath.Join(sp.dir, name) }

func (sp *spool) close() error { return os.RemoveAll(sp.dir) }

// take takes bytes from the budget, remove gives them back.
func (sp *spool) take(n int64) error {
	if err := sp.fits(n); err != nil {
		return err
	}
	sp.left -= n
	return nil
}

func (sp *spool) fits(n int64) error {
	if n > sp.left {
		return fmt.Errorf("scratch disk %s has not enough room: %s more needed, %s free: %w",
			sp.base, size(n), size(max(sp.left, 0)), errdefs.ErrResourceExhausted)
	}
	return nil
}

// remove deletes a file and gives its bytes back.
func (sp *spool) remove(name string, bytes int64) error {
	if err := os.Remove(sp.path(name)); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	sp.left += bytes
	return nil
}

// writer counts what is written against the budget.
func (sp *spool) writer(w io.Writer) io.Writer { return &spoolWriter{sp, w} }

type spoolWriter struct {
	sp *spool
	w  io.Writer
}

func (w *spoolWriter) Write(p []byte) (int, error) {
	if err := w.sp.take(int64(len(p))); err != nil {
		return 0, err
	}
	return w.w.Write(p)
}

// explain makes a full scratch disk a clear error.
func (sp *spool) explain(err error) error {
	if errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("scratch disk %s is full: %w: %w", sp.base, err, errdefs.ErrResourceExhausted)
	}
	return err
}

func size(n int64) string { return units.BytesSize(float64(n)) }
