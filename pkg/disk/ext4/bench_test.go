package ext4

import (
	"archive/tar"
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/vic-engine/vic/pkg/disk/layers"
	"github.com/vic-engine/vic/pkg/disk/vmdk"
)

// tree178 writes layers like those of a Debian image: 6,700 files of 178 MB in
// all, four layers, half of the bytes compressible.
func tree178(b *testing.B) []layers.Layer {
	b.Helper()
	rnd := rand.New(rand.NewSource(1))
	noise := make([]byte, 1<<20)
	rnd.Read(noise[:len(noise)/2])
	var out []layers.Layer
	for l := range 4 {
		name := filepath.Join(b.TempDir(), fmt.Sprintf("%d.tar", l))
		f, err := os.Create(name)
		if err != nil {
			b.Fatal(err)
		}
		buf := bufio.NewWriterSize(f, 1<<20)
		w := tar.NewWriter(buf)
		for i := range 1675 {
			size := int64(rnd.ExpFloat64() * 26500)
			h := &tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprintf("usr/share/l%d/d%02d/file%04d", l, i%40, i), Mode: 0o644, Size: size, ModTime: time.Unix(1e9, 0)}
			if err := w.WriteHeader(h); err != nil {
				b.Fatal(err)
			}
			for size > 0 {
				off := rnd.Intn(len(noise) / 2)
				n := min(size, int64(len(noise)-off))
				if _, err := w.Write(noise[off : int64(off)+n]); err != nil {
					b.Fatal(err)
				}
				size -= n
			}
		}
		if err := w.Close(); err != nil {
			b.Fatal(err)
		}
		if err := buf.Flush(); err != nil {
			b.Fatal(err)
		}
		if err := f.Close(); err != nil {
			b.Fatal(err)
		}
		out = append(out, layers.Layer{Name: name, Open: func() (io.ReadCloser, error) { return os.Open(name) }})
	}
	return out
}

// BenchmarkImage178MB flattens the layers and writes the filesystem.
func BenchmarkImage178MB(b *testing.B) {
	ls := tree178(b)
	b.ReportAllocs()
	for b.Loop() {
		f := newFile(b)
		tree, err := layers.Merge(context.Background(), ls, layers.Limits{})
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(tree.Usage().Bytes)
		if _, err := WriteImage(context.Background(), f, tree, nil); err != nil {
			b.Fatal(err)
		}
		if err := os.Remove(f.Name()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPack178MB makes the filesystem a VMDK for the import.
func BenchmarkPack178MB(b *testing.B) {
	f := newFile(b)
	tree, err := layers.Merge(context.Background(), tree178(b), layers.Limits{})
	if err != nil {
		b.Fatal(err)
	}
	size, err := WriteImage(context.Background(), f, tree, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		n, err := vmdk.Write(context.Background(), io.Discard, f, vmdk.Capacity(size), vmdk.Options{})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(n)/1e6, "vmdk-MB")
	}
}
