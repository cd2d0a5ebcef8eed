package store

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/google/uuid"
)

// Spec is what a new disk shall be.
type Spec struct {
	Capacity int64 // bytes, rounded up to a sector; over 0
	// Thin is only noted: every extent is sparse.
	Thin bool
	// Adapter is ddb.adapterType; empty: lsilogic, as ESXi says for pvscsi too.
	Adapter string
	// UUID in the form of vSphere; empty: a random one.
	UUID string
}

// FlatName is the extent's name of the disk x.vmdk: x-flat.vmdk.
func FlatName(path string) string {
	return strings.TrimSuffix(path, ".vmdk") + "-flat.vmdk"
}

// Create makes an empty disk. A file of that name is an error (ErrAlreadyExists).
func Create(path string, s Spec) error {
	if s.Capacity <= 0 {
		return fmt.Errorf("disk %s: capacity %d: %w", path, s.Capacity, errdefs.ErrInvalidArgument)
	}
	flat := FlatName(path)
	for _, p := range []string{path, flat} {
		if _, err := os.Lstat(p); err == nil {
			return fmt.Errorf("disk %s: %w", p, errdefs.ErrAlreadyExists)
		}
	}
	sectors := (s.Capacity + SectorSize - 1) / SectorSize
	f, err := os.OpenFile(flat, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	err = errors.Join(f.Truncate(sectors*SectorSize), f.Close())
	if err == nil {
		err = newDescriptor(filepath.Base(flat), sectors, s).write(path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("disk %s: %w", path, err), os.Remove(flat))
	}
	return nil
}

// newDescriptor renders what ESXi writes for a disk on VMFS. Geometry is the
// 255 x 63 of SCSI disks; nothing here reads it.
func newDescriptor(flat string, sectors int64, s Spec) *Descriptor {
	var cid [4]byte
	_, _ = rand.Read(cid[:]) // never fails
	if s.Adapter == "" {
		s.Adapter = "lsilogic"
	}
	if s.UUID == "" {
		id := uuid.New()
		s.UUID = FormatUUID(id[:])
	}
	lines := []string{
		"# Disk DescriptorFile",
		"version=1",
		`encoding="UTF-8"`,
		fmt.Sprintf("CID=%08x", binary.BigEndian.Uint32(cid[:])&0xfffffffe),
		"parentCID=ffffffff",
		`createType="vmfs"`,
		"",
		"# Extent description",
		fmt.Sprintf("RW %d VMFS %q", sectors, flat),
		"",
		"# The Disk Data Base",
		"#DDB",
		"",
		fmt.Sprintf("ddb.adapterType = %q", s.Adapter),
		fmt.Sprintf(`ddb.geometry.cylinders = "%d"`, max(sectors/(255*63), 1)),
		`ddb.geometry.heads = "255"`,
		`ddb.geometry.sectors = "63"`,
	}
	if s.Thin {
		lines = append(lines, `ddb.thinProvisioned = "1"`)
	}
	return &Descriptor{lines: append(lines, fmt.Sprintf("ddb.uuid = %q", s.UUID), `ddb.virtualHWVersion = "19"`)}
}

// FormatUUID writes 16 bytes the way vSphere writes a disk's UUID.
func FormatUUID(b []byte) string {
	var s strings.Builder
	for i, c := range b {
		switch {
		case i == 8:
			s.WriteByte('-')
		case i > 0:
			s.WriteByte(' ')
		}
		fmt.Fprintf(&s, "%02x", c)
	}
	return s.String()
}

// Files lists the files of a disk, the descriptor last, so that removing them
// in order never leaves a descriptor without its extents behind unseen.
func Files(path string) ([]string, error) {
	d, err := ReadDescriptor(path)
	if err != nil {
		return nil, err
	}
	var out []string
	if !d.embedded {
		for _, e := range d.Extents() {
			out = append(out, filepath.Join(filepath.Dir(path), e.File))
		}
	}
	return append(out, path), nil
}

// Delete removes a disk's files. A child's parent stays.
func Delete(path string) error {
	files, err := Files(path)
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := os.Remove(f); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Move renames a disk, over file systems too.
func Move(ctx context.Context, src, dst string) error {
	d, err := ReadDescriptor(src)
	if err != nil {
		return err
	}
	if err := free(dst); err != nil {
		return err
	}
	if !d.Flat() {
		if err := moveFile(ctx, src, dst); err != nil {
			return err
		}
		if p := d.Parent(); p != "" && !filepath.IsAbs(p) {
			rel, err := filepath.Rel(filepath.Dir(dst), filepath.Join(filepath.Dir(src), p))
			if err != nil {
				return err
			}
			d.Set("parentFileNameHint", rel)
			return d.write(dst)
		}
		return nil
	}
	for i, e := range d.Extents() {
		to := extentName(dst, i)
		if err := moveFile(ctx, filepath.Join(filepath.Dir(src), e.File), to); err != nil {
			return fmt.Errorf("move disk %s: %w", src, err)
		}
		e.File = filepath.Base(to)
		d.setExtent(i, e)
	}
	if err := d.write(dst); err != nil {
		return err
	}
	return os.Remove(src)
}

// Copy makes a disk of its own from src: with a child, its whole chain. Holes
// stay holes. The copy has its own UUID.
func Copy(ctx context.Context, src, dst string) error {
	d, err := ReadDescriptor(src)
	if err != nil {
		return err
	}
	if err := free(dst); err != nil {
		return err
	}
	if !d.Flat() {
		return flatten(ctx, src, dst)
	}
	id := uuid.New()
	made := []string{}
	for i, e := range d.Extents() {
		to := extentName(dst, i)
		made = append(made, to)
		if err := CopyFile(ctx, filepath.Join(filepath.Dir(src), e.File), to); err != nil {
			return errors.Join(fmt.Errorf("copy disk %s: %w", src, err), removeAll(made))
		}
		e.File = filepath.Base(to)
		d.setExtent(i, e)
	}
	d.Set("ddb.uuid", FormatUUID(id[:]))
	if err := d.write(dst); err != nil {
		return errors.Join(err, removeAll(made))
	}
	return nil
}

// Extend grows a disk to capacity bytes. It never shrinks one.
func Extend(path string, capacity int64) error {
	d, err := ReadDescriptor(path)
	if err != nil {
		return err
	}
	ext := d.Extents()
	if !d.Flat() || len(ext) == 0 {
		return fmt.Errorf("extend disk %s: only a flat disk can grow: %w", path, errdefs.ErrNotImplemented)
	}
	if capacity < d.Capacity() {
		return fmt.Errorf("extend disk %s: %d is less than its %d bytes: %w", path, capacity, d.Capacity(), errdefs.ErrInvalidArgument)
	}
	i := len(ext) - 1
	ext[i].Sectors += (capacity - d.Capacity() + SectorSize - 1) / SectorSize
	if err := os.Truncate(filepath.Join(filepath.Dir(path), ext[i].File), ext[i].Sectors*SectorSize); err != nil {
		return fmt.Errorf("extend disk %s: %w", path, err)
	}
	d.setExtent(i, ext[i])
	return d.write(path)
}

// PlainExtent is the file that has all sectors of a disk, from its first byte to
// its last; "" for a disk that is not one such file.
func PlainExtent(path string) string {
	d, err := ReadDescriptor(path)
	if err != nil || !d.Flat() || len(d.Extents()) != 1 {
		return ""
	}
	e := d.Extents()[0]
	file := filepath.Join(filepath.Dir(path), e.File)
	fi, err := os.Stat(file)
	if err != nil || e.Type != "VMFS" || e.Access != "RW" || fi.Size() != e.Sectors*SectorSize {
		return ""
	}
	return file
}

// SetUUID notes a disk's UUID in its descriptor.
func SetUUID(path, id string) error {
	d, err := ReadDescriptor(path)
	if err != nil {
		return err
	}
	d.Set("ddb.uuid", id)
	return d.write(path)
}

func extentName(path string, i int) string {
	if i == 0 {
		return FlatName(path)
	}
	return fmt.Sprintf("%s-f%03d.vmdk", strings.TrimSuffix(path, ".vmdk"), i+1)
}

func free(path string) error {
	for _, p := range []string{path, FlatName(path)} {
		if _, err := os.Lstat(p); err == nil {
			return fmt.Errorf("disk %s: %w", p, errdefs.ErrAlreadyExists)
		}
	}
	return nil
}

func removeAll(files []string) error {
	var errs []error
	for _, f := range files {
		if err := os.Remove(f); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func moveFile(ctx context.Context, src, dst string) error {
	err := os.Rename(src, dst)
	if err == nil || !crossDevice(err) {
		return err
	}
	if err := CopyFile(ctx, src, dst); err != nil {
		return err
	}
	return os.Remove(src)
}
