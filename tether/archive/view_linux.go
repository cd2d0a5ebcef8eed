package archive

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/vic-engine/vic/pkg/spec"
)

// viewDir is where parts of the container's root are joined to a root that has
// nothing else. Only the process's own mount namespace has anything there.
const viewDir = "/run/vic/archive"

// Where a root of Upper and Lower has them.
const (
	upperDir = "/upper"
	lowerDir = "/lower"
)

// enter makes what the job needs, and that alone, this process's root. The
// process has a mount namespace of its own.
func enter(j Job) error {
	root := j.Root
	var err error
	switch j.Op {
	case spec.FileOpStat, spec.FileOpGet, spec.FileOpPut:
		err = withoutKernel(root)
	case spec.FileOpExport:
		root = viewDir
		err = bind(j.Root, viewDir) // without what is mounted in it
	case spec.FileOpChanges, spec.FileOpLayer:
		root = viewDir
		err = errors.Join(bind(j.Upper, viewDir+upperDir), bind(j.Lower, viewDir+lowerDir))
	default:
		return fmt.Errorf("unknown operation %q", j.Op)
	}
	if err != nil {
		return err
	}
	if err := unix.Chroot(root); err != nil {
		return fmt.Errorf("enter %s: %w", root, err)
	}
	return os.Chdir("/")
}

// withoutKernel takes the kernel's filesystems out of our view of the root, as
// Docker does not copy them either.
func withoutKernel(root string) error {
	for _, d := range []string{"proc", "sys", "dev"} {
		err := unix.Unmount(filepath.Join(root, d), unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("take /%s out of the view: %w", d, err)
		}
	}
	return nil
}

func bind(from, to string) error {
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s on %s: %w", from, to, err)
	}
	return nil
}
