package exec

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/vmware/govmomi/simulator"

	"github.com/vic-engine/vic/pkg/logframe"
	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/portlayer/vmspec"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// output makes lines 0 to n-1 as frames, one second apart, odd ones to stderr.
func output(run uint64, n int) []logframe.Frame {
	var out []logframe.Frame
	for i := range n {
		f := logframe.Frame{
			Position: logframe.Position{Run: run, Seq: uint64(i)}, Kind: logframe.KindData, Stream: spec.Stdout,
			Time: epoch.Add(time.Duration(i) * time.Second), Data: fmt.Appendf(nil, "r%d line %d\n", run, i),
		}
		if i%2 == 1 {
			f.Stream = spec.Stderr
		}
		out = append(out, f)
	}
	return out
}

func encode(t *testing.T, fs ...logframe.Frame) []byte {
	t.Helper()
	var b []byte
	for _, f := range fs {
		var err error
		if b, err = f.Append(b); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func (l *lab) putLog(id string, b []byte) {
	l.t.Helper()
	p := vmspec.Path(l.ds.Name(), id, vmspec.OutputLog)
	if err := l.ds.Put(l.t.Context(), p, bytes.NewReader(b), int64(len(b))); err != nil {
		l.t.Fatal(err)
	}
}

func TestLogsKept(t *testing.T) {
	l := newLab(t, simulator.ESX())
	e := l.boot()
	c := container(1)
	if _, err := e.Create(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	read := func(o spec.LogOptions) (string, error) {
		var s []string
		err := e.Logs(t.Context(), c.ID, o, func(e spec.LogEntry) error {
			s = append(s, strings.TrimSpace(string(e.Data)))
			return nil
		})
		return strings.Join(s, ","), err
	}
	all := spec.LogOptions{Stdout: true, Stderr: true, Tail: -1}
	if got, err := read(all); got != "" || err != nil {
		t.Errorf("before the first run: %q, %v", got, err)
	}
	torn := encode(t, output(2, 1)...)
	l.putLog(c.ID, append(append(encode(t, output(1, 6)...), "torn"...), torn...))
	with := func(change func(*spec.LogOptions)) spec.LogOptions {
		o := all
		change(&o)
		return o
	}
	for want, o := range map[string]spec.LogOptions{
		"r1 line 0,r1 line 1,r1 line 2,r1 line 3,r1 line 4,r1 line 5,r2 line 0": all,
		"r1 line 5,r2 line 0":           with(func(o *spec.LogOptions) { o.Tail = 2 }),
		"":                              with(func(o *spec.LogOptions) { o.Tail = 0 }),
		"r1 line 1,r1 line 3,r1 line 5": with(func(o *spec.LogOptions) { o.Stdout = false }),
		"r1 line 4,r2 line 0":           with(func(o *spec.LogOptions) { o.Stderr, o.Tail = false, 2 }),
		"r1 line 3,r1 line 4,r1 line 5": with(func(o *spec.LogOptions) { o.Since = epoch.Add(3 * time.Second) }),
		"r1 line 0,r1 line 1":           with(func(o *spec.LogOptions) { o.Until = epoch.Add(1500 * time.Millisecond) }),
		"r1 line 1,r1 line 2,r2 line 0": with(func(o *spec.LogOptions) { o.Tail, o.Until = 3, epoch.Add(2*time.Second) }),
	} {
		if got, err := read(o); got != want || err != nil {
			t.Errorf("%+v:\n got %s\nwant %s, %v", o, got, want, err)
		}
	}
	// follow of one that does not run ends at once.
	if got, err := read(with(func(o *spec.LogOptions) { o.Follow, o.Tail = true, 1 })); got != "r2 line 0" || err != nil {
		t.Errorf("follow: %q, %v", got, err)
	}
	stop := errors.New("client left")
	if err := e.Logs(t.Context(), c.ID, all, func(spec.LogEntry) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("%v", err)
	}
	if err := e.Logs(t.Context(), container(2).ID, all, nil); !errdefs.IsNotFound(err) {
		t.Errorf("unknown container: %v", err)
	}
}

// The file, then the line, then what only the file has: each line once.
func TestLogsFollow(t *testing.T) {
	l := newLab(t, simulator.ESX())
	e := l.boot()
	c := container(1)
	if _, err := e.Create(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	run := output(1, 8)
	l.putLog(c.ID, encode(t, run[:3]...))
	quit := make(chan struct{})
	l.guests.run(c.ID, func(g *line) {
		g.up()
		at := g.start()
		if after := <-g.following; after != run[2].Position {
			t.Errorf("follows after %+v", after)
		}
		for _, f := range run[2:6] { // the first was given already
			g.frames <- f
		}
		<-quit
		l.putLog(c.ID, encode(t, run...)) // the last two came by the file alone
		g.exit(spec.ExitStatus{Started: at})
	})
	if err := e.Start(t.Context(), c.ID); err != nil {
		t.Fatal(err)
	}
	got, over := make(chan string, 20), make(chan error, 1)
	go func() {
		o := spec.LogOptions{Follow: true, Stdout: true, Stderr: true, Tail: 2}
		over <- e.Logs(context.Background(), c.ID, o, func(e spec.LogEntry) error {
			got <- strings.TrimSpace(string(e.Data))
			return nil
		})
	}()
	var lines []string
	for range 5 {
		lines = append(lines, wait(t, got))
	}
	close(quit)
	for range 2 {
		lines = append(lines, wait(t, got))
	}
	if err := wait(t, over); err != nil {
		t.Error(err)
	}
	want := []string{"r1 line 1", "r1 line 2", "r1 line 3", "r1 line 4", "r1 line 5", "r1 line 6", "r1 line 7"}
	if d := cmp.Diff(want, lines); d != "" {
		t.Errorf("%s", d)
	}
}
