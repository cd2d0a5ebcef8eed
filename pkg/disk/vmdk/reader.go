package vmdk

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Reader reads the disk that a streamOptimized VMDK holds. It trusts nothing
// in the file: what does not fit the format is an error.
type Reader struct {
	r    io.ReaderAt
	size int64 // of the file
	h    header
	// gd has the sector of each grain table, 0 for a table of zeros.
	gd []uint32
	// table is the grain table last used, tableNo its number or -1.
	table   []uint32
	tableNo int
	// grain is the grain last read, grainNo its number or -1.
	grain   []byte
	grainNo int64
}

// NewReader reads the header, footer and grain directory of the VMDK in r,
// which is size bytes long.
func NewReader(r io.ReaderAt, size int64) (*Reader, error) {
	v := &Reader{r: r, size: size, tableNo: -1, grainNo: -1}
	if err := v.header(0); err != nil {
		return nil, fmt.Errorf("vmdk header: %w", err)
	}
	if v.h.GDOffset == gdAtEnd {
		// The footer is the last sector but one; the end marker follows.
		if size < 3*SectorSize {
			return nil, errors.New("vmdk footer: file too short")
		}
		first := v.h
		if err := v.header(size - 2*SectorSize); err != nil {
			return nil, fmt.Errorf("vmdk footer: %w", err)
		}
		if v.h.Capacity != first.Capacity || v.h.GrainSize != first.GrainSize {
			return nil, errors.New("vmdk footer: differs from the header")
		}
	}
	if err := v.directory(); err != nil {
		return nil, fmt.Errorf("vmdk grain directory: %w", err)
	}
	return v, nil
}

// Capacity is the size of the disk in bytes.
func (v *Reader) Capacity() int64 { return int64(v.h.Capacity) * SectorSize }

// Descriptor is the embedded descriptor, a text.
func (v *Reader) Descriptor() (string, error) {
	if v.h.DescriptorOffset == 0 || v.h.DescriptorSize == 0 {
		return "", nil
	}
	if v.h.DescriptorSize > 1024 || v.h.DescriptorOffset > uint64(v.size)/SectorSize {
		return "", fmt.Errorf("vmdk descriptor of %d sectors at %d", v.h.DescriptorSize, v.h.DescriptorOffset)
	}
	b := make([]byte, v.h.DescriptorSize*SectorSize)
	if err := v.read(b, int64(v.h.DescriptorOffset)*SectorSize); err != nil {
		return "", fmt.Errorf("vmdk descriptor: %w", err)
	}
	return string(bytes.TrimRight(b, "\x00")), nil
}

// ReadAt implements io.ReaderAt over the disk. It is not safe for use by
// several goroutines at once.
func (v *Reader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("vmdk read at %d", off)
	}
	done := 0
	for done < len(p) {
		at := off + int64(done)
		if at >= v.Capacity() {
			return done, io.EOF
		}
		gsize := int64(v.h.GrainSize) * SectorSize
		b, err := v.grainAt(at / gsize)
		if err != nil {
			return done, err
		}
		rest := min(gsize-at%gsize, v.Capacity()-at, int64(len(p)-done))
		part := p[done : done+int(rest)]
		if b == nil {
			clear(part)
		} else {
			copy(part, b[at%gsize:])
		}
		done += int(rest)
	}
	return done, nil
}

// Expand writes the disk into w, leaving out what is zero; w must read as
// zeros where nothing was written, as a new file cut to size does.
func (v *Reader) Expand(w io.WriterAt) error {
	gsize := int64(v.h.GrainSize) * SectorSize
	for t, sector := range v.gd {
		if sector == 0 {
			continue
		}
		for i := int64(0); i < entriesPerGT; i++ {
			g := int64(t)*entriesPerGT + i
			if g*gsize >= v.Capacity() {
				return nil
			}
			b, err := v.grainAt(g)
			if err != nil {
				return err
			}
			if b == nil {
				continue
			}
			b = b[:min(gsize, v.Capacity()-g*gsize)]
			if _, err := w.WriteAt(b, g*gsize); err != nil {
				return fmt.Errorf("write grain %d: %w", g, err)
			}
		}
	}
	return nil
}

