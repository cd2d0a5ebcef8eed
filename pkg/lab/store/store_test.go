package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"compress/zlib"

	"github.com/containerd/errdefs"
)

func disk(t *testing.T, name string, size int64) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), name)
	if err := Create(p, Spec{Capacity: size, Thin: true}); err != nil {
		t.Fatal(err)
	}
	return p
}

func write(t *testing.T, path string, off int64, b []byte) {
	t.Helper()
	f, err := os.OpenFile(FlatName(path), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(b, off); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string, off int64, n int) []byte {
	t.Helper()
	f, err := os.Open(FlatName(path))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, n)
	if _, err := f.ReadAt(b, off); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestCreate(t *testing.T) {
	p := disk(t, "a.vmdk", 10<<20+1)
	d, err := ReadDescriptor(p)
	if err != nil {
		t.Fatal(err)
	}
	if d.Capacity() != 10<<20+512 || !d.Flat() || d.Get("ddb.thinProvisioned") != "1" || d.Get("createType") != "vmfs" {
		t.Errorf("descriptor\n%s", d.Text())
	}
	if len(d.Get("ddb.uuid")) != 47 {
		t.Errorf("uuid %q", d.Get("ddb.uuid"))
	}
	fi, err := os.Stat(FlatName(p))
	if err != nil || fi.Size() != d.Capacity() || Allocated(fi) != 0 {
		t.Errorf("extent %v %v, %d allocated", fi, err, Allocated(fi))
	}
	if err := Create(p, Spec{Capacity: 512}); !errdefs.IsAlreadyExists(err) {
		t.Errorf("created twice: %v", err)
	}
	if err := Create(p+"x.vmdk", Spec{}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("no capacity: %v", err)
	}
}

func TestCopyKeepsBytesAndHoles(t *testing.T) {
	ctx := context.Background()
	src := disk(t, "a.vmdk", 64<<20)
	want := bytes.Repeat([]byte("vic!"), 1<<12)
	write(t, src, 48<<20, want)
	dst := filepath.Join(t.TempDir(), "b.vmdk")
	if err := Copy(ctx, src, dst); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(read(t, dst, 48<<20, len(want)), want) {
		t.Error("bytes differ")
	}
	fi, _ := os.Stat(FlatName(dst))
	if fi.Size() != 64<<20 || Allocated(fi) > 1<<20 {
		t.Errorf("copy: %d bytes, %d allocated", fi.Size(), Allocated(fi))
	}
	// It is a disk of its own.
	write(t, dst, 0, []byte("mine"))
	if bytes.Equal(read(t, src, 0, 4), []byte("mine")) {
		t.Error("the copy shares the source's extent")
	}
	a, _ := ReadDescriptor(src)
	b, _ := ReadDescriptor(dst)
	if a.Get("ddb.uuid") == b.Get("ddb.uuid") || b.Extents()[0].File != "b-flat.vmdk" {
		t.Errorf("descriptor of the copy\n%s", b.Text())
	}
	if err := Copy(ctx, src, dst); !errdefs.IsAlreadyExists(err) {
		t.Errorf("copied over a disk: %v", err)
	}
	if err := Copy(ctx, src+"none", dst+"2.vmdk"); !errdefs.IsNotFound(err) {
		t.Errorf("copied nothing: %v", err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	left := filepath.Join(t.TempDir(), "c.vmdk")
	if err := Copy(ended, src, left); err == nil && !reflinks(t) {
		t.Error("copy went on after its context's end")
	} else if err != nil {
		if list, _ := os.ReadDir(filepath.Dir(left)); len(list) != 0 {
			t.Errorf("a failed copy left %v", list)
		}
	}
}

// reflinks tells whether temporary files share blocks: then a copy is at once.
func reflinks(t *testing.T) bool {
	a, err := os.CreateTemp(t.TempDir(), "a")
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.CreateTemp(t.TempDir(), "b")
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	defer b.Close()
	return reflink(a, b)
}

func TestMoveExtendDelete(t *testing.T) {
	ctx := context.Background()
	src := disk(t, "a.vmdk", 1<<20)
	write(t, src, 4096, []byte("keep"))
	dst := filepath.Join(t.TempDir(), "b.vmdk")
	if err := Move(ctx, src, dst); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(src); err == nil {
		t.Error("the source is still there")
	}
	if err := Extend(dst, 2<<20); err != nil {
		t.Fatal(err)
	}
	if d, _ := ReadDescriptor(dst); d.Capacity() != 2<<20 || string(read(t, dst, 4096, 4)) != "keep" {
		t.Error("extended wrongly")
	}
	if err := Extend(dst, 1<<20); !errdefs.IsInvalidArgument(err) {
		t.Errorf("shrunk: %v", err)
	}
	if err := SetUUID(dst, "60 00 c2 93 7a 0f 00 00-00 00 00 00 00 00 00 01"); err != nil {
		t.Fatal(err)
	}
	if d, _ := ReadDescriptor(dst); !strings.HasPrefix(d.Get("ddb.uuid"), "60 00 c2") {
		t.Errorf("uuid %s", d.Get("ddb.uuid"))
	}
	if err := Delete(dst); err != nil {
		t.Fatal(err)
	}
	if list, _ := os.ReadDir(filepath.Dir(dst)); len(list) != 0 {
		t.Errorf("left %v", list)
	}
}

func TestBadDescriptors(t *testing.T) {
	p := filepath.Join(t.TempDir(), "x.vmdk")
	for _, text := range []string{"", "hello", "# Disk DescriptorFile\nRW 8 VMFS \"/etc/passwd\"\n", "# Disk DescriptorFile\nRW 8 VMFS \"../a\"\n",
		"KDMV" + strings.Repeat("\xff", 508)} {
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadDescriptor(p); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%.30q: %v", text, err)
		}
	}
}

// stream makes a streamOptimized VMDK of grains by sector.
func stream(capacity int64, grains map[int64][]byte, order []int64) []byte {
	var b bytes.Buffer
	le := binary.LittleEndian
	h := make([]byte, SectorSize)
	copy(h, "KDMV")
	le.PutUint32(h[4:], 3)
	le.PutUint32(h[8:], 1<<16|1<<17)
	le.PutUint64(h[12:], uint64(capacity/SectorSize))
	le.PutUint64(h[20:], 128)
	le.PutUint64(h[28:], 1)
	le.PutUint64(h[36:], 20)
	le.PutUint64(h[64:], 128)
	le.PutUint16(h[77:], 1)
	b.Write(h)
	desc := make([]byte, 127*SectorSize)
	copy(desc, "# Disk DescriptorFile\nversion=1\nparentCID=ffffffff\ncreateType=\"streamOptimized\"\nRDONLY 1 SPARSE \"x.vmdk\"\n")
	b.Write(desc)
	for _, lba := range order {
		var z bytes.Buffer
		w := zlib.NewWriter(&z)
		_, _ = w.Write(grains[lba])
		_ = w.Close()
		m := make([]byte, 12)
		le.PutUint64(m, uint64(lba))
		le.PutUint32(m[8:], uint32(z.Len()))
		b.Write(m)
		b.Write(z.Bytes())
		b.Write(make([]byte, (SectorSize-b.Len()%SectorSize)%SectorSize))
	}
	marker := func(val uint64, kind uint32) {
		m := make([]byte, SectorSize)
		le.PutUint64(m, val)
		le.PutUint32(m[12:], kind)
		b.Write(m)
	}
	marker(4, markerGT)
	b.Write(make([]byte, 4*SectorSize))
	marker(1, markerGD)
	b.Write(make([]byte, SectorSize))
	marker(1, markerFooter)
	b.Write(h)
	marker(0, markerEOS)
	return b.Bytes()
}

func TestImport(t *testing.T) {
	a, z := bytes.Repeat([]byte{7}, 64<<10), bytes.Repeat([]byte("end."), 16<<10)
	img := stream(1<<20, map[int64][]byte{0: a, 1920: z}, []int64{0, 1920})
	p := disk(t, "a.vmdk", 512<<10) // smaller: it grows
	if err := Import(context.Background(), p, bytes.NewReader(img), 1<<20); err != nil {
		t.Fatal(err)
	}
	if d, _ := ReadDescriptor(p); d.Capacity() != 1<<20 {
		t.Errorf("capacity %d", d.Capacity())
	}
	if !bytes.Equal(read(t, p, 0, len(a)), a) || !bytes.Equal(read(t, p, 1920*SectorSize, len(z)), z) {
		t.Error("bytes differ")
	}
	if err := Import(context.Background(), disk(t, "c.vmdk", 1<<20), bytes.NewReader(img), 100<<10); !errdefs.IsResourceExhausted(err) {
		t.Errorf("over the limit: %v", err)
	}
	for _, cut := range []int{100, SectorSize * 60, len(img) / 2, len(img) - SectorSize} {
		if err := Import(context.Background(), disk(t, "b.vmdk", 1<<20), bytes.NewReader(img[:cut]), 1<<20); err == nil {
			t.Errorf("a stream cut at %d is accepted", cut)
		}
	}
}

// TestQEMUAgrees compares with qemu-img where there is one: it reads what we
// write, and we read what it streams.
func TestQEMUAgrees(t *testing.T) {
	if _, err := exec.LookPath("qemu-img"); err != nil {
		t.Logf("no qemu-img: nothing to compare with")
		return
	}
	ctx := context.Background()
	src := disk(t, "a.vmdk", 3<<20)
	want := bytes.Repeat([]byte("0123456789abcdef"), 1<<12)
	write(t, src, 1<<20, want)
	qemu := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("qemu-img", args...).CombinedOutput(); err != nil {
			t.Fatalf("qemu-img %v: %v\n%s", args, err, out)
		}
	}
	raw := filepath.Join(t.TempDir(), "raw")
	qemu("convert", "-f", "vmdk", "-O", "raw", src, raw)
	if b, _ := os.ReadFile(raw); len(b) != 3<<20 || !bytes.Equal(b[1<<20:1<<20+len(want)], want) {
		t.Error("QEMU reads something else")
	}
	img := filepath.Join(t.TempDir(), "s.vmdk")
	qemu("convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized", raw, img)
	f, err := os.Open(img)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	dst := disk(t, "b.vmdk", 3<<20)
	if err := Import(ctx, dst, f, 1<<30); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(read(t, dst, 1<<20, len(want)), want) {
		t.Error("imported something else")
	}

	// A child on it: new data in the child, old data from below, and a copy has both.
	child := filepath.Join(filepath.Dir(src), "c.vmdk")
	if err := CreateChild(ctx, child, src); err != nil {
		t.Fatal(err)
	}
	d, err := ReadDescriptor(child)
	if err != nil || d.Parent() != "a.vmdk" || d.Flat() || d.Capacity() != 3<<20 {
		t.Fatalf("child %v\n%s", err, d.Text())
	}
	moved := filepath.Join(t.TempDir(), "m.vmdk")
	if err := Move(ctx, child, moved); err != nil {
		t.Fatal(err)
	}
	flat := filepath.Join(t.TempDir(), "f.vmdk")
	if err := Copy(ctx, moved, flat); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(read(t, flat, 1<<20, len(want)), want) {
		t.Error("the copy of a child lacks what is below it")
	}
}

func FuzzDescriptor(f *testing.F) {
	f.Add([]byte(newDescriptor("a-flat.vmdk", 8, Spec{}).Text()))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := readDescriptor(bytes.NewReader(b))
		if err != nil {
			return
		}
		for _, e := range d.Extents() {
			if strings.ContainsAny(e.File, "/") {
				t.Fatalf("extent %q leaves the folder", e.File)
			}
		}
	})
}

type sink struct{ capacity int64 }

func (s sink) WriteAt(b []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(b)) > s.capacity {
		panic("outside the disk")
	}
	return len(b), nil
}

func FuzzStream(f *testing.F) {
	f.Add(stream(1<<20, map[int64][]byte{0: {1, 2, 3}}, []int64{0}))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := NewStream(bytes.NewReader(b))
		if err != nil {
			return
		}
		_ = s.WriteTo(context.Background(), sink{s.Capacity})
	})
}
