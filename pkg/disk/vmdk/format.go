package vmdk

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Sizes of the format. A sector is the unit of all its addresses.
const (
	SectorSize = 512
	// GrainSize is how many bytes one compressed piece of the disk holds.
	GrainSize = 64 << 10

	grainSectors   = GrainSize / SectorSize
	entriesPerGT   = 512
	gtSectors      = entriesPerGT * 4 / SectorSize
	descriptorAt   = 1
	descriptorSize = 20 // sectors
	overhead       = 128

	magic            = 0x564d444b // "KDMV", little endian
	streamVersion    = 3
	flagNewlineTest  = 1 << 0
	flagCompressed   = 1 << 16
	flagMarkers      = 1 << 17
	gdAtEnd          = 0xffffffffffffffff
	compressionFlate = 1
)

// The kinds of metadata marker.
const (
	markerEOS    = 0
	markerGT     = 1
	markerGD     = 2
	markerFooter = 3
)

// MaxCapacity is the largest disk that Write makes and NewReader takes: the
// 62 TiB of vSphere.
const MaxCapacity = 62 << 40

// header is the first sector of a sparse extent, and the footer of a stream.
type header struct {
	Magic              uint32
	Version            uint32
	Flags              uint32
	Capacity           uint64 // sectors
	GrainSize          uint64 // sectors
	DescriptorOffset   uint64
	DescriptorSize     uint64
	NumGTEsPerGT       uint32
	RGDOffset          uint64
	GDOffset           uint64
	Overhead           uint64
	UncleanShutdown    uint8
	SingleEndLineChar  uint8
	NonEndLineChar     uint8
	DoubleEndLineChar1 uint8
	DoubleEndLineChar2 uint8
	CompressAlgorithm  uint16
	_                  [433]byte
}

func newHeader(capacitySectors, gdOffset uint64) header {
	return header{
		Magic: magic, Version: streamVersion,
		Flags:    flagNewlineTest | flagCompressed | flagMarkers,
		Capacity: capacitySectors, GrainSize: grainSectors,
		DescriptorOffset: descriptorAt, DescriptorSize: descriptorSize,
		NumGTEsPerGT: entriesPerGT, GDOffset: gdOffset, Overhead: overhead,
		SingleEndLineChar: '\n', NonEndLineChar: ' ', DoubleEndLineChar1: '\r', DoubleEndLineChar2: '\n',
		CompressAlgorithm: compressionFlate,
	}
}

func (h header) bytes() []byte {
	var b bytes.Buffer
	// Writing a fixed-size struct to memory cannot fail.
	_ = binary.Write(&b, binary.LittleEndian, h)
	return b.Bytes()
}

// check refuses what this package cannot read, and any size that would make a
// reader allocate more than the disk deserves.
func (h header) check() error {
	switch {
	case h.Magic != magic:
		return fmt.Errorf("magic %#x: not a sparse VMDK", h.Magic)
	case h.Version < 1 || h.Version > 3:
		return fmt.Errorf("version %d of the sparse format", h.Version)
	case h.Flags&flagCompressed == 0 || h.Flags&flagMarkers == 0 || h.CompressAlgorithm != compressionFlate:
		return fmt.Errorf("flags %#x with compression %d: not streamOptimized", h.Flags, h.CompressAlgorithm)
	case h.GrainSize < 8 || h.GrainSize > 2048 || h.GrainSize&(h.GrainSize-1) != 0:
		return fmt.Errorf("grain size of %d sectors", h.GrainSize)
	case h.NumGTEsPerGT != entriesPerGT:
		return fmt.Errorf("%d entries per grain table", h.NumGTEsPerGT)
	case h.Capacity == 0 || h.Capacity > MaxCapacity/SectorSize:
		return fmt.Errorf("capacity of %d sectors", h.Capacity)
	}
	return nil
}

// descriptor is the text that describes the disk to whoever imports it. Its
// geometry only matters to guests that boot by CHS; the kind of adapter is
// what the import puts into the descriptor of its own.
func descriptor(capacitySectors uint64, name string, cid uint32) ([]byte, error) {
	const heads, sectors = 255, 63
	cylinders := capacitySectors / (heads * sectors)
	if cylinders > 65535 {
		cylinders = 65535
	}
	if cylinders == 0 {
		cylinders = 1
	}
	text := fmt.Sprintf("# Disk DescriptorFile\nversion=1\nCID=%08x\nparentCID=ffffffff\ncreateType=\"streamOptimized\"\n\n"+
		"# Extent description\nRW %d SPARSE %q\n\n"+
		"# The Disk Data Base\n#DDB\n\n"+
		"ddb.virtualHWVersion = \"11\"\nddb.geometry.cylinders = \"%d\"\nddb.geometry.heads = \"%d\"\n"+
		"ddb.geometry.sectors = \"%d\"\nddb.adapterType = \"lsilogic\"\n",
		cid, capacitySectors, name, cylinders, heads, sectors)
	if len(text) > descriptorSize*SectorSize {
		return nil, fmt.Errorf("disk name %q is too long for the descriptor", name)
	}
	b := make([]byte, descriptorSize*SectorSize)
	copy(b, text)
	return b, nil
}
