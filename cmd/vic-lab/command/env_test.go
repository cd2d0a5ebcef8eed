package command

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestEnv(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	state, _ := running(t, ctx)
	term, out, _ := terminal(map[string]string{"VIC_LAB_STATE": state})
	if code := Execute(ctx, []string{"env"}, term); code != 0 {
		t.Fatalf("code %d", code)
	}
	file := strings.TrimSpace(out.String())
	if fi, err := os.Stat(file); err != nil || fi.Mode().Perm() != 0o600 {
		t.Fatalf("%v %v", fi, err)
	}
	// A shell reads it.
	got, err := exec.Command("/bin/sh", "-c", `. "$1"; printf '%s\n' "$GOVC_USERNAME" "$GOVC_PASSWORD" "$VIC_LAB_REGISTRY" "$VIC_MACHINE_THUMBPRINT"`, "sh", file).Output()
	if err != nil {
		t.Fatal(err)
	}
	pass, err := os.ReadFile(filepath.Join(state, "password"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(got), "\n")
	if lines[0] != "root" || lines[1] != strings.TrimSpace(string(pass)) || lines[2] != "http://registry.lab.test:5000" || len(lines[3]) != 95 {
		t.Errorf("shell sees %q", lines)
	}
	none, _, errs := terminal(map[string]string{"VIC_LAB_STATE": t.TempDir()})
	if code := Execute(ctx, []string{"env"}, none); code == 0 || !strings.Contains(errs.String(), "vic-lab up") {
		t.Errorf("no lab: %d %s", code, errs)
	}
}

func TestEnvironmentQuotes(t *testing.T) {
	text := environment(info{State: "/s", Datastores: []string{"d"}, User: "o'neil"}, "p'w d$(x)")
	got, err := exec.Command("/bin/sh", "-c", text+`printf '%s|%s' "$GOVC_USERNAME" "$GOVC_PASSWORD"`).Output()
	if err != nil || string(got) != "o'neil|p'w d$(x)" {
		t.Errorf("%q %v", got, err)
	}
}
