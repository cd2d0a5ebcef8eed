package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/vic-engine/vic/pkg/disk/ext4"
	"github.com/vic-engine/vic/pkg/disk/layers"
	"github.com/vic-engine/vic/pkg/disk/vmdk"
	"github.com/vic-engine/vic/pkg/image"
	"github.com/vic-engine/vic/pkg/spec"
)

// Disk gives the datastore path of an image's read-only disk. If the disk is
// gone it is made anew from the blobs first.
func (s *Images) Disk(ctx context.Context, id string) (path string, err error) {
	unlock, err := s.work.lock(ctx, "image:"+id)
	if err != nil {
		return "", err
	}
	defer unlock()
	s.mu.Lock()
	r := s.records[digest.Digest(id)]
	s.mu.Unlock()
	if r == nil {
		return "", &noSuchImage{id}
	}
	path = s.at.disk(r.ID.Encoded())
	there, err := s.diskThere(ctx, path)
	if err != nil || there {
		return path, err
	}
	s.log.WithField(spec.FieldImage, id).Warn("the image's disk is gone and is made anew")
	unpin := s.pin(r.digests())
	defer func() { err = errors.Join(err, unpin(ctx)) }()
	sp, err := s.newSpool()
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, sp.close()) }()
	b := &builder{s: s, sp: sp, say: func(spec.Progress) {}}
	for _, l := range r.Layers {
		b.layers = append(b.layers, image.Layer{Digest: l.Digest, DiffID: l.DiffID, Size: l.Size})
	}
	if _, err = b.build(ctx, r.ID.Encoded()); err != nil {
		return "", fmt.Errorf("make the disk of image %s anew: %w", id, err)
	}
	return path, nil
}

func (s *Images) diskThere(ctx context.Context, path string) (bool, error) {
	_, err := s.ds.Stat(ctx, path)
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for disk %s: %w", path, err)
	}
	return true, nil
}

// builder makes one image's disk. The layers' blobs are files in the spool,
// named by their digests, or else on the datastore.
type builder struct {
	s      *Images
	sp     *spool
	layers []image.Layer
	// fetched are the sizes of the blobs that are in the spool.
	fetched map[digest.Digest]int64
	// fresh are the layers that progress is told of: those that were fetched.
	fresh map[digest.Digest]bool
	say   func(spec.Progress)
	// raw is the size of the filesystem in bytes.
	raw int64
}

// tell reports on the layer, if it is a fresh one.
func (b *builder) tell(l image.Layer, status string, current, total int64) {
	if b.fresh[l.Digest] {
		b.say(spec.Progress{ID: l.ShortID(), Status: status, Current: current, Total: total})
	}
}

// build makes the disk and puts it in the image's folder, which it makes too.
// It gives the bytes of each layer's files. On an error neither is left.
func (b *builder) build(ctx context.Context, hex string) (files []int64, err error) {
	defer func() { err = b.sp.explain(err) }()
	if err := b.unpack(ctx); err != nil {
		return nil, err
	}
	tree, err := b.merge(ctx)
	if err != nil {
		return nil, err
	}
	if err := b.roomFor(ctx, ext4.Estimate(tree), "about "); err != nil {
		return nil, err
	}
	capacity, err := b.writeRaw(ctx, tree)
	if err != nil {
		return nil, err
	}
	packed, err := b.pack(ctx, hex, capacity)
	if err != nil {
		return nil, err
	}
	return tree.LayerSizes(), b.importDisk(ctx, hex, packed, capacity)
}

// roomFor refuses a disk that the datastore cannot take.
func (b *builder) roomFor(ctx context.Context, need int64, about string) error {
	capacity, free, err := b.s.ds.Space(ctx)
	if err != nil {
		return fmt.Errorf("read free space of datastore %s: %w", b.s.at.datastore(), err)
	}
	if need > free {
		return noRoom("the image's disk needs "+about+size(need), b.s.at.datastore(), capacity, free)
	}
	return nil
}

func noRoom(what, datastore string, capacity, free int64) error {
	return fmt.Errorf("not enough space on datastore %s: %s, free are %s of %s: %w",
		datastore, what, size(free), size(capacity), errdefs.ErrResourceExhausted)
}

