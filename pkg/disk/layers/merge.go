package layers

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/containerd/errdefs"
)

// The tar types that a tree has. Everything else in a tar is not a file.
const (
	typeReg     = tar.TypeReg
	typeDir     = tar.TypeDir
	typeSymlink = tar.TypeSymlink
)

const (
	whiteout       = ".wh."
	whiteoutMeta   = ".wh..wh."
	whiteoutOpaque = ".wh..wh..opq"

	maxName   = 255
	maxPath   = 4096
	maxTarget = 4095
	maxXattrs = 64 << 10 // bytes of one file's extended attributes
	maxFile   = 16 << 40 // bytes of one file, ext4's limit with blocks of 4 KiB
)

// Layer is one layer of an image.
type Layer struct {
	// Name stands for the layer in errors; its digest.
	Name string
	// Open gives the layer's uncompressed tar from its start. It is called
	// twice; if the reader also is an io.Seeker, contents are skipped by it.
	Open func() (io.ReadCloser, error)
}

// Limits bound what Merge takes.
type Limits struct {
	// Memory is how many bytes the headers may take, counted as 320 and the
	// length of the path for each file; 0 is 256 MiB, room for about 700,000
	// files. Measured with 300,000 files, a file takes 263 bytes in the tree and
	// another 514 while the tree is written as ext4.
	Memory int64
	// Bytes is how large all contents may be together; 0 is unlimited.
	Bytes int64
}

// Tree is the joined filesystem of an image, without the contents.
type Tree struct {
	root   *node
	layers []Layer
	left   int64 // of Limits.Memory
	sizes  []int64
	bytes  int64 // of all files that were read, those that are hidden too
	// dropped are the extended attributes that were left out, by name.
	dropped map[string]int
}

// Merge reads the headers of all layers, the lowest first, and joins them.
// Errors name the layer; a layer that cannot be is ErrInvalidArgument, one
// beyond the limits ErrResourceExhausted.
func Merge(ctx context.Context, ls []Layer, lim Limits) (*Tree, error) {
	if lim.Memory == 0 {
		lim.Memory = 256 << 20
	}
	t := &Tree{root: newDir(-1), layers: ls, left: lim.Memory, sizes: make([]int64, len(ls)), dropped: map[string]int{}}
	for i, l := range ls {
		if err := t.merge(ctx, i, l); err != nil {
			return nil, fmt.Errorf("layer %s: %w", l.Name, err)
		}
	}
	if u := t.Usage(); lim.Bytes > 0 && u.Bytes > lim.Bytes {
		return nil, fmt.Errorf("files of %d bytes, at most %d are possible: %w", u.Bytes, lim.Bytes, errdefs.ErrResourceExhausted)
	}
	return t, nil
}

// LayerSizes are the bytes of each layer's files, as Docker counts an image's
// size: what upper layers hide is counted too.
func (t *Tree) LayerSizes() []int64 { return t.sizes }

// Dropped gives the names of extended attributes that no Linux filesystem can
// hold and how many files had them. They are left out.
func (t *Tree) Dropped() map[string]int { return t.dropped }

// Usage is what a tree takes.
type Usage struct {
	Files, Dirs int   // names that are not directories; directories
	Bytes       int64 // of contents
	Blocks      int64 // 4 KiB blocks of contents, directories and attributes
}

// Usage counts the tree.
func (t *Tree) Usage() Usage {
	var u Usage
	seen := map[*file]bool{}
	// each cannot fail, so neither can the walk.
	_ = t.walk(func(name string, n *node) error {
		if n.children != nil {
			u.Dirs++
			names := 24
			for c := range n.children {
				names += 12 + len(c)
			}
			u.Blocks += int64(names)/3072 + 2
			return nil
		}
		u.Files++
		if seen[n.file] {
			return nil
		}
		seen[n.file] = true
		u.Bytes += n.file.size
		u.Blocks += (n.file.size + 4095) / 4096
		if len(n.file.xattrs) > 0 || len(n.file.link) > 59 {
			u.Blocks++
		}
		return nil
	})
	return u
}

func (t *Tree) merge(ctx context.Context, layer int, l Layer) (err error) {
	r, err := l.Open()
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer r.Close() // only read
	tr := tar.NewReader(buffered(r))
	for entry := 0; ; entry++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("entry %d: %w", entry, badTar(err))
		}
		if err := t.add(h, layer, entry); err != nil {
			return fmt.Errorf("entry %.200q: %w", h.Name, err)
		}
	}
}

// buffered makes a stream cheap to read in small pieces, but leaves alone what
// can be skipped by seeking.
func buffered(r io.Reader) io.Reader {
	if _, ok := r.(io.Seeker); ok {
		return r
	}
	return bufio.NewReaderSize(r, 128<<10)
}

// badTar makes damage of the tar itself the layer's fault; what the stream
// below reported keeps its class.
func badTar(err error) error {
	if errors.Is(err, tar.ErrHeader) || errors.Is(err, tar.ErrFieldTooLong) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	}
	return err
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), errdefs.ErrInvalidArgument)
}

// spend takes the memory of one name from the budget.
func (t *Tree) spend(bytes int) error {
	t.left -= int64(bytes) + 320 // a node, a file and a map entry
	if t.left < 0 {
		return fmt.Errorf("too many files for one image: %w", errdefs.ErrResourceExhausted)
	}
	return nil
}

