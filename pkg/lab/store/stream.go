package store

import (
	"bytes"
	"compress/zlib"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/containerd/errdefs"
)

// Markers of a streamOptimized VMDK ("Virtual Disk Format 5.0", VMware).
const (
	markerEOS    = 0
	markerGT     = 1
	markerGD     = 2
	markerFooter = 3
)

// limits of what a stream may claim.
const (
	maxCapacity   = 62 << 40 // vSphere's largest disk
	maxGrain      = 1 << 20
	maxCompressed = 2 << 20
)

// Stream reads a streamOptimized VMDK: what an OVF import uploads.
type Stream struct {
	Capacity   int64
	Descriptor *Descriptor
	grain      int64
	r          io.Reader
}

// NewStream reads the header of a streamOptimized VMDK. The reader is left at
// the first grain.
func NewStream(r io.Reader) (*Stream, error) {
	var h [SectorSize]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return nil, fmt.Errorf("VMDK header: %w", err)
	}
	le := binary.LittleEndian
	flags := le.Uint32(h[8:])
	if string(h[:4]) != sparseMagic || flags&(1<<16) == 0 || flags&(1<<17) == 0 || le.Uint16(h[77:]) != 1 {
		return nil, fmt.Errorf("not a streamOptimized VMDK: %w", errdefs.ErrInvalidArgument)
	}
	s := &Stream{
		Capacity: int64(le.Uint64(h[12:])) * SectorSize,
		grain:    int64(le.Uint64(h[20:])) * SectorSize,
		r:        r,
	}
	over := int64(le.Uint64(h[64:])) * SectorSize
	if s.Capacity <= 0 || s.Capacity > maxCapacity || s.grain < SectorSize || s.grain > maxGrain ||
		over < SectorSize || over > 64<<20 {
		return nil, fmt.Errorf("VMDK header out of range: %w", errdefs.ErrInvalidArgument)
	}
	head := make([]byte, over)
	copy(head, h[:])
	if _, err := io.ReadFull(r, head[SectorSize:]); err != nil {
		return nil, fmt.Errorf("VMDK overhead: %w", err)
	}
	d, err := readDescriptor(bytes.NewReader(head))
	if err != nil {
		return nil, err
	}
	s.Descriptor = d
	return s, nil
}

// WriteTo writes the grains at their places. Nothing is written for the others:
// out should be a file of Capacity bytes, all hole.
func (s *Stream) WriteTo(ctx context.Context, out io.WriterAt) error {
	var m [SectorSize]byte
	le := binary.LittleEndian
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := io.ReadFull(s.r, m[:]); err != nil {
			return fmt.Errorf("VMDK stream ends early: %w", err)
		}
		val, size := int64(le.Uint64(m[:])), int64(le.Uint32(m[8:]))
		if size == 0 {
			switch le.Uint32(m[12:]) {
			case markerEOS:
				_, err := io.Copy(io.Discard, s.r)
				return err
			case markerGT, markerGD, markerFooter:
				if val < 0 || val > 1<<21 {
					return fmt.Errorf("VMDK metadata of %d sectors: %w", val, errdefs.ErrInvalidArgument)
				}
				if _, err := io.CopyN(io.Discard, s.r, val*SectorSize); err != nil {
					return fmt.Errorf("VMDK stream ends early: %w", err)
				}
			default:
				return fmt.Errorf("VMDK marker %d: %w", le.Uint32(m[12:]), errdefs.ErrInvalidArgument)
			}
			continue
		}
		if err := s.grainAt(out, val, size, m[12:]); err != nil {
			return err
		}
	}
}

// grainAt inflates one grain of size compressed bytes, whose first ones came
// with its marker.
func (s *Stream) grainAt(out io.WriterAt, lba, size int64, first []byte) error {
	off := lba * SectorSize
	if size > maxCompressed || lba < 0 || lba > maxCapacity/SectorSize || off >= s.Capacity {
		return fmt.Errorf("VMDK grain at sector %d, %d bytes: %w", lba, size, errdefs.ErrInvalidArgument)
	}
	padded := (12+size+SectorSize-1)/SectorSize*SectorSize - 12
	data := make([]byte, padded)
	n := copy(data, first)
	if _, err := io.ReadFull(s.r, data[n:]); err != nil {
		return fmt.Errorf("VMDK stream ends early: %w", err)
	}
	z, err := zlib.NewReader(bytes.NewReader(data[:size]))
	if err != nil {
		return fmt.Errorf("VMDK grain at sector %d: %w", lba, err)
	}
	plain, err := io.ReadAll(io.LimitReader(z, s.grain+1))
	if err != nil {
		return fmt.Errorf("VMDK grain at sector %d: %w", lba, err)
	}
	if int64(len(plain)) > s.grain {
		return fmt.Errorf("VMDK grain at sector %d is longer than %d: %w", lba, s.grain, errdefs.ErrInvalidArgument)
	}
	plain = plain[:min(int64(len(plain)), s.Capacity-off)]
	if zero(plain) {
		return nil
	}
	_, err = out.WriteAt(plain, off)
	return err
}

// Import fills the disk at path, made before by Create, from a streamOptimized
// VMDK. A disk smaller than the stream's grows. More than limit bytes of data are
// refused with ErrResourceExhausted.
func Import(ctx context.Context, path string, r io.Reader, limit int64) error {
	s, err := NewStream(r)
	if err != nil {
		return fmt.Errorf("import %s: %w", path, err)
	}
	d, err := ReadDescriptor(path)
	if err != nil {
		return err
	}
	if s.Capacity > d.Capacity() {
		if err := Extend(path, s.Capacity); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(FlatName(path), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	err = errors.Join(s.WriteTo(ctx, &capped{f, limit}), f.Close())
	if err != nil {
		return fmt.Errorf("import %s: %w", path, err)
	}
	return nil
}

// capped is an extent that can't take more than left bytes.
type capped struct {
	f    *os.File
	left int64
}

func (c *capped) WriteAt(b []byte, off int64) (int, error) {
	if c.left -= int64(len(b)); c.left < 0 {
		return 0, errdefs.ErrResourceExhausted
	}
	return c.f.WriteAt(b, off)
}
