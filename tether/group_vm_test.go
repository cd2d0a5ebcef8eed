//go:build vm

package tether_test

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/crypto/ssh"

	"github.com/vic-engine/vic/pkg/guestinfo"
	"github.com/vic-engine/vic/pkg/lab/qemu/qemutest"
	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/pkg/tetherproto"
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
	heard := &reports{news: make(chan struct{})}
	s, err := listening(t, vm, signer, heard.add).Session(ctx, c.ID)
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
	// Figures of the guest: the main process sleeps, an exec with it.
	before, err := s.Stats(ctx)
	if err != nil {
		t.Fatal(err)
	}
	inside(ctx, t, s, spec.Process{}, "i=0; while [ $i -lt 5000 ]; do i=$((i+1)); done")
	after, err := s.Stats(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if used := time.Duration(after.CPU.Total - before.CPU.Total); used < 10*time.Millisecond || after.CPU.System <= before.CPU.System || after.CPU.Online != 1 {
		t.Errorf("a loop used %v: %+v, then %+v", used, before.CPU, after.CPU)
	}
	if m := after.Memory; m.Limit != 40<<20 || m.Usage == 0 || m.Usage > m.Limit || m.Details["anon"] == 0 || after.Pids.Limit != 20 || after.Pids.Current != 1 || after.CPU.Periods == 0 {
		t.Errorf("figures %+v", after)
	}
	// Limits change while it runs, all or none.
	change := c.Limits
	change.Pids, change.Memory = 30, 12<<20
	if err := s.Limit(ctx, change); err != nil {
		t.Error(err)
	}
	if got := inside(ctx, t, s, spec.Process{}, "cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/memory.max"); got != "30\n12582912" {
		t.Errorf("limits after a change: %q", got)
	}
	// A frozen exec makes no step, no other starts, and what is signalled waits.
	ticking := make(chan error, 1)
	var ticks counter
	go func() {
		_, err := s.Exec(ctx, "ticks", spec.Process{Path: "sh", Args: []string{"-c", "while :; do echo; sleep 0.02; done"}, Env: []string{"PATH=/bin"}}, spec.Streams{Stdout: &ticks}, func(int) {})
		ticking <- err
	}()
	ticks.wait(ctx, t, 1)
	if err := s.Pause(ctx); err != nil {
		t.Fatal(err)
	}
	if list, err := s.Processes(ctx); err != nil || len(list.Processes) < 2 || list.Processes[0].User != "root" || list.Processes[0].Command != "sleep" && list.Processes[0].Command != "sh" {
		t.Errorf("processes %+v, %v", list, err)
	}
	frozen, err := s.Stats(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Exec(ctx, "late", spec.Process{Path: "true", Env: []string{"PATH=/bin"}}, spec.Streams{}, func(int) {}); !errdefs.IsConflict(err) {
		t.Errorf("an exec in a paused container: %v", err)
	}
	if still, err := s.Stats(ctx); err != nil || still.CPU.Total != frozen.CPU.Total {
		t.Errorf("frozen, and CPU time went from %d to %d, %v", frozen.CPU.Total, still.CPU.Total, err)
	}
	if st, err := guestinfo.DecodeStatus(c.ID, vm.Guest.Keys()); err != nil || !st.Paused {
		t.Errorf("guestinfo of a paused container: %+v, %v", st, err)
	}
	if err := s.Resume(ctx); err != nil {
		t.Fatal(err)
	}
	ticks.wait(ctx, t, ticks.count()+5)
	if n := heard.count(tetherproto.ReportPaused); n < 2 {
		t.Errorf("%d reports of a pause and its end", n)
	}
	// More memory than the container may have: the exec is killed, told at once, and
	// the container goes on.
	if exit, err := s.Exec(ctx, "hungry", spec.Process{Path: "sh", Args: []string{"-c", "busybox dd if=/dev/zero of=/dev/null bs=20000000 count=1"}, Env: []string{"PATH=/bin"}}, spec.Streams{}, func(int) {}); err != nil || exit.Code == 0 {
		t.Errorf("a hungry exec: %+v, %v", exit, err)
	}
	if st, err := guestinfo.DecodeStatus(c.ID, vm.Guest.Keys()); err != nil || !st.Running {
		t.Errorf("after an exec was killed: %+v, %v", st, err)
	}
	heard.wait(ctx, t, tetherproto.ReportOOM)
	// KILL reaches what is frozen.
	if err := s.Pause(ctx); err != nil {
		t.Error(err)
	}
	if err := s.Signal(ctx, "", "KILL"); err != nil {
		t.Error(err)
	}
	<-ticking
	vm.WaitOff(limit)
	if st, err := guestinfo.DecodeStatus(c.ID, vm.Guest.Keys()); err != nil || st.Exit.Code != 137 || !st.Exit.OOM || st.Paused {
		t.Errorf("reported %+v %v", st, err)
	}
}

// counter counts what is written to it.
type counter struct {
	mu    sync.Mutex
	n     int
	grown chan struct{} // closed and renewed at each write
}

func (c *counter) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n += len(b)
	if c.grown != nil {
		close(c.grown)
		c.grown = nil
	}
	return len(b), nil
}

func (c *counter) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

func (c *counter) wait(ctx context.Context, t *testing.T, n int) {
	t.Helper()
	for {
		c.mu.Lock()
		if c.n >= n {
			c.mu.Unlock()
			return
		}
		if c.grown == nil {
			c.grown = make(chan struct{})
		}
		grown := c.grown
		c.mu.Unlock()
		select {
		case <-grown:
		case <-ctx.Done():
			t.Fatal(ctx.Err())
		}
	}
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

// reports are what a guest told of its own accord.
type reports struct {
	mu   sync.Mutex
	list []tetherproto.Report
	news chan struct{} // closed and renewed at each
}

func (r *reports) add(_ string, what tetherproto.Report) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, what)
	close(r.news)
	r.news = make(chan struct{})
}

func (r *reports) count(kind tetherproto.ReportKind) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, what := range r.list {
		if what.Kind == kind {
			n++
		}
	}
	return n
}

func (r *reports) wait(ctx context.Context, t *testing.T, kind tetherproto.ReportKind) {
	t.Helper()
	for {
		r.mu.Lock()
		news := r.news
		r.mu.Unlock()
		if r.count(kind) > 0 {
			return
		}
		select {
		case <-news:
		case <-ctx.Done():
			t.Fatalf("no report %s: %v", kind, ctx.Err())
		}
	}
}
