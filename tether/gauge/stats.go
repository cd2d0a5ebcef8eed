package gauge

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vic-engine/vic/pkg/spec"
)

// Reader reads the figures of one container. Its fields are folders, so that tests
// can make their own.
type Reader struct {
	Group string // the control group
	Proc  string // procfs
	// Root is the container's root, for the names of users; empty: numbers do.
	Root string
}

// ticks is how many of procfs's units of time are in a second: USER_HZ, which is
// 100 on every architecture that we run on (proc(5)).
const ticks = 100

// Stats are the figures now.
func (r Reader) Stats() (spec.Stats, error) {
	s := spec.Stats{Read: time.Now().UTC()}
	var errs []error
	note := func(err error) { errs = append(errs, err) }
	note(r.cpu(&s.CPU))
	note(r.memory(&s.Memory))
	note(r.pids(&s.Pids))
	var err error
	s.IO, err = r.disks()
	note(err)
	s.Networks, err = r.links()
	note(err)
	if err := errors.Join(errs...); err != nil {
		return s, fmt.Errorf("figures of the container: %w", err)
	}
	return s, nil
}

// file reads a file of the group. One that is not there belongs to a controller
// that the kernel has not: it is empty.
func (r Reader) file(name string) (string, error) {
	b, err := os.ReadFile(filepath.Join(r.Group, name))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return string(b), err
}

// flat parses lines "name number".
func flat(text string) (map[string]uint64, error) {
	out := map[string]uint64{}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		n, err := strconv.ParseUint(value, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("line %q: %w", line, err)
		}
		out[name] = n
	}
	return out, nil
}

func (r Reader) flat(name string) (map[string]uint64, error) {
	text, err := r.file(name)
	if err != nil {
		return nil, err
	}
	m, err := flat(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return m, nil
}

// number reads a file of one number; "max" and nothing at all are 0.
func (r Reader) number(name string) (uint64, error) {
	text, err := r.file(name)
	if text = strings.TrimSpace(text); err != nil || text == "" || text == "max" {
		return 0, err
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	return n, nil
}

func (r Reader) cpu(c *spec.CPUStats) error {
	m, err := r.flat("cpu.stat")
	if err != nil {
		return err
	}
	const usec = uint64(time.Microsecond)
	c.Total, c.User, c.Kernel = m["usage_usec"]*usec, m["user_usec"]*usec, m["system_usec"]*usec
	c.Periods, c.Throttled, c.ThrottledTime = m["nr_periods"], m["nr_throttled"], m["throttled_usec"]*usec
	b, err := os.ReadFile(filepath.Join(r.Proc, "stat"))
	if err != nil {
		return err
	}
	c.System, c.Online, err = systemCPU(string(b))
	return err
}

// systemCPU reads what Docker takes for the time of the whole system from
// /proc/stat: the first seven states, among them idle, of all CPUs, in nanoseconds.
func systemCPU(text string) (total uint64, online int, err error) {
	const states = 7
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		switch {
		case len(f) == 0 || !strings.HasPrefix(f[0], "cpu"):
			return total, online, nil
		case f[0] != "cpu":
			online++
			continue
		case len(f) <= states:
			return 0, 0, fmt.Errorf("stat of proc: %d fields in %q", len(f), line)
		}
		for _, v := range f[1 : 1+states] {
			n, err := strconv.ParseUint(v, 10, 64)
			if err != nil {
				return 0, 0, fmt.Errorf("stat of proc: %w", err)
			}
			total += n * uint64(time.Second/ticks)
		}
	}
	return total, online, nil
}

func (r Reader) memory(m *spec.MemoryStats) (err error) {
	if m.Usage, err = r.number("memory.current"); err != nil {
		return err
	}
	if m.Details, err = r.flat("memory.stat"); err != nil {
		return err
	}
	events, err := r.flat("memory.events")
	if err != nil {
		return err
	}
	m.Failures = events["oom"]
	if m.Limit, err = r.number("memory.max"); err != nil {
		return err
	}
	total, err := r.total()
	if err == nil && (m.Limit == 0 || m.Limit > total) {
		m.Limit = total
	}
	return err
}

// total is the memory of the guest, in bytes.
func (r Reader) total() (uint64, error) {
	b, err := os.ReadFile(filepath.Join(r.Proc, "meminfo"))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "MemTotal:" {
			n, err := strconv.ParseUint(f[1], 10, 64)
			return n << 10, err
		}
	}
	return 0, errors.New("meminfo has no MemTotal")
}

func (r Reader) pids(p *spec.PidsStats) (err error) {
	if p.Current, err = r.number("pids.current"); err != nil {
		return err
	}
	p.Limit, err = r.number("pids.max")
	return err
}

// disks reads io.stat: "254:0 rbytes=1 wbytes=2 rios=3 wios=4 …". A disk without
// figures has a line without them.
func (r Reader) disks() ([]spec.DiskStats, error) {
	text, err := r.file("io.stat")
	if err != nil {
		return nil, err
	}
	var out []spec.DiskStats
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		var d spec.DiskStats
		if _, err := fmt.Sscanf(f[0], "%d:%d", &d.Major, &d.Minor); err != nil {
			continue // "(unknown)": a disk that is gone
		}
		for _, kv := range f[1:] {
			k, v, _ := strings.Cut(kv, "=")
			to := map[string]*uint64{"rbytes": &d.ReadBytes, "wbytes": &d.WriteBytes, "rios": &d.ReadCount, "wios": &d.WriteCount}[k]
			if to == nil {
				continue
			}
			if *to, err = strconv.ParseUint(v, 10, 64); err != nil {
				return nil, fmt.Errorf("io.stat: %w", err)
			}
		}
		out = append(out, d)
	}
	slices.SortFunc(out, func(a, b spec.DiskStats) int { return int(a.Major-b.Major)<<20 + int(a.Minor-b.Minor) })
	return out, nil
}

// links reads net/dev, all but the loopback.
func (r Reader) links() (map[string]spec.LinkStats, error) {
	b, err := os.ReadFile(filepath.Join(r.Proc, "net/dev"))
	if err != nil {
		return nil, err
	}
	out := map[string]spec.LinkStats{}
	for line := range strings.Lines(string(b)) {
		name, rest, ok := strings.Cut(line, ":")
		if name = strings.TrimSpace(name); !ok || name == "lo" {
			continue // one of the two lines of titles has no colon, nor has the other
		}
		// bytes packets errs drop fifo frame compressed multicast, twice; in the
		// second half the last but one is carrier (dev_seq_printf_stats of the kernel).
		const half, all = 8, 16
		var n [all]uint64
		f := strings.Fields(rest)
		if len(f) < all {
			return nil, fmt.Errorf("net/dev: %d figures of %s, want %d", len(f), name, all)
		}
		for i := range n {
			if n[i], err = strconv.ParseUint(f[i], 10, 64); err != nil {
				return nil, fmt.Errorf("net/dev: %s: %w", name, err)
			}
		}
		out[name] = spec.LinkStats{
			RxBytes: n[0], RxPackets: n[1], RxErrors: n[2], RxDropped: n[3],
			TxBytes: n[half], TxPackets: n[half+1], TxErrors: n[half+2], TxDropped: n[half+3],
		}
	}
	return out, nil
}
