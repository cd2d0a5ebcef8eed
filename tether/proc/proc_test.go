//go:build linux

package proc

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/sirupsen/logrus"

	"github.com/vic-engine/vic/pkg/spec"
)

func quietLog() *logrus.Entry {
	l := logrus.New()
	l.SetOutput(io.Discard)
	return logrus.NewEntry(l)
}

// both runs a test with a reaper and without.
func both(t *testing.T, f func(t *testing.T, r *Reaper)) {
	t.Run("alone", func(t *testing.T) { f(t, nil) })
	t.Run("reaper", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		r := NewReaper(quietLog())
		done := make(chan struct{})
		go func() { defer close(done); r.Run(ctx) }()
		f(t, r)
		cancel()
		<-done
	})
}

func sh(script string) spec.Process {
	return spec.Process{Path: "/bin/sh", Args: []string{"-c", script}}
}

// run starts p, feeds stdin and gives its output and status.
func run(t *testing.T, r *Reaper, p spec.Process, stdin string) (stdout, stderr string, st spec.ExitStatus) {
	t.Helper()
	c, err := Start(r, Options{Process: p})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Release()
	if stdin != "" {
		go func() {
			_, _ = io.WriteString(c.Stdin(), stdin)
			_ = c.Stdin().Close()
		}()
	}
	var wg sync.WaitGroup
	read := func(from io.Reader, to *string) {
		wg.Go(func() {
			b, err := io.ReadAll(from)
			if err != nil {
				t.Error(err)
			}
			*to = string(b)
		})
	}
	read(c.Stdout(), &stdout)
	read(c.Stderr(), &stderr)
	wg.Wait()
	return stdout, stderr, c.Status()
}

func TestOutputAndStatus(t *testing.T) {
	both(t, func(t *testing.T, r *Reaper) {
		out, errOut, st := run(t, r, sh("echo out; echo err >&2; exit 7"), "")
		if out != "out\n" || errOut != "err\n" || st.Code != 7 || st.Signal != 0 {
			t.Errorf("%q %q %+v", out, errOut, st)
		}
		if st.Started.IsZero() || st.Stopped.Before(st.Started) {
			t.Errorf("times %v %v", st.Started, st.Stopped)
		}
		if _, _, st = run(t, r, sh("kill -KILL $$"), ""); st.Code != 137 || st.Signal != 9 || st.OOM {
			t.Errorf("killed: %+v", st)
		}
	})
}

func TestStdin(t *testing.T) {
	both(t, func(t *testing.T, r *Reaper) {
		p := sh("wc -c")
		p.OpenStdin = true
		text := strings.Repeat("0123456789", 20000)
		if out, _, _ := run(t, r, p, text); strings.TrimSpace(out) != strconv.Itoa(len(text)) {
			t.Errorf("wc says %q", out)
		}
		if out, _, st := run(t, r, sh("wc -c"), ""); strings.TrimSpace(out) != "0" || st.Code != 0 {
			t.Errorf("without stdin: %q %+v", out, st)
		}
	})
}

func TestEnvironment(t *testing.T) {
	p := sh(`echo "$A|$HOME|$PATH|$TERM"; pwd`)
	p.Env = []string{"A=1", "A=2 3", "broken", "PATH=/bin:/usr/bin"}
	p.Dir = filepath.Join(t.TempDir(), "made", "for it")
	out, _, _ := run(t, nil, p, "")
	home := "/root"
	if os.Geteuid() != 0 {
		home = os.Getenv("HOME")
	}
	if want := "2 3|" + home + "|/bin:/usr/bin|\n" + p.Dir + "\n"; out != want && os.Geteuid() == 0 {
		t.Errorf("got %q, want %q", out, want)
	}
}

