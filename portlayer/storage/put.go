package storage

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/vic-engine/vic/pkg/image"
	"github.com/vic-engine/vic/pkg/spec"
)

// Put makes an image of src: blobs, manifest, disk and names. An image that is
// there already only gets the names. A parent, or a blob, that is not there is
// ErrNotFound; layers that are damaged, or disagree with the configuration or
// the manifest, ErrInvalidArgument or ErrDataLoss. On an error, and when ctx
// ends, nothing of it is left.
func (s *Images) Put(ctx context.Context, src spec.ImageSource) (img spec.Image, err error) {
	sp, err := s.newSpool()
	if err != nil {
		return img, err
	}
	defer func() { err = errors.Join(sp.explain(err), sp.close()) }()
	return s.put(ctx, src, sp)
}

// put is Put with the layers spooled to sp.
func (s *Images) put(ctx context.Context, src spec.ImageSource, sp *spool) (img spec.Image, err error) {
	add, err := putNames(src.Names)
	if err != nil {
		return img, err
	}
	if s.whole(digest.FromBytes(src.Config)) {
		if img, err := s.putAgain(ctx, digest.FromBytes(src.Config), add); !errdefs.IsNotFound(err) {
			return img, err
		}
	}
	// What the image needs of the store must stay while it is made.
	below, unpin, err := s.base(ctx, src)
	if err != nil {
		return img, err
	}
	defer func() { err = errors.Join(err, unpin(ctx)) }()
	m := &making{s: s, sp: sp, src: src, fetched: map[digest.Digest]int64{}}
	if err := m.layers(ctx, below); err != nil {
		return img, err
	}
	r, manifest, err := m.record()
	if err != nil {
		return img, err
	}
	unlock, err := s.work.lock(ctx, "image:"+r.ID.String())
	if err != nil {
		return img, err
	}
	defer unlock()
	// Ends after everything else is taken back: then no record needs the blobs.
	sweep := s.pin(r.digests())
	defer func() { err = errors.Join(err, sweep(ctx)) }()
	var u undo
	defer func() {
		if err != nil {
			err = errors.Join(err, u.fail(ctx))
		}
	}()
	if err := m.finish(ctx, r, manifest, &u); err != nil {
		return img, err
	}
	if len(add) > 0 {
		if err := s.rename(ctx, func(n names) names { return n.with(r.ID, add...) }); err != nil {
			return img, err
		}
	}
	u.success()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.view(s.records[r.ID]), nil
}

// whole tells whether an image is there with all its blobs.
func (s *Images) whole(id digest.Digest) bool {
	s.mu.Lock()
	r := s.records[id]
	s.mu.Unlock()
	return r != nil && s.hasAll(r.digests())
}

