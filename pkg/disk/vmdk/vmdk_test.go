package vmdk

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// sample is a disk with data at both ends, a hole, and a grain of zeros.
func sample(t testing.TB, capacity int64) []byte {
	t.Helper()
	rnd := rand.New(rand.NewSource(capacity))
	b := make([]byte, capacity)
	rnd.Read(b[:min(capacity, 100<<10)])
	if capacity > 40<<20 {
		rnd.Read(b[35<<20 : 35<<20+3])
	}
	rnd.Read(b[capacity-700:])
	return b
}

func pack(t testing.TB, src io.ReaderAt, capacity int64) []byte {
	t.Helper()
	var out bytes.Buffer
	n, err := Write(context.Background(), &out, src, capacity, Options{Name: "x.vmdk"})
	if err != nil {
		t.Fatal(err)
	}
	if n != int64(out.Len()) || n%SectorSize != 0 {
		t.Fatalf("Write says %d bytes, wrote %d", n, out.Len())
	}
	return out.Bytes()
}

func TestRoundTrip(t *testing.T) {
	for _, capacity := range []int64{SectorSize * 2, GrainSize, 1 << 20, 33<<20 + 512*3, 70 << 20} {
		want := sample(t, capacity)
		packed := pack(t, bytes.NewReader(want), capacity)
		r, err := NewReader(bytes.NewReader(packed), int64(len(packed)))
		if err != nil {
			t.Fatal(err)
		}
		if r.Capacity() != capacity {
			t.Fatalf("capacity %d, want %d", r.Capacity(), capacity)
		}
		got, err := io.ReadAll(io.NewSectionReader(r, 0, capacity))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("disk of %d bytes differs after a round trip", capacity)
		}
		text, err := r.Descriptor()
		if err != nil || !strings.Contains(text, `createType="streamOptimized"`) || !strings.Contains(text, `"x.vmdk"`) {
			t.Errorf("descriptor %q, %v", text, err)
		}
	}
}

// TestSparseFile packs an 8 GiB file with three bytes of data: the holes must
// not be read or stored.
func TestSparseFile(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "raw"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const capacity = 8 << 30
	if err := f.Truncate(capacity); err != nil {
		t.Fatal(err)
	}
	for _, off := range []int64{5, 3 << 30, capacity - 1} {
		if _, err := f.WriteAt([]byte{42}, off); err != nil {
			t.Fatal(err)
		}
	}
	packed := pack(t, f, capacity)
	if len(packed) > 256<<10 {
		t.Errorf("%d bytes for three grains", len(packed))
	}
	r, err := NewReader(bytes.NewReader(packed), int64(len(packed)))
	if err != nil {
		t.Fatal(err)
	}
	for off, want := range map[int64]byte{5: 42, 6: 0, 1 << 30: 0, 3 << 30: 42, capacity - 1: 42, capacity - 2: 0} {
		b := []byte{1}
		if _, err := r.ReadAt(b, off); err != nil || b[0] != want {
			t.Errorf("byte %d is %d (%v), want %d", off, b[0], err, want)
		}
	}
	if n, err := r.ReadAt(make([]byte, 4), capacity-1); n != 1 || !errors.Is(err, io.EOF) {
		t.Errorf("read over the end gives %d, %v", n, err)
	}
}

func TestExpandIsWhatWasWritten(t *testing.T) {
	const capacity = 70 << 20
	want := sample(t, capacity)
	packed := pack(t, bytes.NewReader(want), capacity)
	r, err := NewReader(bytes.NewReader(packed), int64(len(packed)))
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "raw"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(capacity); err != nil {
		t.Fatal(err)
	}
	if err := r.Expand(f); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(f.Name())
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("expanded disk differs (%v)", err)
	}
}

func TestWriteRefuses(t *testing.T) {
	for _, capacity := range []int64{0, -512, 100, MaxCapacity + 512} {
		if _, err := Write(context.Background(), io.Discard, bytes.NewReader(nil), capacity, Options{}); err == nil {
			t.Errorf("capacity %d is accepted", capacity)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Write(ctx, io.Discard, bytes.NewReader(nil), 1<<20, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	full := errors.New("full")
	if _, err := Write(context.Background(), failing{full}, bytes.NewReader(nil), 1<<20, Options{}); !errors.Is(err, full) {
		t.Errorf("writer's error: %v", err)
	}
}

func TestReaderRefusesDamage(t *testing.T) {
	packed := pack(t, bytes.NewReader(sample(t, 1<<20)), 1<<20)
	for name, damage := range map[string]func([]byte) []byte{
		"cut":        func(b []byte) []byte { return b[:len(b)-SectorSize*2] },
		"empty":      func([]byte) []byte { return nil },
		"magic":      func(b []byte) []byte { b[0]++; return b },
		"grain size": func(b []byte) []byte { b[20]++; return b },
		"data":       func(b []byte) []byte { b[overhead*SectorSize+40] ^= 0xff; return b },
	} {
		b := damage(bytes.Clone(packed))
		r, err := NewReader(bytes.NewReader(b), int64(len(b)))
		if err == nil {
			_, err = io.ReadAll(io.NewSectionReader(r, 0, 1<<20))
		}
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestCapacity(t *testing.T) {
	for size, want := range map[int64]int64{0: 1 << 20, 1: 1 << 20, 1 << 20: 1 << 20, 1<<20 + 1: 2 << 20} {
		if got := Capacity(size); got != want {
			t.Errorf("Capacity(%d) = %d, want %d", size, got, want)
		}
	}
}

func FuzzReader(f *testing.F) {
	packed := pack(f, bytes.NewReader(sample(f, 200<<10)), 200<<10)
	f.Add(packed)
	f.Add(packed[:len(packed)/2])
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := NewReader(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		_, _ = r.Descriptor()
		buf := make([]byte, 4096)
		for off := int64(0); off < min(r.Capacity(), 1<<20); off += int64(len(buf)) {
			if _, err := r.ReadAt(buf, off); err != nil {
				return
			}
		}
	})
}

func BenchmarkWrite(b *testing.B) {
	raw := bytes.Repeat(sample(b, 1<<20), 64)
	b.SetBytes(int64(len(raw)))
	for b.Loop() {
		if _, err := Write(context.Background(), io.Discard, bytes.NewReader(raw), int64(len(raw)), Options{}); err != nil {
			b.Fatal(err)
		}
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }
