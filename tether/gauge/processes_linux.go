package gauge

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vic-engine/vic/pkg/spec"
)

// Bounds of what is read of one process and of the table of names: a container may
// make them as large as it likes.
const (
	maxArgs  = 4 << 10
	maxNames = 1 << 20
)

// Processes describes the processes pids, in the order of their numbers. One that
// has ended meanwhile is left out.
func (r Reader) Processes(pids []int) (spec.ProcessTable, error) {
	t := spec.ProcessTable{Read: time.Now().UTC()}
	var err error
	if t.MemoryBytes, err = r.total(); err != nil {
		return t, fmt.Errorf("processes of the container: %w", err)
	}
	boot, err := r.boot()
	if err != nil {
		return t, fmt.Errorf("processes of the container: %w", err)
	}
	users, groups := r.names("passwd"), r.names("group")
	pids = slices.Clone(pids)
	slices.Sort(pids)
	for _, pid := range pids {
		p, err := r.process(pid, boot)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errGone) {
			continue
		}
		if err != nil {
			return t, fmt.Errorf("process %d: %w", pid, err)
		}
		p.User, p.Group = name(users, p.UID), name(groups, p.GID)
		t.Processes = append(t.Processes, p)
	}
	return t, nil
}

func name(names map[int]string, id int) string {
	if n := names[id]; n != "" {
		return n
	}
	return strconv.Itoa(id)
}

// boot is when the guest's kernel came up.
func (r Reader) boot() (time.Time, error) {
	b, err := os.ReadFile(filepath.Join(r.Proc, "stat"))
	if err != nil {
		return time.Time{}, err
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == "btime" {
			n, err := strconv.ParseInt(f[1], 10, 64)
			return time.Unix(n, 0).UTC(), err
		}
	}
	return time.Time{}, errors.New("stat of proc has no btime")
}

func (r Reader) process(pid int, boot time.Time) (spec.ProcessInfo, error) {
	dir := filepath.Join(r.Proc, strconv.Itoa(pid))
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return spec.ProcessInfo{}, err
	}
	p, err := parseStat(string(stat), boot)
	if err != nil {
		return p, err
	}
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return p, err
	}
	if p.UID, p.GID, p.Locked, err = parseStatus(string(status)); err != nil {
		return p, err
	}
	f, err := os.Open(filepath.Join(dir, "cmdline"))
	if err != nil {
		return p, err
	}
	defer f.Close()
	args, err := io.ReadAll(io.LimitReader(f, maxArgs))
	if err != nil {
		return p, err
	}
	if args = bytes.TrimRight(args, "\x00"); len(args) > 0 {
		p.Args = strings.Split(strings.ToValidUTF8(string(args), "?"), "\x00")
	}
	return p, nil
}

// parseStat reads /proc/<pid>/stat, proc_pid_stat(5); the numbers in comments are
// that page's.
func parseStat(text string, boot time.Time) (spec.ProcessInfo, error) {
	// The name is in parentheses and may hold anything, parentheses too.
	open, end := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')')
	if open < 1 || end < open {
		return spec.ProcessInfo{}, fmt.Errorf("stat %q has no name", text)
	}
	f := strings.Fields(text[end+1:])
	const first, last = 3, 24 // f[0] is field (3)
	if len(f) < last-first+1 {
		return spec.ProcessInfo{}, fmt.Errorf("stat %q is too short", text)
	}
	var bad error
	number := func(field int) int64 {
		n, err := strconv.ParseInt(f[field-first], 10, 64)
		if err != nil && bad == nil {
			bad = fmt.Errorf("stat: field %d: %w", field, err)
		}
		return n
	}
	pid, err := strconv.Atoi(strings.TrimSpace(text[:open]))
	if err != nil {
		return spec.ProcessInfo{}, fmt.Errorf("stat: %w", err)
	}
	tick := func(n int64) time.Duration { return time.Duration(n) * (time.Second / ticks) }
	p := spec.ProcessInfo{
		PID: pid, Command: strings.ToValidUTF8(text[open+1:end], "?"), State: f[0],
		PPID: int(number(4)), PGID: int(number(5)), SID: int(number(6)), TTY: tty(number(7)),
		CPU:      max(0, tick(number(14)+number(15))),
		Priority: int(number(18)), Nice: int(number(19)), Threads: int(number(20)),
		Started: boot.Add(tick(number(22))), VSize: uint64(max(0, number(23))), RSS: uint64(max(0, number(24))) * uint64(os.Getpagesize()),
	}
	p.Foreground = number(8) == int64(p.PGID) // tpgid
	return p, bad
}

// tty names a terminal by its device number as procfs has it: bits 31 to 20 and 7
// to 0 are the minor number, 15 to 8 the major one.
func tty(dev int64) string {
	major, minor := dev>>8&0xfff, dev&0xff|dev>>12&0xfff00
	switch {
	case dev == 0:
		return ""
	case major >= 136 && major <= 143: // UNIX98_PTY_SLAVE_MAJOR and the seven after it
		return fmt.Sprintf("pts/%d", (major-136)<<8+minor)
	case major == 4 && minor < 64:
		return fmt.Sprintf("tty%d", minor)
	case major == 4:
		return fmt.Sprintf("ttyS%d", minor-64)
	}
	return "?"
}

// parseStatus reads the effective ids, and whether memory is locked.
func parseStatus(text string) (uid, gid int, locked bool, err error) {
	uid, gid = -1, -1
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "Uid:", "Gid:":
			if len(f) < 3 {
				return 0, 0, false, fmt.Errorf("status: %q", line)
			}
			n, err := strconv.Atoi(f[2])
			if err != nil {
				return 0, 0, false, fmt.Errorf("status: %w", err)
			}
			if f[0] == "Uid:" {
				uid = n
			} else {
				gid = n
			}
		case "VmLck:":
			locked = f[1] != "0"
		}
	}
	if uid < 0 || gid < 0 {
		return 0, 0, false, errors.New("status has no user or group")
	}
	return uid, gid, locked, nil
}

// names reads the names of users or groups in the container, by number, where it
// has a plain file of them. A wrong line is none.
func (r Reader) names(file string) map[int]string {
	out := map[int]string{}
	if r.Root == "" {
		return out
	}
	f, err := openPlain(r.Root, "etc/"+file)
	if err != nil {
		return out // numbers do
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxNames))
	if err != nil {
		return out
	}
	for line := range strings.Lines(strings.ToValidUTF8(string(b), "?")) {
		p := strings.Split(strings.TrimSpace(line), ":")
		if len(p) < 3 || p[0] == "" {
			continue
		}
		if n, err := strconv.Atoi(p[2]); err == nil && out[n] == "" {
			out[n] = p[0]
		}
	}
	return out
}
