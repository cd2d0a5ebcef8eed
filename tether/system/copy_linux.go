package system

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// copying is in a folder that is being filled: what is beside it is not whole.
const copying = ".vic-copying"

// CopyIfEmpty copies what is in the folder from into the folder to, when to
// holds nothing (but a new filesystem's lost+found): Docker does this when a
// container first uses a volume. Owners, modes, times, extended attributes,
// links and devices are kept. A copy that was cut off, with the VM, is made anew.
func CopyIfEmpty(from, to string) error {
	there, err := os.ReadDir(to)
	if err != nil {
		return err
	}
	var have []string
	begun := false
	for _, e := range there {
		switch e.Name() {
		case "lost+found":
		case copying:
			begun = true
		default:
			have = append(have, e.Name())
		}
	}
	if len(have) > 0 && !begun {
		return nil
	}
	c := &copier{links: map[uint64]string{}}
	if entries, err := os.ReadDir(from); err != nil || len(entries) == 0 && !begun {
		return errors.Join(err, c.folder(from, to))
	}
	mark := filepath.Join(to, copying)
	if err := os.WriteFile(mark, nil, 0o600); err != nil {
		return err
	}
	for _, name := range have {
		if err := os.RemoveAll(filepath.Join(to, name)); err != nil {
			return err
		}
	}
	if err := c.folder(from, to); err != nil {
		return err
	}
	if err := syncFolder(to); err != nil {
		return err
	}
	if err := os.Remove(mark); err != nil {
		return err
	}
	return c.like(from, to) // the mark has changed its time
}

// syncFolder writes out the filesystem that a folder is on.
func syncFolder(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("write out %s: %w", name, err)
	}
	return nil
}

// copier remembers by inode where files with several names were copied to.
type copier struct{ links map[uint64]string }

func (c *copier) folder(from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := c.one(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())); err != nil {
			return err
		}
	}
	return c.like(from, to)
}

// like gives a folder the attributes of another.
func (c *copier) like(from, to string) error {
	var st unix.Stat_t
	if err := unix.Lstat(from, &st); err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	return attributes(from, to, &st)
}

func (c *copier) one(from, to string) error {
	var st unix.Stat_t
	if err := unix.Lstat(from, &st); err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	kind := st.Mode & unix.S_IFMT
	if kind != unix.S_IFDIR && st.Nlink > 1 {
		if first, ok := c.links[st.Ino]; ok {
			return os.Link(first, to)
		}
		c.links[st.Ino] = to
	}
	var err error
	switch kind {
	case unix.S_IFDIR:
		if err := os.Mkdir(to, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
		return c.folder(from, to)
	case unix.S_IFREG:
		err = copyFile(from, to)
	case unix.S_IFLNK:
		var target string
		if target, err = os.Readlink(from); err == nil {
			err = os.Symlink(target, to)
		}
	case unix.S_IFSOCK: // belongs to a process that is not there
		return nil
	default:
		err = unix.Mknod(to, st.Mode, int(st.Rdev))
	}
	if err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	return attributes(from, to, &st)
}

func copyFile(from, to string) error {
	r, err := os.Open(from)
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, r)
	return errors.Join(err, w.Close())
}

// attributes gives to the owner, extended attributes, mode and times of from, in
// the order in which none undoes another.
func attributes(from, to string, st *unix.Stat_t) error {
	if err := unix.Lchown(to, int(st.Uid), int(st.Gid)); err != nil {
		return fmt.Errorf("owner of %s: %w", to, err)
	}
	if err := xattrs(from, to); err != nil {
		return fmt.Errorf("attributes of %s: %w", to, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		if err := unix.Chmod(to, st.Mode&0o7777); err != nil {
			return fmt.Errorf("mode of %s: %w", to, err)
		}
	}
	times := []unix.Timespec{st.Atim, st.Mtim}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, to, times, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("times of %s: %w", to, err)
	}
	return nil
}

func xattrs(from, to string) error {
	names := make([]byte, 64<<10)
	n, err := unix.Llistxattr(from, names)
	if errors.Is(err, unix.ENOTSUP) || n == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	value := make([]byte, 64<<10)
	for _, name := range splitNul(names[:n]) {
		v, err := unix.Lgetxattr(from, name, value)
		if err != nil {
			return err
		}
		if err := unix.Lsetxattr(to, name, value[:v], 0); err != nil && !errors.Is(err, unix.ENOTSUP) {
			return err
		}
	}
	return nil
}

func splitNul(b []byte) []string {
	var out []string
	begin := 0
	for i, c := range b {
		if c == 0 {
			out = append(out, string(b[begin:i]))
			begin = i + 1
		}
	}
	return out
}
