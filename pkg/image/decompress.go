package image

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/errdefs"
	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// maxZstdWindow bounds the memory of a zstd layer; the tools that make layers
// stay below it.
const maxZstdWindow = 128 << 20

// Decompress gives the tar in a layer, whichever way it is packed: gzip, zstd
// or not at all. Like Docker it looks at the bytes, as media types are often
// wrong. Damage is ErrInvalidArgument. Closing it does not close r.
func Decompress(r io.Reader) (io.ReadCloser, error) {
	b := bufio.NewReaderSize(r, 64<<10)
	head, err := b.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch Packing(head) {
	case Gzip:
		z, err := gzip.NewReader(b)
		if err != nil {
			return nil, damaged(err)
		}
		return &unpacked{z, func() { z.Close() }}, nil
	case Zstd:
		// One goroutine: the caller's.
		z, err := zstd.NewReader(b, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxZstdWindow))
		if err != nil {
			return nil, damaged(err)
		}
		return &unpacked{z, z.Close}, nil
	}
	return &unpacked{b, func() {}}, nil
}

// How a layer is packed, as the ends of media types name it.
const (
	Plain = ""
	Gzip  = "gzip"
	Zstd  = "zstd"
)

// Packing tells how a layer that begins with head (4 bytes are enough) is packed.
func Packing(head []byte) string {
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return Gzip
	case len(head) < 4:
		return Plain
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}), head[0]&0xf0 == 0x50 && bytes.Equal(head[1:4], []byte{0x2a, 0x4d, 0x18}):
		// The second form is a skippable frame.
		return Zstd
	}
	return Plain
}

type unpacked struct {
	r     io.Reader
	close func()
}

func (u *unpacked) Read(p []byte) (int, error) {
	n, err := u.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = damaged(err)
	}
	return n, err
}

func (u *unpacked) Close() error {
	u.close()
	return nil
}

// damaged classes an error of a decompressor. What the stream below reported
// stays what it is.
func damaged(err error) error {
	var corrupt flate.CorruptInputError
	if errors.As(err, &corrupt) || errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) || errors.Is(err, io.ErrUnexpectedEOF) || isZstd(err) {
		return fmt.Errorf("damaged compressed data: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	return err
}

func isZstd(err error) bool {
	for _, known := range []error{
		zstd.ErrMagicMismatch, zstd.ErrReservedBlockType, zstd.ErrCompressedSizeTooBig, zstd.ErrBlockTooSmall,
		zstd.ErrUnexpectedBlockSize, zstd.ErrWindowSizeExceeded, zstd.ErrWindowSizeTooSmall, zstd.ErrDecoderSizeExceeded,
		zstd.ErrUnknownDictionary, zstd.ErrFrameSizeExceeded, zstd.ErrFrameSizeMismatch, zstd.ErrCRCMismatch,
	} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}
