package system

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// XFSOptions are the mount options of a volume with XFS: copies of one blank have
// its UUID, and a VM may have several.
const XFSOptions = "nouuid"

// xfsGeometry is struct xfs_fsop_geom_v1 (fs/xfs/libxfs/xfs_fs.h): sizes in
// blocks but of a block, an inode and a sector, which are in bytes.
type xfsGeometry struct {
	BlockSize, RTExtSize, AGBlocks, AGCount, LogBlocks, SectorSize, InodeSize, MaxPct uint32
	DataBlocks, RTBlocks, RTExtents, LogStart                                         uint64
	UUID                                                                              [16]byte
	SUnit, SWidth                                                                     uint32
	Version                                                                           int32
	Flags, LogSectSize, RTSectSize, DirBlockSize                                      uint32
}

// xfsGrow is struct xfs_growfs_data. MaxPct is the share of inodes in percent,
// which the call sets too.
type xfsGrow struct {
	NewBlocks uint64
	MaxPct    uint32
	_         uint32
}

// The calls are _IOR('X', 100, struct xfs_fsop_geom_v1) and
// _IOW('X', 110, struct xfs_growfs_data).
const (
	xfsGetGeometry = 2<<30 | uintptr(unsafe.Sizeof(xfsGeometry{}))<<16 | 'X'<<8 | 100
	xfsGrowData    = 1<<30 | uintptr(unsafe.Sizeof(xfsGrow{}))<<16 | 'X'<<8 | 110
)

// fillXFS grows the XFS at dir to a disk of bytes.
func fillXFS(dev, dir string, bytes uint64) (grew bool, err error) {
	d, err := os.Open(dir)
	if err != nil {
		return false, fmt.Errorf("resize %s: %w", dev, err)
	}
	defer d.Close()
	var have xfsGeometry
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, d.Fd(), xfsGetGeometry, uintptr(unsafe.Pointer(&have))); e != 0 {
		return false, fmt.Errorf("geometry of the XFS of %s: %w", dev, e)
	}
	want := xfsGrow{NewBlocks: bytes / uint64(have.BlockSize), MaxPct: have.MaxPct}
	// What is too small for an allocation group of its own, of 64 blocks, is left
	// over by the kernel, which then refuses to shrink by it.
	if rest := want.NewBlocks % uint64(have.AGBlocks); rest < xfsMinAG {
		want.NewBlocks -= rest
	}
	if want.NewBlocks <= have.DataBlocks {
		return false, nil
	}
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, d.Fd(), xfsGrowData, uintptr(unsafe.Pointer(&want))); e != 0 {
		return false, fmt.Errorf("resize the XFS of %s from %d to %d blocks: %w", dev, have.DataBlocks, want.NewBlocks, e)
	}
	return true, nil
}

// xfsMinAG is XFS_MIN_AG_BLOCKS.
const xfsMinAG = 64
