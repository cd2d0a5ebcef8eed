package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"

	"github.com/containerd/errdefs"
	"github.com/google/uuid"
)

// CreateChild makes a delta disk: reads of what was never written to it go to
// parent, whose path it keeps relative to its own folder.
func CreateChild(ctx context.Context, path, parent string) error {
	if _, err := ReadDescriptor(parent); err != nil {
		return fmt.Errorf("parent: %w", err)
	}
	if err := free(path); err != nil {
		return err
	}
	rel, err := filepath.Rel(filepath.Dir(path), parent)
	if err != nil {
		return err
	}
	return qemuImg(ctx, path, "create", "-q", "-f", "vmdk", "-F", "vmdk", "-b", rel, path)
}

// flatten copies a disk that is not flat, with what is below it, into a flat one.
func flatten(ctx context.Context, src, dst string) error {
	d, err := ReadDescriptor(src)
	if err != nil {
		return err
	}
	id := uuid.New()
	if err := Create(dst, Spec{Capacity: d.Capacity(), Thin: true, UUID: FormatUUID(id[:])}); err != nil {
		return err
	}
	// -n writes into the file that exists, whose holes are zeros already.
	if err := qemuImg(ctx, dst, "convert", "-q", "-n", "--target-is-zero", "-f", "vmdk", "-O", "raw", src, FlatName(dst)); err != nil {
		return errors.Join(err, removeAll([]string{FlatName(dst), dst}))
	}
	return nil
}

func qemuImg(ctx context.Context, path string, args ...string) error {
	cmd := exec.CommandContext(ctx, "qemu-img", args...)
	cmd.Dir = filepath.Dir(path)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	err := cmd.Run()
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("disk %s: child disks need qemu-img (package qemu-utils): %w", path, errdefs.ErrUnavailable)
	}
	if err != nil {
		return fmt.Errorf("qemu-img %s %s: %w: %s", args[0], path, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return nil
}
