package ext4

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/vic-engine/vic/pkg/disk/ext4/ext4test"
	"github.com/vic-engine/vic/pkg/disk/layers"
)

func newFile(t testing.TB) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func blankFile(t testing.TB, size int64) *os.File {
	t.Helper()
	f := newFile(t)
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if err := WriteBlank(f, size, BlankOptions{Label: "containerfs"}); err != nil {
		t.Fatal(err)
	}
	return f
}

func layer(t testing.TB, headers ...*tar.Header) layers.Layer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		h.Format, h.ModTime = tar.FormatPAX, time.Unix(1700000000, 0)
		body := h.Uname // borrowed for the content
		h.Uname = ""
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(body))
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, body); err != nil && h.Typeflag == tar.TypeReg {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return layers.Layer{Name: "test", Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil }}
}

func reg(name, body string) *tar.Header {
	return &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Uname: body}
}

// imageFile has every kind of file.
func imageFile(t testing.TB) *os.File {
	t.Helper()
	tool := reg("usr/bin/tool", "tool")
	tool.Mode, tool.Uid = 0o4755, 70000
	tool.PAXRecords = map[string]string{"SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"}
	lower := layer(t, tool, reg("etc/gone", "x"), reg("etc/motd", "old"),
		&tar.Header{Name: "bin", Typeflag: tar.TypeSymlink, Linkname: "usr/bin"},
		&tar.Header{Name: "usr/bin/alias", Typeflag: tar.TypeLink, Linkname: "usr/bin/tool"},
		&tar.Header{Name: "dev/null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3, Mode: 0o666},
		&tar.Header{Name: "run/pipe", Typeflag: tar.TypeFifo, Mode: 0o600},
		&tar.Header{Name: "lost+found/", Typeflag: tar.TypeDir, Mode: 0o700},
	)
	var many []*tar.Header
	for i := range 300 {
		many = append(many, reg(fmt.Sprintf("many/%03d", i), fmt.Sprint(i)))
	}
	many = append(many, reg("etc/.wh.gone", ""), reg("etc/motd", "new"), reg("bin/late", "late"))
	tree, err := layers.Merge(context.Background(), []layers.Layer{lower, layer(t, many...)}, layers.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	f := newFile(t)
	var last int64
	size, err := WriteImage(context.Background(), f, tree, func(n int64) { last = n })
	if err != nil {
		t.Fatal(err)
	}
	st, err := f.Stat()
	if err != nil || st.Size() != size {
		t.Fatalf("file of %d bytes, WriteImage says %d (%v)", st.Size(), size, err)
	}
	if u := tree.Usage(); last != u.Bytes || Estimate(tree) < size-32*4096 {
		t.Errorf("progress %d of %d, estimate %d for %d", last, u.Bytes, Estimate(tree), size)
	}
	return f
}

// TestImageReadsBack reads the filesystem with another implementation.
func TestImageReadsBack(t *testing.T) {
	f := imageFile(t)
	for name, want := range map[string]string{
		"etc/motd": "new", "usr/bin/tool": "tool", "usr/bin/alias": "tool", "usr/bin/late": "late",
		"many/299": "299", "bin": "usr/bin",
	} {
		if b, err := ext4test.ReadFile(f, name); err != nil || string(b) != want {
			t.Errorf("%s is %q (%v), want %q", name, b, err, want)
		}
	}
	if _, err := ext4test.ReadFile(f, "etc/gone"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file under a whiteout: %v", err)
	}
}

func TestWriteImageReportsTheCause(t *testing.T) {
	boom := errors.New("boom")
	first := true
	l := layer(t, reg("a", "12345"))
	open := l.Open
	l.Open = func() (io.ReadCloser, error) {
		if first {
			first = false
			return open()
		}
		return nil, boom
	}
	tree, err := layers.Merge(context.Background(), []layers.Layer{l}, layers.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := WriteImage(context.Background(), newFile(t), tree, nil); !errors.Is(err, boom) {
		t.Errorf("source's error: %v", err)
	}

	tree, err = layers.Merge(context.Background(), []layers.Layer{layer(t, reg("a", "12345"))}, layers.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := WriteImage(ctx, newFile(t), tree, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	closed := newFile(t)
	closed.Close()
	if _, err := WriteImage(context.Background(), closed, tree, nil); !errors.Is(err, os.ErrClosed) {
		t.Errorf("disk's error: %v", err)
	}
}

func TestBlankReadsBack(t *testing.T) {
	f := blankFile(t, 300<<20)
	if names, err := ext4test.List(f, "/"); err != nil || len(names) != 1 || names[0] != "lost+found" {
		t.Errorf("root has %q, %v", names, err)
	}
	if names, err := ext4test.List(f, "/lost+found"); err != nil || len(names) != 0 {
		t.Errorf("lost+found has %q, %v", names, err)
	}
}

func TestBlankLayout(t *testing.T) {
	b := newBlank(8<<30, BlankOptions{})
	if b.groups != 64 || b.inodesPerGroup*b.groups != 512<<10 || b.journalBlocks != 8192 {
		t.Errorf("groups %d, inodes %d, journal %d", b.groups, b.inodesPerGroup*b.groups, b.journalBlocks)
	}
	for g, want := range map[uint32]bool{0: true, 1: true, 2: false, 3: true, 9: true, 10: false, 25: true, 49: true, 63: false} {
		if hasSuper(g) != want {
			t.Errorf("hasSuper(%d) is %v", g, !want)
		}
	}
	// A last group of 100 blocks cannot hold its own tables.
	if b := newBlank(128<<20+100*blockSize, BlankOptions{}); b.groups != 1 {
		t.Errorf("%d groups", b.groups)
	}
}

func TestBlankRefuses(t *testing.T) {
	f := newFile(t)
	if WriteBlank(f, MinBlank-1, BlankOptions{}) == nil || WriteBlank(f, 17<<40, BlankOptions{}) == nil ||
		WriteBlank(f, MinBlank, BlankOptions{Label: "0123456789abcdefg"}) == nil {
		t.Error("bad options are accepted")
	}
	f.Close()
	if err := WriteBlank(f, MinBlank, BlankOptions{}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("disk's error: %v", err)
	}
}

func BenchmarkBlank8GiB(b *testing.B) {
	for b.Loop() {
		blankFile(b, 8<<30)
	}
}
