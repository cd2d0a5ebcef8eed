package system

import (
	"os"
	"path/filepath"
	"testing"
)

// TestRewriteKeepsTheFile: who has it open, or mounted, sees the new text.
func TestRewriteKeepsTheFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "hosts")
	if err := Rewrite(name, "a long first text\n"); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, text := range []string{"short\n", "", "longer than before\n"} {
		if err := Rewrite(name, text); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 100)
		if n, _ := f.ReadAt(b, 0); string(b[:n]) != text {
			t.Errorf("read %q, want %q", b[:n], text)
		}
	}
}
