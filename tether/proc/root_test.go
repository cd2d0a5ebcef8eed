//go:build linux

package proc

import (
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/vic-engine/vic/pkg/spec"
)

// TestInRootAsUser needs privileges and a static busybox; without them there is
// nothing that could be tested, and the guest's own tests do it in a VM.
func TestInRootAsUser(t *testing.T) {
	busybox, err := os.ReadFile("/bin/busybox")
	if os.Geteuid() != 0 || err != nil {
		t.Log("not root, or no /bin/busybox: only run in a VM")
		return
	}
	root := t.TempDir()
	for _, d := range []string{"bin", "etc", "dev"} {
		if err := os.Mkdir(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Dir(root), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"bin/busybox": string(busybox),
		"etc/passwd":  "web:x:33:34::/srv:/bin/sh\n",
		"etc/group":   "www:x:34:\nlog:x:40:web\n",
	} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/bin/busybox", filepath.Join(root, "bin/sh")); err != nil {
		t.Fatal(err)
	}
	start := func(p spec.Process) string {
		t.Helper()
		p.Path = "sh"
		c, err := Start(nil, Options{Root: root, Process: p})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Release()
		out, _ := io.ReadAll(c.Stdout())
		msg, _ := io.ReadAll(c.Stderr())
		if len(msg) > 0 {
			t.Errorf("stderr %q", msg)
		}
		return string(out)
	}
	out := start(spec.Process{Args: []string{"-c", "busybox id; pwd; busybox ls /; echo $HOME"}, User: "web", Dir: "/job/dir"})
	want := "uid=33(web) gid=34(www) groups=34(www),40(log)\n/job/dir\nbin\ndev\netc\njob\n/srv\n"
	if !strings.Contains(out, "uid=33(web) gid=34(www)") || !strings.HasSuffix(out, strings.SplitN(want, "\n", 2)[1]) {
		t.Errorf("got %q", out)
	}
	ours := capEff(t, spec.Process{Privileged: true})
	for want, p := range map[uint64]spec.Process{
		0xa80425fb: {}, // the set that Docker documents
		0xa80425fa: {CapDrop: []string{"CHOWN"}},
		0:          {CapDrop: []string{"ALL"}},
	} {
		if got := capEff(t, p); got != want&ours {
			t.Errorf("drop %v: %x, want %x of %x", p.CapDrop, got, want, ours)
		}
	}
}

// capEff gives the capabilities that a process started as p has.
func capEff(t *testing.T, p spec.Process) uint64 {
	t.Helper()
	p.Path, p.Args = "/bin/sh", []string{"-c", "grep CapEff /proc/self/status"}
	c, err := Start(nil, Options{Process: p})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Release()
	out, _ := io.ReadAll(c.Stdout())
	set, err := strconv.ParseUint(strings.TrimSpace(strings.TrimPrefix(string(out), "CapEff:")), 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	return set
}
