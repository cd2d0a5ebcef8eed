package isos

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/cavaliergopher/cpio"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// Compression of an initramfs. Debian's cloud kernel is built with RD_GZIP,
// RD_LZ4 and RD_ZSTD.
type Compression string

// The compressions; DefaultCompression says which is used, and why.
const (
	None Compression = "none"
	Gzip Compression = "gzip"
	LZ4  Compression = "lz4"
	Zstd Compression = "zstd"
)

// Initramfs packs entries into a newc cpio archive and compresses it. Inode
// numbers follow the order of the entries and every time is epoch, so equal
// entries give equal bytes.
func Initramfs(entries []Entry, epoch time.Time, c Compression) ([]byte, error) {
	var out bytes.Buffer
	z, err := compressor(&out, c)
	if err != nil {
		return nil, err
	}
	w := cpio.NewWriter(z)
	for i, e := range entries {
		if e.Disc {
			continue
		}
		h := &cpio.Header{Name: e.Path, Mode: cpio.FileMode(e.Mode.Perm()), Links: 1, Inode: int64(i + 1), ModTime: epoch}
		switch e.Mode.Type() {
		case 0:
			h.Mode |= cpio.TypeReg
			h.Size = int64(len(e.Data))
		case fs.ModeDir:
			h.Mode |= cpio.TypeDir
			h.Links = 2
		case fs.ModeSymlink:
			h.Mode |= cpio.TypeSymlink
			h.Size = int64(len(e.Data))
		default:
			return nil, fmt.Errorf("initramfs: /%s: type %v is not kept", e.Path, e.Mode.Type())
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, fmt.Errorf("initramfs: /%s: %w", e.Path, err)
		}
		if h.Size > 0 {
			if _, err := w.Write(e.Data); err != nil {
				return nil, fmt.Errorf("initramfs: /%s: %w", e.Path, err)
			}
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("initramfs: %w", err)
	}
	if err := z.Close(); err != nil {
		return nil, fmt.Errorf("initramfs: compress: %w", err)
	}
	return out.Bytes(), nil
}

func compressor(w io.Writer, c Compression) (io.WriteCloser, error) {
	switch c {
	case None:
		return nopCloser{w}, nil
	case Gzip:
		return gzip.NewWriterLevel(w, gzip.BestCompression)
	case LZ4: // the kernel reads only the legacy frame
		z := lz4.NewWriter(w)
		err := z.Apply(lz4.LegacyOption(true), lz4.CompressionLevelOption(lz4.Level9))
		return z, err
	case Zstd: // one goroutine: the split into blocks must not depend on timing
		return zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1),
			zstd.WithWindowSize(4<<20), zstd.WithEncoderCRC(false))
	}
	return nil, fmt.Errorf("compression %q: want none, gzip, lz4 or zstd", c)
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }
