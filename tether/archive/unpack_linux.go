package archive

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// impliedMode is that of folders which an archive has files in but not itself.
const impliedMode = 0o755

// put unpacks a tar into the folder j.Path, links followed. What was unpacked
// before an error stays.
func (f files) put(j Job, in io.Reader) error {
	dest, err := f.extractionPoint(j.Path)
	if err != nil {
		return err
	}
	u := &unpacker{dest: dest, job: j, links: map[string]bool{}, buf: make([]byte, 128<<10)}
	if err := u.all(tar.NewReader(in)); err != nil {
		return err
	}
	if !j.Sync {
		return nil
	}
	d, err := os.Open(dest)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		return fmt.Errorf("write out %s: %w", dest, err)
	}
	return nil
}

// extractionPoint gives the folder that p leads to, if it can be written to.
func (f files) extractionPoint(p string) (string, error) {
	at := filepath.Join("/", p)
	dest, err := filepath.EvalSymlinks(f.at(at))
	if err != nil {
		return "", err
	}
	fi, err := os.Lstat(dest)
	if err != nil {
		return "", err
	}
	if !fi.IsDir() {
		return "", invalid("extraction point is not a directory")
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dest, &st); err != nil {
		return "", &fs.PathError{Op: "statfs", Path: dest, Err: err}
	}
	if st.Flags&unix.ST_RDONLY == 0 {
		return dest, nil
	}
	var here, root unix.Stat_t
	if err := errors.Join(unix.Stat(dest, &here), unix.Stat(f.root, &root)); err != nil {
		return "", err
	}
	if here.Dev == root.Dev {
		return "", invalid("container rootfs is marked read-only")
	}
	return "", invalid("mounted volume is marked read-only")
}

// unpacker puts a tar into a folder.
type unpacker struct {
	dest string
	job  Job
	dirs []*tar.Header // whose times are set when nothing is put in them any more
	// links are the symbolic links of this archive, by where they are. What the
	// folder had before may lead anywhere, these must not lead out of it.
	links map[string]bool
	buf   []byte
}

func (u *unpacker) all(tr *tar.Reader) error {
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read the archive: %w", err)
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		if err := u.one(h, tr); err != nil {
			return err
		}
	}
	for _, h := range u.dirs {
		if u.misled(filepath.Join(u.dest, h.Name)) {
			continue // a link came in the way
		}
		if err := times(filepath.Join(u.dest, h.Name), h); err != nil {
			return err
		}
	}
	return nil
}

// one unpacks one file.
func (u *unpacker) one(h *tar.Header, content io.Reader) error {
	h.Name = filepath.Clean(h.Name)
	to := filepath.Join(u.dest, h.Name)
	if !u.inside(to) || u.misled(to) {
		return fmt.Errorf("%q is outside of %q", h.Name, u.dest)
	}
	if err := u.parents(h.Name); err != nil {
		return err
	}
	if skip, err := u.replace(h, to); err != nil || skip {
		return err
	}
	if u.job.CopyUIDGID {
		h.Uid, h.Gid = u.job.UID, u.job.GID
	}
	if err := u.make(h, to, content); err != nil {
		return err
	}
	if h.Typeflag == tar.TypeDir {
		u.dirs = append(u.dirs, h)
	}
	return u.describe(h, to)
}

func (u *unpacker) inside(p string) bool {
	return p == u.dest || strings.HasPrefix(p, strings.TrimSuffix(u.dest, "/")+"/")
}

// misled tells whether one of the archive's own links leads p out of the folder.
func (u *unpacker) misled(p string) bool {
	for dir := filepath.Dir(p); dir != u.dest && u.inside(dir); dir = filepath.Dir(dir) {
		if !u.links[dir] {
			continue
		}
		at, err := filepath.EvalSymlinks(filepath.Dir(p))
		return err != nil || !u.inside(at)
	}
	return false
}

