//go:build vm

package tether_test

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/vic-engine/vic/pkg/lab/qemu/qemutest"
	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/portlayer/attach"
)

// inside runs a command line in the container of s and gives what it wrote.
func inside(ctx context.Context, t *testing.T, s *attach.Session, p spec.Process, command string) string {
	t.Helper()
	var out bytes.Buffer
	p.Path, p.Args, p.Env = "sh", []string{"-c", "{ " + command + "; } 2>&1"}, []string{"PATH=/bin"}
	if _, err := s.Exec(ctx, command, p, spec.Streams{Stdout: &out}, func(int) {}); err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	return strings.TrimSpace(out.String())
}

// TestGroup looks at a container's control group from inside and from the line.
func TestGroup(t *testing.T) {
	signer := signerOf(t)
	c := container(`sleep 1000`)
	c.AuthorizedKey = string(ssh.MarshalAuthorizedKey(signer.PublicKey()))
	c.Process.Attach = true
	c.Limits = spec.Limits{Memory: 40 << 20, CPUQuota: 50000, CPUShares: 512, Pids: 20, OOMScoreAdj: 77}
	vm := qemutest.Boot(t, qemutest.Options{ISO: built.bootstrap, Console: 2, Disks: disks(t), GuestInfo: keys(t, c)})
	_ = output(t, vm)
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	s, err := concentrator(t, vm, signer).Session(ctx, c.ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Release(ctx); err != nil {
		t.Fatal(err)
	}
	for command, want := range map[string]string{
		"cat /proc/self/cgroup":                              "0::/",
		"cat /proc/1/cgroup":                                 "0::/../..",
		"cat /sys/fs/cgroup/memory.max":                      "41943040",
		"cat /sys/fs/cgroup/pids.max":                        "20",
		"cat /sys/fs/cgroup/cpu.max":                         "50000 100000",
		"cat /sys/fs/cgroup/cpu.weight":                      "20",
		"cat /proc/self/oom_score_adj":                       "77",
		"cat /sys/fs/cgroup/cgroup.controllers":              "cpuset cpu io memory pids",
		"grep cgroup /proc/self/mountinfo | cut -d' ' -f4-6": "/ /sys/fs/cgroup ro,nosuid,nodev,noexec,relatime",
	} {
		if got := inside(ctx, t, s, spec.Process{}, command); got != want {
			t.Errorf("%s: %q, want %q", command, got, want)
		}
	}
	if err := s.Signal(ctx, "", "KILL"); err != nil {
		t.Error(err)
	}
	vm.WaitOff(limit)
}

// TestPrivilegedGroup: a nested engine makes groups below the container's own.
func TestPrivilegedGroup(t *testing.T) {
	signer := signerOf(t)
	c := container(`cd /sys/fs/cgroup; mkdir init && echo $$ > init/cgroup.procs && echo +memory +pids > cgroup.subtree_control && mkdir made && ` +
		`echo 7 > made/pids.max && cat made/pids.max made/memory.current; sleep 1000`)
	c.AuthorizedKey = string(ssh.MarshalAuthorizedKey(signer.PublicKey()))
	c.Process.Attach, c.Process.Privileged = true, true
	vm := qemutest.Boot(t, qemutest.Options{ISO: built.bootstrap, Console: 2, Disks: disks(t), GuestInfo: keys(t, c)})
	out := output(t, vm)
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	s, err := concentrator(t, vm, signer).Session(ctx, c.ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Release(ctx); err != nil {
		t.Fatal(err)
	}
	<-out.some
	if got := inside(ctx, t, s, c.Process, "cat /proc/self/cgroup"); got != "0::/init" {
		t.Errorf("an exec is in %q", got)
	}
	if err := s.Signal(ctx, "", "KILL"); err != nil {
		t.Error(err)
	}
	vm.WaitOff(limit)
	if text := <-out.all; text != "7\n0\n" {
		t.Errorf("output %q", text)
	}
}
