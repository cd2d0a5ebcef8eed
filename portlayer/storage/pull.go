package storage

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/vic-engine/vic/pkg/image"
	"github.com/vic-engine/vic/pkg/spec"
)

// Pull brings ref into the store: blobs, and the disk made from them. It tells
// whether the name led elsewhere before. Callers who ask for the same at the
// same time share the work and each get all progress, from their own
// goroutine. A pull that fails, or that nobody waits for any more, leaves no
// disk and no blob.
func (s *Images) Pull(ctx context.Context, ref string, o spec.PullOptions) (spec.Image, bool, error) {
	named, err := image.ParseReference(ref)
	if err != nil {
		return spec.Image{}, false, err
	}
	// Who may not pull must not get it because somebody else may.
	who := sha256.Sum256([]byte(strings.Join([]string{o.Username, o.Password, o.Token, o.RegistryToken}, "\x00")))
	key := named.String() + " " + o.Platform + " " + hex.EncodeToString(who[:])
	return s.flight.do(ctx, key, o.Progress, func(ctx context.Context, say func(spec.Progress)) (spec.Image, bool, error) {
		remote, err := s.cfg.Client.Resolve(ctx, named, o.Platform, auth(o.Credentials))
		if err != nil {
			return spec.Image{}, false, err
		}
		return s.pull(ctx, remote, say)
	})
}

// pull brings a resolved image into the store and names it.
func (s *Images) pull(ctx context.Context, remote *image.Remote, say func(spec.Progress)) (img spec.Image, fresh bool, err error) {
	unlock, err := s.work.lock(ctx, "image:"+remote.ID())
	if err != nil {
		return img, false, err
	}
	defer unlock()
	r := newRecord(remote)
	// Ends after everything else is taken back: then no record needs the blobs.
	unpin := s.pin(r.digests())
	defer func() { err = errors.Join(err, unpin(ctx)) }()
	var u undo
	defer func() {
		if err != nil {
			err = errors.Join(err, u.fail(ctx))
		}
	}()

	add := pulled(remote.Ref, remote.Digest)
	s.mu.Lock()
	old := s.records[r.ID]
	fresh = old == nil || s.names[add[0]] != r.ID
	s.mu.Unlock()
	disk, whole := false, s.hasAll(r.digests())
	if old != nil {
		if disk, err = s.diskThere(ctx, s.at.disk(r.ID.Encoded())); err != nil {
			return img, false, err
		}
		// By another manifest it is the same image: what it has is enough.
		whole = whole || s.hasAll(old.digests())
	}
	if !disk || !whole {
		if err := s.adopt(ctx, remote, r, old, disk, &u, say); err != nil {
			return img, false, err
		}
	}
	if err := s.rename(ctx, func(n names) names { return n.with(r.ID, add...) }); err != nil {
		return img, false, err
	}
	u.success()
	s.mu.Lock()
	defer s.mu.Unlock()
	img = s.view(s.records[r.ID])
	img.Digest = remote.Digest.String()
	return img, fresh, nil
}

// adopt fetches what is missing, makes the disk unless it is there, and writes
// the record unless there is an old one; u gets the steps back.
func (s *Images) adopt(ctx context.Context, remote *image.Remote, r, old *record, disk bool, u *undo, say func(spec.Progress)) (err error) {
	sp, err := s.newSpool()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(sp.explain(err), sp.close()) }()

	b := &builder{s: s, sp: sp, layers: remote.Layers, say: say, fetched: map[digest.Digest]int64{}, fresh: map[digest.Digest]bool{}}
	if err := s.fetch(ctx, remote, b); err != nil {
		return err
	}
	for _, blob := range []image.Blob{remote.Manifest, remote.Config, remote.Index} {
		if blob.Data == nil {
			continue
		}
		if err := s.putSmall(ctx, blob.Digest, blob.Data); err != nil {
			return err
		}
	}
	if !disk {
		hex := r.ID.Encoded()
		files, err := b.build(ctx, hex)
		if err != nil {
			return err
		}
		if old == nil {
			u.add(func(ctx context.Context) error { return s.removeFolder(ctx, hex) })
		}
		for i := range r.Layers {
			r.Layers[i].Files = files[i]
		}
	}
	if old == nil {
		r.Pulled = s.cfg.Now().UTC()
		if err := s.keep(ctx, r, u); err != nil {
			return err
		}
	}
	if n := len(remote.Layers); n > 0 {
		b.tell(remote.Layers[n-1], "Pull complete", 0, 0)
	}
	return nil
}

// fetch downloads the layers that the datastore lacks, and keeps them there as
// they come. Their blobs are locked meanwhile, so that another pull that needs
// one of them waits and then finds it.
func (s *Images) fetch(ctx context.Context, remote *image.Remote, b *builder) error {
	var lacking []digest.Digest
	for _, l := range remote.Layers {
		if !s.has(l.Digest) {
			lacking = append(lacking, l.Digest)
		}
	}
	unlock, err := s.lockBlobs(ctx, lacking)
	if err != nil {
		return err
	}
	defer unlock()

	var missing []image.Layer
	var need int64
	for _, l := range remote.Layers {
		if s.has(l.Digest) {
			b.say(spec.Progress{ID: l.ShortID(), Status: "Already exists"})
			continue
		}
		b.say(spec.Progress{ID: l.ShortID(), Status: "Pulling fs layer"})
		if !b.fresh[l.Digest] {
			b.fresh[l.Digest] = true
			missing = append(missing, l)
			need += l.Size
		}
	}
	if len(missing) == 0 {
		return nil
	}
	capacity, free, err := s.ds.Space(ctx)
	if err != nil {
		return fmt.Errorf("read free space of datastore %s: %w", s.at.datastore(), err)
	}
	if need > free {
		return noRoom("the image's layers need "+size(need), s.at.datastore(), capacity, free)
	}
	if err := b.sp.take(need); err != nil {
		return err
	}
	err = remote.Download(ctx, missing, func(l image.Layer) string { return b.sp.path(l.Digest.Encoded()) }, b.say,
		func(ctx context.Context, l image.Layer) error {
			return s.putBlobFile(ctx, l.Digest, b.sp.path(l.Digest.Encoded()))
		})
	for _, l := range missing {
		b.fetched[l.Digest] = l.Size
	}
	return err
}

func newRecord(remote *image.Remote) *record {
	blob := func(b image.Blob) descriptor { return descriptor{b.Digest, b.MediaType, int64(len(b.Data))} }
	r := &record{
		Version: recordVersion, ID: remote.Config.Digest, Manifest: blob(remote.Manifest),
		Config: string(remote.Config.Data), ConfigType: remote.Config.MediaType,
	}
	if remote.Index.Data != nil {
		d := blob(remote.Index)
		r.Index = &d
	}
	for _, l := range remote.Layers {
		r.Layers = append(r.Layers, layerRecord{descriptor: descriptor{l.Digest, l.MediaType, l.Size}, DiffID: l.DiffID})
	}
	return r
}

// keep writes image.json, which makes the image complete.
func (s *Images) keep(ctx context.Context, r *record, u *undo) error {
	raw, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return fmt.Errorf("encode image %s: %w", r.ID, err)
	}
	path := s.at.meta(r.ID.Encoded())
	u.add(func(ctx context.Context) error { return s.ds.Delete(ctx, path) })
	if err := s.replace(ctx, path, raw); err != nil {
		return fmt.Errorf("save image %s: %w", r.ID, err)
	}
	u.add(func(context.Context) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.records, r.ID)
		return nil
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records[r.ID] = r
	return nil
}
