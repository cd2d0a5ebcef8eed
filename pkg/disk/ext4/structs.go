package ext4

import "encoding/binary"

// The numbers and layouts below are those of the kernel's
// Documentation/filesystems/ext4.
const (
	blockSize      = 4096
	blocksPerGroup = 8 * blockSize
	inodeSize      = 256
	inodesPerBlock = blockSize / inodeSize
	bytesPerInode  = 16 << 10
	groupsPerFlex  = 16
	descSize       = 32

	superMagic   = 0xef53
	extentMagic  = 0xf30a
	journalMagic = 0xc03b3998

	inodeRoot    = 2
	inodeJournal = 8
	inodeLost    = 11 // the first that is not reserved

	compatJournal     = 0x4
	compatXattr       = 0x8
	compatDirIndex    = 0x20
	incompatFiletype  = 0x2
	incompatExtents   = 0x40
	incompatFlexBG    = 0x200
	roSparseSuper     = 0x1
	roLargeFile       = 0x2
	roHugeFile        = 0x8
	roDirNlink        = 0x20
	roExtraIsize      = 0x40
	flagExtents       = 0x80000
	mountXattrAndACL  = 0x4 | 0x8
	errorsRemount     = 2
	hashHalfMD4       = 1
	flagUnsignedHash  = 2
	extraIsize        = 32
	journalBackupType = 1
)

// super is the superblock as group g has it.
func (b *blank) super(g, free uint32) []byte {
	s := make([]byte, 1024)
	le := binary.LittleEndian
	le.PutUint32(s[0x00:], b.inodesPerGroup*b.groups)
	le.PutUint32(s[0x04:], b.blocks)
	le.PutUint32(s[0x0c:], free)
	le.PutUint32(s[0x10:], b.inodesPerGroup*b.groups-inodeLost)
	le.PutUint32(s[0x18:], 2) // block size 1024 << 2
	le.PutUint32(s[0x1c:], 2) // cluster size
	le.PutUint32(s[0x20:], blocksPerGroup)
	le.PutUint32(s[0x24:], blocksPerGroup)
	le.PutUint32(s[0x28:], b.inodesPerGroup)
	le.PutUint16(s[0x36:], 0xffff) // no check after so many mounts
	le.PutUint16(s[0x38:], superMagic)
	le.PutUint16(s[0x3a:], 1) // clean
	le.PutUint16(s[0x3c:], errorsRemount)
	le.PutUint32(s[0x4c:], 1) // dynamic revision
	le.PutUint32(s[0x54:], inodeLost)
	le.PutUint16(s[0x58:], inodeSize)
	le.PutUint16(s[0x5a:], uint16(g))
	le.PutUint32(s[0x5c:], compatJournal|compatXattr|compatDirIndex)
	le.PutUint32(s[0x60:], incompatFiletype|incompatExtents|incompatFlexBG)
	le.PutUint32(s[0x64:], roSparseSuper|roLargeFile|roHugeFile|roDirNlink|roExtraIsize)
	copy(s[0x68:0x78], b.o.UUID[:])
	copy(s[0x78:0x88], b.o.Label)
	le.PutUint32(s[0xe0:], inodeJournal)
	copy(s[0xec:0xfc], b.o.UUID[:]) // seed of directory hashes
	s[0xfc] = hashHalfMD4
	s[0xfd] = journalBackupType
	le.PutUint32(s[0x100:], mountXattrAndACL)
	copy(s[0x10c:], extent(b.journal, b.journalBlocks)) // copy of the journal's inode
	le.PutUint32(s[0x10c+16*4:], b.journalBlocks*blockSize)
	le.PutUint16(s[0x15c:], extraIsize)
	le.PutUint16(s[0x15e:], extraIsize)
	le.PutUint32(s[0x160:], flagUnsignedHash)
	s[0x174] = 4 // 1<<4 groups per flex group
	return s
}

// inode is one with its contents in a single run of blocks.
func inode(mode, links uint16, start, blocks uint32) []byte {
	n := make([]byte, inodeSize)
	le := binary.LittleEndian
	le.PutUint16(n[0x00:], mode)
	le.PutUint32(n[0x04:], blocks*blockSize)
	le.PutUint16(n[0x1a:], links)
	le.PutUint32(n[0x1c:], blocks*(blockSize/512))
	le.PutUint32(n[0x20:], flagExtents)
	copy(n[0x28:], extent(start, blocks))
	le.PutUint16(n[0x80:], extraIsize)
	return n
}

// extent is the tree of one run of blocks that an inode holds itself.
func extent(start, blocks uint32) []byte {
	e := make([]byte, 60)
	le := binary.LittleEndian
	le.PutUint16(e[0:], extentMagic)
	le.PutUint16(e[2:], 1) // entries
	le.PutUint16(e[4:], 4) // room for
	le.PutUint16(e[16:], uint16(blocks))
	le.PutUint32(e[20:], start)
	return e
}

// directory is a block with "." and "..", and child (lost+found) if not empty.
func directory(self, parent uint32, child string) []byte {
	d := make([]byte, blockSize)
	at := 0
	put := func(ino uint32, name string, length int) {
		binary.LittleEndian.PutUint32(d[at:], ino)
		binary.LittleEndian.PutUint16(d[at+4:], uint16(length))
		d[at+6], d[at+7] = byte(len(name)), 2 // a directory
		copy(d[at+8:], name)
		at += length
	}
	put(self, ".", 12)
	if child == "" {
		put(parent, "..", blockSize-12)
		return d
	}
	put(parent, "..", 12)
	put(inodeLost, child, blockSize-24)
	return d
}

// journalSuper is the first block of an empty journal; jbd2 is big-endian.
func (b *blank) journalSuper() []byte {
	j := make([]byte, 1024)
	be := binary.BigEndian
	be.PutUint32(j[0x00:], journalMagic)
	be.PutUint32(j[0x04:], 4) // superblock, version 2
	be.PutUint32(j[0x0c:], blockSize)
	be.PutUint32(j[0x10:], b.journalBlocks)
	be.PutUint32(j[0x14:], 1) // first block of the log
	be.PutUint32(j[0x18:], 1) // first transaction expected; start 0 is empty
	copy(j[0x30:0x40], b.o.UUID[:])
	be.PutUint32(j[0x40:], 1) // users
	return j
}
