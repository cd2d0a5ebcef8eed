package system

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/vic-engine/vic/pkg/disk/ext4"
)

func superOf(t *testing.T, size int64) []byte {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "fs"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if err := ext4.WriteBlank(f, size, ext4.BlankOptions{}); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, superBytes)
	if _, err := f.ReadAt(b, superblock); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParseExt4(t *testing.T) {
	for _, size := range []int64{64 << 20, 1 << 30} {
		s, ok := parseExt4(superOf(t, size))
		if !ok || int64(s.blocks*s.block) != size {
			t.Errorf("%d bytes: %+v, %v", size, s, ok)
		}
	}
	b := superOf(t, 64<<20)
	b[superIncompat] |= incompat64
	b[superBlocksTop] = 1
	if s, ok := parseExt4(b); !ok || s.blocks>>32 != 1 {
		t.Errorf("64 bits: %+v, %v", s, ok)
	}
	b[superMagic] = 0
	if _, ok := parseExt4(b); ok {
		t.Error("no magic, but ext4")
	}
}

func FuzzParseExt4(f *testing.F) {
	f.Add(make([]byte, superBytes))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, ok := parseExt4(b); ok && (s.blocks == 0 || s.block < 1024 || s.block > 64<<10) {
			t.Errorf("%+v", s)
		}
	})
}

func TestInRoot(t *testing.T) {
	root := t.TempDir()
	put(t, filepath.Join(root, "d/file"), "x")
	for name, to := range map[string]string{"abs": "/d", "out": "../../../d", "loop": "loop", "etc": "/nowhere"} {
		if err := os.Symlink(to, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	for p, want := range map[string]bool{
		"/": true, "/d": true, "/abs": true, "/out": true, "d/../d": true,
		"/d/file": false, "/loop": false, "/etc": false, "/none": false,
	} {
		if got := InRoot(root, p); got != want {
			t.Errorf("%s: %v", p, got)
		}
	}
}

// What leads out of the volume is refused before anything is mounted.
func TestBindBelowRefuses(t *testing.T) {
	top := t.TempDir()
	put(t, filepath.Join(top, "secret/file"), "x")
	put(t, filepath.Join(top, "vol/d/file"), "x")
	vol := filepath.Join(top, "vol")
	for name, to := range map[string]string{"abs": "/etc", "out": "../secret", "deep": "d/../../secret"} {
		if err := os.Symlink(to, filepath.Join(vol, name)); err != nil {
			t.Fatal(err)
		}
	}
	target := filepath.Join(top, "target")
	for _, p := range []string{"..", "../secret", "d/../../secret", "/etc", "abs", "out", "deep", "none", "d/file"} {
		if err := BindBelow(vol, p, target); err == nil {
			t.Errorf("%s was mounted", p)
		}
		if _, err := os.Stat(target); err == nil {
			t.Fatalf("%s: its mount point was made", p)
		}
	}
}

// A copy that was cut off is made anew, and only that.
func TestCopyAgain(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	put(t, filepath.Join(from, "d/file"), "whole")
	put(t, filepath.Join(to, "d/file"), "wh")
	put(t, filepath.Join(to, copying), "")
	if err := CopyIfEmpty(from, to); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(to, "d/file")); err != nil || string(b) != "whole" {
		t.Errorf("%q, %v", b, err)
	}
	if left, err := os.ReadDir(to); err != nil || len(left) != 1 {
		t.Errorf("%v, %v", left, err)
	}
	put(t, filepath.Join(to, "d/file"), "mine")
	if err := CopyIfEmpty(from, to); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(filepath.Join(to, "d/file")); string(b) != "mine" {
		t.Errorf("a volume in use has %q", b)
	}
}
