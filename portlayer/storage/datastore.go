package storage

import (
	"context"
	"io"

	"github.com/vic-engine/vic/pkg/spec"
)

// Datastore is what the image store needs of vSphere's storage. It is
// implemented by vsphere.Datastore; storagetest has a suite and a fake.
//
// Every path has the form "[datastore] folder/file", without a slash at the
// end; "[datastore]" alone is the root. All paths that one store uses are on
// the same datastore. Errors are classes of containerd/errdefs: a path that is
// not there is ErrNotFound, a full datastore ErrResourceExhausted, an endpoint
// that cannot be reached ErrUnavailable. A call that ends because of ctx gives
// an error that errors.Is recognises as ctx.Err().
type Datastore interface {
	// Put writes a file of exactly size bytes from r, replacing one that is
	// there. It is not atomic: a failed Put may leave a part of the file at
	// path, so callers write to a name of their own and Move it. The folder
	// must exist.
	Put(ctx context.Context, path string, r io.Reader, size int64) error
	// Get reads a file from offset on. size is that of the whole file,
	// whatever the offset. The caller closes the reader.
	Get(ctx context.Context, path string, offset int64) (r io.ReadCloser, size int64, err error)
	// List gives the files and folders directly in dir, in any order.
	// A folder that is not there is ErrNotFound.
	List(ctx context.Context, dir string) ([]spec.DatastoreEntry, error)
	// Stat gives one file, folder or disk.
	Stat(ctx context.Context, path string) (spec.DatastoreEntry, error)
	// Mkdir makes dir and every missing folder above it. That it is there
	// already is not an error.
	Mkdir(ctx context.Context, dir string) error
	// Move renames a file, replacing the destination if it exists. The
	// destination's folder must exist. Not for disks.
	Move(ctx context.Context, from, to string) error
	// Delete removes a file, or a folder with all that is in it. That it is
	// not there is not an error. Not for single disks, see DeleteDisk.
	Delete(ctx context.Context, path string) error

	// ImportDisk makes the disk at path (".vmdk") from a streamOptimized VMDK
	// of size bytes and the given capacity in bytes, thin where the datastore
	// can. The disk appears complete at path or not at all, also when r ends
	// early, ctx is done or the import fails. The folder must exist; a disk at
	// path is ErrAlreadyExists.
	ImportDisk(ctx context.Context, path string, r io.Reader, size, capacity int64) error
	// CopyDisk copies a whole disk on the datastore's side, thin. The
	// destination's folder must exist; a disk there is ErrAlreadyExists. A copy
	// that fails leaves nothing at dst.
	CopyDisk(ctx context.Context, src, dst string) error
	// DeleteDisk removes a disk with all its files. That it is not there is
	// not an error.
	DeleteDisk(ctx context.Context, path string) error

	// Space gives the datastore's capacity and what is free, in bytes.
	Space(ctx context.Context) (capacity, free int64, err error)
}
