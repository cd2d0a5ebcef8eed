package layers

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"

	"github.com/containerd/errdefs"
)

// Write writes the tree as one tar stream: directories and everything that has
// no content in the order of names, then the contents in the order of the
// layers, each file once and its other names right after it. No name comes
// twice, none is a whiteout, and a directory comes before what is in it.
// progress, which may be nil, is called with the bytes of contents written.
func (t *Tree) Write(ctx context.Context, w io.Writer, progress func(done int64)) error {
	out := &tarWriter{tw: tar.NewWriter(w), progress: progress, names: map[*file][]string{}}
	wanted := make([]map[int]*file, len(t.layers))
	err := t.walk(func(name string, n *node) error {
		f := n.file
		if f.typ != typeReg || f.size == 0 {
			return out.plain(name, n)
		}
		if out.names[f] == nil {
			if wanted[f.layer] == nil {
				wanted[f.layer] = map[int]*file{}
			}
			wanted[f.layer][f.entry] = f
		}
		out.names[f] = append(out.names[f], name)
		return nil
	})
	if err != nil {
		return err
	}
	for i, l := range t.layers {
		if len(wanted[i]) == 0 {
			continue
		}
		if err := out.contents(ctx, l, wanted[i]); err != nil {
			return fmt.Errorf("layer %s: %w", l.Name, err)
		}
	}
	return out.tw.Close()
}

type tarWriter struct {
	tw *tar.Writer
	// names are the names of each file with content, in order; of the others
	// the first name that was written.
	names    map[*file][]string
	done     int64
	progress func(int64)
	buf      []byte
}

// plain writes a node without content.
func (o *tarWriter) plain(name string, n *node) error {
	if n.children == nil {
		if first := o.names[n.file]; len(first) > 0 {
			return o.link(name, first[0])
		}
		o.names[n.file] = []string{name}
	}
	return o.header(name, n.file)
}

// contents writes those files of a layer that are wanted, by entry number.
func (o *tarWriter) contents(ctx context.Context, l Layer, wanted map[int]*file) error {
	r, err := l.Open()
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer r.Close() // only read
	tr := tar.NewReader(buffered(r))
	for entry := 0; len(wanted) > 0; entry++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("%d files fewer than before: %w", len(wanted), errdefs.ErrDataLoss)
		}
		if err != nil {
			return fmt.Errorf("entry %d: %w", entry, badTar(err))
		}
		f := wanted[entry]
		if f == nil {
			continue
		}
		if h.Size != f.size {
			return fmt.Errorf("entry %.200q has another size than before: %w", h.Name, errdefs.ErrDataLoss)
		}
		if err := o.content(ctx, f, tr); err != nil {
			return fmt.Errorf("entry %.200q: %w", h.Name, err)
		}
		delete(wanted, entry)
	}
	return nil
}

func (o *tarWriter) content(ctx context.Context, f *file, r io.Reader) error {
	names := o.names[f]
	if err := o.header(names[0], f); err != nil {
		return err
	}
	if o.buf == nil {
		o.buf = make([]byte, 256<<10)
	}
	for left := f.size; left > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := io.ReadFull(r, o.buf[:min(int64(len(o.buf)), left)])
		if err != nil {
			return badTar(err)
		}
		if _, err := o.tw.Write(o.buf[:n]); err != nil {
			return err
		}
		left -= int64(n)
		o.done += int64(n)
		if o.progress != nil {
			o.progress(o.done)
		}
	}
	for _, name := range names[1:] {
		if err := o.link(name, names[0]); err != nil {
			return err
		}
	}
	return nil
}

func (o *tarWriter) link(name, target string) error {
	err := o.tw.WriteHeader(&tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target, Format: tar.FormatPAX})
	if err != nil {
		return fmt.Errorf("link %.200q: %w", name, err)
	}
	return nil
}

func (o *tarWriter) header(name string, f *file) error {
	h := &tar.Header{
		Typeflag: f.typ, Name: name, Linkname: f.link, Size: f.size, Mode: f.mode,
		Uid: f.uid, Gid: f.gid, ModTime: f.mtime, AccessTime: f.mtime, ChangeTime: f.mtime,
		Devmajor: f.major, Devminor: f.minor, Format: tar.FormatPAX,
	}
	if f.typ == typeDir {
		h.Name = path.Join(".", name) + "/"
	}
	if len(f.xattrs) > 0 {
		h.PAXRecords = map[string]string{}
		for k, v := range f.xattrs {
			h.PAXRecords[paxXattr+k] = v
		}
	}
	if err := o.tw.WriteHeader(h); err != nil {
		return fmt.Errorf("header of %.200q: %w", name, err)
	}
	return nil
}
