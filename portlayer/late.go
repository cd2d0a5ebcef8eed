package portlayer

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/pkg/vsphere"
)

// lateDatastore is a datastore that is there once a session is: until then its
// calls are ErrUnavailable. It lets the image store be made before.
type lateDatastore struct {
	ds atomic.Pointer[vsphere.Datastore]
}

func (l *lateDatastore) set(ds *vsphere.Datastore) { l.ds.Store(ds) }

func (l *lateDatastore) get() (*vsphere.Datastore, error) {
	if ds := l.ds.Load(); ds != nil {
		return ds, nil
	}
	return nil, fmt.Errorf("datastore: not connected to vSphere yet: %w", errdefs.ErrUnavailable)
}

func (l *lateDatastore) Put(ctx context.Context, path string, r io.Reader, size int64) error {
	ds, err := l.get()
	if err != nil {
		return err
	}
	return ds.Put(ctx, path, r, size)
}

func (l *lateDatastore) Get(ctx context.Context, path string, offset int64) (io.ReadCloser, int64, error) {
	ds, err := l.get()
	if err != nil {
		return nil, 0, err
	}
	return ds.Get(ctx, path, offset)
}

func (l *lateDatastore) List(ctx context.Context, dir string) ([]spec.DatastoreEntry, error) {
	ds, err := l.get()
	if err != nil {
		return nil, err
	}
	return ds.List(ctx, dir)
}

func (l *lateDatastore) Stat(ctx context.Context, path string) (spec.DatastoreEntry, error) {
	ds, err := l.get()
	if err != nil {
		return spec.DatastoreEntry{}, err
	}
	return ds.Stat(ctx, path)
}

func (l *lateDatastore) Mkdir(ctx context.Context, dir string) error {
	ds, err := l.get()
	if err != nil {
		return err
	}
	return ds.Mkdir(ctx, dir)
}

func (l *lateDatastore) Move(ctx context.Context, from, to string) error {
	ds, err := l.get()
	if err != nil {
		return err
	}
	return ds.Move(ctx, from, to)
}

func (l *lateDatastore) Delete(ctx context.Context, path string) error {
	ds, err := l.get()
	if err != nil {
		return err
	}
	return ds.Delete(ctx, path)
}

func (l *lateDatastore) ImportDisk(ctx context.Context, path string, r io.Reader, size, capacity int64) error {
	ds, err := l.get()
	if err != nil {
		return err
	}
	return ds.ImportDisk(ctx, path, r, size, capacity)
}

func (l *lateDatastore) CopyDisk(ctx context.Context, src, dst string) error {
	ds, err := l.get()
	if err != nil {
		return err
	}
	return ds.CopyDisk(ctx, src, dst)
}

func (l *lateDatastore) DeleteDisk(ctx context.Context, path string) error {
	ds, err := l.get()
	if err != nil {
		return err
	}
	return ds.DeleteDisk(ctx, path)
}

func (l *lateDatastore) Space(ctx context.Context) (capacity, free int64, err error) {
	ds, err := l.get()
	if err != nil {
		return 0, 0, err
	}
	return ds.Space(ctx)
}
