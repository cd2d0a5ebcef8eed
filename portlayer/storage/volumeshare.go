package storage

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/nfs"
	"github.com/vic-engine/vic/pkg/spec"
)

// dataFolder is in a volume's folder on a share what containers mount: what is
// kept of the volume lies beside it, out of their reach.
const dataFolder = "data"

// maxShareFolder bounds what a share's folder may have for it to be listed: as
// many volumes as that are looked at.
const maxShareFolder = 100_000

// shareStore is an NFS share as a store of volumes sees a datastore. Where a
// datastore has disks it has folders; paths are "[nfs://host/path] folder/file". It
// reaches the share in user space, see package nfs.
type shareStore struct {
	c      *nfs.Client
	prefix string // of paths
}

var _ VolumeDatastore = (*shareStore)(nil)

func newShareStore(s nfs.Share, dial nfs.Dialer) *shareStore {
	return &shareStore{c: nfs.New(s, dial), prefix: sharePath(s.Place(), "")}
}

func sharePath(place, file string) string { return "[" + place + "] " + file }

func (s *shareStore) rel(p string) (string, error) {
	rel, ok := strings.CutPrefix(p, s.prefix)
	if !ok || rel == "" {
		return "", fmt.Errorf("path %q is not on the share %s: %w", p, s.c.Share().Place(), errdefs.ErrInvalidArgument)
	}
	return rel, nil
}

// Put writes a file; those of volumes are small.
func (s *shareStore) Put(ctx context.Context, p string, r io.Reader, size int64) error {
	rel, err := s.rel(p)
	if err != nil {
		return err
	}
	if size > maxVolumeRecord {
		return fmt.Errorf("write %s: %d bytes, %d are allowed: %w", p, size, maxVolumeRecord, errdefs.ErrInvalidArgument)
	}
	data := make([]byte, size)
	if _, err := io.ReadFull(r, data); err != nil {
		return fmt.Errorf("write %s: %w", p, err)
	}
	return s.c.WriteFile(ctx, rel, data)
}

func (s *shareStore) Get(ctx context.Context, p string, offset int64) (io.ReadCloser, int64, error) {
	rel, err := s.rel(p)
	if err != nil {
		return nil, 0, err
	}
	data, err := s.c.ReadFile(ctx, rel, maxVolumeRecord)
	if err != nil {
		return nil, 0, err
	}
	size := int64(len(data))
	return io.NopCloser(bytes.NewReader(data[min(max(offset, 0), size):])), size, nil
}

func (s *shareStore) List(ctx context.Context, p string) ([]spec.DatastoreEntry, error) {
	rel, err := s.rel(p)
	if err != nil {
		return nil, err
	}
	list, err := s.c.ReadDir(ctx, rel, maxShareFolder)
	if err != nil {
		return nil, err
	}
	out := make([]spec.DatastoreEntry, len(list))
	for i, e := range list {
		out[i] = spec.DatastoreEntry{Name: e.Name, Dir: e.Dir, Size: e.Size}
	}
	return out, nil
}

func (s *shareStore) Stat(ctx context.Context, p string) (spec.DatastoreEntry, error) {
	rel, err := s.rel(p)
	if err != nil {
		return spec.DatastoreEntry{}, err
	}
	e, err := s.c.Stat(ctx, rel)
	return spec.DatastoreEntry{Name: e.Name, Dir: e.Dir, Size: e.Size}, err
}

func (s *shareStore) Mkdir(ctx context.Context, p string) error {
	rel, err := s.rel(p)
	if err != nil {
		return err
	}
	return s.c.Mkdir(ctx, rel)
}

func (s *shareStore) Move(ctx context.Context, from, to string) error {
	a, err := s.rel(from)
	if err != nil {
		return err
	}
	b, err := s.rel(to)
	if err != nil {
		return err
	}
	return s.c.Rename(ctx, a, b)
}

func (s *shareStore) Delete(ctx context.Context, p string) error {
	rel, err := s.rel(p)
	if err != nil {
		return err
	}
	return s.c.RemoveAll(ctx, rel)
}

// DeleteDisk removes a volume's data.
func (s *shareStore) DeleteDisk(ctx context.Context, p string) error { return s.Delete(ctx, p) }

// Allocated finds whether the data is there. How much it is, a server tells only
// who counts every file.
func (s *shareStore) Allocated(ctx context.Context, p string) (int64, error) {
	_, err := s.Stat(ctx, p)
	return 0, err
}

func (s *shareStore) Space(ctx context.Context) (capacity, free int64, err error) {
	return s.c.Space(ctx)
}

// The rest is for disks, which a share has not; nothing of this package asks for it.

func (s *shareStore) noDisks() error {
	return fmt.Errorf("the share %s has folders and no disks: %w", s.c.Share().Place(), errdefs.ErrNotImplemented)
}

func (s *shareStore) ImportDisk(context.Context, string, io.Reader, int64, int64) error {
	return s.noDisks()
}
func (s *shareStore) CopyDisk(context.Context, string, string) error           { return s.noDisks() }
func (s *shareStore) CopyDiskAs(context.Context, string, string, string) error { return s.noDisks() }
func (s *shareStore) StoragePolicy(context.Context, string) (string, error) {
	return "", s.noDisks()
}
func (s *shareStore) ExtendDisk(context.Context, string, int64) error { return s.noDisks() }
