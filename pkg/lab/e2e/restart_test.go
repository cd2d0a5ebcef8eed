//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestRestart: what runs on a lab outlives the death of the lab's process, and
// what is there outlives its end in order. A second lab beside it is in nobody's
// way.
func TestRestart(t *testing.T) {
	f := startLab(t, "esxi")
	f.create(t, "VCH001")
	at := f.whereabouts(t)
	f.run(t, dockerTimeout, "docker", "run", "-d", "--name", "count", "busybox",
		"sh", "-c", "i=0; while :; do echo line $i; i=$((i+1)); sleep 0.1; done")
	before := f.counted(t, 5)

	t.Run("beside another", func(t *testing.T) {
		other := &fixture{bin: f.bin, state: shortDir(t), wd: f.wd}
		defer other.run(t, upTimeout, "vic-lab", "down", "--state", other.state)
		other.run(t, upTimeout, "vic-lab", "up", "--state", other.state, "--no-registry")
		if w := other.whereabouts(t); w.Subnet == at.Subnet || w.Target == at.Target {
			t.Errorf("two labs at %+v and %+v", at, w)
		}
	})

	t.Run("killed", func(t *testing.T) {
		f.kill(t)
		f.run(t, upTimeout, "vic-lab", "up", "--state", f.state)
		if w := f.whereabouts(t); w != at {
			t.Errorf("the lab is at %+v, was at %+v", w, at)
		}
		// The appliance went on, and so did the container; neither was started
		// again.
		var out string
		until(t, lineTimeout, func() (err error) {
			out, err = f.try(dockerTimeout, "docker", "exec", "count", "echo", "over the line")
			return err
		})
		if !strings.Contains(out, "over the line") {
			t.Errorf("exec: %s", out)
		}
		if ps := f.run(t, dockerTimeout, "docker", "ps", "--format", "{{.Names}} {{.Status}}"); !strings.HasPrefix(ps, "count Up") || strings.Count(ps, "\n") != 1 {
			t.Errorf("docker ps: %s", ps)
		}
		f.counted(t, before+20)
	})

	t.Run("ended in order", func(t *testing.T) {
		f.run(t, upTimeout, "vic-lab", "down", "--state", f.state)
		f.run(t, upTimeout, "vic-lab", "up", "--state", f.state)
		if w := f.whereabouts(t); w != at {
			t.Errorf("the lab is at %+v, was at %+v", w, at)
		}
		if on := f.run(t, upTimeout, "vic-lab", "govc", "find", "/", "-type", "m", "-runtime.powerState", "poweredOn"); on != "" {
			t.Errorf("powered on: %s", on)
		}
		// `make run` uses what is there, and turns it on.
		hello, err := f.try(createTimeout, "../.ci/hello")
		if err != nil || !strings.Contains(hello, "Hello from vic!") {
			t.Fatalf("make run, on a lab that was ended: %v\n%s", err, hello)
		}
		// It leaves nothing that a create of the same name stumbles over.
		work := filepath.Join(f.bin, "..", ".cache", "run")
		_, noCert := os.Stat(filepath.Join(work, "VCH001-cert.pem"))
		_, noKey := os.Stat(filepath.Join(work, "VCH001-key.pem"))
		if noCert == nil && noKey != nil {
			t.Errorf("a certificate of VCH001 without its key in %s: %v", work, noKey)
		}
		ps := f.run(t, dockerTimeout, "docker", "ps", "-a", "--format", "{{.Names}} {{.Status}}")
		if !strings.HasPrefix(ps, "count Exited") || strings.Count(ps, "\n") != 1 {
			t.Errorf("docker ps -a: %s", ps)
		}
		first := f.counted(t, before+20)
		f.run(t, dockerTimeout, "docker", "start", "count")
		if out := f.run(t, dockerTimeout, "docker", "exec", "count", "echo", "again"); !strings.Contains(out, "again") {
			t.Errorf("exec: %s", out)
		}
		// The log has both runs, one after the other.
		until(t, lineTimeout, func() error {
			lines := f.lines(t)
			for i, want := 0, 0; i < len(lines); i, want = i+1, want+1 {
				if i == first {
					want = 0
				}
				if lines[i] != fmt.Sprint("line ", want) {
					return fmt.Errorf("line %d of the log (%d of the first run) is %q, want %d", i, first, lines[i], want)
				}
			}
			if len(lines) < first+5 {
				return fmt.Errorf("%d lines of the second run", len(lines)-first)
			}
			return nil
		})
	})
}

const (
	dockerTimeout = time.Minute
	// lineTimeout is for what needs a lost connection found: the engine's and
	// the guests' keepalives take up to half a minute.
	lineTimeout = time.Minute
)

// whereabouts is what must not change over a restart of the lab.
type whereabouts struct {
	Target     string `json:"target"`
	Registry   string `json:"registry_mirror"`
	Subnet     string `json:"subnet"`
	Alias      string `json:"alias"`
	Thumbprint string `json:"thumbprint"`
}

func (f *fixture) whereabouts(t *testing.T) (w whereabouts) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(f.state, "lab.json"))
	if err == nil {
		err = json.Unmarshal(b, &w)
	}
	if err != nil || w.Subnet == "" || w.Target == "" {
		t.Fatalf("where the lab is: %+v, %v", w, err)
	}
	return w
}

// kill ends the lab's process with no warning, and waits for its end.
func (f *fixture) kill(t *testing.T) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(f.state, "lab.pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatalf("the lab's process %d: %v", pid, err)
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, syscall.SIGKILL, nil, 0); err != nil {
		t.Fatalf("kill the lab's process %d: %v", pid, err)
	}
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10_000); n != 1 {
		t.Fatalf("the killed process %d is there: %v", pid, err)
	}
}

// lines is the container's whole log.
func (f *fixture) lines(t *testing.T) []string {
	t.Helper()
	out := strings.TrimSuffix(f.run(t, dockerTimeout, "docker", "logs", "count"), "\n")
	if out == "" {
		return nil
	}
	return strings.Split(out, "\n")
}

// counted waits until the log of the container's only run has more than n lines,
// none missing and none twice, and gives their number.
func (f *fixture) counted(t *testing.T, n int) (has int) {
	t.Helper()
	until(t, lineTimeout, func() error {
		lines := f.lines(t)
		for i, line := range lines {
			if want := fmt.Sprint("line ", i); line != want {
				t.Fatalf("the log has %q for %q", line, want)
			}
		}
		if has = len(lines); has <= n {
			return fmt.Errorf("%d lines, want more than %d", has, n)
		}
		return nil
	})
	return has
}

// until tries until f succeeds.
func until(t *testing.T, limit time.Duration, f func() error) {
	t.Helper()
	for end := time.Now().Add(limit); ; time.Sleep(200 * time.Millisecond) {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("not so after %s: %v", limit, err)
		}
	}
}
