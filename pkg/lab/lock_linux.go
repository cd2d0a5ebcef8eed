package lab

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// lockDir keeps a second lab out of a state directory, for as long as this
// process lives or until unlock.
func lockDir(dir string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("another lab runs on %s: %w", dir, errdefs.ErrConflict)
	}
	return func() { _ = f.Close() }, nil
}

// Running tells whether a lab runs on a state directory. It only asks for the
// lock, so that it is in nobody's way.
func Running(stateDir string) bool {
	f, err := os.Open(filepath.Join(stateDir, "lock"))
	if err != nil {
		return false
	}
	defer f.Close()
	q := unix.Flock_t{Type: unix.F_WRLCK}
	err = unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &q)
	return err == nil && q.Type != unix.F_UNLCK
}
