package archive

import (
	"archive/tar"
	"encoding/json"
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

	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/tether/proc"
)

// files are a container's, below a folder: "/" in the process.
type files struct{ root string }

// at gives where the container's path p is. A "/" or "/." at its end is kept.
func (f files) at(p string) string {
	if f.root == "/" {
		return p
	}
	return f.root + p
}

// stat tells about p itself, also when it is a link; p is absolute.
func (f files) stat(p string) (spec.FileStat, error) {
	fi, err := os.Lstat(f.at(p))
	if err != nil {
		return spec.FileStat{}, err
	}
	st := spec.FileStat{Name: path.Base(p), Size: fi.Size(), Mode: fi.Mode(), ModTime: fi.ModTime()}
	if strings.HasSuffix(p, "/.") {
		st.Name = "."
	}
	if fi.Mode()&fs.ModeSymlink != 0 {
		target, err := proc.Resolve(f.root, p)
		if err != nil {
			return spec.FileStat{}, err
		}
		st.LinkTarget = path.Join("/", strings.TrimPrefix(target, strings.TrimSuffix(f.root, "/")))
	}
	return st, nil
}

// get writes the stat of p, and then a tar of it. A folder's files are called
// after it, "etc/passwd" in "/etc", "./passwd" in "/etc/.".
func (f files) get(p string, out io.Writer) error {
	st, err := f.stat(p)
	if err != nil {
		return err
	}
	if err := json.NewEncoder(out).Encode(st); err != nil {
		return err
	}
	t := newPacker(out)
	if err := t.tree(f.at(p), func(rel string) string { return rebase(st.Name, rel) }); err != nil {
		return err
	}
	return t.tw.Close()
}

// export writes a tar of all that there is.
func (f files) export(out io.Writer) error {
	t := newPacker(out)
	// The image's disk has one; the image has not.
	t.skip = func(rel string, st *unix.Stat_t) bool { return rel == "lost+found" && isDir(st) }
	if err := t.folder(f.at("/"), ".", func(rel string) string { return rel }); err != nil {
		return err
	}
	return t.tw.Close()
}

// packer writes a tar.
type packer struct {
	tw *tar.Writer
	// first are the names of files that have several, by device and inode.
	first map[inode]string
	buf   []byte
	// skip leaves out a file, whose path is relative to the tree; nil: none.
	skip func(rel string, st *unix.Stat_t) bool
	// extra writes what goes before a file or stands for it (done); nil: nothing.
	extra func(from, rel string, h *tar.Header, st *unix.Stat_t) (done bool, err error)
}

type inode struct{ dev, ino uint64 }

func newPacker(out io.Writer) *packer {
	return &packer{tw: tar.NewWriter(out), first: map[inode]string{}, buf: make([]byte, 128<<10)}
}

// tree packs what is at from and what is in it. name gives the name in the tar of
// a path relative to from.
func (t *packer) tree(from string, name func(rel string) string) error {
	var st unix.Stat_t
	if err := unix.Lstat(from, &st); err != nil {
		return &fs.PathError{Op: "lstat", Path: from, Err: err}
	}
	if err := t.add(from, ".", name, &st); err != nil || !isDir(&st) {
		return err
	}
	return t.folder(from, ".", name)
}

// folder packs what is in a folder, by name.
func (t *packer) folder(from, rel string, name func(string) string) error {
	entries, err := os.ReadDir(from)
	if gone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		at, sub := filepath.Join(from, e.Name()), path.Join(rel, e.Name())
		var st unix.Stat_t
		if err := unix.Lstat(at, &st); gone(err) {
			continue // since the folder was read
		} else if err != nil {
			return &fs.PathError{Op: "lstat", Path: at, Err: err}
		}
		if t.skip != nil && t.skip(sub, &st) {
			continue
		}
		if err := t.add(at, sub, name, &st); err != nil {
			return err
		}
		if !isDir(&st) {
			continue
		}
		if err := t.folder(at, sub, name); err != nil {
			return err
		}
	}
	return nil
}

func isDir(st *unix.Stat_t) bool { return st.Mode&unix.S_IFMT == unix.S_IFDIR }

// gone tells that a file went, or became something else, while we looked.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP)
}

// add writes one file.
func (t *packer) add(from, rel string, name func(string) string, st *unix.Stat_t) error {
	if st.Mode&unix.S_IFMT == unix.S_IFREG {
		return t.regular(from, rel, name)
	}
	h, err := header(from, name(rel), st)
	if err != nil || h == nil {
		return err
	}
	return t.write(from, rel, h, st, nil)
}

// regular writes a file with its content, as long as it is when we open it.
func (t *packer) regular(from, rel string, name func(string) string) error {
	// A file that becomes a pipe or a link in that moment must not hold or mislead us.
	file, err := os.OpenFile(from, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if gone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		return &fs.PathError{Op: "fstat", Path: from, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil
	}
	h, err := header(from, name(rel), &st)
	if err != nil {
		return err
	}
	if st.Nlink > 1 {
		key := inode{uint64(st.Dev), st.Ino}
		if first, ok := t.first[key]; ok {
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
		} else {
			t.first[key] = h.Name
		}
	}
	return t.write(from, rel, h, &st, file)
}

func (t *packer) write(from, rel string, h *tar.Header, st *unix.Stat_t, content io.Reader) error {
	if t.extra != nil {
		if done, err := t.extra(from, rel, h, st); done || err != nil {
			return err
		}
	}
	if err := t.tw.WriteHeader(h); err != nil {
		return fmt.Errorf("archive %s: %w", from, err)
	}
	if h.Typeflag != tar.TypeReg || h.Size == 0 {
		return nil
	}
	// Only what the header says: it may grow meanwhile, or become shorter.
	n, err := io.CopyBuffer(struct{ io.Writer }{t.tw}, io.LimitReader(content, h.Size), t.buf)
	if err == nil && n < h.Size {
		_, err = io.CopyN(t.tw, zeros{}, h.Size-n)
	}
	if err != nil {
		return fmt.Errorf("archive %s: %w", from, err)
	}
	return nil
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// header describes a file as Docker does: owners by number, times in seconds. It
// is nil for what a tar cannot hold: sockets.
func header(from, name string, st *unix.Stat_t) (*tar.Header, error) {
	h := &tar.Header{
		Format: tar.FormatPAX, Name: name, Mode: int64(st.Mode & 0o7777), Uid: int(st.Uid), Gid: int(st.Gid),
		ModTime: time.Unix(st.Mtim.Sec, 0),
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		h.Typeflag, h.Size = tar.TypeReg, st.Size
	case unix.S_IFDIR:
		h.Typeflag = tar.TypeDir
		h.Name = strings.TrimSuffix(name, "/") + "/"
	case unix.S_IFLNK:
		h.Typeflag = tar.TypeSymlink
		target, err := os.Readlink(from)
		if gone(err) || errors.Is(err, unix.EINVAL) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		h.Linkname = target
	case unix.S_IFCHR, unix.S_IFBLK:
		h.Typeflag = tar.TypeChar
		if st.Mode&unix.S_IFMT == unix.S_IFBLK {
			h.Typeflag = tar.TypeBlock
		}
		h.Devmajor, h.Devminor = int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
	case unix.S_IFIFO:
		h.Typeflag = tar.TypeFifo
	default:
		return nil, nil
	}
	records, err := attributes(from)
	if err != nil {
		return nil, err
	}
	h.PAXRecords = records
	return h, nil
}
