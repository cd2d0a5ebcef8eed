package storage

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/vic-engine/vic/pkg/image"
	"github.com/vic-engine/vic/pkg/image/archive"
	"github.com/vic-engine/vic/pkg/spec"
)

// LoadArchive brings the images of an archive (docker save's or an OCI layout)
// into the store. The archive is spooled first, so that one that is cut or
// damaged changes nothing; an image that cannot be made leaves nothing of
// itself, and those before it stay.
func (s *Images) LoadArchive(ctx context.Context, r io.Reader, o spec.LoadOptions) (err error) {
	sp, err := s.newSpool()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(sp.explain(err), sp.close()) }()
	f, err := os.OpenFile(sp.path("archive"), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	defer f.Close() // what was written is read again, or thrown away
	w := bufio.NewWriterSize(f, 256<<10)
	a, err := archive.Read(&ctxReader{ctx, r}, sp.writer(w), f)
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		return err
	}
	images, err := a.Images(o.Platform)
	if err != nil {
		return err
	}
	for _, img := range images {
		if err := s.loadOne(ctx, img, o); err != nil {
			return err
		}
	}
	return nil
}

func (s *Images) loadOne(ctx context.Context, img archive.Image, o spec.LoadOptions) (err error) {
	if o.Unnamed {
		img.Names = nil
	}
	src := spec.ImageSource{Config: img.Config, Manifest: img.Manifest, Names: img.Names}
	have, unpin := s.kept(img)
	defer func() { err = errors.Join(err, unpin(ctx)) }()
	for i, l := range img.Layers {
		src.Layers = append(src.Layers, loadLayer(l, have[i], o.Progress))
	}
	done := spec.LoadedImage{Lost: map[string]string{}}
	s.mu.Lock()
	for _, n := range img.Names {
		done.Names = append(done.Names, image.Familiar(n))
		if old := s.names[n]; old != "" && old != img.ID() {
			done.Lost[image.Familiar(n)] = old.String()
		}
	}
	s.mu.Unlock()
	if done.Image, err = s.Put(ctx, src); err != nil {
		return fmt.Errorf("load image %s: %w", img.ID(), err)
	}
	if o.Loaded != nil {
		o.Loaded(done)
	}
	return nil
}

// kept gives the blobs of the store that an image's layers are already, "" for those
// that the archive must give, and pins them: in any packing, unless a manifest tells
// which.
func (s *Images) kept(img archive.Image) (blobs []digest.Digest, unpin func(context.Context) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	blobs = make([]digest.Digest, len(img.Layers))
	var found []digest.Digest
	for i, l := range img.Layers {
		for _, r := range s.records {
			for _, have := range r.Layers {
				if _, ok := s.blobs[have.Digest]; ok && have.DiffID == l.DiffID && (img.Manifest == nil || have.Digest == l.Digest) {
					blobs[i] = have.Digest
				}
			}
		}
		if blobs[i] != "" {
			found = append(found, blobs[i])
		}
	}
	return blobs, s.pinLocked(found)
}

// loadLayer is a layer of an archive: a blob of the store, or the archive's content.
func loadLayer(l archive.Layer, have digest.Digest, say func(spec.Progress)) spec.ImageLayer {
	out := spec.ImageLayer{DiffID: l.DiffID.String(), Blob: have.String()}
	if have != "" {
		return out
	}
	out.Open = func(ctx context.Context) (io.ReadCloser, error) {
		if say == nil {
			return io.NopCloser(l.Open()), nil
		}
		id := image.Layer{Digest: l.DiffID}.ShortID()
		return reported{&progressReader{ctx: ctx, r: l.Open(), say: func(n int64) {
			say(spec.Progress{ID: id, Status: "Loading layer", Current: n, Total: l.Size})
		}}}, nil
	}
	return out
}

// reported tells at its end how far it was read.
type reported struct{ *progressReader }

func (r reported) Close() error {
	r.report()
	return nil
}

