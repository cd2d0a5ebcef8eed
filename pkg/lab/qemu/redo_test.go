package qemu

import (
	"os"
	"path/filepath"
	"testing"
)

func TestParseCapacity(t *testing.T) {
	sparse := append([]byte("KDMV\x01\x00\x00\x00\x03\x00\x00\x00"), 0, 0, 0, 1, 0, 0, 0, 0)
	for name, c := range map[string]struct {
		in   string
		want int64
	}{
		"flat":     {"# Disk DescriptorFile\nversion=1\n# Extent description\nRW 16777216 VMFS \"x-flat.vmdk\"\n", 8 << 30},
		"extents":  {"# Disk DescriptorFile\nRW 2 FLAT \"a\" 0\nRDONLY 3 SPARSE \"b\"\n", 5 * 512},
		"sparse":   {string(sparse), 1 << 24 * 512},
		"no disk":  {"hello", 0},
		"empty":    {"", 0},
		"none":     {"# Disk DescriptorFile\n", 0},
		"negative": {"# Disk DescriptorFile\nRW -1 FLAT \"a\"\n", 0},
		"overflow": {"# Disk DescriptorFile\nRW 9223372036854775807 FLAT \"a\"\nRW 9223372036854775807 FLAT \"b\"\n", 0},
	} {
		got, ok := parseCapacity([]byte(c.in))
		if ok != (c.want > 0) || ok && got != c.want {
			t.Errorf("%s: %d %v, want %d", name, got, ok, c.want)
		}
	}
}

func FuzzParseCapacity(f *testing.F) {
	f.Add([]byte("# Disk DescriptorFile\nRW 2 FLAT \"a\" 0\n"))
	f.Add([]byte("KDMV0123456789abcdef"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if n, ok := parseCapacity(b); ok && n <= 0 {
			t.Fatalf("%q: %d", b, n)
		}
	})
}

func TestRedo(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.REDO")
	for _, size := range []int64{512, 8 << 30, 40 << 40} {
		if err := writeRedo(path, size); err != nil {
			t.Fatal(err)
		}
	}
	for _, size := range []int64{0, -1, 1 << 62} {
		if err := writeRedo(filepath.Join(dir, "bad"), size); err == nil {
			t.Errorf("size %d accepted", size)
		}
	}
	if e, _ := os.ReadDir(dir); len(e) != 1 {
		t.Errorf("left behind: %v", e)
	}
}
