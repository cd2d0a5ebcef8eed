package storagetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/disk/vmdk"
	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/portlayer/storage"
)

// Dir is a Datastore in a folder, called "[test]". A disk is one file that
// holds the VMDK as it was imported.
type Dir struct {
	root string
	// Capacity of the datastore in bytes, 1 TiB unless changed before use.
	Capacity int64
	// Before, if set, is called before each operation ("Put", "ImportDisk", …)
	// with its path; its error is the operation's.
	Before func(ctx context.Context, op, path string) error

	mu    sync.Mutex // guards calls
	calls []string
}

var _ storage.VolumeDatastore = (*Dir)(nil)

// NewDir makes a datastore in an empty folder.
func NewDir(root string) *Dir { return &Dir{root: root, Capacity: 1 << 40} }

// Calls gives the operations so far that begin with prefix, as "Put path".
func (d *Dir) Calls(prefix string) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []string
	for _, c := range d.calls {
		if strings.HasPrefix(c, prefix) {
			out = append(out, c)
		}
	}
	return out
}

// Files lists all files, sorted.
func (d *Dir) Files() ([]string, error) {
	var out []string
	err := filepath.WalkDir(d.root, func(p string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			rel, _ := filepath.Rel(d.root, p) // p is below root
			out = append(out, "[test] "+filepath.ToSlash(rel))
		}
		return err
	})
	return out, err
}

// Disk reads a disk.
func (d *Dir) Disk(path string) (*vmdk.Reader, func() error, error) {
	p, err := d.local(path)
	if err != nil {
		return nil, nil, err
	}
	f, err := os.Open(p)
	if err != nil {
		return nil, nil, class(err)
	}
	st, err := f.Stat()
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	r, err := vmdk.NewReader(f, st.Size())
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return r, f.Close, nil
}

func (d *Dir) local(path string) (string, error) {
	rel, ok := strings.CutPrefix(path, "[test]")
	if !ok || rel != "" && !strings.HasPrefix(rel, " ") || strings.HasSuffix(path, "/") {
		return "", fmt.Errorf("path %q: %w", path, errdefs.ErrInvalidArgument)
	}
	return filepath.Join(d.root, filepath.FromSlash(strings.TrimPrefix(rel, " "))), nil
}

func (d *Dir) begin(ctx context.Context, op, path string) (string, error) {
	d.mu.Lock()
	d.calls = append(d.calls, op+" "+path)
	d.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if d.Before != nil {
		if err := d.Before(ctx, op, path); err != nil {
			return "", err
		}
	}
	return d.local(path)
}

func class(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %w", err, errdefs.ErrNotFound)
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%w: %w", err, errdefs.ErrAlreadyExists)
	}
	return err
}

// Put implements storage.Datastore.
func (d *Dir) Put(ctx context.Context, path string, r io.Reader, size int64) error {
	p, err := d.begin(ctx, "Put", path)
	if err != nil {
		return err
	}
	if err := d.room(size); err != nil {
		return err
	}
	f, err := os.Create(p)
	if err != nil {
		return class(err)
	}
	n, err := io.Copy(f, &ctxReader{ctx, r})
	if err == nil && n != size {
		err = fmt.Errorf("put %s: %d bytes, want %d: %w", path, n, size, io.ErrUnexpectedEOF)
	}
	return errors.Join(err, f.Close())
}

