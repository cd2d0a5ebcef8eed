package storage

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
)

// replace puts a file in place as a whole: what is at path stays until the new
// content is complete.
func (s *Images) replace(ctx context.Context, path string, content []byte) error {
	return s.putAs(ctx, path, bytes.NewReader(content), int64(len(content)))
}

// putAs uploads under a name of its own and then moves the file to path.
func (s *Images) putAs(ctx context.Context, path string, r io.Reader, size int64) (err error) {
	var id [8]byte
	if _, err := rand.Read(id[:]); err != nil {
		return fmt.Errorf("make a name: %w", err)
	}
	tmp := s.at.tmp() + "/" + hex.EncodeToString(id[:])
	var u undo
	u.add(func(ctx context.Context) error { return s.ds.Delete(ctx, tmp) })
	if err = s.ds.Put(ctx, tmp, r, size); err == nil {
		err = s.ds.Move(ctx, tmp, path)
	}
	if err != nil {
		return errors.Join(err, u.fail(ctx))
	}
	return nil
}

// putBlob keeps a blob on the datastore. The caller holds its lock and a pin.
func (s *Images) putBlob(ctx context.Context, d digest.Digest, r io.Reader, size int64) error {
	if err := s.putAs(ctx, s.at.blob(d), r, size); err != nil {
		return fmt.Errorf("keep blob %s: %w", d, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blobs[d] = size
	return nil
}

// putBlobFile keeps a blob that is in a file of the spool.
func (s *Images) putBlobFile(ctx context.Context, d digest.Digest, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("keep blob %s: %w", d, err)
	}
	defer f.Close() // only read
	st, err := f.Stat()
	if err != nil {
		return fmt.Errorf("keep blob %s: %w", d, err)
	}
	return s.putBlob(ctx, d, f, st.Size())
}

// putSmall keeps a blob that is in memory, if it is not there yet. The caller
// holds a pin.
func (s *Images) putSmall(ctx context.Context, d digest.Digest, data []byte) error {
	unlock, err := s.work.lock(ctx, "blob:"+d.String())
	if err != nil {
		return err
	}
	defer unlock()
	if s.has(d) {
		return nil
	}
	return s.putBlob(ctx, d, bytes.NewReader(data), int64(len(data)))
}

func (s *Images) hasAll(ds []digest.Digest) bool {
	for _, d := range ds {
		if !s.has(d) {
			return false
		}
	}
	return true
}

func (s *Images) has(d digest.Digest) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.blobs[d]
	return ok
}

// pin keeps blobs from being removed, whether they are there already or not.
// The function given back ends that, and removes those that no image has got.
func (s *Images) pin(ds []digest.Digest) func(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pinLocked(ds)
}

// pinLocked is pin, called with mu held: what was found in the same hold of it is
// there until the pin ends.
func (s *Images) pinLocked(ds []digest.Digest) func(context.Context) error {
	ds = unique(ds)
	for _, d := range ds {
		s.pins[d]++
	}
	return func(ctx context.Context) error {
		// Blobs that nobody needs are removed whether or not the caller waits.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
		defer cancel()
		s.mu.Lock()
		for _, d := range ds {
			if s.pins[d]--; s.pins[d] == 0 {
				delete(s.pins, d)
			}
		}
		s.mu.Unlock()
		return s.sweep(ctx, ds)
	}
}

// sweep removes those of the blobs that nothing needs.
func (s *Images) sweep(ctx context.Context, ds []digest.Digest) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for _, d := range s.unneeded(ds) {
		g.Go(func() error { return s.removeBlob(ctx, d) })
	}
	return g.Wait()
}

func (s *Images) unneeded(ds []digest.Digest) []digest.Digest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unneededLocked(ds)
}

func (s *Images) unneededLocked(ds []digest.Digest) []digest.Digest {
	needed := map[digest.Digest]bool{}
	for _, r := range s.records {
		for _, d := range r.digests() {
			needed[d] = true
		}
	}
	var out []digest.Digest
	for _, d := range unique(ds) {
		if _, ok := s.blobs[d]; ok && !needed[d] && s.pins[d] == 0 {
			out = append(out, d)
		}
	}
	return out
}

