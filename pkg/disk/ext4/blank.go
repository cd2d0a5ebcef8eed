package ext4

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/google/uuid"
)

// BlankOptions of WriteBlank. The zero value is useful.
type BlankOptions struct {
	// Label is the volume's name, at most 16 bytes.
	Label string
	// UUID of the filesystem; the zero UUID means a random one.
	UUID uuid.UUID
}

// MinBlank is the size of the smallest filesystem that WriteBlank makes.
const MinBlank = 16 << 20

// WriteBlank writes an empty journaled ext4 filesystem of size bytes into w,
// which must read as zeros where nothing is written, as a new file cut to size
// does. Only the blocks that are not zeros are written: about 0.5 MB for 8 GiB.
//
// There is one inode for each 16 KiB and a journal of 4 to 32 MiB. Inode
// tables need no initialising by the kernel, so a mounted disk does not grow by
// itself. Nothing is reserved for root. Errors make the kernel remount it
// read-only.
func WriteBlank(w io.WriterAt, size int64, o BlankOptions) error {
	if size < MinBlank || size/blockSize > 1<<32-1 {
		return fmt.Errorf("ext4 of %d bytes: want %d at least, and less than 16 TiB", size, MinBlank)
	}
	if len(o.Label) > 16 {
		return fmt.Errorf("ext4 label %q: at most 16 bytes", o.Label)
	}
	if o.UUID == uuid.Nil {
		id, err := uuid.NewRandom()
		if err != nil {
			return fmt.Errorf("make a uuid: %w", err)
		}
		o.UUID = id
	}
	b := newBlank(size, o)
	if err := b.write(w); err != nil {
		return fmt.Errorf("write blank ext4: %w", err)
	}
	return nil
}

// blank is the layout of an empty filesystem. All positions are in blocks.
type blank struct {
	o              BlankOptions
	blocks         uint32
	groups         uint32
	inodesPerGroup uint32
	tableBlocks    uint32 // of one group's inode table
	gdtBlocks      uint32
	journal        uint32 // first block
	journalBlocks  uint32
	root           uint32
	lost           uint32
	// used are the runs of blocks that are taken, [start, end).
	used [][2]uint32
	at   []placement
}

// placement says where the metadata of one group is.
type placement struct{ blockBitmap, inodeBitmap, inodeTable uint32 }

func newBlank(size int64, o BlankOptions) *blank {
	b := &blank{o: o, blocks: uint32(size / blockSize)}
	b.inodesPerGroup = min(b.blocks, blocksPerGroup) * blockSize / bytesPerInode
	b.inodesPerGroup = (b.inodesPerGroup + inodesPerBlock - 1) / inodesPerBlock * inodesPerBlock
	b.tableBlocks = b.inodesPerGroup / inodesPerBlock
	b.count()
	// A last group too small for its own metadata is given up, as mke2fs does.
	last := (b.groups - 1) * blocksPerGroup
	if rest := b.blocks - last; b.groups > 1 && rest < 1+b.gdtBlocks+2+b.tableBlocks+50 {
		b.blocks = last
		b.count()
	}
	b.place()
	return b
}

func (b *blank) count() {
	b.groups = (b.blocks + blocksPerGroup - 1) / blocksPerGroup
	b.gdtBlocks = (b.groups*descSize + blockSize - 1) / blockSize
}

// place gives everything its blocks. The bitmaps and inode tables of
// groupsPerFlex groups lie together in the first of them.
func (b *blank) place() {
	b.at = make([]placement, b.groups)
	for g := range b.groups {
		if hasSuper(g) {
			b.take(g*blocksPerGroup, 1+b.gdtBlocks)
		}
	}
	for first := uint32(0); first < b.groups; first += groupsPerFlex {
		n := min(groupsPerFlex, b.groups-first)
		at := first * blocksPerGroup
		if hasSuper(first) {
			at += 1 + b.gdtBlocks
		}
		start := at
		for i := range n {
			b.at[first+i] = placement{at + i, at + n + i, at + 2*n + i*b.tableBlocks}
		}
		at += n * (2 + b.tableBlocks)
		if first == 0 {
			b.root, b.lost, b.journal = at, at+1, at+2
			b.journalBlocks = journalSize(b.blocks)
			at += 2 + b.journalBlocks
		}
		b.take(start, at-start)
	}
}

func (b *blank) take(start, n uint32) { b.used = append(b.used, [2]uint32{start, start + n}) }

