//go:build !windows

package main

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// fake is a vic-machine that records how it was called and plays a log.
const fake = `#!/bin/sh
printf '%s\n' "$@" "target=$VIC_MACHINE_TARGET" "user=$VIC_MACHINE_USER" "password=$VIC_MACHINE_PASSWORD" > "$(dirname "$0")/called"
cat "$(dirname "$0")/log"
exit $(cat "$(dirname "$0")/status")
`

// runScript runs install.sh beside the fake and gives what it printed, how the
// fake was called, and the exit code.
func runScript(t *testing.T, log, status string, args ...string) (stdout, stderr, called string, code int) {
	t.Helper()
	dir := t.TempDir()
	script, err := os.ReadFile("install.sh")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"install.sh": string(script), "vic-machine": fake, "log": log, "status": status} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	var out, errs bytes.Buffer
	cmd := exec.Command("sh", append([]string{filepath.Join(dir, "install.sh")}, args...)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &errs
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	b, _ := os.ReadFile(filepath.Join(dir, "called"))
	return out.String(), errs.String(), string(b), cmd.ProcessState.ExitCode()
}

var when = regexp.MustCompile(`\[\d\d-\d\d-\d\d \d\d:\d\d:\d\d\]`)

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got):\n%s", path, d)
	}
}

func TestInstallScript(t *testing.T) {
	log, err := os.ReadFile("testdata/create.log")
	if err != nil {
		t.Fatal(err)
	}
	const secret = `p:w@'"$(x) y`
	stdout, stderr, called, code := runScript(t, string(log), "0", "-g", "-t", "root:"+secret+"@10.0.0.1", "-i", "mydatastore", "VCH-name")
	if code != 0 {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	golden(t, "install.txt", when.ReplaceAllString(stdout, "[05-04-16 12:00:38]"))
	want := "create\n--name\nVCH-name\n--image-datastore\nmydatastore\n--force\ntarget=10.0.0.1\nuser=root\npassword=" + secret + "\n"
	if d := cmp.Diff(want, called); d != "" {
		t.Errorf("vic-machine was called wrongly (-want +got):\n%s", d)
	}
	if strings.Contains(stdout+stderr, secret) {
		t.Error("the password was shown")
	}
	if !strings.Contains(stderr, "--force takes it as seen") {
		t.Errorf("the warning about the certificate is missing: %s", stderr)
	}
}

func TestInstallScriptFailure(t *testing.T) {
	log := "INFO[2016-08-06T19:52:00Z] ### Installing VCH ####\nERRO[2016-08-06T19:52:00Z] --------------------\nERRO[2016-08-06T19:52:00Z] vic-machine-linux create failed: no\n"
	_, stderr, called, code := runScript(t, log, "1", "-t", "root@host", "-b", "the bridge", "-p", "AA:BB", "-i", "ds", "x")
	if code != 1 || !strings.Contains(stderr, "create failed: no") {
		t.Errorf("exit %d, %s", code, stderr)
	}
	if !strings.Contains(called, "--bridge-network\nthe bridge\n--thumbprint\nAA:BB\n--no-tls\n") || strings.Contains(called, "--force") {
		t.Errorf("called with %s", called)
	}
	for _, args := range [][]string{{}, {"-g", "x"}, {"-t", "a:b@c", "x"}, {"-t", "a:b@c", "-i", "ds"}, {"-Z"}} {
		if _, _, called, code := runScript(t, "", "0", args...); code != 2 || called != "" {
			t.Errorf("%q: exit %d, called %q", args, code, called)
		}
	}
}