func (v *Reader) header(off int64) error {
	b := make([]byte, SectorSize)
	if err := v.read(b, off); err != nil {
		return err
	}
	if err := binary.Read(bytes.NewReader(b), binary.LittleEndian, &v.h); err != nil {
		return err
	}
	return v.h.check()
}

func (v *Reader) directory() error {
	grains := (v.h.Capacity + v.h.GrainSize - 1) / v.h.GrainSize
	n := (grains + entriesPerGT - 1) / entriesPerGT
	if v.h.GDOffset > uint64(v.size)/SectorSize || n*4 > uint64(v.size) {
		return fmt.Errorf("%d entries at sector %d of a file of %d bytes", n, v.h.GDOffset, v.size)
	}
	b := make([]byte, n*4)
	if err := v.read(b, int64(v.h.GDOffset)*SectorSize); err != nil {
		return err
	}
	v.gd = make([]uint32, n)
	for i := range v.gd {
		v.gd[i] = binary.LittleEndian.Uint32(b[4*i:])
	}
	return nil
}

// grainAt gives the bytes of a grain, nil when it is all zeros.
func (v *Reader) grainAt(g int64) ([]byte, error) {
	if g == v.grainNo {
		return v.grain, nil
	}
	t := int(g / entriesPerGT)
	if v.gd[t] == 0 {
		return nil, nil
	}
	if v.tableNo != t {
		b := make([]byte, entriesPerGT*4)
		if err := v.read(b, int64(v.gd[t])*SectorSize); err != nil {
			return nil, fmt.Errorf("grain table %d: %w", t, err)
		}
		v.table = make([]uint32, entriesPerGT)
		for i := range v.table {
			v.table[i] = binary.LittleEndian.Uint32(b[4*i:])
		}
		v.tableNo = t
	}
	sector := v.table[g%entriesPerGT]
	if sector <= 1 { // 0: not there; 1: zeroed
		return nil, nil
	}
	b, err := v.inflate(g, int64(sector)*SectorSize)
	if err != nil {
		return nil, fmt.Errorf("grain %d at sector %d: %w", g, sector, err)
	}
	v.grain, v.grainNo = b, g
	return b, nil
}

func (v *Reader) inflate(g, off int64) ([]byte, error) {
	var marker [12]byte
	if err := v.read(marker[:], off); err != nil {
		return nil, err
	}
	if lba := binary.LittleEndian.Uint64(marker[:]); lba != uint64(g)*v.h.GrainSize {
		return nil, fmt.Errorf("marker names disk sector %d", lba)
	}
	gsize := int64(v.h.GrainSize) * SectorSize
	n := int64(binary.LittleEndian.Uint32(marker[8:]))
	if n == 0 || n > 2*gsize {
		return nil, fmt.Errorf("compressed length %d", n)
	}
	packed := make([]byte, n)
	if err := v.read(packed, off+12); err != nil {
		return nil, err
	}
	z, err := zlib.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	b := make([]byte, gsize)
	// The last grain of a disk may be short.
	if got, err := io.ReadFull(z, b); err != nil && (!errors.Is(err, io.ErrUnexpectedEOF) || int64(got) < v.Capacity()-g*gsize) {
		return nil, err
	}
	var more [1]byte
	if got, err := z.Read(more[:]); got != 0 || !errors.Is(err, io.EOF) {
		return nil, errors.New("longer than a grain, or damaged")
	}
	return b, nil
}

// read fills b from the file at off.
func (v *Reader) read(b []byte, off int64) error {
	if off < 0 || off > v.size-int64(len(b)) {
		return fmt.Errorf("%d bytes at %d of a file of %d bytes: %w", len(b), off, v.size, io.ErrUnexpectedEOF)
	}
	if n, err := v.r.ReadAt(b, off); n < len(b) {
		return err
	}
	return nil
}

var _ io.ReaderAt = (*Reader)(nil)
