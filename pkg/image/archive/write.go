package archive

import (
	"archive/tar"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/vic-engine/vic/pkg/image"
)

// Saved is an image to be written.
type Saved struct {
	// Names are its tags; it may have none.
	Names    []reference.NamedTagged
	Manifest image.Blob
	Config   image.Blob
	Platform ocispec.Platform
	Layers   []digest.Digest // of the packed layers, as the manifest has them
}

// Write writes an archive that is both docker's and an OCI layout. open gives a
// layer as it is kept, with its size. The same images give the same bytes. A layer
// that does not have its digest any more is ErrDataLoss, and the archive is cut off.
func Write(ctx context.Context, w io.Writer, images []Saved, open func(context.Context, digest.Digest) (io.ReadCloser, int64, error)) error {
	o := &writer{t: tar.NewWriter(w), written: map[digest.Digest]bool{}}
	for _, dir := range []string{"blobs/", blobFolder} {
		if err := o.t.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755, ModTime: epoch}); err != nil {
			return fmt.Errorf("write archive of images: %w", err)
		}
	}
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{}}
	items := []dockerItem{}
	for _, img := range images {
		for _, b := range []image.Blob{img.Manifest, img.Config} {
			if err := o.small(b); err != nil {
				return err
			}
		}
		item := dockerItem{Config: blobFolder + img.Config.Digest.Encoded(), RepoTags: []string{}, Layers: []string{}}
		for _, d := range img.Layers {
			item.Layers = append(item.Layers, blobFolder+d.Encoded())
			if err := o.layer(ctx, d, open); err != nil {
				return err
			}
		}
		for _, n := range img.Names {
			item.RepoTags = append(item.RepoTags, reference.FamiliarString(n))
		}
		items = append(items, item)
		index.Manifests = append(index.Manifests, descriptors(img)...)
	}
	for _, f := range []struct {
		name    string
		content any
	}{
		{ocispec.ImageIndexFile, index},
		{dockerManifest, items},
		{ocispec.ImageLayoutFile, ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion}},
	} {
		raw, err := json.Marshal(f.content)
		if err != nil {
			return fmt.Errorf("encode %s: %w", f.name, err)
		}
		if err := o.file(f.name, raw); err != nil {
			return err
		}
	}
	if err := o.t.Close(); err != nil {
		return fmt.Errorf("write archive of images: %w", err)
	}
	return nil
}

// descriptors name an image in the index, once for each of its names.
func descriptors(img Saved) []ocispec.Descriptor {
	d := ocispec.Descriptor{MediaType: img.Manifest.MediaType, Digest: img.Manifest.Digest, Size: int64(len(img.Manifest.Data))}
	if img.Platform.OS != "" && img.Platform.Architecture != "" {
		d.Platform = &img.Platform
	}
	if len(img.Names) == 0 {
		return []ocispec.Descriptor{d}
	}
	var out []ocispec.Descriptor
	for _, n := range img.Names {
		d.Annotations = map[string]string{imageName: n.String(), ocispec.AnnotationRefName: n.Tag()}
		out = append(out, d)
	}
	return out
}

// epoch is the time of every file, so that it tells nothing.
var epoch = time.Unix(0, 0)

type writer struct {
	t       *tar.Writer
	written map[digest.Digest]bool
}

func (o *writer) file(name string, content []byte) error {
	err := o.t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content)), ModTime: epoch})
	if err == nil {
		_, err = o.t.Write(content)
	}
	if err != nil {
		return fmt.Errorf("write archive of images: %w", err)
	}
	return nil
}

func (o *writer) small(b image.Blob) error {
	if o.written[b.Digest] {
		return nil
	}
	o.written[b.Digest] = true
	return o.file(blobFolder+b.Digest.Encoded(), b.Data)
}

func (o *writer) layer(ctx context.Context, d digest.Digest, open func(context.Context, digest.Digest) (io.ReadCloser, int64, error)) error {
	if o.written[d] {
		return nil
	}
	o.written[d] = true
	r, size, err := open(ctx, d)
	if err != nil {
		return err
	}
	defer r.Close() // only read
	if err := o.t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: blobFolder + d.Encoded(), Mode: 0o644, Size: size, ModTime: epoch}); err != nil {
		return fmt.Errorf("write archive of images: %w", err)
	}
	sum := digest.SHA256.Digester()
	if _, err := io.Copy(io.MultiWriter(o.t, sum.Hash()), r); err != nil {
		return fmt.Errorf("write layer %s to the archive: %w", d, err)
	}
	if got := sum.Digest(); got != d {
		return fmt.Errorf("write layer %s to the archive: it is damaged where it is kept, and has digest %s there; remove its image and pull it again: %w", d, got, errdefs.ErrDataLoss)
	}
	return nil
}
