package exec

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/spec"
)

// FileLine is a Line over which the container's files are served. See
// tetherproto.Client for its methods.
type FileLine interface {
	StatFile(ctx context.Context, path string) (spec.FileStat, error)
	GetFiles(ctx context.Context, path string, begin func(spec.FileStat) (io.Writer, error)) error
	PutFiles(ctx context.Context, q spec.FileRequest, tar io.Reader) error
	Changes(ctx context.Context) ([]spec.FileChange, error)
	Export(ctx context.Context, w io.Writer) error
	Layer(ctx context.Context, w io.Writer) error
	// PowerOff asks a guest that runs no process to turn itself off.
	PowerOff(ctx context.Context) error
}

// StatFile tells about one file of a container, running or not.
func (m *Manager) StatFile(ctx context.Context, id, path string) (st spec.FileStat, err error) {
	err = m.files(ctx, id, always, func(ctx context.Context, l FileLine) (err error) {
		st, err = l.StatFile(ctx, path)
		return err
	})
	return st, err
}

// GetFiles writes a tar of a file or folder to what begin gives.
func (m *Manager) GetFiles(ctx context.Context, id, path string, begin func(spec.FileStat) (io.Writer, error)) error {
	begun := false
	return m.files(ctx, id, func() bool { return !begun }, func(ctx context.Context, l FileLine) error {
		return l.GetFiles(ctx, path, func(st spec.FileStat) (io.Writer, error) {
			begun = true
			return begin(st)
		})
	})
}

// PutFiles unpacks a tar into a folder.
func (m *Manager) PutFiles(ctx context.Context, id string, q spec.FileRequest, tar io.Reader) error {
	return m.files(ctx, id, never, func(ctx context.Context, l FileLine) error { return l.PutFiles(ctx, q, tar) })
}

// Changes gives how a container's files differ from its image's.
func (m *Manager) Changes(ctx context.Context, id string) (list []spec.FileChange, err error) {
	err = m.files(ctx, id, always, func(ctx context.Context, l FileLine) (err error) {
		list, err = l.Changes(ctx)
		return err
	})
	return list, err
}

// Export writes a tar of all of a container's files, without volumes.
func (m *Manager) Export(ctx context.Context, id string, w io.Writer) error {
	return m.tar(ctx, id, w, FileLine.Export)
}

// Layer writes a tar of what differs from the image, as a layer of an image.
func (m *Manager) Layer(ctx context.Context, id string, w io.Writer) error {
	return m.tar(ctx, id, w, FileLine.Layer)
}

func (m *Manager) tar(ctx context.Context, id string, w io.Writer, f func(FileLine, context.Context, io.Writer) error) error {
	begun := &begunWriter{w: w}
	return m.files(ctx, id, func() bool { return !begun.any }, func(ctx context.Context, l FileLine) error { return f(l, ctx, begun) })
}

// begunWriter tells whether anything was written.
type begunWriter struct {
	w   io.Writer
	any bool
}

func (b *begunWriter) Write(p []byte) (int, error) {
	b.any = true
	return b.w.Write(p)
}

func always() bool { return true }
func never() bool  { return false }

// files calls f with the line of a guest that serves the container's files: the
// one that runs its process, or one that is turned on for that alone. The context
// of f ends also when the container is removed. When the process ends under f, and
// its VM with it, f is called again if again allows it, with the other guest.
func (m *Manager) files(ctx context.Context, id string, again func() bool, f func(context.Context, FileLine) error) error {
	c, err := m.find(id)
	if err != nil {
		return err
	}
	for {
		u, err := m.fileUse(ctx, c)
		if errors.Is(err, errAgain) {
			continue
		}
		if err != nil {
			return fmt.Errorf("files of container %s: %w", id, err)
		}
		err = u.do(ctx, c, f)
		if errdefs.IsUnavailable(err) && u.run != nil && again() && ended(ctx, u.run, lineTimeout) {
			continue
		}
		return err
	}
}

// fileUse is the right to a guest's line.
type fileUse struct {
	line  Line
	cut   <-chan struct{} // closed when it must end; nil: never
	run   *run            // whose guest it is; nil: one that only serves files
	leave func()
}

func (u *fileUse) do(ctx context.Context, c *Controller, f func(context.Context, FileLine) error) error {
	defer u.leave()
	l, ok := u.line.(FileLine)
	if !ok {
		return fmt.Errorf("files of container %s: %w", c.id, errdefs.ErrNotImplemented)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-u.cut:
			cancel(errGone)
		case <-c.gone:
			cancel(errGone)
		case <-done:
		}
	}()
	err := f(ctx, l)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// fileUse waits for a guest. errAgain: the container has changed meanwhile.
func (m *Manager) fileUse(ctx context.Context, c *Controller) (*fileUse, error) {
	c.mu.Look()
	phase, r := c.phase, c.run
	c.mu.Unlock()
	switch {
	case phase == spec.PhaseStarting:
		select {
		case <-r.started:
			phase = spec.PhaseRunning
		case <-r.done:
			return nil, errAgain
		case <-c.gone:
			return nil, errGone
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	case phase == spec.PhaseCreated || phase == spec.PhaseExited:
		return m.maintenanceUse(ctx, c)
	case !active(phase):
		return nil, fmt.Errorf("container is %s: %w", name(phase), errdefs.ErrConflict)
	}
	up, cancel := context.WithTimeout(ctx, lineTimeout)
	defer cancel()
	line, err := m.cfg.Lines.Session(up, c.id)
	select {
	case <-r.done: // so this may be no line at all, or of another boot
		return nil, errAgain
	default:
	}
	if err != nil {
		return nil, fmt.Errorf("its line: %w", err)
	}
	return &fileUse{line: line, run: r, leave: func() {}}, nil
}

// maintenanceUse waits for a guest that is turned on for the files.
func (m *Manager) maintenanceUse(ctx context.Context, c *Controller) (*fileUse, error) {
	s, over := c.join()
	if s == nil {
		select {
		case <-over:
			return nil, errAgain
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	select {
	case <-s.up:
	case <-ctx.Done():
		c.part(s)
		return nil, ctx.Err()
	}
	if s.err != nil { // nobody changes it any more
		c.part(s)
		return nil, s.err
	}
	return &fileUse{line: s.line, cut: s.cut, leave: func() { c.part(s) }}, nil
}
