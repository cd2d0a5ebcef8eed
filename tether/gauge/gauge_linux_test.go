package gauge

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/vic-engine/vic/pkg/spec"
)

// reader is a Reader over folders with the given files.
func reader(t *testing.T, files map[string]string) Reader {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return Reader{Group: filepath.Join(dir, "group"), Proc: filepath.Join(dir, "proc"), Root: filepath.Join(dir, "root")}
}

func guest() map[string]string {
	return map[string]string{
		"proc/stat":    "cpu  100 1 50 800 9 0 3 7 0 0\ncpu0 50 1 25 400 9 0 3 7 0 0\ncpu1 50 0 25 400 0 0 0 0 0 0\nintr 5\nctxt 9\nbtime 1000\n",
		"proc/meminfo": "MemTotal:         223000 kB\nMemFree:          100000 kB\n",
		"proc/net/dev": "Inter-|   Receive                                                |  Transmit\n" +
			" face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n" +
			"    lo:    1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n  eth0: 1000 10 1 2 0 0 0 0 2000 20 3 4 0 0 0 0\n",
		"group/cpu.stat":       "usage_usec 30\nuser_usec 10\nsystem_usec 20\nnr_periods 5\nnr_throttled 2\nthrottled_usec 7\n",
		"group/memory.current": "4096\n", "group/memory.max": "41943040\n", "group/memory.stat": "anon 5\nfile 6\n", "group/memory.events": "low 0\noom 3\noom_kill 1\n",
		"group/pids.current": "2\n", "group/pids.max": "max\n",
		"group/io.stat": "8:16 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n8:0 rbytes=9 wbytes=0 rios=1 wios=0\n7:0\n(unknown) rbytes=1\n",
	}
}

func TestStats(t *testing.T) {
	want := spec.Stats{
		CPU:    spec.CPUStats{Total: 30000, User: 10000, Kernel: 20000, System: 963 * uint64(10*time.Millisecond), Online: 2, Periods: 5, Throttled: 2, ThrottledTime: 7000},
		Memory: spec.MemoryStats{Usage: 4096, Limit: 41943040, Details: map[string]uint64{"anon": 5, "file": 6}, Failures: 3},
		Pids:   spec.PidsStats{Current: 2},
		IO: []spec.DiskStats{{Major: 8, Minor: 0, ReadBytes: 9, ReadCount: 1},
			{Major: 8, Minor: 16, ReadBytes: 1, WriteBytes: 2, ReadCount: 3, WriteCount: 4}},
		Networks: map[string]spec.LinkStats{"eth0": {RxBytes: 1000, RxPackets: 10, RxErrors: 1, RxDropped: 2, TxBytes: 2000, TxPackets: 20, TxErrors: 3, TxDropped: 4}},
	}
	got, err := reader(t, guest()).Stats()
	if d := cmp.Diff(want, got, cmpopts.IgnoreFields(spec.Stats{}, "Read")); err != nil || d != "" {
		t.Errorf("%v\n%s", err, d)
	}
	if got.Read.IsZero() {
		t.Error("no time")
	}
	// Without limit, and with one that is more than there is: what the guest has.
	for _, limit := range []string{"max\n", "999999999999\n"} {
		files := guest()
		files["group/memory.max"] = limit
		if s, err := reader(t, files).Stats(); err != nil || s.Memory.Limit != 223000<<10 {
			t.Errorf("limit %q: %d, %v", limit, s.Memory.Limit, err)
		}
	}
	// A kernel without controllers.
	files := guest()
	for name := range files {
		if strings.HasPrefix(name, "group/") && name != "group/cpu.stat" {
			delete(files, name)
		}
	}
	if s, err := reader(t, files).Stats(); err != nil || s.CPU.Total != 30000 || s.Pids.Current != 0 || s.IO != nil {
		t.Errorf("without controllers: %+v, %v", s, err)
	}
}

func TestStatsThatCannotBeRead(t *testing.T) {
	for name, text := range map[string]string{
		"proc/stat": "cpu  1 2\n", "proc/net/dev": "eth0: 1 2 3\n", "proc/meminfo": "MemFree: 1 kB\n", "group/cpu.stat": "usage_usec many\n",
		"group/memory.current": "-1\n", "group/io.stat": "8:0 rbytes=x\n", "group/pids.max": "some\n",
	} {
		files := guest()
		files[name] = text
		if _, err := reader(t, files).Stats(); err == nil {
			t.Errorf("%s with %q was read", name, text)
		}
	}
}