// Get implements storage.Datastore.
func (d *Dir) Get(ctx context.Context, path string, offset int64) (io.ReadCloser, int64, error) {
	p, err := d.begin(ctx, "Get", path)
	if err != nil {
		return nil, 0, err
	}
	f, err := os.Open(p)
	if err != nil {
		return nil, 0, class(err)
	}
	st, err := f.Stat()
	if err == nil {
		_, err = f.Seek(offset, io.SeekStart)
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, st.Size(), nil
}

// List implements storage.Datastore.
func (d *Dir) List(ctx context.Context, dir string) ([]spec.DatastoreEntry, error) {
	p, err := d.begin(ctx, "List", dir)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(p)
	if err != nil {
		return nil, class(err)
	}
	var out []spec.DatastoreEntry
	for _, e := range entries {
		st, err := e.Info()
		if err != nil {
			return nil, class(err)
		}
		out = append(out, entry(st))
	}
	return out, nil
}

func entry(st fs.FileInfo) spec.DatastoreEntry {
	e := spec.DatastoreEntry{Name: st.Name(), Dir: st.IsDir(), Modified: st.ModTime()}
	if !e.Dir {
		e.Size = st.Size()
	}
	return e
}

// Stat implements storage.Datastore.
func (d *Dir) Stat(ctx context.Context, path string) (spec.DatastoreEntry, error) {
	p, err := d.begin(ctx, "Stat", path)
	if err != nil {
		return spec.DatastoreEntry{}, err
	}
	st, err := os.Stat(p)
	if err != nil {
		return spec.DatastoreEntry{}, class(err)
	}
	return entry(st), nil
}

// Mkdir implements storage.Datastore.
func (d *Dir) Mkdir(ctx context.Context, dir string) error {
	p, err := d.begin(ctx, "Mkdir", dir)
	if err != nil {
		return err
	}
	return class(os.MkdirAll(p, 0o700))
}

// Move implements storage.Datastore.
func (d *Dir) Move(ctx context.Context, from, to string) error {
	p, err := d.begin(ctx, "Move", from)
	if err != nil {
		return err
	}
	q, err := d.local(to)
	if err != nil {
		return err
	}
	return class(os.Rename(p, q))
}

// Delete implements storage.Datastore.
func (d *Dir) Delete(ctx context.Context, path string) error {
	p, err := d.begin(ctx, "Delete", path)
	if err != nil {
		return err
	}
	return os.RemoveAll(p)
}

// ImportDisk implements storage.Datastore.
func (d *Dir) ImportDisk(ctx context.Context, path string, r io.Reader, size, capacity int64) (err error) {
	p, err := d.begin(ctx, "ImportDisk", path)
	if err != nil {
		return err
	}
	if _, err := os.Stat(p); err == nil {
		return fmt.Errorf("disk %s: %w", path, errdefs.ErrAlreadyExists)
	}
	if err := d.room(size); err != nil {
		return err
	}
	tmp := p + ".import"
	f, err := os.Create(tmp)
	if err != nil {
		return class(err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(tmp))
		}
	}()
	n, err := io.Copy(f, &ctxReader{ctx, r})
	if err == nil && n != size {
		err = fmt.Errorf("import %s: %d bytes, want %d: %w", path, n, size, io.ErrUnexpectedEOF)
	}
	if err == nil {
		var v *vmdk.Reader
		if v, err = vmdk.NewReader(f, n); err == nil && v.Capacity() != capacity {
			err = fmt.Errorf("import %s: capacity %d, the disk has %d: %w", path, capacity, v.Capacity(), errdefs.ErrInvalidArgument)
		}
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return class(os.Rename(tmp, p))
}

// CopyDisk implements storage.Datastore.
func (d *Dir) CopyDisk(ctx context.Context, src, dst string) error {
	p, err := d.begin(ctx, "CopyDisk", src)
	if err != nil {
		return err
	}
	q, err := d.local(dst)
	if err != nil {
		return err
	}
	if _, err := os.Stat(q); err == nil {
		return fmt.Errorf("disk %s: %w", dst, errdefs.ErrAlreadyExists)
	}
	b, err := os.ReadFile(p)
	if err != nil {
		return class(err)
	}
	if err := d.room(int64(len(b))); err != nil {
		return err
	}
	return class(os.WriteFile(q, b, 0o600))
}

// CopyDiskAs implements storage.VolumeDatastore; every format is the same here.
func (d *Dir) CopyDiskAs(ctx context.Context, src, dst, _ string) error {
	return d.CopyDisk(ctx, src, dst)
}

// StoragePolicy implements storage.VolumeDatastore: there is "gold".
func (d *Dir) StoragePolicy(ctx context.Context, name string) (string, error) {
	if _, err := d.begin(ctx, "StoragePolicy", "[test]"); err != nil {
		return "", err
	}
	if name != "gold" {
		return "", fmt.Errorf("there is no storage policy %q; there are [gold]: %w", name, errdefs.ErrInvalidArgument)
	}
	return "id-of-gold", nil
}

// ExtendDisk implements storage.VolumeDatastore; the disk stays as it is.
func (d *Dir) ExtendDisk(ctx context.Context, path string, _ int64) error {
	p, err := d.begin(ctx, "ExtendDisk", path)
	if err != nil {
		return err
	}
	_, err = os.Stat(p)
	return class(err)
}

// Allocated implements storage.VolumeDatastore.
func (d *Dir) Allocated(ctx context.Context, path string) (int64, error) {
	p, err := d.begin(ctx, "Allocated", path)
	if err != nil {
		return 0, err
	}
	st, err := os.Stat(p)
	if err != nil {
		return 0, class(err)
	}
	return st.Size(), nil
}

// DeleteDisk implements storage.Datastore.
func (d *Dir) DeleteDisk(ctx context.Context, path string) error {
	p, err := d.begin(ctx, "DeleteDisk", path)
	if err != nil {
		return err
	}
	if err := os.Remove(p); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Space implements storage.Datastore.
func (d *Dir) Space(ctx context.Context) (capacity, free int64, err error) {
	if _, err := d.begin(ctx, "Space", "[test]"); err != nil {
		return 0, 0, err
	}
	free, err = d.free()
	return d.Capacity, free, err
}

func (d *Dir) free() (int64, error) {
	free := d.Capacity
	err := filepath.WalkDir(d.root, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return ignoreGone(err)
		}
		st, err := e.Info()
		if err == nil {
			free -= st.Size()
		}
		return ignoreGone(err)
	})
	return free, err
}

func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (d *Dir) room(size int64) error {
	free, err := d.free()
	if err == nil && size > free {
		err = fmt.Errorf("datastore test is full: %w", errdefs.ErrResourceExhausted)
	}
	return err
}

type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (r *ctxReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
