package gauge

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// errGone is what reading a process that ends at that moment gives.
var errGone = unix.ESRCH

// openPlain opens a regular file below root, following links as a process whose
// root that is would. Something else, which might block, is refused.
func openPlain(root, name string) (*os.File, error) {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(dir)
	fd, err := unix.Openat2(dir, name, &unix.OpenHow{
		Flags: unix.O_RDONLY | unix.O_NONBLOCK | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = errors.New(name + " is not a file")
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
