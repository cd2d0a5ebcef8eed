package vmdk

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zlib"
)

// Options of Write. The zero value is useful.
type Options struct {
	// Name of the disk as the embedded descriptor has it; empty is "disk.vmdk".
	Name string
	// Level is the deflate level, 1 to 9; 0 is 1, the fastest that compresses.
	Level int
	// Progress is called now and then with how far in the disk Write is.
	Progress func(done, capacity int64)
}

// Capacity rounds a size in bytes up to what vSphere takes as a disk's
// capacity: whole MiB, at least one.
func Capacity(size int64) int64 {
	const unit = 1 << 20
	if size <= 0 {
		return unit
	}
	return (size + unit - 1) / unit * unit
}

// Write writes the disk that src holds, of capacity bytes, as a streamOptimized
// VMDK to w and gives the number of bytes written. What src lacks up to
// capacity reads as zeros. Grains of zeros are left out; where src is a sparse
// file, its holes are not even read.
func Write(ctx context.Context, w io.Writer, src io.ReaderAt, capacity int64, o Options) (int64, error) {
	if capacity <= 0 || capacity%SectorSize != 0 || capacity > MaxCapacity {
		return 0, fmt.Errorf("capacity of %d bytes: want whole sectors, at most %d", capacity, int64(MaxCapacity))
	}
	if o.Name == "" {
		o.Name = "disk.vmdk"
	}
	if o.Level == 0 {
		o.Level = zlib.BestSpeed
	}
	sw := &streamWriter{w: w}
	z, err := zlib.NewWriterLevel(&sw.packed, o.Level)
	if err != nil {
		return 0, fmt.Errorf("compression level %d: %w", o.Level, err)
	}
	sw.z = z
	if err := sw.disk(ctx, src, uint64(capacity/SectorSize), o); err != nil {
		return sw.sectors * SectorSize, fmt.Errorf("write vmdk %s: %w", o.Name, err)
	}
	return sw.sectors * SectorSize, nil
}

// streamWriter keeps where it is in the stream, in sectors.
type streamWriter struct {
	w       io.Writer
	z       *zlib.Writer
	packed  bytes.Buffer
	sectors int64
}

func (s *streamWriter) disk(ctx context.Context, src io.ReaderAt, capacity uint64, o Options) error {
	text, err := descriptor(capacity, o.Name, 0x76696331)
	if err != nil {
		return err
	}
	if err := s.put(newHeader(capacity, gdAtEnd).bytes(), text); err != nil {
		return err
	}
	if err := s.put(make([]byte, (overhead-s.sectors)*SectorSize)); err != nil {
		return err
	}

	grains := (capacity + grainSectors - 1) / grainSectors
	directory := make([]uint32, (grains+entriesPerGT-1)/entriesPerGT)
	holes := newHoles(src, int64(capacity)*SectorSize)
	buf := make([]byte, GrainSize)
	for t := range directory {
		if err := ctx.Err(); err != nil {
			return err
		}
		first := uint64(t) * entriesPerGT
		table, used, err := s.table(src, holes, buf, first, min(first+entriesPerGT, grains))
		if err != nil {
			return err
		}
		if o.Progress != nil {
			o.Progress(int64(min(first+entriesPerGT, grains))*GrainSize, int64(capacity)*SectorSize)
		}
		if !used {
			continue
		}
		if err := s.marker(markerGT, gtSectors); err != nil {
			return err
		}
		directory[t] = uint32(s.sectors)
		if err := s.put(words(table)); err != nil {
			return err
		}
	}
	return s.end(capacity, directory)
}

// table writes the grains [first, end) and gives where each is.
func (s *streamWriter) table(src io.ReaderAt, holes *holes, buf []byte, first, end uint64) ([]uint32, bool, error) {
	table := make([]uint32, entriesPerGT)
	used := false
	for g := first; g < end; g++ {
		off := int64(g) * GrainSize
		if holes.covers(off, off+GrainSize) {
			continue
		}
		n, err := src.ReadAt(buf, off)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, false, fmt.Errorf("read at %d: %w", off, err)
		}
		clear(buf[n:])
		if zero(buf) {
			continue
		}
		at := s.sectors
		if at > 0xffffffff {
			return nil, false, errors.New("more than 2 TiB of data")
		}
		if err := s.grain(g*grainSectors, buf); err != nil {
			return nil, false, err
		}
		table[g-first], used = uint32(at), true
	}
	return table, used, nil
}

func (s *streamWriter) grain(lba uint64, data []byte) error {
	s.packed.Reset()
	// Room for the marker: the sector of the disk and the compressed length.
	s.packed.Write(make([]byte, 12))
	s.z.Reset(&s.packed)
	if _, err := s.z.Write(data); err != nil {
		return fmt.Errorf("compress grain at sector %d: %w", lba, err)
	}
	if err := s.z.Close(); err != nil {
		return fmt.Errorf("compress grain at sector %d: %w", lba, err)
	}
	b := s.packed.Bytes()
	binary.LittleEndian.PutUint64(b[0:], lba)
	binary.LittleEndian.PutUint32(b[8:], uint32(len(b)-12))
	return s.put(b)
}

func (s *streamWriter) end(capacity uint64, directory []uint32) error {
	gd := words(directory)
	if err := s.marker(markerGD, (uint64(len(gd))+SectorSize-1)/SectorSize); err != nil {
		return err
	}
	gdAt := s.sectors
	if err := s.put(gd); err != nil {
		return err
	}
	if err := s.marker(markerFooter, 1); err != nil {
		return err
	}
	if err := s.put(newHeader(capacity, uint64(gdAt)).bytes()); err != nil {
		return err
	}
	return s.marker(markerEOS, 0)
}

func (s *streamWriter) marker(kind uint32, sectors uint64) error {
	b := make([]byte, SectorSize)
	binary.LittleEndian.PutUint64(b[0:], sectors)
	binary.LittleEndian.PutUint32(b[12:], kind)
	return s.put(b)
}

// put writes the parts one after the other, filled up to a whole sector.
func (s *streamWriter) put(parts ...[]byte) error {
	total := 0
	for _, p := range parts {
		if _, err := s.w.Write(p); err != nil {
			return err
		}
		total += len(p)
	}
	if rest := total % SectorSize; rest != 0 {
		if _, err := s.w.Write(make([]byte, SectorSize-rest)); err != nil {
			return err
		}
		total += SectorSize - rest
	}
	s.sectors += int64(total / SectorSize)
	return nil
}

func words(v []uint32) []byte {
	b := make([]byte, 4*len(v))
	for i, x := range v {
		binary.LittleEndian.PutUint32(b[4*i:], x)
	}
	return b
}

func zero(b []byte) bool {
	for len(b) >= 8 {
		if binary.LittleEndian.Uint64(b) != 0 {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
