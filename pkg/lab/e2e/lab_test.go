//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/vic-engine/vic/pkg/nfs/nfstest"
)

// fixture is one running lab, and the VCH on it once created.
type fixture struct {
	mode  string
	bin   string // folder of the programs
	state string // of the lab
	env   []string
	vch   string // host:port of the Docker API
	wd    string // where vic-machine leaves its files

	nfs     *nfstest.Server // nil while it is stopped
	nfsDir  string
	nfsPort int
}

// timeouts are generous: TCG on a shared machine.
const (
	upTimeout     = 2 * time.Minute
	createTimeout = 4 * time.Minute
)

func binDir(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("..", "..", "..", "bin"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"vic-lab", "vic-machine", "bootstrap.iso", "appliance.iso"} {
		if _, err := os.Stat(filepath.Join(dir, p)); err != nil {
			t.Fatalf("%s is missing: run `make build isos` first (%v)", p, err)
		}
	}
	return dir
}

// freePort finds a loopback port for the lab's API.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// startLab brings up a lab of its own and ends it with the test.
func startLab(t *testing.T, mode string) *fixture {
	t.Helper()
	f := &fixture{mode: mode, bin: binDir(t), state: shortDir(t), wd: t.TempDir()}
	f.run(t, upTimeout, "vic-lab", "up", "--state", f.state, "--mode", mode, "--listen", freePort(t), "--registry-listen", freePort(t))
	t.Cleanup(func() {
		if t.Failed() {
			f.keep(t)
		}
		f.run(t, upTimeout, "vic-lab", "down", "--state", f.state)
	})
	b, err := os.ReadFile(filepath.Join(f.state, "lab.env"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(b), "\n") {
		line = strings.TrimPrefix(strings.TrimSpace(line), "export ")
		if k, v, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(line, "#") {
			f.env = append(f.env, k+"="+strings.Trim(v, `'"`))
		}
	}
	return f
}

// shortDir is a temporary folder with a short name: unix sockets below it have
// at most 108 bytes.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "vic")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// keep copies what explains a failure: the lab's log and the VMs' consoles.
func (f *fixture) keep(t *testing.T) {
	_ = filepath.Walk(f.state, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() || !strings.HasSuffix(path, ".log") || strings.HasSuffix(path, "output.log") {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return nil
		}
		if len(b) > 4000 {
			b = b[len(b)-4000:]
		}
		t.Logf("---- end of %s\n%s", strings.TrimPrefix(path, f.state), b)
		return nil
	})
}

// run runs a program of ours and fails the test if it fails.
func (f *fixture) run(t *testing.T, limit time.Duration, name string, args ...string) string {
	t.Helper()
	out, err := f.try(limit, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

// try runs a program of ours, with stdout and stderr together.
func (f *fixture) try(limit time.Duration, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(f.bin, name), args...)
	if name == "docker" {
		cmd = exec.CommandContext(ctx, "docker", append([]string{"-H", f.vch, "--tls", "--tlscacert", f.cert()}, args...)...)
	}
	cmd.Env = append(os.Environ(), f.env...)
	cmd.Dir = f.wd
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if ctx.Err() != nil {
		err = fmt.Errorf("not done after %s", limit)
	}
	return out.String(), err
}

func (f *fixture) getenv(key string) string {
	for _, kv := range f.env {
		if k, v, _ := strings.Cut(kv, "="); k == key {
			return v
		}
	}
	return ""
}

var dockerHost = regexp.MustCompile(`DOCKER_HOST=(\S+)`)

// volumeStore is where the volumes of a test's VCH are: not with its images.
const volumeStore = "datastore2/volumes"

// createArgs is the article's command line, with the lab's registry and a place
// for volumes.
func (f *fixture) createArgs(name string, more ...string) []string {
	return append([]string{
		"create", "--bridge-network", "VCH Bridge", "--external-network", "VM Network",
		"--image-datastore", "mydatastore", "--volume-store", volumeStore + ":default", "--name", name,
		"--registry-mirror", f.getenv("VIC_LAB_REGISTRY"), "--timeout", createTimeout.String(),
		"--container-boot-timeout", "1m",
	}, more...)
}

// create makes a VCH and remembers where its Docker API is.
func (f *fixture) create(t *testing.T, name string, more ...string) string {
	t.Helper()
	out := f.run(t, createTimeout, "vic-machine", f.createArgs(name, more...)...)
	m := dockerHost.FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("create does not print DOCKER_HOST:\n%s", out)
	}
	f.vch = m[1]
	return out
}

// cert is the server's certificate. Newer docker clients want a file to be there
// for --tls, though they do not verify with it.
func (f *fixture) cert() string { return filepath.Join(f.wd, "VCH001-cert.pem") }

// inventory is all of a lab that `create` may touch, as text to compare.
func (f *fixture) inventory(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "objects:\n%s\n", f.run(t, upTimeout, "vic-lab", "govc", "find", "/"))
	fmt.Fprintf(&b, "networks:\n%s\n", f.run(t, upTimeout, "vic-lab", "govc", "ls", "network"))
	root := filepath.Join(f.state, "datastores")
	if _, err := os.Stat(root); err != nil {
		t.Fatalf("datastores of the lab: %v", err)
	}
	err := filepath.Walk(root, func(path string, info os.FileInfo, err error) error {
		if err == nil && path == filepath.Join(root, volumeStore) {
			return filepath.SkipDir // volumes stay when a VCH goes
		}
		if err == nil {
			fmt.Fprintln(&b, strings.TrimPrefix(path, root))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}