// putAgain gives an image that is there more names. One that has gone meanwhile
// is ErrNotFound.
func (s *Images) putAgain(ctx context.Context, id digest.Digest, add []string) (spec.Image, error) {
	unlock, err := s.work.lock(ctx, "image:"+id.String())
	if err != nil {
		return spec.Image{}, err
	}
	defer unlock()
	if !s.whole(id) {
		return spec.Image{}, &noSuchImage{id.String()}
	}
	if len(add) > 0 {
		if err := s.rename(ctx, func(n names) names { return n.with(id, add...) }); err != nil {
			return spec.Image{}, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.view(s.records[id]), nil
}

// putNames gives the names in full. One with a digest is refused: the digest
// is what a registry says.
func putNames(list []string) ([]string, error) {
	var out []string
	for _, n := range list {
		named, err := image.ParseReference(n)
		if err != nil {
			return nil, fmt.Errorf("name an image: %w", err)
		}
		if _, ok := named.(reference.Tagged); !ok {
			return nil, fmt.Errorf("name an image %q: a digest cannot be given: %w", n, errdefs.ErrInvalidArgument)
		}
		out = append(out, named.String())
	}
	return out, nil
}

// base gives the parent's layers, and pins them and the blobs that src names.
func (s *Images) base(ctx context.Context, src spec.ImageSource) ([]layerRecord, func(context.Context) error, error) {
	var below []layerRecord
	if src.Parent != "" {
		s.mu.Lock()
		parent := s.records[digest.Digest(src.Parent)]
		s.mu.Unlock()
		if parent == nil {
			return nil, nil, &noSuchImage{src.Parent}
		}
		below = parent.Layers
	}
	var need []digest.Digest
	for _, l := range below {
		need = append(need, l.Digest)
	}
	for i, l := range src.Layers {
		if (l.Blob == "") == (l.Open == nil) {
			return nil, nil, fmt.Errorf("layer %d: either a blob or its content must be given: %w", i, errdefs.ErrInvalidArgument)
		}
		if l.Blob != "" {
			need = append(need, digest.Digest(l.Blob))
		}
	}
	unpin := s.pin(need)
	for _, d := range need {
		if !s.has(d) {
			err := fmt.Errorf("blob %s is not in the image store: %w", d, errdefs.ErrNotFound)
			return nil, nil, errors.Join(err, unpin(ctx))
		}
	}
	return below, unpin, nil
}

// making is an image on its way into the store.
type making struct {
	s   *Images
	sp  *spool
	src spec.ImageSource
	// all are the image's layers, the parent's included.
	all []layerRecord
	// fetched are the sizes of the blobs that are in the spool.
	fetched map[digest.Digest]int64
}

// layers gathers the layers and spools those that are given as content.
func (m *making) layers(ctx context.Context, below []layerRecord) error {
	m.all = append(m.all, below...)
	for i, l := range m.src.Layers {
		r, err := m.layer(ctx, l)
		if err != nil {
			return fmt.Errorf("layer %d: %w", i, err)
		}
		m.all = append(m.all, r)
	}
	return nil
}

func (m *making) layer(ctx context.Context, l spec.ImageLayer) (layerRecord, error) {
	if l.Open == nil {
		return m.s.known(digest.Digest(l.Blob), digest.Digest(l.DiffID))
	}
	r, err := l.Open(ctx)
	if err != nil {
		return layerRecord{}, err
	}
	defer r.Close() // only read
	rec, err := m.sp.layer(ctx, r, m.src.Manifest == nil)
	if err != nil {
		return layerRecord{}, err
	}
	if l.DiffID != "" && rec.DiffID.String() != l.DiffID {
		return layerRecord{}, fmt.Errorf("verification failed: want content with digest %s, it has %s: %w", l.DiffID, rec.DiffID, errdefs.ErrDataLoss)
	}
	m.fetched[rec.Digest] = rec.Size
	return rec, nil
}

// known is a layer whose blob the store has. diffID may be empty if an image
// has the layer.
func (s *Images) known(d, diffID digest.Digest) (layerRecord, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.records {
		for _, l := range r.Layers {
			if l.Digest == d {
				return l, nil
			}
		}
	}
	if err := diffID.Validate(); err != nil || diffID.Algorithm() != digest.SHA256 {
		return layerRecord{}, fmt.Errorf("blob %s: no image has it, and its diff id is %q: %w", d, diffID, errdefs.ErrInvalidArgument)
	}
	return layerRecord{descriptor: descriptor{Digest: d, MediaType: ocispec.MediaTypeImageLayerGzip, Size: s.blobs[d]}, DiffID: diffID}, nil
}

// record completes the configuration and the manifest.
func (m *making) record() (*record, image.Blob, error) {
	var diffs []digest.Digest
	for _, l := range m.all {
		diffs = append(diffs, l.DiffID)
	}
	conf, err := image.WithRootFS(m.src.Config, diffs)
	if err != nil {
		return nil, image.Blob{}, err
	}
	r := &record{Version: recordVersion, ID: digest.FromBytes(conf), Config: string(conf), Layers: m.all}
	man, confType, err := image.ManifestOf(m.src.Manifest, conf, r.descriptors())
	if err != nil {
		return nil, image.Blob{}, err
	}
	r.ConfigType = confType
	r.Manifest = descriptor{man.Digest, man.MediaType, int64(len(man.Data))}
	return r, man, nil
}

// descriptors are the layers as a manifest has them.
func (r *record) descriptors() []ocispec.Descriptor {
	out := []ocispec.Descriptor{}
	for _, l := range r.Layers {
		out = append(out, ocispec.Descriptor{MediaType: l.MediaType, Digest: l.Digest, Size: l.Size})
	}
	return out
}

// finish brings what is in the spool into the store; u gets the steps back. The
// caller holds the image's lock and a pin.
func (m *making) finish(ctx context.Context, r *record, manifest image.Blob, u *undo) error {
	s, hex := m.s, r.ID.Encoded()
	s.mu.Lock()
	old := s.records[r.ID]
	s.mu.Unlock()
	if old != nil {
		// The same image by another manifest keeps what it had. A blob that
		// somebody has removed comes back.
		return m.keepBlobs(ctx, old.Layers)
	}
	if err := m.keepBlobs(ctx, r.Layers); err != nil {
		return err
	}
	if err := s.putSmall(ctx, manifest.Digest, manifest.Data); err != nil {
		return err
	}
	if err := s.putSmall(ctx, r.ID, []byte(r.Config)); err != nil {
		return err
	}
	b := &builder{s: s, sp: m.sp, say: func(spec.Progress) {}, fetched: m.fetched}
	for _, l := range r.Layers {
		b.layers = append(b.layers, image.Layer{Digest: l.Digest, DiffID: l.DiffID, Size: l.Size})
	}
	files, err := b.build(ctx, hex)
	if err != nil {
		return err
	}
	u.add(func(ctx context.Context) error { return s.removeFolder(ctx, hex) })
	for i := range r.Layers {
		r.Layers[i].Files = files[i]
	}
	r.Pulled = s.cfg.Now().UTC()
	return s.keep(ctx, r, u)
}

// keepBlobs puts the spooled blobs of these layers on the datastore, those that
// it lacks.
func (m *making) keepBlobs(ctx context.Context, ls []layerRecord) error {
	s := m.s
	var ds []digest.Digest
	for _, l := range ls {
		if _, ok := m.fetched[l.Digest]; ok {
			ds = append(ds, l.Digest)
		}
	}
	unlock, err := s.lockBlobs(ctx, ds)
	if err != nil {
		return err
	}
	defer unlock()
	var need int64
	var lacking []digest.Digest
	for _, d := range unique(ds) {
		if !s.has(d) {
			lacking = append(lacking, d)
			need += m.fetched[d]
		}
	}
	if len(lacking) == 0 {
		return nil
	}
	capacity, free, err := s.ds.Space(ctx)
	if err != nil {
		return fmt.Errorf("read free space of datastore %s: %w", s.at.datastore(), err)
	}
	if need > free {
		return noRoom("the image's layers need "+size(need), s.at.datastore(), capacity, free)
	}
	for _, d := range lacking {
		if err := s.putBlobFile(ctx, d, m.sp.path(d.Encoded())); err != nil {
			return err
		}
	}
	return nil
}
