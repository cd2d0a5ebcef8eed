package ext4

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/Microsoft/hcsshim/ext4/tar2ext4"

	"github.com/vic-engine/vic/pkg/disk/layers"
)

// Estimate is about how many bytes WriteImage will write for a tree, a little
// more rather than less.
func Estimate(t *layers.Tree) int64 {
	u := t.Usage()
	blocks := u.Blocks + int64(u.Files+u.Dirs)/8 // inodes of 256 bytes, and their slack
	return (blocks + blocks/64 + 64) * blockSize
}

// WriteImage writes the tree as a read-only ext4 filesystem into f, an empty
// file, and gives its size in bytes. progress, which may be nil, gets the
// bytes of contents written so far.
func WriteImage(ctx context.Context, f *os.File, t *layers.Tree, progress func(done int64)) (int64, error) {
	pr, pw := io.Pipe()
	wrote := make(chan error, 1)
	go func() {
		err := t.Write(ctx, pw, progress)
		pw.CloseWithError(err) // never fails
		wrote <- err
	}()
	// The limit decides how much room there is for group descriptors, not
	// the size; twice the estimate costs nothing.
	err := tar2ext4.ConvertTarToExt4(pr, f, tar2ext4.MaximumDiskSize(2*Estimate(t)+64<<20))
	pr.CloseWithError(errReaderGone) // lets Write end if the converter gave up
	if werr := <-wrote; werr != nil && !errors.Is(werr, errReaderGone) {
		return 0, fmt.Errorf("write files: %w", werr)
	}
	if err != nil {
		return 0, fmt.Errorf("write ext4: %w", err)
	}
	size, err := padInodeBitmaps(f)
	if err != nil {
		return 0, fmt.Errorf("write ext4: %w", err)
	}
	return size, nil
}

// errReaderGone occurs inside WriteImage when the converter stopped early; the
// converter's own error is the one reported.
var errReaderGone = errors.New("converter stopped")

// padInodeBitmaps sets the bits for inodes that no group has, which tar2ext4
// leaves clear and e2fsck wants set. It gives the filesystem's size.
func padInodeBitmaps(f *os.File) (int64, error) {
	sb := make([]byte, 1024)
	if _, err := f.ReadAt(sb, 1024); err != nil {
		return 0, fmt.Errorf("read superblock: %w", err)
	}
	blocks := binary.LittleEndian.Uint32(sb[0x04:])
	perGroup := binary.LittleEndian.Uint32(sb[0x20:])
	inodes := binary.LittleEndian.Uint32(sb[0x28:])
	if binary.LittleEndian.Uint16(sb[0x38:]) != superMagic || perGroup != blocksPerGroup || inodes > 8*blockSize {
		return 0, errors.New("the superblock is not what was written")
	}
	groups := (blocks + blocksPerGroup - 1) / blocksPerGroup
	descriptors := make([]byte, groups*descSize)
	if _, err := f.ReadAt(descriptors, blockSize); err != nil {
		return 0, fmt.Errorf("read group descriptors: %w", err)
	}
	bitmap := make([]byte, blockSize)
	for g := range groups {
		at := int64(binary.LittleEndian.Uint32(descriptors[g*descSize+4:])) * blockSize
		if _, err := f.ReadAt(bitmap, at); err != nil {
			return 0, fmt.Errorf("read inode bitmap of group %d: %w", g, err)
		}
		setBits(bitmap, int(inodes), 8*blockSize)
		if _, err := f.WriteAt(bitmap, at); err != nil {
			return 0, fmt.Errorf("write inode bitmap of group %d: %w", g, err)
		}
	}
	return int64(blocks) * blockSize, nil
}

// setBits sets the bits [from, to) of a bitmap.
func setBits(b []byte, from, to int) {
	for i := from; i < to; {
		if i%8 == 0 && to-i >= 8 {
			b[i/8] = 0xff
			i += 8
			continue
		}
		b[i/8] |= 1 << (i % 8)
		i++
	}
}