// unpack makes each layer a plain tar in the spool and checks its diff id.
func (b *builder) unpack(ctx context.Context) error {
	done := map[digest.Digest]bool{}
	for i, l := range b.layers {
		if !done[l.DiffID] {
			done[l.DiffID] = true
			if err := b.unpackOne(ctx, l); err != nil {
				if _, fresh := b.fetched[l.Digest]; !fresh && (errdefs.IsDataLoss(err) || errdefs.IsInvalidArgument(err)) {
					b.s.recheck(ctx, l.Digest)
				}
				return fmt.Errorf("layer %s: %w", l.Digest, err)
			}
		}
		// The last one is complete when the disk is.
		if i < len(b.layers)-1 {
			b.tell(l, "Pull complete", 0, 0)
		}
	}
	return nil
}

func (b *builder) unpackOne(ctx context.Context, l image.Layer) error {
	packed, total, err := b.open(ctx, l.Digest)
	if err != nil {
		return err
	}
	defer packed.Close() // only read
	counted := &progressReader{ctx: ctx, r: packed, say: func(n int64) { b.tell(l, "Extracting", n, total) }}
	counted.report()
	plain, err := image.Decompress(counted)
	if err != nil {
		return err
	}
	defer plain.Close() // only read
	f, err := os.OpenFile(b.sp.path(tarName(l)), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	sum := digest.SHA256.Digester()
	_, err = io.Copy(b.sp.writer(io.MultiWriter(f, sum.Hash())), plain)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	counted.report()
	if got := sum.Digest(); got != l.DiffID {
		return fmt.Errorf("verification failed: want content with digest %s, it has %s: %w", l.DiffID, got, errdefs.ErrDataLoss)
	}
	if n, ok := b.fetched[l.Digest]; ok {
		delete(b.fetched, l.Digest)
		return b.sp.remove(l.Digest.Encoded(), n)
	}
	return nil
}

func tarName(l image.Layer) string { return l.DiffID.Encoded() + ".tar" }

func (b *builder) open(ctx context.Context, d digest.Digest) (io.ReadCloser, int64, error) {
	n, ok := b.fetched[d]
	if !ok {
		return b.s.openBlob(ctx, d)
	}
	f, err := os.Open(b.sp.path(d.Encoded()))
	if err != nil {
		return nil, 0, fmt.Errorf("spool: %w", err)
	}
	return f, n, nil
}

func (b *builder) merge(ctx context.Context) (*layers.Tree, error) {
	var ls []layers.Layer
	for _, l := range b.layers {
		ls = append(ls, layers.Layer{Name: l.Digest.String(), Open: func() (io.ReadCloser, error) {
			return os.Open(b.sp.path(tarName(l)))
		}})
	}
	tree, err := layers.Merge(ctx, ls, layers.Limits{Bytes: max(b.sp.left(), 1)})
	if err != nil {
		return nil, err
	}
	for name, n := range tree.Dropped() {
		b.s.log.WithFields(map[string]any{"attribute": name, "files": n}).Info("extended attribute is left out of the image's disk")
	}
	return tree, nil
}

const rawName = "disk.raw"

// writeRaw writes the filesystem and drops the tars. It gives the disk's
// capacity.
func (b *builder) writeRaw(ctx context.Context, tree *layers.Tree) (int64, error) {
	need := ext4.Estimate(tree)
	if err := b.sp.take(need); err != nil {
		return 0, err
	}
	f, err := os.OpenFile(b.sp.path(rawName), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return 0, fmt.Errorf("spool: %w", err)
	}
	defer f.Close() // closed by name below when it matters
	total := tree.Usage().Bytes
	var shown time.Time
	n, err := ext4.WriteImage(ctx, f, tree, func(done int64) {
		if now := time.Now(); len(b.layers) > 0 && now.Sub(shown) > progressEvery {
			shown = now
			b.tell(b.layers[len(b.layers)-1], "Extracting", done, total)
		}
	})
	if err != nil {
		return 0, err
	}
	if err := f.Close(); err != nil {
		return 0, fmt.Errorf("spool: %w", err)
	}
	b.sp.give(need - n)
	b.raw = n
	return vmdk.Capacity(n), b.dropTars()
}

func (b *builder) dropTars() error {
	for _, d := range b.layers {
		st, err := os.Stat(b.sp.path(tarName(d)))
		if errors.Is(err, os.ErrNotExist) {
			continue // the same layer twice
		}
		if err != nil {
			return fmt.Errorf("spool: %w", err)
		}
		if err := b.sp.remove(tarName(d), st.Size()); err != nil {
			return err
		}
	}
	return nil
}

const packedName = "disk.vmdk"

// pack makes the filesystem a VMDK for the import and gives its size.
func (b *builder) pack(ctx context.Context, hex string, capacity int64) (int64, error) {
	if err := b.roomFor(ctx, capacity, ""); err != nil {
		return 0, err
	}
	raw, err := os.Open(b.sp.path(rawName))
	if err != nil {
		return 0, fmt.Errorf("spool: %w", err)
	}
	defer raw.Close() // only read
	n, err := packFile(ctx, b.sp, raw, capacity, hex+".vmdk")
	if err != nil {
		return 0, err
	}
	return n, b.sp.remove(rawName, b.raw)
}

// packFile writes raw as a VMDK into the spool.
func packFile(ctx context.Context, sp *spool, raw io.ReaderAt, capacity int64, name string) (int64, error) {
	f, err := os.OpenFile(sp.path(packedName), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, fmt.Errorf("spool: %w", err)
	}
	n, err := vmdk.Write(ctx, sp.writer(f), raw, capacity, vmdk.Options{Name: name})
	return n, errors.Join(err, f.Close())
}

// importDisk brings the VMDK to the datastore.
func (b *builder) importDisk(ctx context.Context, hex string, packed, capacity int64) error {
	var u undo
	u.add(func(ctx context.Context) error { return b.s.removeUnlessKept(ctx, hex) })
	err := b.s.ds.Mkdir(ctx, b.s.at.image(hex))
	if err == nil {
		err = importFile(ctx, b.s.ds, b.sp, b.s.at.disk(hex), packed, capacity)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("make the image's disk on datastore %s: %w", b.s.at.datastore(), err), u.fail(ctx))
	}
	return nil
}

