package storage

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/disk/ext4"
	"github.com/vic-engine/vic/pkg/disk/vmdk"
)

// blankLabel is the volume label of containers' read-write disks.
const blankLabel = "containerfs"

// Blank gives the datastore path of an empty read-write ext4 disk of sizeMB
// MiB, the original that CloneRoot copies. It is made at first use and stays.
func (s *Images) Blank(ctx context.Context, sizeMB int64) (path string, err error) {
	if sizeMB<<20 < ext4.MinBlank || sizeMB<<20 > vmdk.MaxCapacity {
		return "", fmt.Errorf("read-write disk of %d MiB: at least %d are needed: %w", sizeMB, ext4.MinBlank>>20, errdefs.ErrInvalidArgument)
	}
	path = s.at.blank(sizeMB)
	unlock, err := s.work.lock(ctx, fmt.Sprintf("blank:%d", sizeMB))
	if err != nil {
		return "", err
	}
	defer unlock()
	s.mu.Lock()
	known := s.blanks[sizeMB]
	s.mu.Unlock()
	if known {
		return path, nil
	}
	there, err := s.diskThere(ctx, path)
	if err != nil {
		return "", err
	}
	if !there {
		if err := s.makeBlank(ctx, path, sizeMB<<20); err != nil {
			return "", fmt.Errorf("make blank disk %s: %w", path, err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blanks[sizeMB] = true
	return path, nil
}

func (s *Images) makeBlank(ctx context.Context, path string, bytes int64) error {
	sp, err := s.newSpool()
	if err != nil {
		return err
	}
	return importBlank(ctx, s.ds, sp, path, bytes, ext4Blank(blankLabel))
}

// ext4Blank makes an empty ext4 of a file, which is all zeros.
func ext4Blank(label string) func(context.Context, *os.File, int64) error {
	return func(_ context.Context, f *os.File, bytes int64) error {
		return ext4.WriteBlank(f, bytes, ext4.BlankOptions{Label: label})
	}
}

// importBlank makes an empty disk with the filesystem that mkfs makes at path, and
// closes sp.
func importBlank(ctx context.Context, ds Datastore, sp *spool, path string, bytes int64, mkfs func(context.Context, *os.File, int64) error) (err error) {
	defer func() { err = errors.Join(sp.explain(err), sp.close()) }()
	f, err := os.Create(sp.path(rawName))
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	defer f.Close() // closed on the way out, after its last reader
	if err := f.Truncate(bytes); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	if err := mkfs(ctx, f, bytes); err != nil {
		return err
	}
	n, err := packFile(ctx, sp, f, bytes, "blank.vmdk")
	if err != nil {
		return err
	}
	return importFile(ctx, ds, sp, path, n, bytes)
}

// CloneRoot makes the read-write disk of a container, of sizeMB MiB, at dst; a
// folder that is missing above it is made too. When it fails there is no disk
// at dst, but the folder may stay.
func (s *Images) CloneRoot(ctx context.Context, dst string, sizeMB int64) error {
	for again := false; ; again = true {
		blank, err := s.Blank(ctx, sizeMB)
		if err != nil {
			return err
		}
		if err := s.ds.Mkdir(ctx, parent(dst)); err != nil {
			return fmt.Errorf("make folder for %s: %w", dst, err)
		}
		err = s.ds.CopyDisk(ctx, blank, dst)
		if !errdefs.IsNotFound(err) || again {
			return err
		}
		// Somebody has removed the blank since it was last seen.
		s.mu.Lock()
		delete(s.blanks, sizeMB)
		s.mu.Unlock()
	}
}
