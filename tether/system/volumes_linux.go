package system

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"
)

// InRoot tells whether the folder path exists inside root, following links as a
// process whose root that is would.
func InRoot(root, path string) bool {
	fd, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	at, err := openInRoot(fd, filepath.Join(".", path))
	if err != nil {
		return false
	}
	unix.Close(at)
	return true
}

// BindBelow mounts the folder path of the folder from on target. A path that
// leads out of from, by ".." or by a link, is refused.
func BindBelow(from, path, target string) error {
	fd, err := unix.Open(from, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", from, err)
	}
	defer unix.Close(fd)
	at, err := unix.Openat2(fd, path, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS})
	switch {
	case errors.Is(err, unix.EXDEV):
		return fmt.Errorf("folder %s leads out of the volume: %w", path, err)
	case err != nil:
		return fmt.Errorf("folder %s of the volume: %w", path, err)
	}
	defer unix.Close(at)
	// Not by its name, which could lead elsewhere by now.
	return Mount{Source: fmt.Sprintf("/proc/self/fd/%d", at), Target: target, Flags: unix.MS_BIND}.Do()
}

// MakeReadOnly makes one place where a filesystem is mounted read-only; others
// stay as they are.
func MakeReadOnly(target string) error {
	if err := unix.Mount("", target, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("make %s read-only: %w", target, err)
	}
	return nil
}

// RescanDisk makes the kernel look at the capacity of a disk ("/dev/sdb").
func RescanDisk(dev string) error {
	file := filepath.Join("/sys/block", filepath.Base(dev), "device/rescan")
	if err := os.WriteFile(file, []byte("1"), 0); err != nil {
		return fmt.Errorf("rescan %s: %w", dev, err)
	}
	return nil
}

// ext4Size is what an ext4 superblock says of the filesystem's size.
type ext4Size struct {
	blocks uint64
	block  uint64 // bytes
}

// Places in the superblock, which begins at byte 1024 of the disk.
const (
	superblock     = 1024
	superBytes     = 1024
	superBlocks    = 0x04
	superLogBlock  = 0x18
	superMagic     = 0x38
	superIncompat  = 0x60
	superBlocksTop = 0x150
	incompat64     = 0x80
)

// parseExt4 reads a superblock; ok is false when it is not one of ext4's.
func parseExt4(b []byte) (s ext4Size, ok bool) {
	if len(b) < superBytes || binary.LittleEndian.Uint16(b[superMagic:]) != 0xef53 {
		return s, false
	}
	log := binary.LittleEndian.Uint32(b[superLogBlock:])
	if log > 6 { // 64 KiB
		return s, false
	}
	s.block = 1024 << log
	s.blocks = uint64(binary.LittleEndian.Uint32(b[superBlocks:]))
	if binary.LittleEndian.Uint32(b[superIncompat:])&incompat64 != 0 {
		s.blocks |= uint64(binary.LittleEndian.Uint32(b[superBlocksTop:])) << 32
	}
	return s, s.blocks > 0
}

// resizeExt4 is EXT4_IOC_RESIZE_FS: _IOW('f', 16, __u64).
const resizeExt4 = 0x40086610

// FillDisk lets the filesystem of dev that is mounted at dir fill its disk. It
// tells whether it has grown: one that is as large as its disk stays.
func FillDisk(fs, dev, dir string) (grew bool, err error) {
	f, err := os.Open(dev)
	if err != nil {
		return false, fmt.Errorf("size of %s: %w", dev, err)
	}
	defer f.Close()
	var bytes uint64
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.BLKGETSIZE64, uintptr(unsafe.Pointer(&bytes))); e != 0 {
		return false, fmt.Errorf("size of %s: %w", dev, e)
	}
	switch fs {
	case "ext4":
		return fillExt4(f, dev, dir, bytes)
	case "xfs":
		return fillXFS(dev, dir, bytes)
	}
	return false, fmt.Errorf("resize %s: filesystem %q is not known to this guest", dev, fs)
}

func fillExt4(f *os.File, dev, dir string, bytes uint64) (grew bool, err error) {
	raw := make([]byte, superBytes)
	if _, err := f.ReadAt(raw, superblock); err != nil {
		return false, fmt.Errorf("superblock of %s: %w", dev, err)
	}
	have, ok := parseExt4(raw)
	if !ok {
		return false, fmt.Errorf("superblock of %s: no ext4", dev)
	}
	blocks := bytes / have.block
	if blocks <= have.blocks {
		return false, nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return false, fmt.Errorf("resize %s: %w", dev, err)
	}
	defer d.Close()
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, d.Fd(), resizeExt4, uintptr(unsafe.Pointer(&blocks))); e != 0 {
		return false, fmt.Errorf("resize the ext4 of %s from %d to %d blocks: %w", dev, have.blocks, bytes/have.block, e)
	}
	return true, nil
}
