package archive

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/image"
)

// Limits of what an archive may have. Contents are bounded by whoever takes
// them.
const (
	maxEntries = 100_000
	maxName    = 4096
	maxNames   = 8 << 20 // bytes of all names, which are kept in memory
	maxLinks   = 10      // followed for one name
	maxIndex   = 4 << 20
	maxConfig  = 8 << 20
	maxSmall   = 32 << 20 // bytes of all indexes, manifests and configurations
)

// Archive is an archive whose contents are kept elsewhere.
type Archive struct {
	at    io.ReaderAt
	files map[string]section
	links map[string]string // names of what symbolic and hard links lead to
	names int64             // bytes of all names so far
	small int64             // bytes that read has given so far
}

// section is where a file's content is.
type section struct{ offset, size int64 }

// Read reads a tar, packed with gzip, bzip2, zstd or not, to its end and writes
// the contents of its files to w, one after the other; at reads what was
// written. An archive that is damaged, or has files that climb out of it, is
// ErrInvalidArgument. An error of w is given back as it is.
func Read(r io.Reader, w io.Writer, at io.ReaderAt) (*Archive, error) {
	plain, err := Unpack(r)
	if err != nil {
		return nil, err
	}
	defer plain.Close() // only read
	a := &Archive{at: at, files: map[string]section{}, links: map[string]string{}}
	var offset int64
	t := tar.NewReader(plain)
	for n := 0; ; n++ {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read archive of images: %w", damaged(err))
		}
		if n >= maxEntries {
			return nil, bad("archive of images: more than %d files", maxEntries)
		}
		size, err := a.entry(h, section{offset, h.Size}, t, w)
		if err != nil {
			return nil, err
		}
		offset += size
	}
	// What a client sends after the end is read too, so that it is not cut off.
	_, err = io.Copy(io.Discard, plain)
	return a, err
}

// Unpack gives a tar that is packed with gzip, bzip2, zstd or not at all.
// Nothing, and what is packed with xz, is ErrInvalidArgument.
func Unpack(r io.Reader) (io.ReadCloser, error) {
	b := bufio.NewReaderSize(r, 64<<10)
	head, err := b.Peek(6)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch {
	case len(head) == 0:
		return nil, bad("archive: it is empty")
	case bytes.HasPrefix(head, []byte("BZh")):
		return io.NopCloser(bzip2.NewReader(b)), nil
	case bytes.HasPrefix(head, []byte{0xfd, '7', 'z', 'X', 'Z', 0}):
		return nil, bad("archive: it is packed with xz; unpack it, or pack it with gzip or zstd")
	}
	return image.Decompress(b)
}

// entry takes one entry of the tar and gives the bytes it wrote.
func (a *Archive) entry(h *tar.Header, at section, r io.Reader, w io.Writer) (int64, error) {
	if len(h.Name) > maxName || len(h.Linkname) > maxName {
		return 0, bad("archive of images: a name of more than %d bytes", maxName)
	}
	switch h.Typeflag {
	case tar.TypeDir, tar.TypeXGlobalHeader:
		return 0, nil
	}
	if a.names += int64(len(h.Name) + len(h.Linkname)); a.names > maxNames {
		return 0, bad("archive of images: names of more than %d bytes altogether", int64(maxNames))
	}
	name, err := inside(h.Name)
	if err != nil {
		return 0, err
	}
	delete(a.files, name)
	delete(a.links, name)
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse:
		n, err := io.Copy(w, r)
		if err != nil {
			return 0, fmt.Errorf("read %s of the archive: %w", name, damaged(err))
		}
		a.files[name] = section{at.offset, n}
		return n, nil
	case tar.TypeLink:
		a.links[name], err = inside(h.Linkname)
	case tar.TypeSymlink:
		if path.IsAbs(h.Linkname) {
			return 0, bad("archive of images: %s leads out of it, to %s", h.Name, h.Linkname)
		}
		a.links[name], err = inside(path.Join(path.Dir(name), h.Linkname))
	default:
		return 0, bad("archive of images: %s is neither a file, a folder nor a link", h.Name)
	}
	return 0, err
}

// inside gives a name in the archive in its plainest form.
func inside(name string) (string, error) {
	clean := path.Clean(strings.TrimPrefix(name, "/"))
	if clean == ".." || strings.HasPrefix(clean, "../") || strings.ContainsRune(name, 0) {
		return "", bad("archive of images: %q leads out of it", name)
	}
	return clean, nil
}

// find gives a file by its name, through links. One that is not there is
// ErrNotFound.
func (a *Archive) find(name string) (section, error) {
	at, err := inside(name)
	if err != nil {
		return section{}, err
	}
	for range maxLinks {
		if s, ok := a.files[at]; ok {
			return s, nil
		}
		to, ok := a.links[at]
		if !ok {
			return section{}, fmt.Errorf("archive of images: it has no %s: %w", name, errdefs.ErrNotFound)
		}
		at = to
	}
	return section{}, bad("archive of images: more than %d links from %s", maxLinks, name)
}

// read gives a small file.
func (a *Archive) read(name string, limit int64) ([]byte, error) {
	s, err := a.find(name)
	if err != nil {
		return nil, err
	}
	if s.size > limit {
		return nil, bad("archive of images: %s has more than %d bytes", name, limit)
	}
	// A file may be told of any number of times, and all that is read of it is kept.
	if a.small += s.size; a.small > maxSmall {
		return nil, bad("archive of images: indexes, manifests and configurations of more than %d bytes altogether", int64(maxSmall))
	}
	b := make([]byte, s.size)
	if _, err := io.ReadFull(io.NewSectionReader(a.at, s.offset, s.size), b); err != nil {
		return nil, fmt.Errorf("read %s of the archive: %w", name, err)
	}
	return b, nil
}

// fault is ErrInvalidArgument with a text that does not say so.
type fault struct{ text string }

func (f *fault) Error() string { return f.text }
func (*fault) Unwrap() error   { return errdefs.ErrInvalidArgument }

func bad(format string, a ...any) error { return &fault{fmt.Sprintf(format, a...)} }

// damaged classes an error of the tar reader. What the stream below it, or the
// writer, reported stays what it is.
func damaged(err error) error {
	var corrupt bzip2.StructuralError
	if errors.Is(err, tar.ErrHeader) || errors.Is(err, tar.ErrFieldTooLong) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &corrupt) {
		return fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	}
	return err
}
