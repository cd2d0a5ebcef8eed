package isos

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"time"
)

// sector is the size of a CD-ROM's block, in bytes.
const sector = 2048

// ISOFile is a file in the root folder of an image; Name is 8.3, upper case.
type ISOFile struct {
	Name string
	Data []byte
}

// ISO is a flat ISO 9660 level 1 image that a BIOS boots through El Torito in
// no-emulation mode.
type ISO struct {
	Volume string
	Epoch  time.Time
	// Boot is the name of the boot file, which gets a boot information table as
	// isolinux wants it.
	Boot  string
	Files []ISOFile // in the order in which they lie on the disc
}

// Sectors of the fixed structures (ECMA-119 and El Torito 1.0).
const (
	lbaPVD     = 16
	lbaBoot    = 17
	lbaEnd     = 18
	lbaPathL   = 19
	lbaPathM   = 20
	lbaCatalog = 21
	lbaRoot    = 22
)

// Bytes makes the image.
func (i ISO) Bytes() ([]byte, error) {
	if len(i.Volume) > 32 || i.Volume != strings.ToUpper(i.Volume) {
		return nil, fmt.Errorf("volume id %q: want at most 32 upper-case characters", i.Volume)
	}
	lba := uint32(lbaRoot + 1)
	at := make([]uint32, len(i.Files))
	boot := -1
	for n, f := range i.Files {
		if base, ext, _ := strings.Cut(f.Name, "."); len(base) > 8 || len(ext) > 3 || f.Name != strings.ToUpper(f.Name) {
			return nil, fmt.Errorf("file %q: want an 8.3 name in upper case", f.Name)
		}
		if f.Name == i.Boot {
			boot = n
		}
		at[n] = lba
		lba += sectors(len(f.Data))
	}
	if boot < 0 {
		return nil, fmt.Errorf("boot file %q is not among the files", i.Boot)
	}
	total := lba

	root, err := i.directory(at)
	if err != nil {
		return nil, err
	}
	out := make([]byte, int(total)*sector)
	put := func(lba uint32, b []byte) { copy(out[int(lba)*sector:], b) }
	put(lbaPVD, i.primary(total))
	put(lbaBoot, bootRecord())
	put(lbaEnd, []byte("\xffCD001\x01"))
	put(lbaPathL, pathTable(binary.LittleEndian))
	put(lbaPathM, pathTable(binary.BigEndian))
	put(lbaCatalog, catalog(at[boot]))
	put(lbaRoot, root)
	for n, f := range i.Files {
		data := f.Data
		if n == boot {
			if data, err = withBootTable(data, at[n]); err != nil {
				return nil, fmt.Errorf("boot file %s: %w", f.Name, err)
			}
		}
		put(at[n], data)
	}
	return out, nil
}

func sectors(n int) uint32 { return uint32((n + sector - 1) / sector) }

// both is ISO 9660's "both-byte order" number.
func both32(v uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, v), v)
}

func both16(v uint16) []byte {
	return binary.BigEndian.AppendUint16(binary.LittleEndian.AppendUint16(nil, v), v)
}

func padded(s string, n int) []byte { return []byte(s + strings.Repeat(" ", n-len(s))) }

// primary is the primary volume descriptor (ECMA-119, 8.4).
func (i ISO) primary(total uint32) []byte {
	var b bytes.Buffer
	b.WriteString("\x01CD001\x01\x00")
	b.Write(padded("", 32))
	b.Write(padded(i.Volume, 32))
	b.Write(make([]byte, 8))
	b.Write(both32(total))
	b.Write(make([]byte, 32))
	b.Write(both16(1))
	b.Write(both16(1))
	b.Write(both16(sector))
	b.Write(both32(uint32(len(pathTable(binary.LittleEndian)))))
	b.Write(binary.LittleEndian.AppendUint32(nil, lbaPathL))
	b.Write(make([]byte, 4))
	b.Write(binary.BigEndian.AppendUint32(nil, lbaPathM))
	b.Write(make([]byte, 4))
	b.Write(i.record("\x00", lbaRoot, sector, true))
	for range 4 { // volume set, publisher, preparer, application
		b.Write(padded("", 128))
	}
	b.Write(padded("", 37*3))
	t := i.Epoch.UTC().Format("20060102150405") + "00\x00"
	b.WriteString(t + t)
	none := strings.Repeat("0", 16) + "\x00"
	b.WriteString(none + none)
	b.WriteString("\x01\x00")
	return b.Bytes()
}

