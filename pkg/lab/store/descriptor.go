package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
)

// SectorSize is the unit of VMDK extents.
const SectorSize = 512

// maxDescriptor bounds what is read as a descriptor: real ones are under 2 KiB.
const maxDescriptor = 1 << 20

// sparseMagic begins a hosted sparse extent ("Virtual Disk Format 5.0", VMware).
const sparseMagic = "KDMV"

// Extent is one line of a descriptor that names where the sectors are.
type Extent struct {
	Access  string // RW, RDONLY, NOACCESS
	Sectors int64
	Type    string // VMFS, FLAT, SPARSE, …
	File    string // relative to the descriptor's folder
}

// Descriptor is the text part of a VMDK. Lines it does not understand are kept.
type Descriptor struct {
	lines []string
	// embedded tells that the text lives inside a sparse file, at offset, in
	// at most size bytes.
	embedded     bool
	offset, size int64
}

// ReadDescriptor reads the descriptor of the disk at path, be it a text file
// or the one inside a monolithicSparse or streamOptimized file.
func ReadDescriptor(path string) (*Descriptor, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("disk %s: %w", path, errdefs.ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	d, err := readDescriptor(f)
	if err != nil {
		return nil, fmt.Errorf("disk %s: %w", path, err)
	}
	return d, nil
}

func readDescriptor(f io.ReaderAt) (*Descriptor, error) {
	var head [SectorSize]byte
	n, err := f.ReadAt(head[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	d := &Descriptor{}
	size := int64(maxDescriptor)
	if n == SectorSize && string(head[:4]) == sparseMagic {
		d.embedded = true
		d.offset = int64(binary.LittleEndian.Uint64(head[28:])) * SectorSize
		size = int64(binary.LittleEndian.Uint64(head[36:])) * SectorSize
		if d.offset <= 0 || size <= 0 || size > maxDescriptor || d.offset > 1<<40 {
			return nil, fmt.Errorf("sparse header has no descriptor: %w", errdefs.ErrInvalidArgument)
		}
		d.size = size
	}
	text := make([]byte, size)
	n, err = f.ReadAt(text, d.offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if err := d.parse(text[:n]); err != nil {
		return nil, err
	}
	return d, nil
}

func (d *Descriptor) parse(text []byte) error {
	text, _, _ = bytes.Cut(text, []byte{0})
	first, _, _ := bytes.Cut(text, []byte("\n"))
	if !strings.EqualFold(strings.TrimSpace(string(first)), "# Disk DescriptorFile") {
		return fmt.Errorf("not a VMDK descriptor: %w", errdefs.ErrInvalidArgument)
	}
	d.lines = strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	for _, e := range d.Extents() {
		if e.Sectors < 0 || filepath.IsAbs(e.File) || strings.Contains(e.File, "/") {
			return fmt.Errorf("extent %q: %w", e.File, errdefs.ErrInvalidArgument)
		}
	}
	return nil
}

// Get returns the value of a "key=value" line, unquoted.
func (d *Descriptor) Get(key string) string {
	for _, l := range d.lines {
		k, v, ok := strings.Cut(l, "=")
		if ok && strings.EqualFold(strings.TrimSpace(k), key) {
			return strings.Trim(strings.TrimSpace(v), `"`)
		}
	}
	return ""
}

// Set replaces or appends a "key=value" line, quoting like the line it replaces.
func (d *Descriptor) Set(key, value string) {
	for i, l := range d.lines {
		k, v, ok := strings.Cut(l, "=")
		if !ok || !strings.EqualFold(strings.TrimSpace(k), key) {
			continue
		}
		if strings.Contains(v, `"`) {
			value = strconv.Quote(value)
		}
		d.lines[i] = strings.TrimRight(k, " ") + sep(l) + value
		return
	}
	d.lines = append(d.lines, fmt.Sprintf("%s = %q", key, value))
}

func sep(line string) string {
	if strings.Contains(line, " = ") {
		return " = "
	}
	return "="
}

// Extents lists where the sectors are.
func (d *Descriptor) Extents() []Extent {
	var out []Extent
	for _, l := range d.lines {
		f := strings.Fields(l)
		if len(f) < 4 || (f[0] != "RW" && f[0] != "RDONLY" && f[0] != "NOACCESS") {
			continue
		}
		n, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil {
			n = -1
		}
		name := ""
		if q := strings.SplitN(l, `"`, 3); len(q) == 3 {
			name = q[1]
		}
		out = append(out, Extent{Access: f[0], Sectors: n, Type: f[2], File: name})
	}
	return out
}

// setExtent replaces extent i.
func (d *Descriptor) setExtent(i int, e Extent) {
	n := 0
	for j, l := range d.lines {
		f := strings.Fields(l)
		if len(f) < 4 || (f[0] != "RW" && f[0] != "RDONLY" && f[0] != "NOACCESS") {
			continue
		}
		if n == i {
			tail := ""
			if q := strings.SplitN(l, `"`, 3); len(q) == 3 {
				tail = q[2]
			}
			d.lines[j] = fmt.Sprintf("%s %d %s %q%s", e.Access, e.Sectors, e.Type, e.File, tail)
			return
		}
		n++
	}
}

// Capacity is the disk's size in bytes.
func (d *Descriptor) Capacity() int64 {
	var n int64
	for _, e := range d.Extents() {
		n += e.Sectors
	}
	return n * SectorSize
}

// Parent is the parentFileNameHint: the file below a child disk, "" without one.
func (d *Descriptor) Parent() string { return d.Get("parentFileNameHint") }

// Flat tells that all sectors are in plain files: a disk this package copies by
// itself.
func (d *Descriptor) Flat() bool {
	if d.embedded || d.Parent() != "" {
		return false
	}
	for _, e := range d.Extents() {
		if e.Type != "VMFS" && e.Type != "FLAT" {
			return false
		}
	}
	return true
}

// Text is the descriptor as it is on disk.
func (d *Descriptor) Text() string { return strings.Join(d.lines, "\n") + "\n" }

// write puts the descriptor where it came from: path for a text one, atomically.
func (d *Descriptor) write(path string) error {
	if !d.embedded {
		tmp := path + "~"
		if err := os.WriteFile(tmp, []byte(d.Text()), 0o600); err != nil {
			return err
		}
		return os.Rename(tmp, path)
	}
	if int64(len(d.Text())) > d.size {
		return fmt.Errorf("descriptor of %s: %d bytes do not fit into %d: %w", path, len(d.Text()), d.size, errdefs.ErrOutOfRange)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	text := make([]byte, d.size)
	copy(text, d.Text())
	_, err = f.WriteAt(text, d.offset)
	return errors.Join(err, f.Close())
}
