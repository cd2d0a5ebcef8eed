package system

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// MountDisc mounts the VM's boot disc at target and waits until ctx ends for the
// kernel to find it. Its drivers are loaded (DiscDrive).
func MountDisc(ctx context.Context, target string) error {
	ev, err := listenUevents()
	if err != nil {
		return fmt.Errorf("boot disc: %w", err)
	}
	defer ev.Close()
	for {
		drives, err := filepath.Glob("/dev/sr[0-9]*")
		if err != nil {
			return err
		}
		for _, dev := range drives {
			err = Mount{Source: dev, Target: target, Type: "iso9660", Flags: safe | unix.MS_RDONLY}.Do()
			if err == nil {
				return nil
			}
			if !errors.Is(err, unix.ENOMEDIUM) && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("boot disc: %w", err)
			}
		}
		if ctx.Err() != nil {
			return fmt.Errorf("boot disc: the VM has no CD drive with a disc in it: %w", ctx.Err())
		}
		if _, err := ev.wait(ctx); err != nil {
			return fmt.Errorf("boot disc: %w", err)
		}
	}
}

// HasFilesystem tells whether the kernel knows a type of filesystem.
func HasFilesystem(name string) (bool, error) {
	text, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		return false, fmt.Errorf("list filesystems: %w", err)
	}
	for _, l := range strings.Split(string(text), "\n") {
		if f := strings.Fields(l); len(f) > 0 && f[len(f)-1] == name {
			return true, nil
		}
	}
	return false, nil
}