// record is a directory record (ECMA-119, 9.1).
func (i ISO) record(name string, lba uint32, size int, dir bool) []byte {
	t := i.Epoch.UTC()
	var b bytes.Buffer
	b.Write([]byte{0, 0})
	b.Write(both32(lba))
	b.Write(both32(uint32(size)))
	b.Write([]byte{byte(t.Year() - 1900), byte(t.Month()), byte(t.Day()), byte(t.Hour()), byte(t.Minute()), byte(t.Second()), 0})
	flags := byte(0)
	if dir {
		flags = 2
	}
	b.Write([]byte{flags, 0, 0})
	b.Write(both16(1))
	b.WriteByte(byte(len(name)))
	b.WriteString(name)
	if b.Len()%2 == 1 {
		b.WriteByte(0)
	}
	r := b.Bytes()
	r[0] = byte(len(r))
	return r
}

func (i ISO) directory(at []uint32) ([]byte, error) {
	b := i.record("\x00", lbaRoot, sector, true)
	b = append(b, i.record("\x01", lbaRoot, sector, true)...)
	prev := ""
	for n, f := range i.Files {
		if f.Name <= prev {
			return nil, fmt.Errorf("file %q: names must be in order (ECMA-119, 9.3)", f.Name)
		}
		prev = f.Name
		name := f.Name
		if !strings.Contains(name, ".") {
			name += "."
		}
		b = append(b, i.record(name+";1", at[n], len(f.Data), false)...)
	}
	if len(b) > sector {
		return nil, fmt.Errorf("%d files do not fit in the root folder", len(i.Files))
	}
	return b, nil
}

func pathTable(o binary.AppendByteOrder) []byte {
	b := []byte{1, 0}
	b = o.AppendUint32(b, lbaRoot)
	b = o.AppendUint16(b, 1)
	return append(b, 0, 0)
}

func bootRecord() []byte {
	b := make([]byte, sector)
	copy(b, "\x00CD001\x01EL TORITO SPECIFICATION")
	binary.LittleEndian.PutUint32(b[0x47:], lbaCatalog)
	return b
}

// catalog is the boot catalogue: a validation entry, whose words sum to zero,
// and the default entry: x86, no emulation, four 512-byte sectors, which is as
// much as isolinux needs to load the rest of itself.
func catalog(lba uint32) []byte {
	b := make([]byte, 64)
	b[0], b[30], b[31] = 1, 0x55, 0xaa
	var sum uint16
	for n := 0; n < 32; n += 2 {
		sum += binary.LittleEndian.Uint16(b[n:])
	}
	binary.LittleEndian.PutUint16(b[28:], -sum)
	b[32] = 0x88
	binary.LittleEndian.PutUint16(b[38:], 4)
	binary.LittleEndian.PutUint32(b[40:], lba)
	return b
}

// withBootTable writes the 56-byte boot information table at offset 8: where
// the volume descriptor and the file itself lie, its length and the sum of its
// 32-bit words from offset 64.
func withBootTable(data []byte, lba uint32) ([]byte, error) {
	if len(data) < 64 {
		return nil, fmt.Errorf("%d bytes are too short for a boot information table", len(data))
	}
	b := make([]byte, (len(data)+3)&^3)
	copy(b, data)
	var sum uint32
	for n := 64; n < len(b); n += 4 {
		sum += binary.LittleEndian.Uint32(b[n:])
	}
	clear(b[8:64])
	binary.LittleEndian.PutUint32(b[8:], lbaPVD)
	binary.LittleEndian.PutUint32(b[12:], lba)
	binary.LittleEndian.PutUint32(b[16:], uint32(len(data)))
	binary.LittleEndian.PutUint32(b[20:], sum)
	return b, nil
}
