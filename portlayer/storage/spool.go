package storage

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/containerd/errdefs"
	"github.com/docker/go-units"
)

// spoolReserve is what is left free on the spool's filesystem, which the
// appliance's logs share.
const spoolReserve = 64 << 20

// scratch is the room that all spools below one folder share: each counts on what it
// took, so that together they do not take what is there for one of them.
type scratch struct {
	mu     sync.Mutex
	spools int
	left   int64 // bytes that may still be written
}

// scratches are those of the folders that have spools, by path.
var scratches = struct {
	mu sync.Mutex
	of map[string]*scratch
}{of: map[string]*scratch{}}

// shared gives the room below base, for one more spool. What else writes to the disk
// is known when the first spool is made, and is what spoolReserve is for.
func shared(base string) (*scratch, error) {
	scratches.mu.Lock()
	defer scratches.mu.Unlock()
	s := scratches.of[base]
	if s == nil {
		free, err := freeBytes(base)
		if err != nil {
			return nil, fmt.Errorf("read free space of %s: %w", base, err)
		}
		s = &scratch{left: free - spoolReserve}
		scratches.of[base] = s
	}
	s.spools++
	return s, nil
}

// unshared is called for a spool that is gone.
func unshared(base string) {
	scratches.mu.Lock()
	defer scratches.mu.Unlock()
	if s := scratches.of[base]; s.spools > 1 {
		s.spools--
		return
	}
	delete(scratches.of, base)
}

// spool is a folder for the files of one piece of work, with a budget. One goroutine
// at a time uses it.
type spool struct {
	dir     string
	base    string // for messages
	scratch *scratch
	taken   int64 // bytes of the scratch that are this spool's
}

func (s *Images) newSpool() (*spool, error) { return newSpool(s.cfg.Spool, spoolPrefix) }

// newSpool makes a folder below base whose name begins with prefix.
func newSpool(base, prefix string) (*spool, error) {
	base = filepath.Clean(base)
	dir, err := os.MkdirTemp(base, prefix)
	if err != nil {
		return nil, fmt.Errorf("make spool folder: %w", err)
	}
	s, err := shared(base)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return &spool{dir: dir, base: base, scratch: s}, nil
}

func (sp *spool) path(name string) string { return filepath.Join(sp.dir, name) }

func (sp *spool) close() error {
	err := os.RemoveAll(sp.dir)
	sp.give(sp.taken)
	unshared(sp.base)
	return err
}

// left are the bytes that may still be written.
func (sp *spool) left() int64 {
	sp.scratch.mu.Lock()
	defer sp.scratch.mu.Unlock()
	return sp.scratch.left
}

// take takes bytes from the budget; give and remove give them back.
func (sp *spool) take(n int64) error {
	sp.scratch.mu.Lock()
	defer sp.scratch.mu.Unlock()
	if err := sp.enough(n, sp.scratch.left); err != nil {
		return err
	}
	sp.scratch.left -= n
	sp.taken += n
	return nil
}

func (sp *spool) give(n int64) {
	sp.scratch.mu.Lock()
	defer sp.scratch.mu.Unlock()
	sp.scratch.left += n
	sp.taken -= n
}

// fits tells whether so much could be taken now.
func (sp *spool) fits(n int64) error { return sp.enough(n, sp.left()) }

func (sp *spool) enough(n, left int64) error {
	if n > left {
		return fmt.Errorf("scratch disk %s has not enough room: %s more needed, %s free: %w",
			sp.base, size(n), size(max(left, 0)), errdefs.ErrResourceExhausted)
	}
	return nil
}

// remove deletes a file and gives its bytes back.
func (sp *spool) remove(name string, bytes int64) error {
	if err := os.Remove(sp.path(name)); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	sp.give(bytes)
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
