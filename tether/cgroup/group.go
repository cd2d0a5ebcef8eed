package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/vic-engine/vic/pkg/spec"
)

// Names of the two groups.
const (
	outer = "vic"
	inner = "container"
)

// Path is the container's group as /proc/<pid>/cgroup has it.
const Path = "/" + outer + "/" + inner

// Group is the control group of one container. Its methods may be called from
// several goroutines, but only one at a time changes it.
type Group struct {
	root string // where the hierarchy is mounted
}

// Make makes the groups below root, where a hierarchy is mounted, with the
// controllers that the kernel has. A group that is there already is taken.
func Make(root string, l spec.Limits) (*Group, error) {
	g := &Group{root: root}
	at := root
	for _, name := range []string{outer, inner} {
		if err := enable(at); err != nil {
			return nil, err
		}
		at = filepath.Join(at, name)
		if err := os.Mkdir(at, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("control group: %w", err)
		}
	}
	return g, g.SetLimits(l)
}

// SetRoom says how much memory the container may have at most, whatever its
// limits, in bytes.
func (g *Group) SetRoom(room int64) error {
	err := write(filepath.Join(g.root, outer, "memory.max"), strconv.FormatInt(room, 10))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // no memory controller
	}
	return err
}

// controllers are those that a container may have.
func controllers() []string { return []string{"cpu", "cpuset", "io", "memory", "pids"} }

// enable lets the groups below dir have the controllers that dir has.
func enable(dir string) error {
	have, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return fmt.Errorf("controllers of a control group: %w", err)
	}
	var on []string
	for _, c := range strings.Fields(string(have)) {
		if slices.Contains(controllers(), c) {
			on = append(on, "+"+c)
		}
	}
	if on == nil {
		return nil
	}
	return write(filepath.Join(dir, "cgroup.subtree_control"), strings.Join(on, " "))
}

// Dir is the folder of the container's group.
func (g *Group) Dir() string { return filepath.Join(g.root, outer, inner) }

// Of is the folder of the group that process pid is in now: the container's, or
// one below it that the container has made. proc is where procfs is mounted.
func (g *Group) Of(proc string, pid int) (string, error) {
	b, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(pid), "cgroup"))
	if err != nil {
		return "", fmt.Errorf("control group of process %d: %w", pid, err)
	}
	for line := range strings.Lines(string(b)) {
		// "0::/path" is the line of cgroup v2, cgroups(7).
		p, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::")
		if !ok {
			continue
		}
		if p = filepath.Clean("/" + strings.TrimSuffix(p, " (deleted)")); p == Path || strings.HasPrefix(p, Path+"/") {
			return filepath.Join(g.root, p), nil
		}
	}
	return "", fmt.Errorf("process %d is not in the container's control group", pid)
}

// A setting is one file of the group and what it shall hold.
type setting struct{ file, value string }

// settings are the files of limits, in the order to write them.
func settings(l spec.Limits) []setting {
	limit := func(n int64) string {
		if n == 0 {
			return "max"
		}
		return strconv.FormatInt(n, 10)
	}
	period := l.CPUPeriod
	if period == 0 {
		period = spec.DefaultCPUPeriod
	}
	return []setting{
		{"pids.max", limit(l.Pids)},
		{"cpu.weight", strconv.FormatInt(weight(l.CPUShares), 10)},
		{"cpu.max", fmt.Sprintf("%s %d", limit(l.CPUQuota), period)},
		{"memory.low", strconv.FormatInt(l.MemoryLow, 10)},
		{"memory.max", limit(l.Memory)},
	}
}

// weight is what runtimes make of Docker's shares: the range [2, 262144] becomes
// [1, 10000] (ConvertCPUSharesToCgroupV2Value of opencontainers/cgroups).
func weight(shares int64) int64 {
	const minShares, maxShares, defaultWeight = 2, 262144, 100
	if shares == 0 {
		return defaultWeight
	}
	shares = min(max(shares, minShares), maxShares)
	return 1 + (shares-minShares)*9999/(maxShares-minShares)
}

// SetLimits makes the group's limits l: all of them, or, with an error, those that
// it had. A limit whose controller the kernel has not is an error unless it is
// none.
func (g *Group) SetLimits(l spec.Limits) error {
	if err := l.Validate(); err != nil {
		return err
	}
	var undo []setting
	for _, s := range settings(l) {
		file := filepath.Join(g.Dir(), s.file)
		old, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) && unlimited(s) {
			continue
		}
		was := string(bytes.TrimSpace(old))
		if err == nil && was == s.value {
			continue
		}
		if err == nil {
			err = write(file, s.value)
		}
		if err != nil {
			for _, u := range slices.Backward(undo) {
				err = errors.Join(err, write(filepath.Join(g.Dir(), u.file), u.value))
			}
			return fmt.Errorf("limits of the container: %w", err)
		}
		undo = append(undo, setting{s.file, was})
	}
	return nil
}

// unlimited tells whether s is what a group has from the start.
func unlimited(s setting) bool { return slices.Contains(settings(spec.Limits{}), s) }

// write writes a file of the hierarchy, which must be there.
func write(file, text string) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %q: %w", text, err)
	}
	return nil
}

// OOMKills counts the processes of the group that the kernel has killed for want
// of memory: the group's own, or the VM's.
func (g *Group) OOMKills() (int, error) {
	n, err := flat(filepath.Join(g.Dir(), "memory.events"), "oom_kill")
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil // no memory controller: nothing is counted
	}
	return n, err
}

// flat reads one number of a file of "name number" lines.
func flat(file, name string) (int, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), " ")
		if k != name {
			continue
		}
		n, err := strconv.Atoi(v)
		if err != nil {
			return 0, fmt.Errorf("%s of %s: %w", name, file, err)
		}
		return n, nil
	}
	return 0, fmt.Errorf("%s has no %s", file, name)
}

// Pids are the processes of the group and of the groups below it, in no order.
func (g *Group) Pids() ([]int, error) {
	var pids []int
	err := filepath.WalkDir(g.Dir(), func(p string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // a group below went meanwhile
		case err != nil:
			return err
		case !d.IsDir():
			return nil
		}
		b, err := os.ReadFile(filepath.Join(p, "cgroup.procs"))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errNoDevice) || errors.Is(err, errThreaded) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, f := range strings.Fields(string(b)) {
			pid, err := strconv.Atoi(f)
			if err != nil {
				return fmt.Errorf("%s/cgroup.procs: %w", p, err)
			}
			pids = append(pids, pid)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("processes of the container: %w", err)
	}
	return pids, nil
}