// parents makes the folders that name is in.
func (u *unpacker) parents(name string) error {
	dir := filepath.Join(u.dest, filepath.Dir(name))
	if _, err := os.Lstat(dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(dir, impliedMode); err != nil {
		return err
	}
	return nil
}

// replace makes room for a file: what is there goes, but a folder that a folder
// is put on. skip: there is nothing more to do.
func (u *unpacker) replace(h *tar.Header, to string) (skip bool, err error) {
	fi, err := os.Lstat(to)
	if err != nil {
		return false, nil // what stands in the way, making it tells
	}
	dir := h.Typeflag == tar.TypeDir
	switch {
	case fi.IsDir() && h.Name == ".":
		return true, nil
	case u.job.NoOverwriteDirNonDir && fi.IsDir() && !dir:
		return false, fmt.Errorf("cannot overwrite directory %q with non-directory %q", to, u.dest)
	case u.job.NoOverwriteDirNonDir && !fi.IsDir() && dir:
		return false, fmt.Errorf("cannot overwrite non-directory %q with directory %q", to, u.dest)
	case fi.IsDir() && dir:
		return false, nil
	}
	return false, os.RemoveAll(to)
}

func (u *unpacker) make(h *tar.Header, to string, content io.Reader) error {
	mode := uint32(h.Mode & 0o7777)
	switch h.Typeflag {
	case tar.TypeDir:
		if err := os.Mkdir(to, fs.FileMode(mode&0o777)); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		return nil
	case tar.TypeReg, tar.TypeGNUSparse, tar.TypeCont:
		// What `tar --sparse` makes comes with its holes as zeros.
		return u.regular(to, content)
	case tar.TypeBlock:
		return mknod(to, unix.S_IFBLK|mode, h)
	case tar.TypeChar:
		return mknod(to, unix.S_IFCHR|mode, h)
	case tar.TypeFifo:
		return mknod(to, unix.S_IFIFO|mode, h)
	case tar.TypeLink:
		target := filepath.Join(u.dest, h.Linkname)
		if !u.inside(target) || u.misled(target) {
			return fmt.Errorf("invalid hardlink %q -> %q", target, h.Linkname)
		}
		u.links[to] = u.links[target]
		return os.Link(target, to)
	case tar.TypeSymlink:
		// One that leads out of the folder could have what follows put anywhere.
		if !u.inside(filepath.Join(filepath.Dir(to), h.Linkname)) {
			return fmt.Errorf("invalid symlink %q -> %q", to, h.Linkname)
		}
		u.links[to] = true
		return os.Symlink(h.Linkname, to)
	}
	return fmt.Errorf("unhandled tar header type %d", h.Typeflag)
}

func mknod(to string, mode uint32, h *tar.Header) error {
	dev := unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor))
	if err := unix.Mknod(to, mode, int(dev)); err != nil {
		return &fs.PathError{Op: "mknod", Path: to, Err: err}
	}
	return nil
}

// regular writes a file. Blocks of zeros become holes.
func (u *unpacker) regular(to string, content io.Reader) error {
	file, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(u.sparse(file, content), file.Close())
}

func (u *unpacker) sparse(file *os.File, content io.Reader) error {
	var size int64
	hole := false
	for {
		n, err := io.ReadFull(content, u.buf)
		if b := u.buf[:n]; n > 0 {
			size += int64(n)
			hole = n == len(u.buf) && len(bytes.Trim(b, "\x00")) == 0
			var werr error
			if hole {
				_, werr = file.Seek(int64(n), io.SeekCurrent)
			} else {
				_, werr = file.Write(b)
			}
			if werr != nil {
				return werr
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			return u.end(file, size, hole)
		case errors.Is(err, io.ErrUnexpectedEOF) && n > 0:
			// Either the file's end or the archive's: the next read tells.
			if _, err := content.Read(u.buf[:1]); !errors.Is(err, io.EOF) {
				return fmt.Errorf("read the archive: %w", err)
			}
			return u.end(file, size, hole)
		default:
			return fmt.Errorf("read the archive: %w", err)
		}
	}
}

func (u *unpacker) end(file *os.File, size int64, hole bool) error {
	if !hole {
		return nil
	}
	return file.Truncate(size)
}

// describe gives a file its owner, attributes, mode and times, in the order in
// which none undoes another.
func (u *unpacker) describe(h *tar.Header, to string) error {
	if err := os.Lchown(to, h.Uid, h.Gid); err != nil {
		return fmt.Errorf("owner %d:%d of %s: %w", h.Uid, h.Gid, path.Clean(to), err)
	}
	if err := setAttributes(to, h.PAXRecords); err != nil {
		return err
	}
	if h.Typeflag == tar.TypeLink {
		// Of what it is a name of, which may be a symbolic link.
		fi, err := os.Lstat(to)
		if err != nil || fi.Mode()&fs.ModeSymlink != 0 {
			return err
		}
	}
	if h.Typeflag != tar.TypeSymlink {
		if err := unix.Chmod(to, uint32(h.Mode&0o7777)); err != nil {
			return &fs.PathError{Op: "chmod", Path: to, Err: err}
		}
	}
	return times(to, h)
}

// times sets a file's times. One that the kernel cannot hold becomes its nearest.
func times(to string, h *tar.Header) error {
	access := h.AccessTime
	if access.Before(h.ModTime) {
		access = h.ModTime
	}
	ts := []unix.Timespec{timespec(access), timespec(h.ModTime)}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, to, ts, unix.AT_SYMLINK_NOFOLLOW); err != nil && !gone(err) {
		return &fs.PathError{Op: "utimensat", Path: to, Err: err}
	}
	return nil
}

func timespec(t time.Time) unix.Timespec {
	const last = 1<<63 - 1
	if t.Before(time.Unix(0, 0)) || t.After(time.Unix(0, last)) {
		return unix.Timespec{} // as Docker: what it cannot be is the epoch
	}
	return unix.NsecToTimespec(t.UnixNano())
}
