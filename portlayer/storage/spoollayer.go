package storage

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/vic-engine/vic/pkg/image"
)

// layer spools a layer as the blob that is kept of it, in a file named by the
// blob's digest. A plain tar is packed with gzip if pack says so. What unpacks
// to more than the spool can hold is refused early: the disk could not be made.
func (sp *spool) layer(ctx context.Context, r io.Reader, pack bool) (l layerRecord, err error) {
	f, err := os.CreateTemp(sp.dir, "layer-")
	if err != nil {
		return l, fmt.Errorf("spool: %w", err)
	}
	before := sp.taken
	defer func() {
		err = errors.Join(err, f.Close())
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
			sp.give(sp.taken - before)
		}
	}()
	in := bufio.NewReaderSize(&ctxReader{ctx, r}, 64<<10)
	head, err := in.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return l, err
	}
	packed, plain := digest.SHA256.Digester(), digest.SHA256.Digester()
	file := sp.writer(io.MultiWriter(f, packed.Hash()))
	l.MediaType = ocispec.MediaTypeImageLayer
	switch kind := image.Packing(head); {
	case kind != image.Plain:
		l.MediaType += "+" + kind
		err = sp.hash(io.TeeReader(in, file), plain.Hash())
	case pack:
		l.MediaType = ocispec.MediaTypeImageLayerGzip
		// No name and no time in the header: the same tar gives the same blob.
		z := gzip.NewWriter(file)
		_, err = io.Copy(io.MultiWriter(z, plain.Hash()), in)
		err = errors.Join(err, z.Close())
	default:
		_, err = io.Copy(io.MultiWriter(file, plain.Hash()), in)
	}
	if err != nil {
		return l, err
	}
	l.Digest, l.DiffID = packed.Digest(), plain.Digest()
	st, err := f.Stat()
	if err != nil {
		return l, fmt.Errorf("spool: %w", err)
	}
	l.Size = st.Size()
	name := sp.path(l.Digest.Encoded())
	if _, err := os.Stat(name); err == nil {
		sp.give(sp.taken - before) // the same layer twice
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return l, fmt.Errorf("spool: %w", err)
	}
	return l, nil
}

// hash unpacks r and reads it to its end.
func (sp *spool) hash(r io.Reader, w io.Writer) error {
	z, err := image.Decompress(r)
	if err != nil {
		return err
	}
	defer z.Close() // only read
	n, err := io.Copy(w, io.LimitReader(z, max(sp.left(), 0)+1))
	if err != nil {
		return err
	}
	if err := sp.fits(n); err != nil {
		return fmt.Errorf("unpacked layer: %w", err)
	}
	// What follows the packed data belongs to the blob.
	_, err = io.Copy(io.Discard, r)
	return err
}

// ctxReader ends with ctx.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (r *ctxReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
