//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"
)

func TestESXi(t *testing.T)    { lifecycle(t, "esxi") }
func TestVCenter(t *testing.T) { lifecycle(t, "vcenter") }

// lifecycle creates a VCH, runs every script on it, deletes it, and wants the
// lab as it was before.
func lifecycle(t *testing.T, mode string) {
	f := startLab(t, mode)
	networks := f.containerNetworks(t)
	before := f.inventory(t)
	key := filepath.Join(f.wd, "debug")
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen: %v %s", err, out)
	}
	more := append([]string{"--debug", "1", "--debug-authorized-key", key + ".pub"}, networks...)
	switch mode { // one mode is enough for what vSphere has no part in
	case "esxi":
		more = append(more, "--volume-store", f.startNFS(t), "--insecure-registry", "registry.lab.test")
	case "vcenter": // which has tags
		more = append(more, "--tag-labels", "tier", "--docker-socket")
	}
	out := f.create(t, "VCH001", more...)
	checkTranscript(t, "create", mode, out)

	params := testscript.Params{
		RequireExplicitExec: true,
		Setup:               func(env *testscript.Env) error { return f.setup(env, key) },
		// [esxi] and [vcenter]: the lab's mode.
		Condition: func(c string) (bool, error) {
			if c != "esxi" && c != "vcenter" {
				return false, fmt.Errorf("condition %q: want esxi or vcenter", c)
			}
			return c == mode, nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code": code, "eventually": eventually, "fetch": fetch, "random": random, "strip": strip, "nfs": f.nfsServer,
		},
	}
	ok := t.Run("together", func(t *testing.T) {
		p := params
		p.Dir = filepath.Join("testdata", "together")
		testscript.Run(t, p)
	})
	// What vSphere has no part in, or the same one in both modes, is in one mode's
	// folder: emulated VMs cost time. testdata/together and testdata/alone are for
	// what touches the inventory, the hardware, or tasks that differ.
	ok = t.Run(mode, func(t *testing.T) {
		p := params
		p.Dir = filepath.Join("testdata", mode)
		testscript.Run(t, p)
	}) && ok
	if mode == "esxi" {
		ok = t.Run("resize", f.resize) && ok
	}
	// What changes the whole VCH goes one by one.
	for _, script := range aloneScripts(t, mode) {
		ok = t.Run("alone", func(t *testing.T) {
			p := params
			p.Files = []string{script}
			testscript.Run(t, p)
		}) && ok
	}
	out, err := f.try(createTimeout, "vic-machine", "delete", "--name", "VCH001", "--force")
	if err != nil {
		t.Fatalf("delete: %v\n%s", err, out)
	}
	if !ok {
		return // what a failed script left is no finding of its own
	}
	checkTranscript(t, "delete", mode, out)
	if mode == "vcenter" {
		if left := f.run(t, upTimeout, "vic-lab", "govc", "tags.category.ls"); left != "" {
			t.Errorf("delete left categories of tags: %s", left)
		}
	}
	if d := cmp.Diff(before, f.inventory(t)); d != "" {
		t.Errorf("delete left the lab changed (-before +after):\n%s", d)
	}
}

// aloneScripts are the scripts to run one by one: those of both modes, then the
// mode's own.
func aloneScripts(t *testing.T, mode string) (scripts []string) {
	t.Helper()
	for _, dir := range []string{".", mode} {
		found, err := filepath.Glob(filepath.Join("testdata", "alone", dir, "*.txtar"))
		if err != nil || len(found) == 0 {
			t.Fatalf("scripts to run alone in %s: %v %v", dir, found, err)
		}
		scripts = append(scripts, found...)
	}
	return scripts
}

// containerNetworks are the options of create for the networks that the scripts of
// ESXi use: one with the lab's DHCP, one of a port group that is made here.
func (f *fixture) containerNetworks(t *testing.T) []string {
	if f.mode != "esxi" {
		return nil
	}
	f.run(t, upTimeout, "vic-lab", "govc", "host.portgroup.add", "-vswitch", "vSwitch0", "Production")
	return []string{
		"--container-network", "VM Network:direct",
		"--container-network", "Production:prod", "--container-network-gateway", "Production:10.9.0.1/16",
		"--container-network-ip-range", "Production:10.9.1.0/24", "--container-network-firewall", "Production:peers",
	}
}

// writeProgram writes a program that is run at once. No other script may fork in the
// meantime: its child has the open file until it execs, and what is open for writing
// cannot be run (ETXTBSY, see https://go.dev/issue/22315).
func writeProgram(path, text string) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	return os.WriteFile(path, []byte(text), 0o755)
}

