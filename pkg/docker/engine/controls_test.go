package engine_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/vic-engine/vic/pkg/docker/engine"
	"github.com/vic-engine/vic/pkg/docker/engine/enginetest"
	"github.com/vic-engine/vic/pkg/spec"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
)

// refused checks a refusal's class and words.
func refused(t *testing.T, what string, err error, is func(error) bool, words string) {
	t.Helper()
	if err == nil || !is(err) || !strings.Contains(err.Error(), words) {
		t.Errorf("%s: %v, want %q", what, err, words)
	}
}

func TestPause(t *testing.T) {
	h := start(t, nil)
	ctx := h.ctx
	actions := h.collect(engine.Filters{"container": {"cc"}})
	off := h.create("off", `{"Image":"busybox","Cmd":["true"]}`)
	refused(t, "pause of one that does not run", h.e.Pause(ctx, "off"), errdefs.IsConflict, "container "+off+" is not running")
	refused(t, "pause of nothing", h.e.Pause(ctx, "nope"), errdefs.IsNotFound, "No such container")
	h.run("cc", `"Cmd":["trap"]`)
	refused(t, "unpause of one that runs", h.e.Unpause(ctx, "cc"), errdefs.IsInternal, "is not paused")
	if err := h.e.Pause(ctx, "cc"); err != nil {
		t.Fatal(err)
	}
	i := h.inspect("cc")
	if s := i.State; s.Status != "paused" || !s.Running || !s.Paused || !strings.HasSuffix(i.StatusText, "(Paused)") {
		t.Errorf("state %+v %q", s, i.StatusText)
	}
	if s := h.e.SystemInfo(ctx); s.Paused != 1 || s.Running != 0 || s.Stopped != 1 {
		t.Errorf("info: %+v", s)
	}
	for status, want := range map[string]int{"paused": 1, "running": 0} {
		if list, err := h.e.List(engine.ListOptions{All: true, Filters: engine.Filters{"status": {status}}}); err != nil || len(list) != want {
			t.Errorf("%d containers are %s, %v", len(list), status, err)
		}
	}
	refused(t, "pause again", h.e.Pause(ctx, "cc"), errdefs.IsConflict, "is already paused")
	_, err := h.e.ExecCreate("cc", engine.ExecOptions{Cmd: []string{"true"}})
	refused(t, "exec", err, errdefs.IsConflict, "Container cc is paused, unpause the container before exec")
	refused(t, "start", h.e.Start(ctx, "cc"), errdefs.IsConflict, "cannot start a paused container, try unpause instead")
	refused(t, "rm", h.e.Remove(ctx, "cc", engine.RemoveOptions{}), errdefs.IsConflict, "container is paused and must be unpaused first")
	refused(t, "attach", h.e.Attach(ctx, "cc", engine.AttachOptions{Stream: true}, nil), errdefs.IsConflict, "is paused, unpause the container before attach")
	if err := h.e.Unpause(ctx, "cc"); err != nil {
		t.Fatal(err)
	}
	if err := h.e.Pause(ctx, "cc"); err != nil {
		t.Fatal(err)
	}
	if err := h.e.Remove(ctx, "cc", engine.RemoveOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	h.until("destroy", func() bool { return strings.Contains(strings.Join(actions(), " "), "destroy") })
	if got := strings.Join(actions(), " "); !strings.Contains(got, "start pause unpause pause") {
		t.Errorf("events: %s", got)
	}
}

func TestOOMShows(t *testing.T) {
	h := start(t, nil)
	actions := h.collect(nil)
	id := h.run("cc", `"Cmd":["sleep","1h"]`)
	h.f.OOM(id)
	h.until("oom", func() bool { return strings.Contains(strings.Join(actions(), " "), "oom") })
	if s := h.inspect("cc").State; !s.OOMKilled || !s.Running {
		t.Errorf("while it runs: %+v", s)
	}
	if err := h.e.Kill(h.ctx, "cc", ""); err != nil {
		t.Fatal(err)
	}
	if s := h.inspect("cc").State; !s.OOMKilled || s.Running {
		t.Errorf("after its end: %+v", s)
	}
}

func TestTop(t *testing.T) {
	h := start(t, nil)
	h.create("off", `{"Image":"busybox","Cmd":["true"]}`)
	h.run("cc", `"Cmd":["sleep","1h"]`)
	_, _, err := h.e.Top(h.ctx, "off", "")
	refused(t, "one that does not run", err, errdefs.IsConflict, "is not running")
	titles, rows, err := h.e.Top(h.ctx, "cc", "")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff("UID PID PPID C STIME TTY TIME CMD", strings.Join(titles, " ")); d != "" {
		t.Error(d)
	}
	if len(rows) != 1 || rows[0][0] != "root" || rows[0][1] != "92" || rows[0][7] != "sleep 1h" {
		t.Errorf("rows %q", rows)
	}
}

// TestStats: one line and many, of a container that runs, stops, starts and goes.
func TestStats(t *testing.T) {
	f := enginetest.New()
	h := start(t, f)
	ctx := h.ctx
	h.create("off", `{"Image":"busybox","Cmd":["true"]}`)
	h.run("cc", `"Cmd":["sleep","1h"]`)
	one := func(ref string, o engine.StatsOptions) engine.StatsSample {
		t.Helper()
		var got []engine.StatsSample
		readied := 0
		err := h.e.Stats(ctx, ref, o, func() { readied++ }, func(s engine.StatsSample) error { got = append(got, s); return nil })
		if err != nil || len(got) != 1 || readied != 1 {
			t.Fatalf("%s: %d samples, readied %d times, %v", ref, len(got), readied, err)
		}
		return got[0]
	}
	if s := one("cc", engine.StatsOptions{OneShot: true}); s.CPU.Total == 0 || !s.BeforeRead.IsZero() || s.Before.Total != 0 {
		t.Errorf("one shot: %+v", s)
	}
	if s := one("cc", engine.StatsOptions{}); s.CPU.Total-s.Before.Total != 1e8 || s.CPU.System-s.Before.System != 1e9 || s.BeforeRead.IsZero() || !s.Networked {
		t.Errorf("without stream: %+v", s)
	}
	if s := one("off", engine.StatsOptions{}); s.Name != "off" || s.ID == "" || !s.Read.IsZero() || s.Memory.Limit != 0 {
		t.Errorf("of one that does not run: %+v", s)
	}
	nobody := func() { t.Error("an answer was begun") }
	err := h.e.Stats(ctx, "cc", engine.StatsOptions{Stream: true, OneShot: true}, nobody, nil)
	refused(t, "both", err, errdefs.IsInvalidArgument, "cannot have stream=true and one-shot=true")
	refused(t, "nothing", h.e.Stats(ctx, "nope", engine.StatsOptions{}, nobody, nil), errdefs.IsNotFound, "No such container")

	n := 0
	err = h.e.Stats(ctx, "cc", engine.StatsOptions{Stream: true}, func() {}, func(s engine.StatsSample) error {
		switch n++; {
		case n < 3 && (s.CPU.Total-s.Before.Total != 1e8 || s.BeforeRead.IsZero()):
			t.Errorf("line %d: %+v", n, s)
		case n == 3:
			return h.e.Kill(ctx, "cc", "")
		case n == 5:
			if s.CPU.Total != 0 || !s.Read.IsZero() {
				t.Errorf("after the stop: %+v", s)
			}
			return h.e.Remove(ctx, "cc", engine.RemoveOptions{})
		}
		return nil
	})
	if err != nil || n < 5 {
		t.Errorf("stream ended after %d lines: %v", n, err)
	}
}

// TestStatsOfDeafGuest: a guest that does not answer is an error of one line, and
// left out of a stream.
func TestStatsOfDeafGuest(t *testing.T) {
	f := enginetest.New()
	f.Measure.Stats = func(n int) (spec.Stats, error) {
		if n%2 == 0 {
			return spec.Stats{}, fmt.Errorf("no answer: %w", errdefs.ErrUnavailable)
		}
		return spec.Stats{Read: time.Unix(int64(n), 0), CPU: spec.CPUStats{System: uint64(n)}}, nil
	}
	h := start(t, f)
	h.run("cc", `"Cmd":["sleep","1h"]`)
	err := h.e.Stats(h.ctx, "cc", engine.StatsOptions{OneShot: true}, func() { t.Error("an answer was begun") }, nil)
	refused(t, "one shot", err, errdefs.IsUnavailable, "no answer")
	ctx, cancel := context.WithCancel(h.ctx)
	defer cancel()
	var got []uint64
	err = h.e.Stats(ctx, "cc", engine.StatsOptions{Stream: true}, func() {}, func(s engine.StatsSample) error {
		if got = append(got, s.CPU.System); len(got) == 3 {
			cancel()
		}
		return nil
	})
	if d := cmp.Diff([]uint64{3, 5, 7}, got); err != nil || d != "" {
		t.Errorf("%v\n%s", err, d)
	}
}

func TestUpdate(t *testing.T) {
	h := start(t, nil)
	ctx := h.ctx
	update := func(ref, host string) ([]string, error) { return h.e.Update(ctx, ref, json.RawMessage(host)) }
	ok := func(ref, host string) []string {
		t.Helper()
		w, err := update(ref, host)
		if err != nil {
			t.Fatalf("%s: %v", host, err)
		}
		return w
	}
	actions := h.collect(nil)
	id := h.create("cc", `{"Image":"busybox","Cmd":["sleep","1h"],"HostConfig":{"Memory":268435456,"MemorySwap":536870912}}`)
	if w := ok("cc", `{"Memory":134217728,"NanoCpus":1500000000,"CpuShares":0,"PidsLimit":20,"RestartPolicy":{"Name":"always","MaximumRetryCount":0}}`); w != nil {
		t.Errorf("warnings %q", w)
	}
	i := h.inspect("cc")
	if c := i.Container; c.Resources.MemoryMB != 128 || c.Resources.CPUs != 2 || c.Resources.CPULimitMHz != 3000 {
		t.Errorf("resources %+v", c.Resources)
	}
	if d := cmp.Diff(spec.Limits{Memory: 128 << 20, CPUQuota: 150000, CPUPeriod: 100000, Pids: 20}, i.Container.Limits); d != "" {
		t.Errorf("limits:\n%s", d)
	}
	if i.Host.Memory != 128<<20 || i.Host.NanoCPUs != 1500000000 || i.Host.RestartPolicy.Name != "always" || i.Host.MemorySwap != 512<<20 {
		t.Errorf("host configuration %s", i.HostConfig)
	}
	ok("cc", `{"PidsLimit":0,"RestartPolicy":{"Name":""}}`)
	if i := h.inspect("cc"); i.Container.Limits.Pids != 0 || i.Host.RestartPolicy.Name != "always" || i.Container.Limits.CPUQuota != 150000 {
		t.Errorf("after no limit of processes: %+v %s", i.Container.Limits, i.HostConfig)
	}
	if w := ok("cc", `{"BlkioWeight":100}`); len(w) != 1 || !strings.Contains(w[0], "BlkioWeight") {
		t.Errorf("warnings %q", w)
	}
	before := h.inspect("cc").HostConfig
	for host, want := range map[string]struct {
		is    func(error) bool
		words string
	}{
		`{"Memory":1000}`:                    {errdefs.IsInvalidArgument, "Minimum memory limit allowed is 6MB"},
		`{"Memory":1073741824}`:              {errdefs.IsConflict, "update the memoryswap at the same time"},
		`{"CpuQuota":50000}`:                 {errdefs.IsConflict, "CPU Quota cannot be updated as NanoCPUs has already been set"},
		`{"CpuPeriod":10}`:                   {errdefs.IsInvalidArgument, "CPU cfs period can not be less than 1ms"},
		`{"RestartPolicy":{"Name":"often"}}`: {errdefs.IsInvalidArgument, "unknown policy 'often'"},
		`{"CpuRealtimeRuntime":5}`:           {errdefs.IsNotImplemented, "--cpu-rt-runtime"},
		`{"Memory":"x"}`:                     {errdefs.IsInvalidArgument, "invalid JSON"},
	} {
		_, err := update("cc", host)
		refused(t, host, err, want.is, want.words)
	}
	if d := cmp.Diff(string(before), string(h.inspect("cc").HostConfig)); d != "" {
		t.Errorf("refused, and changed:\n%s", d)
	}
	if err := h.e.Start(ctx, id); err != nil {
		t.Fatal(err)
	}
	_, err := update("cc", `{"Memory":4294967296,"MemorySwap":-1}`)
	refused(t, "more memory than it can get while it runs", err, errdefs.IsFailedPrecondition, "Cannot update container "+id)
	ok("cc", `{"Memory":402653184,"MemorySwap":-1,"NanoCpus":2000000000}`)
	if i := h.inspect("cc"); i.Container.Resources.MemoryMB != 384 || i.Container.Resources.CPUs != 2 || i.Host.Memory != 384<<20 || i.Container.Limits.Memory != 384<<20 {
		t.Errorf("more while it runs: %+v, %+v", i.Container.Resources, i.Container.Limits)
	}
	ok("cc", `{"RestartPolicy":{"Name":"no"}}`)
	h.run("once", `"Cmd":["sleep","1h"],"HostConfig":{"AutoRemove":true}`)
	_, err = update("once", `{"RestartPolicy":{"Name":"always"}}`)
	refused(t, "a policy with --rm", err, errdefs.IsConflict, "AutoRemove is enabled")
	_, err = update("nope", `{}`)
	refused(t, "nothing", err, errdefs.IsNotFound, "No such container")
	h.until("update", func() bool { return strings.Count(strings.Join(actions(), " "), "update") == 5 })
}

// TestWithoutControls: an engine that cannot hold containers says so.
func TestWithoutControls(t *testing.T) {
	h := start(t, nil, func(c *engine.Config) { c.Controls = nil })
	h.run("cc", `"Cmd":["sleep","1h"]`)
	_, err := h.e.Update(h.ctx, "cc", json.RawMessage(`{}`))
	_, _, terr := h.e.Top(h.ctx, "cc", "")
	for what, err := range map[string]error{"paus": h.e.Pause(h.ctx, "cc"), "pausing": h.e.Unpause(h.ctx, "cc"), "update": err, "top": terr} {
		refused(t, what, err, errdefs.IsNotImplemented, what)
	}
}
