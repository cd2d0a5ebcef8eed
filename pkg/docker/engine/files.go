package engine

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/vic-engine/vic/pkg/image/archive"
	"github.com/vic-engine/vic/pkg/spec"

	"github.com/containerd/errdefs"
)

// Files is what the engine needs for the files of containers, running or not. A
// port layer that can has it. Implemented by portlayer.PortLayer. Paths are the
// container's; what is not there is ErrNotFound, and the words of other errors
// are for the user. The work ends when ctx does.
type Files interface {
	StatFile(ctx context.Context, id, path string) (spec.FileStat, error)
	// GetFiles writes a tar of a file or folder to what begin gives.
	GetFiles(ctx context.Context, id, path string, begin func(spec.FileStat) (io.Writer, error)) error
	// PutFiles unpacks a tar into a folder. What was unpacked before it failed
	// stays. A Read of tar that is under way then is the caller's to end.
	PutFiles(ctx context.Context, id string, q spec.FileRequest, tar io.Reader) error
	// Changes gives how the files differ from the image's, Layer a tar of that
	// with OCI's whiteouts, Export a tar of all files without volumes.
	Changes(ctx context.Context, id string) ([]spec.FileChange, error)
	Layer(ctx context.Context, id string, w io.Writer) error
	Export(ctx context.Context, id string, w io.Writer) error
}

// files gives the port layer's ability to serve files.
func (e *Engine) files() (Files, error) {
	f, ok := e.pl.(Files)
	if !ok {
		return nil, notImplemented("not supported: files of containers (cp, diff, export, commit)")
	}
	return f, nil
}

// findFiles gives a container whose files can be had.
func (e *Engine) findFiles(ref string) (spec.View, Files, error) {
	v, err := e.find(ref)
	if err != nil {
		return v, nil, err
	}
	f, err := e.files()
	return v, f, err
}

// fileError gives Docker's words for a path that is not there.
func (e *Engine) fileError(err error, v spec.View, ref, path string) error {
	if !errdefs.IsNotFound(err) {
		return err
	}
	if _, gone := e.pl.Container(v.Container.ID); gone != nil {
		return noSuchContainer(ref)
	}
	return notFound("Could not find the file %s in container %s", path, ref)
}

// StatFile tells about a file of a container.
func (e *Engine) StatFile(ctx context.Context, ref, path string) (spec.FileStat, error) {
	v, f, err := e.findFiles(ref)
	if err != nil {
		return spec.FileStat{}, err
	}
	st, err := f.StatFile(ctx, v.Container.ID, path)
	return st, e.fileError(err, v, ref, path)
}

// GetFiles does `docker cp` out of a container: a tar of a file or folder goes to
// what begin gives.
func (e *Engine) GetFiles(ctx context.Context, ref, path string, begin func(spec.FileStat) (io.Writer, error)) error {
	v, f, err := e.findFiles(ref)
	if err != nil {
		return err
	}
	err = f.GetFiles(ctx, v.Container.ID, path, func(st spec.FileStat) (io.Writer, error) {
		e.containerEvent(v, "archive-path", nil)
		return begin(st)
	})
	return e.fileError(err, v, ref, path)
}

// PutOptions of PutFiles.
type PutOptions struct {
	// NoOverwriteDirNonDir refuses to replace a folder by something else, or the
	// reverse.
	NoOverwriteDirNonDir bool
	// CopyUIDGID gives everything to the container's user. A container that names
	// none lets everything keep the owner that the tar tells, as Docker does.
	CopyUIDGID bool
}

// PutFiles does `docker cp` into a container: a tar is unpacked into the folder
// path. When it fails, what was unpacked before stays, as in Docker.
func (e *Engine) PutFiles(ctx context.Context, ref, path string, o PutOptions, tar io.Reader) error {
	v, f, err := e.findFiles(ref)
	if err != nil {
		return err
	}
	in, err := unpacked(tar)
	if err != nil {
		return err
	}
	defer in.Close() // only read
	q := spec.FileRequest{
		Path: path, NoOverwriteDirNonDir: o.NoOverwriteDirNonDir, CopyUIDGID: o.CopyUIDGID && v.Container.Process.User != "",
	}
	if err := f.PutFiles(ctx, v.Container.ID, q, in); err != nil {
		return e.fileError(err, v, ref, path)
	}
	e.containerEvent(v, "extract-to-dir", nil)
	return nil
}

// unpacked gives a tar that a client may have packed. Nothing at all is an empty one.
func unpacked(tar io.Reader) (io.ReadCloser, error) {
	b := bufio.NewReader(tar)
	if _, err := b.Peek(1); errors.Is(err, io.EOF) {
		return io.NopCloser(b), nil
	}
	return archive.Unpack(b)
}

// Changes does `docker diff`.
func (e *Engine) Changes(ctx context.Context, ref string) ([]spec.FileChange, error) {
	v, f, err := e.findFiles(ref)
	if err != nil {
		return nil, err
	}
	return f.Changes(ctx, v.Container.ID)
}

// Export does `docker export`.
func (e *Engine) Export(ctx context.Context, ref string, w io.Writer) error {
	v, f, err := e.findFiles(ref)
	if err != nil {
		return err
	}
	switch v.Status.Phase {
	case spec.PhaseDead:
		return conflict("You cannot export container %s which is Dead", v.Container.ID)
	case spec.PhaseRemoving:
		return conflict("You cannot export container %s which is being removed", v.Container.ID)
	}
	if err := f.Export(ctx, v.Container.ID, w); err != nil {
		return fmt.Errorf("Error exporting container %s: %w", ref, err) //nolint:staticcheck // Docker's words
	}
	e.containerEvent(v, "export", nil)
	return nil
}