func TestTerminal(t *testing.T) {
	both(t, func(t *testing.T, r *Reaper) {
		p := sh(`tty; stty size; read x; stty size; echo "got $x"; echo err >&2`)
		p.TTY, p.OpenStdin, p.Rows, p.Cols = true, true, 24, 81
		c, err := Start(r, Options{Process: p})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Release()
		out := make(chan string)
		go func() {
			b, _ := io.ReadAll(c.Stdout())
			out <- string(b)
		}()
		if err := c.Resize(30, 100); err != nil {
			t.Error(err)
		}
		if _, err := io.WriteString(c.Stdin(), "line\n"); err != nil {
			t.Error(err)
		}
		got := <-out
		for _, want := range []string{"/dev/pts/", "30 100", "got line", "err"} {
			if !strings.Contains(got, want) {
				t.Errorf("no %q in %q", want, got)
			}
		}
		if st := c.Status(); st.Code != 0 {
			t.Errorf("%+v", st)
		}
	})
}

func TestSignals(t *testing.T) {
	both(t, func(t *testing.T, r *Reaper) {
		p := sh(`trap 'echo caught; exit 3' USR1; echo ready; while :; do sleep 0.01; done`)
		c, err := Start(r, Options{Process: p})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Release()
		b := make([]byte, 6)
		if _, err := io.ReadFull(c.Stdout(), b); err != nil {
			t.Fatal(err)
		}
		if err := c.Signal("NOSUCH"); !errdefs.IsInvalidArgument(err) {
			t.Errorf("unknown signal: %v", err)
		}
		if err := c.Signal("usr1"); err != nil {
			t.Error(err)
		}
		rest, _ := io.ReadAll(c.Stdout())
		if st := c.Status(); st.Code != 3 || string(rest) != "caught\n" {
			t.Errorf("%+v %q", st, rest)
		}
		if err := c.Signal("9"); !errdefs.IsConflict(err) {
			t.Errorf("signal after the end: %v", err)
		}
	})
}

func TestDescendantDoesNotKeepTheOutputOpen(t *testing.T) {
	begin := time.Now()
	out, _, st := run(t, nil, sh("echo hi; sleep 90 & exit 4"), "")
	if out != "hi\n" || st.Code != 4 || time.Since(begin) > time.Minute {
		t.Errorf("%q %+v after %v", out, st, time.Since(begin))
	}
}

func TestStartErrors(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	plain := file("plain", "x", 0o644)
	garbage := file("garbage", "\x00\x01garbage", 0o755)
	script := file("script", "#!/no/such/interpreter\n", 0o755)
	for _, tc := range []struct {
		p    spec.Process
		code int
		msg  string
	}{
		{spec.Process{Path: "foo", Env: []string{"PATH=" + dir}}, 127, `exec: "foo": executable file not found in $PATH`},
		{spec.Process{Path: "plain", Env: []string{"PATH=" + dir}}, 127, `exec: "plain": executable file not found in $PATH`},
		{spec.Process{Path: "/no/such"}, 127, `exec: "/no/such": stat /no/such: no such file or directory`},
		{spec.Process{Path: plain}, 126, `exec: "` + plain + `": permission denied`},
		{spec.Process{Path: dir}, 126, `exec: "` + dir + `": is a directory`},
		{spec.Process{Path: garbage}, 126, "exec " + garbage + ": exec format error"},
		{spec.Process{Path: script}, 127, "exec " + script + ": no such file or directory"},
		{spec.Process{Path: "/bin/sh", Dir: plain + "/sub"}, 126, `chdir to cwd ("` + plain + `/sub")`},
		{spec.Process{Path: "/bin/sh", User: "nobody-of-that-name"}, 128, "no matching entries in passwd file"},
		{spec.Process{Path: "/bin/sh", CapAdd: []string{"FLY"}}, 128, `unknown capability "CAP_FLY"`},
		{spec.Process{Path: "/bin/sh", Rlimits: map[string]spec.Rlimit{"x": {}}}, 128, `invalid rlimit type "x"`},
	} {
		both(t, func(t *testing.T, r *Reaper) {
			_, err := Start(r, Options{Process: tc.p})
			var start *spec.StartError
			if !errors.As(err, &start) || start.Code != tc.code || !strings.Contains(start.Msg, tc.msg) {
				t.Errorf("%s: got %v (%+v), want %d %s", tc.p.Path, err, start, tc.code, tc.msg)
			}
		})
	}
}