// removeUnlessKept removes an image's folder, or the disk alone if the image
// is known and only its disk was being made.
func (s *Images) removeUnlessKept(ctx context.Context, hex string) error {
	s.mu.Lock()
	kept := s.records[digest.NewDigestFromEncoded(digest.SHA256, hex)] != nil
	s.mu.Unlock()
	if kept {
		return s.ds.DeleteDisk(ctx, s.at.disk(hex))
	}
	return s.removeFolder(ctx, hex)
}

// importFile imports the VMDK of the spool. A disk that is in the way is what
// an engine that died has left, as nobody else makes disks here.
func importFile(ctx context.Context, ds Datastore, sp *spool, path string, packed, capacity int64) error {
	try := func() error {
		f, err := os.Open(sp.path(packedName))
		if err != nil {
			return fmt.Errorf("spool: %w", err)
		}
		defer f.Close() // only read
		return ds.ImportDisk(ctx, path, f, packed, capacity)
	}
	err := try()
	if !errdefs.IsAlreadyExists(err) {
		return err
	}
	if err := ds.DeleteDisk(ctx, path); err != nil {
		return fmt.Errorf("remove an old disk: %w", err)
	}
	return try()
}

// progressEvery is how often a number is reported.
const progressEvery = 100 * time.Millisecond

// progressReader reports how far a file is read, and ends with ctx.
type progressReader struct {
	ctx  context.Context
	r    io.Reader
	say  func(n int64)
	n    int64
	last time.Time
}

func (r *progressReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := r.r.Read(p)
	r.n += int64(n)
	if now := time.Now(); now.Sub(r.last) > progressEvery {
		r.last = now
		r.report()
	}
	return n, err
}

func (r *progressReader) report() { r.say(r.n) }
