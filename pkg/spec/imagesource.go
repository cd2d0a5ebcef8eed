package spec

import (
	"context"
	"io"
)

// ImageSource is what an image is made of when it does not come from a
// registry: by commit, load, import or build.
type ImageSource struct {
	// Config is the image configuration (JSON). One without a root filesystem
	// ("rootfs" absent or without diff ids) gets it from the layers, and keeps
	// all other fields as they are. One that has it must agree with the layers;
	// then its bytes are kept, and so is the image's id.
	Config []byte
	// Parent is the id of an image whose layers come first; empty: none.
	Parent string
	// Layers are those above the parent's, the lowest first.
	Layers []ImageLayer
	// Manifest, when given, is kept byte for byte, so that the image is pushed
	// and saved with the digest that it has elsewhere; it must name Config and
	// exactly the layers. Without it one is made.
	Manifest []byte
	// Names are references to give to the image ("app:1"); each is taken from the
	// image that has it.
	Names []string
}

// ImageLayer is one layer of an ImageSource: either Blob or Open is set.
type ImageLayer struct {
	// Blob is the digest of a compressed layer that the store has.
	Blob string
	// Open gives the layer as a tar, packed with gzip, zstd or not. It is called
	// once; the layers are opened in turn, never two at once. A packed one is
	// kept as it comes, and so is a plain one of a source with a Manifest; other
	// plain ones are packed with gzip.
	Open func(context.Context) (io.ReadCloser, error)
	// DiffID is the digest of the tar, checked when it is given. It is needed
	// for a Blob that no image of the store has.
	DiffID string
}