// SaveArchive writes the images that refs name to w, in the form of docker save:
// a tag is saved with that name, a repository with all its tags, an id or digest
// with none. What is not there is ErrNotFound, before the first byte. The blobs
// are written as they are kept, so that a load gives the same digests.
func (s *Images) SaveArchive(ctx context.Context, refs []string, o spec.SaveOptions, w io.Writer) (err error) {
	if err := image.CheckPlatform(o.Platform); err != nil {
		return err
	}
	images, unpin, err := s.saved(ctx, refs, o.Platform)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unpin(ctx)) }()
	if o.Saving != nil {
		var ids []string
		for _, img := range images {
			ids = append(ids, img.Config.Digest.String())
		}
		o.Saving(ids)
	}
	return archive.Write(ctx, w, images, s.openBlob)
}

// saved finds the images and pins what they need.
func (s *Images) saved(ctx context.Context, refs []string, platform string) (out []archive.Saved, unpin func(context.Context) error, err error) {
	if len(refs) == 0 {
		return nil, nil, fmt.Errorf("save images: no name is given: %w", errdefs.ErrInvalidArgument)
	}
	index := map[digest.Digest]int{}
	var need []digest.Digest
	add := func(r *record, name reference.NamedTagged) error {
		i, ok := index[r.ID]
		if !ok {
			one, err := savedRecord(r, platform)
			if err != nil {
				return err
			}
			i = len(out)
			index[r.ID] = i
			out = append(out, one)
			need = append(need, r.digests()...)
		}
		if name == nil {
			return nil
		}
		for _, n := range out[i].Names {
			if n.String() == name.String() {
				return nil
			}
		}
		out[i].Names = append(out[i].Names, name)
		return nil
	}
	s.mu.Lock()
	for _, ref := range refs {
		if err = s.eachSaved(ref, add); err != nil {
			break
		}
	}
	if err == nil {
		unpin = s.pinLocked(need)
	}
	s.mu.Unlock()
	if err != nil {
		return nil, nil, err
	}
	for i := range out {
		if out[i].Manifest.Data, err = s.manifest(ctx, out[i].Manifest.Digest); err != nil {
			return nil, nil, errors.Join(fmt.Errorf("save image %s: %w", out[i].Config.Digest, err), unpin(ctx))
		}
	}
	return out, unpin, nil
}

// eachSaved calls add for what ref names. It is called with mu held.
func (s *Images) eachSaved(ref string, add func(*record, reference.NamedTagged) error) error {
	if named, err := reference.ParseNormalizedNamed(ref); err == nil && reference.IsNameOnly(named) {
		found := false
		for name, id := range s.names.sorted() {
			n, err := reference.ParseNormalizedNamed(name)
			if err != nil || n.Name() != named.Name() || s.records[id] == nil {
				continue
			}
			found = true
			tagged, _ := n.(reference.NamedTagged) // nil: a digest
			if err := add(s.records[id], tagged); err != nil {
				return err
			}
		}
		if found {
			return nil
		}
	}
	r, err := s.find(ref)
	if err != nil {
		return err
	}
	if named, err := image.ParseReference(ref); err == nil && s.names[named.String()] == r.ID {
		if tagged, ok := named.(reference.NamedTagged); ok {
			return add(r, tagged)
		}
	}
	return add(r, nil)
}

func savedRecord(r *record, platform string) (archive.Saved, error) {
	conf, err := image.ParseConfig([]byte(r.Config))
	if err != nil {
		return archive.Saved{}, fmt.Errorf("save image %s: %w", r.ID, err)
	}
	if platform != "" && !image.Runs(conf.Platform, platform) {
		return archive.Saved{}, fmt.Errorf("no suitable export target found for platform %s: image %s is for %s/%s: %w", platform, r.ID, conf.OS, conf.Architecture, errdefs.ErrNotFound)
	}
	one := archive.Saved{
		Manifest: image.Blob{Digest: r.Manifest.Digest, MediaType: r.Manifest.MediaType},
		Config:   image.Blob{Digest: r.ID, MediaType: r.ConfigType, Data: []byte(r.Config)},
		Platform: ocispec.Platform{OS: conf.OS, Architecture: conf.Architecture, Variant: conf.Variant},
	}
	for _, l := range r.Layers {
		one.Layers = append(one.Layers, l.Digest)
	}
	return one, nil
}
