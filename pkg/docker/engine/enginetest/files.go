package enginetest

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/vic-engine/vic/pkg/docker/engine"
	"github.com/vic-engine/vic/pkg/spec"

	"github.com/containerd/errdefs"
)

var _ engine.Files = (*Fake)(nil)

// fileTime is when every file in memory was changed.
var fileTime = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// FailFiles lets every operation on files fail with err, or every tar end with
// broken before its end; nil: not.
func (f *Fake) FailFiles(err, broken error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.filesErr, f.filesBreak = err, broken
}

// tree are the files of a container that are not its image's: what a client has
// put there. The folders /etc and / are always there.
func (f *Fake) tree(ctx context.Context, id string) (map[string]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.filesErr != nil {
		return nil, f.filesErr
	}
	c, err := f.get(id)
	if err != nil {
		return nil, err
	}
	return maps.Clone(c.files), nil
}

// StatFile implements engine.Files.
func (f *Fake) StatFile(ctx context.Context, id, p string) (spec.FileStat, error) {
	files, err := f.tree(ctx, id)
	if err != nil {
		return spec.FileStat{}, err
	}
	return stat(files, p)
}

func stat(files map[string]string, p string) (spec.FileStat, error) {
	at := path.Join("/", p)
	st := spec.FileStat{Name: path.Base(at), Mode: 0o644, ModTime: fileTime}
	text, ok := files[at]
	switch {
	case ok:
		st.Size = int64(len(text))
	case at == "/", at == "/etc":
		st.Mode = fs.ModeDir | 0o755
	default:
		return spec.FileStat{}, fmt.Errorf("lstat %s: no such file or directory: %w", at, errdefs.ErrNotFound)
	}
	return st, nil
}

// GetFiles implements engine.Files.
func (f *Fake) GetFiles(ctx context.Context, id, p string, begin func(spec.FileStat) (io.Writer, error)) error {
	files, err := f.tree(ctx, id)
	if err != nil {
		return err
	}
	st, err := stat(files, p)
	if err != nil {
		return err
	}
	w, err := begin(st)
	if err != nil {
		return err
	}
	dir := path.Dir(path.Join("/", p))
	return f.pack(w, files, func(name string) string {
		if name != path.Join("/", p) && !(st.Mode.IsDir() && strings.HasPrefix(name, path.Join("/", p))) {
			return ""
		}
		return strings.TrimPrefix(strings.TrimPrefix(name, dir), "/")
	})
}

// pack writes a tar of those files that name gives a name.
func (f *Fake) pack(w io.Writer, files map[string]string, name func(string) string) error {
	tw := tar.NewWriter(w)
	for _, p := range slices.Sorted(maps.Keys(files)) {
		n := name(p)
		if n == "" {
			continue
		}
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: n, Mode: 0o644, Size: int64(len(files[p])), ModTime: fileTime}); err != nil {
			return err
		}
		if _, err := io.WriteString(tw, files[p]); err != nil {
			return err
		}
	}
	f.mu.Lock()
	err := f.filesBreak
	f.mu.Unlock()
	if err != nil {
		return err
	}
	return tw.Close()
}

// PutFiles implements engine.Files.
func (f *Fake) PutFiles(ctx context.Context, id string, q spec.FileRequest, in io.Reader) error {
	files, err := f.tree(ctx, id)
	if err != nil {
		return err
	}
	st, err := stat(files, q.Path)
	if err != nil {
		return err
	}
	if !st.Mode.IsDir() {
		return fmt.Errorf("extraction point is not a directory%w", &silent{errdefs.ErrInvalidArgument})
	}
	for tr := tar.NewReader(in); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		text, err := io.ReadAll(tr)
		if err != nil {
			return err
		}
		f.mu.Lock()
		c, err := f.get(id)
		if err == nil {
			if c.files == nil {
				c.files = map[string]string{}
			}
			c.files[path.Join("/", q.Path, h.Name)] = string(text)
		}
		f.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

// silent is a class without words.
type silent struct{ class error }

func (s *silent) Error() string { return "" }
func (s *silent) Unwrap() error { return s.class }

// Changes implements engine.Files.
func (f *Fake) Changes(ctx context.Context, id string) ([]spec.FileChange, error) {
	files, err := f.tree(ctx, id)
	var out []spec.FileChange
	for _, p := range slices.Sorted(maps.Keys(files)) {
		out = append(out, spec.FileChange{Path: p, Kind: spec.FileAdded})
	}
	return out, err
}

// Layer implements engine.Files.
func (f *Fake) Layer(ctx context.Context, id string, w io.Writer) error {
	files, err := f.tree(ctx, id)
	if err != nil {
		return err
	}
	return f.pack(w, files, func(p string) string { return p[1:] })
}

// Export implements engine.Files.
func (f *Fake) Export(ctx context.Context, id string, w io.Writer) error { return f.Layer(ctx, id, w) }