// An exec's working directory must be there; a container's is made.
func TestNeedDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "missing")
	p := spec.Process{Path: "/bin/pwd", Dir: dir}
	both(t, func(t *testing.T, r *Reaper) {
		_, err := Start(r, Options{Process: p, NeedDir: true})
		var start *spec.StartError
		if !errors.As(err, &start) || start.Code != 127 || start.Msg != `chdir to cwd ("`+dir+`") set in config.json failed: no such file or directory` {
			t.Errorf("%v", err)
		}
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("it was made: %v", err)
		}
	})
	if out, _, st := run(t, nil, p, ""); out != dir+"\n" || st.Code != 0 {
		t.Errorf("%q %+v", out, st)
	}
	if out, _, st := run(t, nil, spec.Process{Path: "/bin/pwd", Dir: dir}, ""); out != dir+"\n" || st.Code != 0 {
		t.Errorf("%q %+v", out, st)
	}
}

func TestRlimits(t *testing.T) {
	both(t, func(t *testing.T, r *Reaper) {
		p := sh("ulimit -n; ulimit -Hn")
		p.Rlimits = map[string]spec.Rlimit{"nofile": {Soft: 123, Hard: 456}}
		if out, _, st := run(t, r, p, ""); out != "123\n456\n" || st.Code != 0 {
			t.Errorf("%q %+v", out, st)
		}
	})
}

func TestOutput(t *testing.T) {
	both(t, func(t *testing.T, r *Reaper) {
		ctx := context.Background()
		if out, err := Output(ctx, r, "/bin/sh", "-c", "echo a; echo b >&2"); err != nil || len(out) != 4 {
			t.Errorf("%q %v", out, err)
		}
		if _, err := Output(ctx, r, "/bin/sh", "-c", "echo why >&2; exit 3"); err == nil || !strings.Contains(err.Error(), "status 3: why") {
			t.Errorf("%v", err)
		}
		ctx, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
		defer cancel()
		if _, err := Output(ctx, r, "/bin/sleep", "20"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
	})
}

func TestManyShortProcesses(t *testing.T) {
	both(t, func(t *testing.T, r *Reaper) {
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				c, err := Start(r, Options{Process: sh("exit " + strconv.Itoa(i))})
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Release()
				if st := c.Status(); st.Code != i {
					t.Errorf("process %d ended with %d", i, st.Code)
				}
			})
		}
		wg.Wait()
	})
}

func TestCapabilitySet(t *testing.T) {
	bit := func(names ...string) (set uint64) {
		for _, n := range names {
			for i, c := range capabilities() {
				if c == n {
					set |= 1 << i
				}
			}
		}
		return set
	}
	base := bit(defaultCapabilities()...)
	for name, tc := range map[string]struct {
		p    spec.Process
		want uint64
	}{
		"default":           {spec.Process{}, base},
		"add":               {spec.Process{CapAdd: []string{"net_admin", "CAP_SYS_TIME"}}, base | bit("NET_ADMIN", "SYS_TIME")},
		"drop":              {spec.Process{CapDrop: []string{"CHOWN"}}, base &^ bit("CHOWN")},
		"drop all, add one": {spec.Process{CapDrop: []string{"ALL"}, CapAdd: []string{"CHOWN"}}, bit("CHOWN")},
		"add all, drop one": {spec.Process{CapAdd: []string{"all"}, CapDrop: []string{"BPF"}}, bit(capabilities()...) &^ bit("BPF")},
	} {
		if got, all, err := capabilitySet(tc.p); got != tc.want || all || err != nil {
			t.Errorf("%s: %x, want %x (%v)", name, got, tc.want, err)
		}
	}
	if _, all, _ := capabilitySet(spec.Process{Privileged: true}); !all {
		t.Error("privileged is limited")
	}
}