// setup gives a script its environment: $VCH, docker as `exec docker …`, the
// lab's variables, and the mode.
func (f *fixture) setup(env *testscript.Env, key string) error {
	bin := filepath.Join(env.WorkDir, ".bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	docker, err := exec.LookPath("docker")
	if err != nil {
		return fmt.Errorf("the docker client: %w (.ci/deps installs one)", err)
	}
	host, _, _ := strings.Cut(f.vch, ":")
	for name, text := range map[string]string{
		"docker": fmt.Sprintf("#!/bin/sh\nexec %s -H %s --tls --tlscacert %s \"$@\"\n", docker, f.vch, f.cert()),
		"govc":   fmt.Sprintf("#!/bin/sh\nexec %s/vic-lab govc \"$@\"\n", f.bin),
		"vch": fmt.Sprintf("#!/bin/sh\n# a command inside the appliance\nexec ssh -q -i %s -p 2222 -o StrictHostKeyChecking=no "+
			"-o UserKnownHostsFile=/dev/null -o BatchMode=yes root@%s \"$@\"\n", key, host),
	} {
		if err := writeProgram(filepath.Join(bin, name), text); err != nil {
			return err
		}
	}
	env.Setenv("PATH", bin+":"+f.bin+":"+os.Getenv("PATH"))
	env.Setenv("VCH", f.vch)
	env.Setenv("VCHHOST", host)
	env.Setenv("MODE", f.mode)
	env.Setenv("REGISTRY", strings.TrimPrefix(f.getenv("VIC_LAB_REGISTRY"), "http://"))
	env.Setenv("NFS", f.nfsDir)
	env.Setenv("LABSTATE", f.state)
	env.Setenv("HOME", env.WorkDir)
	for _, kv := range f.env {
		k, v, _ := strings.Cut(kv, "=")
		env.Setenv(k, v)
	}
	return nil
}

// code N command…: the command ends with exit code N.
func code(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N command [args]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%s: %v", args[1], err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// eventually DURATION command…: the command succeeds before DURATION is over.
func eventually(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: [!] eventually DURATION command [args]")
	}
	limit, err := time.ParseDuration(args[0])
	ts.Check(err)
	for end := time.Now().Add(limit); ; {
		err := ts.Exec(args[1], args[2:]...)
		if (err == nil) != neg {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("not so after %s: %v", limit, err)
		}
	}
}

// fetch DURATION URL FILE: a web server answers before DURATION is over, with what
// is then in FILE. With ! it does not.
func fetch(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: [!] fetch DURATION URL FILE")
	}
	limit, err := time.ParseDuration(args[0])
	ts.Check(err)
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	retry := time.NewTicker(100 * time.Millisecond)
	defer retry.Stop()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	get := func() ([]byte, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, args[1], nil)
		if err != nil {
			return nil, err
		}
		resp, err := client.Do(req)
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		return io.ReadAll(resp.Body)
	}
	for {
		body, err := get()
		if err == nil {
			if neg {
				ts.Fatalf("%s answers", args[1])
			}
			ts.Check(os.WriteFile(ts.MkAbs(args[2]), body, 0o600))
			return
		}
		select {
		case <-retry.C:
		case <-ctx.Done():
			if !neg {
				ts.Fatalf("no answer after %s: %v", limit, err)
			}
			return
		}
	}
}

// random FILE BYTES writes bytes that no compressor or terminal likes.
func random(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: random FILE BYTES")
	}
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	b := make([]byte, n)
	x := uint32(2463534242)
	for i := range b {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		b[i] = byte(x)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b, 0o600))
}

// strip FILE removes carriage returns, for what came from a terminal.
func strip(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: strip FILE")
	}
	p := ts.MkAbs(args[0])
	b, err := os.ReadFile(p)
	ts.Check(err)
	ts.Check(os.WriteFile(p, []byte(strings.ReplaceAll(string(b), "\r", "")), 0o600))
}

// TestWriteProgram: what is written can be run at once, whoever forks meanwhile.
func TestWriteProgram(t *testing.T) {
	dir := t.TempDir()
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for j := range 50 {
				path := filepath.Join(dir, fmt.Sprintf("%d-%d", i, j))
				if err := writeProgram(path, "#!/bin/sh\n"); err != nil {
					t.Error(err)
				} else if err := exec.Command(path).Run(); err != nil {
					t.Errorf("run it: %v", err)
					return
				}
			}
		})
	}
	all.Wait()
}
