//go:build vm

package vmdk

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestQEMUReadsIt converts our VMDK back with qemu-img, another reader of the
// format than ours.
func TestQEMUReadsIt(t *testing.T) {
	const capacity = 70 << 20
	want := sample(t, capacity)
	dir := t.TempDir()
	packed := filepath.Join(dir, "x.vmdk")
	if err := os.WriteFile(packed, pack(t, bytes.NewReader(want), capacity), 0o600); err != nil {
		t.Fatal(err)
	}
	raw := filepath.Join(dir, "x.raw")
	for _, args := range [][]string{
		{"check", "-f", "vmdk", packed},
		{"convert", "-f", "vmdk", "-O", "raw", packed, raw},
	} {
		if out, err := exec.Command("qemu-img", args...).CombinedOutput(); err != nil {
			t.Fatalf("qemu-img %v: %v\n%s", args, err, out)
		}
	}
	got, err := os.ReadFile(raw)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("qemu-img reads another disk (%v)", err)
	}
}

// TestWeReadQEMU reads what qemu-img writes.
func TestWeReadQEMU(t *testing.T) {
	const capacity = 70 << 20
	want := sample(t, capacity)
	dir := t.TempDir()
	raw, packed := filepath.Join(dir, "x.raw"), filepath.Join(dir, "x.vmdk")
	if err := os.WriteFile(raw, want, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized", raw, packed).CombinedOutput(); err != nil {
		t.Fatalf("qemu-img: %v\n%s", err, out)
	}
	b, err := os.ReadFile(packed)
	if err != nil {
		t.Fatal(err)
	}
	r, err := NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, capacity)
	if _, err := r.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("differs (%v)", err)
	}
}