func (t *Tree) add(h *tar.Header, layer, entry int) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	if len(h.Name) > maxPath || len(h.Linkname) > maxPath {
		return invalid("file name too long")
	}
	parts := clean(h.Name)
	if len(parts) == 0 {
		return t.addRoot(h, layer, entry)
	}
	base := parts[len(parts)-1]
	for _, p := range parts {
		if strings.HasPrefix(p, whiteoutMeta) && (p != base || p != whiteoutOpaque) {
			return nil // aufs' own notes
		}
	}
	if len(base) > maxName+len(whiteout) {
		return invalid("file name too long")
	}
	if strings.HasPrefix(base, whiteout) {
		return t.whiteout(parts[:len(parts)-1], base, layer)
	}
	if len(base) > maxName {
		return invalid("file name too long")
	}
	if len(parts) == 1 && base == "lost+found" && h.Typeflag != tar.TypeDir {
		return invalid("the name is ext4's own")
	}
	dir, length, err := t.dir(parts[:len(parts)-1], true)
	if err != nil {
		return err
	}
	if err := t.spend(length + len(base)); err != nil {
		return err
	}
	if h.Typeflag == tar.TypeLink {
		return t.addLink(h, dir, base, layer)
	}
	f, err := t.file(h, layer, entry)
	if err != nil {
		return err
	}
	// A sparse file may say any size. What is summed up of them must stay a number.
	if f.size > maxFile {
		return invalid("a file of %d bytes, at most %d are possible", f.size, int64(maxFile))
	}
	if t.bytes += f.size; t.bytes > math.MaxInt64-maxFile {
		return fmt.Errorf("files of more than %d bytes: %w", int64(math.MaxInt64-maxFile), errdefs.ErrResourceExhausted)
	}
	n := &node{file: f, stamp: layer}
	if f.typ == typeDir {
		n.children = map[string]*node{}
	}
	t.put(dir, base, n)
	t.sizes[layer] += f.size
	return nil
}

func (t *Tree) addRoot(h *tar.Header, layer, entry int) error {
	if h.Typeflag != tar.TypeDir {
		return invalid("the root is not a directory")
	}
	f, err := t.file(h, layer, entry)
	if err != nil {
		return err
	}
	t.root.file, t.root.stamp = f, layer
	return nil
}

// addLink makes base another name of an existing file.
func (t *Tree) addLink(h *tar.Header, dir *node, base string, layer int) error {
	parts := clean(h.Linkname)
	if len(parts) == 0 {
		return invalid("hard link to %.200q", h.Linkname)
	}
	from, _, err := t.dir(parts[:len(parts)-1], false)
	if err != nil {
		return fmt.Errorf("hard link to %.200q: %w", h.Linkname, err)
	}
	var target *node
	if from != nil {
		target = from.children[parts[len(parts)-1]]
	}
	if target == nil || target.children != nil {
		return invalid("hard link to %.200q, which is not a file", h.Linkname)
	}
	t.put(dir, base, &node{file: target.file, stamp: layer})
	return nil
}

// whiteout applies the marker base, found in the directory parts, to what the
// layers below have there. What this layer itself has stays, in any order.
func (t *Tree) whiteout(parts []string, base string, layer int) error {
	name := strings.TrimPrefix(base, whiteout)
	if name == "" || name == "." || name == ".." {
		return invalid("whiteout of %q", name)
	}
	dir, _, err := t.dir(parts, base == whiteoutOpaque)
	if err != nil || dir == nil {
		return err
	}
	if base == whiteoutOpaque {
		for name, c := range dir.children {
			if hide(c, layer) {
				delete(dir.children, name)
			}
		}
		return nil
	}
	if c := dir.children[name]; c != nil && hide(c, layer) {
		delete(dir.children, name)
	}
	return nil
}

// file checks a header and makes it an inode.
func (t *Tree) file(h *tar.Header, layer, entry int) (*file, error) {
	f := &file{
		typ: h.Typeflag, mode: h.Mode & 0o7777, uid: h.Uid, gid: h.Gid, mtime: h.ModTime,
		layer: layer, entry: entry,
	}
	if h.Uid < 0 || h.Gid < 0 || int64(h.Uid) >= math.MaxUint32 || int64(h.Gid) >= math.MaxUint32 {
		return nil, invalid("owner %d:%d", h.Uid, h.Gid)
	}
	if f.mtime.Before(time.Unix(math.MinInt32, 0)) {
		f.mtime = time.Unix(0, 0)
	}
	if f.mtime.Unix() > 1<<33 { // ext4's times end in 2446
		f.mtime = time.Unix(1<<33, 0)
	}
	switch h.Typeflag {
	case tar.TypeReg, '\x00', tar.TypeCont, tar.TypeGNUSparse:
		f.typ, f.size = typeReg, h.Size
	case tar.TypeSymlink:
		if h.Linkname == "" || len(h.Linkname) > maxTarget {
			return nil, invalid("symlink with a target of %d bytes", len(h.Linkname))
		}
		f.link = h.Linkname
	case tar.TypeChar, tar.TypeBlock:
		if h.Devmajor < 0 || h.Devmajor > 0xfff || h.Devminor < 0 || h.Devminor > 0xfffff {
			return nil, invalid("device %d:%d", h.Devmajor, h.Devminor)
		}
		f.major, f.minor = h.Devmajor, h.Devminor
	case tar.TypeDir, tar.TypeFifo:
	default:
		return nil, invalid("type %q", h.Typeflag)
	}
	return f, t.xattrs(f, h.PAXRecords)
}