func TestResolveStaysInRoot(t *testing.T) {
	root := t.TempDir()
	link := func(to, at string) {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, at)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(to, filepath.Join(root, at)); err != nil {
			t.Fatal(err)
		}
	}
	link("/usr/bin", "bin")
	link("../../../../etc", "usr/escape")
	link("loop", "loop")
	link("busybox", "usr/bin/sh")
	for name, want := range map[string]string{
		"/bin/sh":            "/usr/bin/busybox",
		"bin/x":              "/usr/bin/x",
		"/usr/escape/passwd": "/etc/passwd",
		"/../../..":          "/",
		"/none/../a":         "/a",
	} {
		if got, err := resolve(root, name); got != filepath.Join(root, want) || err != nil {
			t.Errorf("%s: %s %v, want %s", name, got, err, want)
		}
	}
	if _, err := resolve(root, "/loop"); err == nil {
		t.Error("a loop was resolved")
	}
}

func TestUserInRoot(t *testing.T) {
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"passwd": "root:x:0:0::/root:/bin/sh\nweb:x:33:34::/srv/www:/bin/sh\n",
		"group":  "root:x:0:\nwww:x:34:\nlog:x:40:web\nvideo:x:44:\n",
	} {
		if err := os.WriteFile(filepath.Join(root, "etc", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for user, want := range map[string]struct {
		uid, gid uint32
		groups   []uint32
		home     string
	}{
		"":         {0, 0, nil, "/root"},
		"web":      {33, 34, []uint32{40}, "/srv/www"},
		"33":       {33, 34, []uint32{40}, "/srv/www"},
		"web:log":  {33, 40, nil, "/srv/www"},
		"1000:7":   {1000, 7, nil, "/"},
		"web:root": {33, 0, nil, "/srv/www"},
	} {
		a, err := lookupUser(root, spec.Process{User: user, Groups: []string{"video", "77"}})
		if err != nil {
			t.Errorf("%q: %v", user, err)
			continue
		}
		if a.uid != want.uid || a.gid != want.gid || a.home != want.home || !a.inGroup(44) || !a.inGroup(77) {
			t.Errorf("%q: %+v", user, a)
		}
		for _, g := range want.groups {
			if !a.inGroup(g) {
				t.Errorf("%q: not in group %d: %+v", user, g, a)
			}
		}
	}
	if _, err := lookupUser(t.TempDir(), spec.Process{User: "5:6"}); err != nil {
		t.Errorf("numbers without files: %v", err)
	}
}

func FuzzResolve(f *testing.F) {
	root := f.TempDir()
	_ = os.Symlink("/", filepath.Join(root, "l"))
	f.Add("/l/../l/x")
	f.Fuzz(func(t *testing.T, name string) {
		got, err := resolve(root, name)
		if err == nil && got != root && !strings.HasPrefix(got, root+"/") {
			t.Fatalf("%q leads to %q", name, got)
		}
	})
}

// TestNoNewPrivileges: it is the kernel that says so, and only of that process.
func TestNoNewPrivileges(t *testing.T) {
	both(t, func(t *testing.T, r *Reaper) {
		for _, on := range []bool{true, false} {
			p := sh("grep NoNewPrivs /proc/self/status")
			p.NoNewPrivileges = on
			out, _, st := run(t, r, p, "")
			if want := map[bool]string{true: "NoNewPrivs:\t1\n", false: "NoNewPrivs:\t0\n"}[on]; out != want || st.Code != 0 {
				t.Errorf("%v: %q, %+v", on, out, st)
			}
		}
	})
}
