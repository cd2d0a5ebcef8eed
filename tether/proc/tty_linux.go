package proc

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// openTerminal makes a pseudo terminal of the container's own devpts instance, so
// that the container finds it by its name (/dev/pts/0). The master is the
// parent's, the slave the child's.
func openTerminal(root string, rows, cols int) (master, slave *os.File, err error) {
	path := filepath.Join(root, "dev/pts/ptmx")
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		path = filepath.Join(root, "dev/ptmx")
		fd, err = unix.Open(path, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("open terminal %s: %w", path, err)
	}
	master = os.NewFile(uintptr(fd), path)
	fail := func(what string, err error) (*os.File, *os.File, error) {
		_ = master.Close()
		return nil, nil, fmt.Errorf("%s: %w", what, err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return fail("unlock terminal", err)
	}
	if rows > 0 || cols > 0 {
		if err := setSize(fd, rows, cols); err != nil {
			return fail("size of terminal", err)
		}
	}
	peer, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		return fail("open terminal's slave", errno)
	}
	return master, os.NewFile(peer, "tty"), nil
}

func setSize(fd, rows, cols int) error {
	return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: uint16(rows), Col: uint16(cols)})
}
