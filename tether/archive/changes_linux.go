package archive

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vic-engine/vic/pkg/spec"
)

// OCI's marks in layers: a file that is gone, and a folder of which nothing below
// is seen.
const (
	whiteoutPrefix = ".wh."
	opaqueMark     = ".wh..wh..opq"
)

// opaqueAttribute is how overlayfs marks such a folder.
const opaqueAttribute = "trusted.overlay.opaque"

// deleted tells whether st is overlayfs's mark of a file that is gone.
func deleted(st *unix.Stat_t) bool {
	return st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0
}

// opaque tells whether a folder hides what the image has in it.
func opaque(p string) (bool, error) {
	v, err := attribute(p, opaqueAttribute)
	switch {
	case errors.Is(err, unix.ENODATA), errors.Is(err, unix.ENOTSUP), gone(err):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("attribute %s of %s: %w", opaqueAttribute, p, err)
	}
	return string(v) == "y", nil
}

// ours tells whether a file of the upper folder is there because a container runs:
// what others are mounted on. They are no changes of the container's.
func ours(rel string, st *unix.Stat_t) bool {
	switch rel {
	case "proc", "sys", "dev":
		return isDir(st)
	case "etc/hosts", "etc/hostname", "etc/resolv.conf":
		return st.Mode&unix.S_IFMT == unix.S_IFREG && st.Size == 0
	}
	return false
}

// changes calls each for every difference between the upper and the lower folder,
// in the order of paths, as Docker's overlay2 has them.
func (f files) changes(each func(spec.FileChange) error) error {
	d := &differ{upper: f.at(upperDir), lower: f.at(lowerDir), each: each, told: map[string]bool{"/": true}}
	return d.folder("/", false)
}

type differ struct {
	upper, lower string
	each         func(spec.FileChange) error
	told         map[string]bool // folders that need no mention any more
}

// folder tells what differs in a folder; hidden: nothing of the lower one is seen.
func (d *differ) folder(dir string, hidden bool) error {
	entries, err := os.ReadDir(filepath.Join(d.upper, dir))
	if gone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		p := path.Join(dir, e.Name())
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(d.upper, p), &st); gone(err) {
			continue
		} else if err != nil {
			return &fs.PathError{Op: "lstat", Path: p, Err: err}
		}
		if ours(strings.TrimPrefix(p, "/"), &st) {
			continue
		}
		if err := d.one(p, &st, hidden); err != nil {
			return err
		}
	}
	return nil
}

func (d *differ) one(p string, st *unix.Stat_t, hidden bool) error {
	if deleted(st) {
		return d.tell(p, spec.FileDeleted)
	}
	var low unix.Stat_t
	err := unix.Lstat(filepath.Join(d.lower, p), &low)
	if err != nil && !gone(err) {
		return &fs.PathError{Op: "lstat", Path: p, Err: err}
	}
	was := err == nil && !hidden
	if !isDir(st) {
		if was {
			return d.tell(p, spec.FileModified)
		}
		return d.tell(p, spec.FileAdded)
	}
	inside, err := opaque(filepath.Join(d.upper, p))
	if err != nil {
		return err
	}
	switch {
	case !was:
		err = d.tell(p, spec.FileAdded)
	case inside || !sameFolder(st, &low):
		err = d.tell(p, spec.FileModified)
	}
	if err != nil {
		return err
	}
	if err := d.folder(p, hidden || inside || !was); err != nil {
		return err
	}
	if was && inside && isDir(&low) {
		return d.hiddenIn(p)
	}
	return nil
}

// hiddenIn tells what a folder that was made anew does not have any more.
func (d *differ) hiddenIn(dir string) error {
	entries, err := os.ReadDir(filepath.Join(d.lower, dir))
	if err != nil {
		return err
	}
	for _, e := range entries {
		p := path.Join(dir, e.Name())
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(d.upper, p), &st); err == nil {
			continue
		}
		if err := d.tell(p, spec.FileDeleted); err != nil {
			return err
		}
	}
	return nil
}

// sameFolder tells whether a folder was only copied up for something below it.
func sameFolder(a, b *unix.Stat_t) bool {
	return a.Mode == b.Mode && a.Uid == b.Uid && a.Gid == b.Gid && a.Mtim.Sec == b.Mtim.Sec &&
		(a.Mtim.Nsec == b.Mtim.Nsec || a.Mtim.Nsec == 0 || b.Mtim.Nsec == 0)
}

// tell passes a change on. A folder in which something came or went has changed
// too.
func (d *differ) tell(p string, kind spec.ChangeKind) error {
	if parent := path.Dir(p); kind != spec.FileModified && !d.told[parent] {
		d.told[parent] = true
		if err := d.each(spec.FileChange{Path: parent, Kind: spec.FileModified}); err != nil {
			return err
		}
	}
	d.told[p] = true
	return d.each(spec.FileChange{Path: p, Kind: kind})
}

// layer writes the upper folder as a layer of an image.
func (f files) layer(out io.Writer) error {
	t := newPacker(out)
	t.skip = ours
	t.extra = func(from, rel string, h *tar.Header, st *unix.Stat_t) (bool, error) {
		return f.mark(t.tw, from, rel, h, st)
	}
	if err := t.folder(f.at(upperDir), ".", func(rel string) string { return rel }); err != nil {
		return err
	}
	return t.tw.Close()
}

// mark writes the marks that a file of the upper folder stands for; done when it
// is nothing else.
func (f files) mark(tw *tar.Writer, from, rel string, h *tar.Header, st *unix.Stat_t) (done bool, err error) {
	mark := func(name string) error {
		return tw.WriteHeader(&tar.Header{Format: tar.FormatPAX, Typeflag: tar.TypeReg, Name: name, ModTime: h.ModTime})
	}
	if deleted(st) {
		return true, mark(path.Join(path.Dir(rel), whiteoutPrefix+path.Base(rel)))
	}
	if !isDir(st) {
		return false, nil
	}
	hides, err := opaque(from)
	if err != nil || !hides {
		return false, err
	}
	// overlayfs marks every new folder; one that the image does not have hides nothing.
	var low unix.Stat_t
	if err := unix.Lstat(filepath.Join(f.at(lowerDir), rel), &low); err != nil || !isDir(&low) {
		return false, nil
	}
	if err := tw.WriteHeader(h); err != nil {
		return true, err
	}
	return true, mark(path.Join(rel, opaqueMark))
}
