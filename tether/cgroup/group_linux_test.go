package cgroup

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vic-engine/vic/pkg/spec"
)

// tree is a folder with the files that the kernel would make.
func tree(t *testing.T, controllers string) string {
	t.Helper()
	root := t.TempDir()
	for _, dir := range []string{"", outer, outer + "/" + inner} {
		put(t, filepath.Join(root, dir), "cgroup.controllers", controllers+"\n")
		put(t, filepath.Join(root, dir), "cgroup.subtree_control", "")
	}
	in := filepath.Join(root, outer, inner)
	put(t, filepath.Join(root, outer), "memory.max", "max\n")
	for name, text := range map[string]string{
		"pids.max": "max\n", "cpu.weight": "100\n", "cpu.max": "max 100000\n", "memory.low": "0\n", "memory.max": "max\n",
		"memory.events": "low 0\noom 0\noom_kill 0\n", "cgroup.procs": "92\n93\n", "cgroup.freeze": "0\n", "cgroup.events": "populated 1\nfrozen 0\n",
	} {
		put(t, in, name, text)
	}
	return root
}

func put(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// poke changes a file as the kernel does: it is never empty.
func poke(t *testing.T, g *Group, name, text string) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(g.Dir(), name), os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString(text)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, g *Group, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(g.Dir(), name))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

func TestMake(t *testing.T) {
	root := tree(t, "cpuset cpu io memory hugetlb pids rdma misc")
	g, err := Make(root, spec.Limits{Memory: 9 << 20, CPUQuota: 1000, CPUPeriod: 5000, CPUShares: 512, Pids: 3, MemoryLow: 7})
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{root, filepath.Join(root, outer)} {
		b, err := os.ReadFile(filepath.Join(dir, "cgroup.subtree_control"))
		if err != nil || string(b) != "+cpuset +cpu +io +memory +pids" {
			t.Errorf("%s enables %q, %v", dir, b, err)
		}
	}
	for name, want := range map[string]string{
		"memory.max": "9437184", "cpu.max": "1000 5000", "cpu.weight": "20", "pids.max": "3", "memory.low": "7",
	} {
		if got := get(t, g, name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if err := g.SetRoom(123); err != nil {
		t.Error(err)
	}
	if b, _ := os.ReadFile(filepath.Join(root, outer, "memory.max")); string(b) != "123" {
		t.Errorf("room %q", b)
	}
	if pids, err := g.Pids(); err != nil || !slices.Equal(pids, []int{92, 93}) {
		t.Errorf("processes %v, %v", pids, err)
	}
	put(t, filepath.Join(g.Dir(), "init"), "cgroup.procs", "94\n")
	if pids, err := g.Pids(); err != nil || len(pids) != 3 {
		t.Errorf("processes %v, %v", pids, err)
	}
}

// TestLimitsAllOrNothing: what cannot be set takes the others back.
func TestLimitsAllOrNothing(t *testing.T) {
	g, err := Make(tree(t, "cpu memory pids"), spec.Limits{Pids: 5, CPUQuota: 1000})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(g.Dir(), "memory.max")); err != nil {
		t.Fatal(err)
	}
	if err := g.SetLimits(spec.Limits{Pids: 6, CPUQuota: 2000}); err != nil {
		t.Errorf("without the controller of what has no limit: %v", err)
	}
	err = g.SetLimits(spec.Limits{Pids: 7, CPUQuota: 3000, Memory: 1})
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "memory.max") {
		t.Errorf("without the memory controller: %v", err)
	}
	if d := cmp.Diff([]string{"6", "2000 100000"}, []string{get(t, g, "pids.max"), get(t, g, "cpu.max")}); d != "" {
		t.Error(d)
	}
	if err := g.SetLimits(spec.Limits{Pids: -1}); err == nil {
		t.Error("a negative limit was taken")
	}
	if err := g.SetLimits(spec.Limits{}); err != nil || get(t, g, "pids.max") != "max" || get(t, g, "cpu.max") != "max 100000" {
		t.Errorf("no limits: %q %q, %v", get(t, g, "pids.max"), get(t, g, "cpu.max"), err)
	}
}

func TestWeight(t *testing.T) {
	for shares, want := range map[int64]int64{0: 100, 2: 1, 1: 1, 1024: 39, 512: 20, 262144: 10000, 1 << 40: 10000} {
		if got := weight(shares); got != want {
			t.Errorf("%d shares are weight %d, want %d", shares, got, want)
		}
	}
}

func TestOf(t *testing.T) {
	g := &Group{root: "/sys/fs/cgroup"}
	for text, want := range map[string]string{
		"0::/vic/container\n":                   "/sys/fs/cgroup/vic/container",
		"1:name=x:/a\n0::/vic/container/init\n": "/sys/fs/cgroup/vic/container/init",
		"0::/\n":                                "", "0::/vic/container2\n": "", "0::/vic/container/../..\n": "", "": "",
	} {
		proc := t.TempDir()
		put(t, filepath.Join(proc, "92"), "cgroup", text)
		got, err := g.Of(proc, 92)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v, want %q", text, got, err, want)
		}
	}
	if _, err := g.Of(t.TempDir(), 93); err == nil {
		t.Error("a process that is gone has a group")
	}
}

// TestFreeze waits for the kernel's word, and takes a freeze back that does not come
// about.
func TestFreeze(t *testing.T) {
	g := &Group{root: tree(t, "")}
	done := make(chan error, 1)
	go func() { done <- g.Freeze(t.Context()) }()
	for get(t, g, "cgroup.freeze") != "1" {
		select {
		case err := <-done:
			t.Fatalf("frozen before the kernel says so: %v", err)
		default:
		}
	}
	poke(t, g, "cgroup.events", "populated 1\nfrozen 1\n")
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := g.Thaw(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "thaw") {
		t.Errorf("thaw without the kernel's word: %v", err)
	}
	poke(t, g, "cgroup.events", "populated 1\nfrozen 0\n")
	ctx, cancel = context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := g.Freeze(ctx); !errors.Is(err, context.DeadlineExceeded) || get(t, g, "cgroup.freeze") != "0" {
		t.Errorf("freeze without the kernel's word: %v, freezer %q", err, get(t, g, "cgroup.freeze"))
	}
}

func TestWatchOOM(t *testing.T) {
	g := &Group{root: tree(t, "")}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	kills := make(chan int, 1)
	done := make(chan error, 1)
	put(t, g.Dir(), "memory.events", "oom 1\noom_kill 1\n")
	go func() { done <- g.WatchOOM(ctx, func(n int) { kills <- n }) }()
	if n := <-kills; n != 1 {
		t.Errorf("%d kills", n)
	}
	poke(t, g, "memory.events", "oom 9\noom_kill 3\n")
	if n := <-kills; n != 3 {
		t.Errorf("%d kills", n)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	none := &Group{root: t.TempDir()}
	if err := none.WatchOOM(t.Context(), nil); err != nil {
		t.Errorf("without a memory controller: %v", err)
	}
	if n, err := none.OOMKills(); n != 0 || err != nil {
		t.Errorf("without a memory controller: %d, %v", n, err)
	}
}
