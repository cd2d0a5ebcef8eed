package ext4test

import (
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"strings"
)

const (
	block     = 4096
	inodeRoot = 2
	modeDir   = 0o040000
	typeMask  = 0o170000
)

// ReadFile gives the contents of a file or symlink by its path. A path that is
// not there is fs.ErrNotExist.
func ReadFile(r io.ReaderAt, name string) ([]byte, error) {
	ino, err := find(r, name)
	if err != nil {
		return nil, err
	}
	return contents(r, ino)
}

// List gives the names in a directory, without "." and "..".
func List(r io.ReaderAt, dir string) ([]string, error) {
	ino, err := find(r, dir)
	if err != nil {
		return nil, err
	}
	entries, err := entries(r, ino)
	if err != nil {
		return nil, err
	}
	var names []string
	for n := range entries {
		if n != "." && n != ".." {
			names = append(names, n)
		}
	}
	return names, nil
}

func find(r io.ReaderAt, name string) (uint32, error) {
	ino := uint32(inodeRoot)
	for _, part := range strings.Split(strings.Trim(name, "/"), "/") {
		if part == "" {
			continue
		}
		all, err := entries(r, ino)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", name, err)
		}
		next, ok := all[part]
		if !ok {
			return 0, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
		}
		ino = next
	}
	return ino, nil
}

func entries(r io.ReaderAt, ino uint32) (map[string]uint32, error) {
	n, err := inode(r, ino)
	if err != nil {
		return nil, err
	}
	if binary.LittleEndian.Uint16(n)&typeMask != modeDir {
		return nil, fmt.Errorf("inode %d is not a directory", ino)
	}
	b, err := contents(r, ino)
	if err != nil {
		return nil, err
	}
	all := map[string]uint32{}
	for at := 0; at+8 <= len(b); {
		length := int(binary.LittleEndian.Uint16(b[at+4:]))
		if length < 8 {
			return nil, fmt.Errorf("directory %d is damaged at %d", ino, at)
		}
		if child := binary.LittleEndian.Uint32(b[at:]); child != 0 {
			all[string(b[at+8:at+8+int(b[at+6])])] = child
		}
		at += length
	}
	return all, nil
}

func contents(r io.ReaderAt, ino uint32) ([]byte, error) {
	n, err := inode(r, ino)
	if err != nil {
		return nil, err
	}
	size := int64(binary.LittleEndian.Uint32(n[4:])) | int64(binary.LittleEndian.Uint32(n[0x6c:]))<<32
	if binary.LittleEndian.Uint32(n[0x20:])&0x80000 == 0 { // no extents: a short symlink, or empty
		return n[0x28 : 0x28+min(size, 60)], nil
	}
	out := make([]byte, (size+block-1)/block*block)
	if err := extents(r, n[0x28:0x28+60], out); err != nil {
		return nil, fmt.Errorf("inode %d: %w", ino, err)
	}
	return out[:size], nil
}

// extents fills out with the blocks of an extent tree.
func extents(r io.ReaderAt, tree, out []byte) error {
	count, depth := binary.LittleEndian.Uint16(tree[2:]), binary.LittleEndian.Uint16(tree[6:])
	for i := range int(count) {
		e := tree[12+12*i:]
		if depth > 0 {
			lower := make([]byte, block)
			if _, err := r.ReadAt(lower, int64(binary.LittleEndian.Uint32(e[4:]))*block); err != nil {
				return err
			}
			if err := extents(r, lower, out); err != nil {
				return err
			}
			continue
		}
		from := int64(binary.LittleEndian.Uint32(e)) * block
		n := int64(binary.LittleEndian.Uint16(e[4:])) * block
		if _, err := r.ReadAt(out[from:from+n], int64(binary.LittleEndian.Uint32(e[8:]))*block); err != nil {
			return err
		}
	}
	return nil
}

func inode(r io.ReaderAt, ino uint32) ([]byte, error) {
	sb := make([]byte, 1024)
	if _, err := r.ReadAt(sb, 1024); err != nil {
		return nil, fmt.Errorf("superblock: %w", err)
	}
	perGroup := binary.LittleEndian.Uint32(sb[0x28:])
	if binary.LittleEndian.Uint16(sb[0x38:]) != 0xef53 || perGroup == 0 {
		return nil, fmt.Errorf("not an ext4 filesystem")
	}
	desc := make([]byte, 32)
	if _, err := r.ReadAt(desc, block+int64((ino-1)/perGroup)*32); err != nil {
		return nil, fmt.Errorf("group descriptor: %w", err)
	}
	n := make([]byte, 256)
	at := int64(binary.LittleEndian.Uint32(desc[8:]))*block + int64((ino-1)%perGroup)*256
	if _, err := r.ReadAt(n, at); err != nil {
		return nil, fmt.Errorf("inode %d: %w", ino, err)
	}
	return n, nil
}
