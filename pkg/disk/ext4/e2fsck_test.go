//go:build vm

package ext4

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// fsck fails the test unless e2fsck finds nothing at all.
func fsck(t *testing.T, file string) {
	t.Helper()
	if out, err := exec.Command("e2fsck", "-fn", file).CombinedOutput(); err != nil {
		t.Fatalf("e2fsck: %v\n%s", err, out)
	}
}

func TestBlankIsClean(t *testing.T) {
	for _, mb := range []int64{16, 17, 100, 127, 128, 129, 130, 1000, 2047, 8192, 8193, 16 << 10, 40 << 10} {
		t.Run(strconv.FormatInt(mb, 10), func(t *testing.T) {
			fsck(t, blankFile(t, mb<<20).Name())
		})
	}
	fsck(t, blankFile(t, 33<<20+12345).Name())
}

func TestImageIsClean(t *testing.T) {
	f := imageFile(t)
	fsck(t, f.Name())
	out, err := exec.Command("debugfs", "-R", "stat /usr/bin/tool", f.Name()).Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Mode:  04755", "User: 70000", "Links: 2", "security.capability"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	dump := filepath.Join(t.TempDir(), "tool")
	if out, err := exec.Command("debugfs", "-R", "dump /usr/bin/tool "+dump, f.Name()).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if b, err := os.ReadFile(dump); err != nil || string(b) != "tool" {
		t.Errorf("%q, %v", b, err)
	}
}