// removeBlob removes a blob unless somebody needs it by now.
func (s *Images) removeBlob(ctx context.Context, d digest.Digest) error {
	unlock, err := s.work.lock(ctx, "blob:"+d.String())
	if err != nil {
		return err
	}
	defer unlock()
	size, ok := s.forget(d)
	if !ok {
		return nil
	}
	if err := s.ds.Delete(ctx, s.at.blob(d)); err != nil {
		s.mu.Lock()
		s.blobs[d] = size
		s.mu.Unlock()
		return fmt.Errorf("remove blob %s: %w", d, err)
	}
	return nil
}

// forget takes a blob that nothing needs out of the store's memory, and gives its
// size. That it is not needed and that it is forgotten is one step: who pins it
// before keeps it, who pins it after does not find it, waits for its lock and
// fetches it again.
func (s *Images) forget(d digest.Digest) (size int64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.unneededLocked([]digest.Digest{d})) == 0 {
		return 0, false
	}
	size = s.blobs[d]
	delete(s.blobs, d)
	return size, true
}

// lockBlobs takes the locks of several blobs, always in the same order.
func (s *Images) lockBlobs(ctx context.Context, ds []digest.Digest) (func(), error) {
	ds = unique(ds)
	sort.Slice(ds, func(i, j int) bool { return ds[i] < ds[j] })
	var unlocks []func()
	free := func() {
		for _, u := range unlocks {
			u()
		}
	}
	for _, d := range ds {
		u, err := s.work.lock(ctx, "blob:"+d.String())
		if err != nil {
			free()
			return nil, err
		}
		unlocks = append(unlocks, u)
	}
	return free, nil
}

// recheck reads a blob that could not be used, and forgets it when it is not what it
// was: then a pull brings it again. It may be right, and an image's configuration wrong.
func (s *Images) recheck(ctx context.Context, d digest.Digest) {
	r, _, err := s.openBlob(ctx, d)
	if err != nil {
		return // told by whoever could not use it
	}
	defer r.Close() // only read
	sum := digest.SHA256.Digester()
	if _, err := io.Copy(sum.Hash(), r); err != nil || sum.Digest() == d {
		return
	}
	s.log.WithField("blob", d).Warn("blob is damaged on the datastore, a pull of its image fetches it again")
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.blobs, d)
}

// openBlob reads a blob from the datastore.
func (s *Images) openBlob(ctx context.Context, d digest.Digest) (io.ReadCloser, int64, error) {
	r, size, err := s.ds.Get(ctx, s.at.blob(d), 0)
	if err != nil {
		if errdefs.IsNotFound(err) {
			// Somebody removed it; a pull brings it again.
			s.mu.Lock()
			delete(s.blobs, d)
			s.mu.Unlock()
		}
		return nil, 0, fmt.Errorf("read blob %s: %w", d, err)
	}
	return r, size, nil
}

// manifest reads a manifest that is kept, and verifies it.
func (s *Images) manifest(ctx context.Context, d digest.Digest) ([]byte, error) {
	raw, err := s.getSmall(ctx, s.at.blob(d), maxRecord)
	if err != nil {
		return nil, fmt.Errorf("read manifest %s: %w", d, err)
	}
	if got := digest.FromBytes(raw); got != d {
		return nil, fmt.Errorf("manifest %s is damaged where it is kept, and has digest %s there; remove its image and pull it again: %w", d, got, errdefs.ErrDataLoss)
	}
	return raw, nil
}

// getSmall reads a whole file of at most limit bytes.
func (s *Images) getSmall(ctx context.Context, path string, limit int64) ([]byte, error) {
	return getSmall(ctx, s.ds, path, limit)
}

func getSmall(ctx context.Context, ds Datastore, path string, limit int64) ([]byte, error) {
	r, _, err := ds.Get(ctx, path, 0)
	if err != nil {
		return nil, err
	}
	defer r.Close() // only read
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s: more than %d bytes: %w", path, limit, errdefs.ErrDataLoss)
	}
	return b, err
}

func unique(ds []digest.Digest) []digest.Digest {
	seen := map[digest.Digest]bool{}
	var out []digest.Digest
	for _, d := range ds {
		if !seen[d] {
			seen[d] = true
			out = append(out, d)
		}
	}
	return out
}