// journalSize is smaller than mke2fs's for large disks: the journal is what a
// busy container's thin disk grows by first.
func journalSize(blocks uint32) uint32 {
	switch {
	case blocks < 32768: // 128 MiB
		return 1024
	case blocks < 262144: // 1 GiB
		return 4096
	}
	return 8192
}

// hasSuper tells whether a group has a copy of the superblock: 0, 1 and the
// powers of 3, 5 and 7.
func hasSuper(g uint32) bool {
	if g <= 1 {
		return true
	}
	for _, base := range []uint32{3, 5, 7} {
		for p := base; p <= g; p *= base {
			if p == g {
				return true
			}
		}
	}
	return false
}

func (b *blank) write(w io.WriterAt) error {
	descriptors, free, err := b.writeGroups(w)
	if err != nil {
		return err
	}
	for g := range b.groups {
		if !hasSuper(g) {
			continue
		}
		at := int64(g) * blocksPerGroup * blockSize
		sb := at
		if g == 0 {
			sb += 1024
		}
		if _, err := w.WriteAt(b.super(g, free), sb); err != nil {
			return fmt.Errorf("superblock of group %d: %w", g, err)
		}
		if _, err := w.WriteAt(descriptors, at+blockSize); err != nil {
			return fmt.Errorf("descriptors in group %d: %w", g, err)
		}
	}
	for _, part := range []struct {
		name  string
		block uint32
		off   int64
		data  []byte
	}{
		{"root directory", b.root, 0, directory(inodeRoot, inodeRoot, "lost+found")},
		{"lost+found", b.lost, 0, directory(inodeLost, inodeRoot, "")},
		{"journal", b.journal, 0, b.journalSuper()},
		{"inode of root", b.at[0].inodeTable, (inodeRoot - 1) * inodeSize, inode(0o40755, 3, b.root, 1)},
		{"inode of the journal", b.at[0].inodeTable, (inodeJournal - 1) * inodeSize, inode(0o100600, 1, b.journal, b.journalBlocks)},
		{"inode of lost+found", b.at[0].inodeTable, (inodeLost - 1) * inodeSize, inode(0o40700, 2, b.lost, 1)},
	} {
		if _, err := w.WriteAt(part.data, int64(part.block)*blockSize+part.off); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return nil
}

// writeGroups writes the bitmaps and gives the descriptors and the number of
// free blocks.
func (b *blank) writeGroups(w io.WriterAt) (descriptors []byte, free uint32, err error) {
	descriptors = make([]byte, b.gdtBlocks*blockSize)
	for g := range b.groups {
		bitmap, taken := b.bitmap(g)
		inodes := make([]byte, blockSize)
		setBits(inodes, int(b.inodesPerGroup), 8*blockSize)
		usedInodes, dirs := uint32(0), uint16(0)
		if g == 0 {
			usedInodes, dirs = inodeLost, 2
			setBits(inodes, 0, inodeLost)
		}
		inGroup := min(blocksPerGroup, b.blocks-g*blocksPerGroup)
		free += inGroup - taken
		d, at := descriptors[g*descSize:], b.at[g]
		binary.LittleEndian.PutUint32(d[0x00:], at.blockBitmap)
		binary.LittleEndian.PutUint32(d[0x04:], at.inodeBitmap)
		binary.LittleEndian.PutUint32(d[0x08:], at.inodeTable)
		binary.LittleEndian.PutUint16(d[0x0c:], uint16(inGroup-taken))
		binary.LittleEndian.PutUint16(d[0x0e:], uint16(b.inodesPerGroup-usedInodes))
		binary.LittleEndian.PutUint16(d[0x10:], dirs)
		_, err1 := w.WriteAt(bitmap, int64(at.blockBitmap)*blockSize)
		_, err2 := w.WriteAt(inodes, int64(at.inodeBitmap)*blockSize)
		if err := errors.Join(err1, err2); err != nil {
			return nil, 0, fmt.Errorf("bitmaps of group %d: %w", g, err)
		}
	}
	return descriptors, free, nil
}

// bitmap is the block bitmap of a group, and how many of its blocks are taken.
func (b *blank) bitmap(g uint32) ([]byte, uint32) {
	bitmap := make([]byte, blockSize)
	first := g * blocksPerGroup
	end := min(first+blocksPerGroup, b.blocks)
	taken := uint32(0)
	for _, run := range b.used {
		from, to := max(run[0], first), min(run[1], end)
		if from < to {
			setBits(bitmap, int(from-first), int(to-first))
			taken += to - from
		}
	}
	setBits(bitmap, int(end-first), blocksPerGroup)
	return bitmap, taken
}