func TestProcesses(t *testing.T) {
	files := guest()
	stat := func(pid int, name string) string {
		return strconv.Itoa(pid) + " (" + name + ") S 1 92 92 34816 92 4194560 100 0 0 0 10 5 0 0 20 0 3 0 200 8388608 250 18446744073709551615 1 1\n"
	}
	files["proc/92/stat"] = stat(92, "a) R (b")
	files["proc/92/status"] = "Name:\ta\nUid:\t0\t33\t0\t0\nGid:\t0\t34\t0\t0\nVmLck:\t       4 kB\n"
	files["proc/92/cmdline"] = "/bin/a\x00-x\x00y z\x00"
	files["proc/93/stat"] = strings.Replace(stat(93, "kthread"), " 34816 92 ", " 0 -1 ", 1)
	files["proc/93/status"] = "Uid:\t0\t7\t0\t0\nGid:\t0\t0\t0\t0\nVmLck:\t       0 kB\n"
	files["proc/93/cmdline"] = ""
	files["root/etc/passwd"] = "root:x:0:0::/:/bin/sh\nbroken\n:x:7:\nwww:x:33:33::/:\nother:x:33:33::/:\n"
	files["root/etc/group"] = "staff:x:34:\n"
	got, err := reader(t, files).Processes([]int{93, 94, 92})
	if err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1002, 0).UTC()
	page := uint64(os.Getpagesize())
	want := []spec.ProcessInfo{
		{PID: 92, PPID: 1, PGID: 92, SID: 92, UID: 33, GID: 34, User: "www", Group: "staff", Command: "a) R (b", Args: []string{"/bin/a", "-x", "y z"}, State: "S",
			TTY: "pts/0", Threads: 3, Priority: 20, RSS: 250 * page, VSize: 8 << 20, Foreground: true, Locked: true, Started: at, CPU: 150 * time.Millisecond},
		{PID: 93, PPID: 1, PGID: 92, SID: 92, UID: 7, User: "7", Group: "0", Command: "kthread", State: "S",
			Threads: 3, Priority: 20, RSS: 250 * page, VSize: 8 << 20, Started: at, CPU: 150 * time.Millisecond},
	}
	if d := cmp.Diff(want, got.Processes); d != "" || got.MemoryBytes != 223000<<10 {
		t.Errorf("of %d bytes:\n%s", got.MemoryBytes, d)
	}
}

// TestNamesAreNotAWayOut: a container's passwd may be a link or a device; nothing
// outside is read, and nothing waits.
func TestNamesAreNotAWayOut(t *testing.T) {
	r := reader(t, map[string]string{"secret": "spy:x:0:0:\n", "root/etc/x": ""})
	etc := filepath.Join(r.Root, "etc")
	for _, target := range []string{"../../secret", "../../../../../../../../dev/zero", "/dev/zero", "."} {
		_ = os.Remove(filepath.Join(etc, "passwd"))
		if err := os.Symlink(target, filepath.Join(etc, "passwd")); err != nil {
			t.Fatal(err)
		}
		if names := r.names("passwd"); len(names) != 0 {
			t.Errorf("%s: %v", target, names)
		}
	}
}

func TestTTY(t *testing.T) {
	for dev, want := range map[int64]string{0: "", 34816: "pts/0", 34816 + 5: "pts/5", 4<<8 + 64: "ttyS0", 4<<8 + 1: "tty1", 9 << 8: "?", 137 << 8: "pts/256"} {
		if got := tty(dev); got != want {
			t.Errorf("%d: %q, want %q", dev, got, want)
		}
	}
}

// FuzzStat: the name in it is the container's to choose.
func FuzzStat(f *testing.F) {
	f.Add("92 (a) S 1 92 92 34816 92 4194560 100 0 0 0 10 5 0 0 20 0 3 0 200 8388608 250 1")
	f.Add("1 ()")
	f.Add(") (")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parseStat(text, time.Unix(0, 0))
		if err == nil && (p.CPU < 0 || p.State == "") {
			t.Errorf("%q is %+v", text, p)
		}
		_, _, _, _ = parseStatus(text)
		_, _ = flat(text)
		_, _, _ = systemCPU(text)
	})
}
