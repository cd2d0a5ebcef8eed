package engine_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vic-engine/vic/pkg/docker/engine"
	"github.com/vic-engine/vic/pkg/docker/engine/enginetest"
	"github.com/vic-engine/vic/pkg/spec"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
)

func TestListFilters(t *testing.T) {
	h := start(t, nil)
	if _, _, _, err := h.e.Pull(h.ctx, mustRef(t, "web:1"), pullNothing); err != nil {
		t.Fatal(err)
	}
	first := h.create("first", `{"Image":"busybox","Labels":{"app":"a","x":"1"}}`)
	second := h.run("second", `"Cmd":["sleep","1h"],"Labels":{"app":"b"},"HostConfig":{"NetworkMode":"none"}`)
	third := h.run("third", `"Cmd":["exit","7"],"HostConfig":{"Tmpfs":{"/cache":""}}`)
	h.answer(h.wait(third, engine.WaitNotRunning))
	fourth := h.create("fourth", `{"Image":"web:1"}`)
	if err := h.e.Start(h.ctx, fourth); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		o    engine.ListOptions
		want string
	}{
		{"running only", engine.ListOptions{}, "fourth second"},
		{"all", engine.ListOptions{All: true}, "fourth third second first"},
		{"limit counts stopped ones", engine.ListOptions{Limit: 2}, "fourth third"},
		{"status shows all", engine.ListOptions{Filters: engine.Filters{"status": {"created", "exited"}}}, "third first"},
		{"exited", engine.ListOptions{All: true, Filters: engine.Filters{"exited": {"7"}}}, "third"},
		{"exited alone", engine.ListOptions{Filters: engine.Filters{"exited": {"7"}}}, ""},
		{"id prefix as a pattern", engine.ListOptions{All: true, Filters: engine.Filters{"id": {first[:12]}}}, "first"},
		{"name part", engine.ListOptions{All: true, Filters: engine.Filters{"name": {"ir"}}}, "third first"},
		{"name exactly", engine.ListOptions{All: true, Filters: engine.Filters{"name": {"^/first$"}}}, "first"},
		{"label", engine.ListOptions{All: true, Filters: engine.Filters{"label": {"app"}}}, "second first"},
		{"labels are all wanted", engine.ListOptions{All: true, Filters: engine.Filters{"label": {"app=a", "x"}}}, "first"},
		{"ancestor", engine.ListOptions{All: true, Filters: engine.Filters{"ancestor": {"web:1"}}}, "fourth"},
		{"unknown ancestor", engine.ListOptions{All: true, Filters: engine.Filters{"ancestor": {"nope"}}}, ""},
		{"before", engine.ListOptions{All: true, Filters: engine.Filters{"before": {"third"}}}, "second first"},
		{"since", engine.ListOptions{All: true, Filters: engine.Filters{"since": {second}}}, "fourth third"},
		{"network", engine.ListOptions{Filters: engine.Filters{"network": {"bridge"}}}, "fourth"},
		{"no network", engine.ListOptions{Filters: engine.Filters{"network": {"none"}}}, "second"},
		{"volume", engine.ListOptions{All: true, Filters: engine.Filters{"volume": {"/cache"}}}, "third"},
		{"expose", engine.ListOptions{Filters: engine.Filters{"expose": {"80-81/tcp"}}}, "fourth"},
		{"publish", engine.ListOptions{Filters: engine.Filters{"publish": {"80"}}}, ""},
		{"health", engine.ListOptions{All: true, Filters: engine.Filters{"health": {"healthy"}}}, ""},
		{"no health", engine.ListOptions{Filters: engine.Filters{"health": {"none"}}}, "fourth second"},
		{"tasks", engine.ListOptions{All: true, Filters: engine.Filters{"is-task": {"true"}}}, ""},
		{"no tasks", engine.ListOptions{Filters: engine.Filters{"is-task": {"false"}}}, "fourth second"},
	} {
		got, err := h.e.List(c.o)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		var names []string
		for _, i := range got {
			names = append(names, i.Container.Name)
		}
		if d := cmp.Diff(c.want, strings.Join(names, " ")); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, d)
		}
	}
	for key, value := range map[string]string{
		"bogus": "x", "exited": "x", "status": "sleepy", "health": "ill", "is-task": "maybe", "publish": "1:2", "expose": "x",
	} {
		if _, err := h.e.List(engine.ListOptions{Filters: engine.Filters{key: {value}}}); !errdefs.IsInvalidArgument(err) {
			t.Errorf("filter %s=%s: %v", key, value, err)
		}
	}
	if _, err := h.e.List(engine.ListOptions{Filters: engine.Filters{"before": {"nope"}}}); !errdefs.IsNotFound(err) {
		t.Errorf("before nope: %v", err)
	}
	_ = first
}

func FuzzListFilters(f *testing.F) {
	f.Add("name", "(")
	f.Add("publish", "1-65535/udp")
	f.Add("id", "[a-")
	f.Add("before", "")
	h := startFuzz(f)
	f.Fuzz(func(t *testing.T, key, value string) {
		_, err := h.e.List(engine.ListOptions{All: true, Filters: engine.Filters{key: {value}}})
		if err != nil && !errdefs.IsInvalidArgument(err) && !errdefs.IsNotFound(err) {
			t.Fatalf("%s=%q: %v", key, value, err)
		}
	})
}

// later is the harness's clock, some time on.
type later struct {
	engine.Clock
	by atomic.Int64 // a time.Duration; the engine reads it at any time
}

func (l *later) Now() time.Time { return l.Clock.Now().Add(time.Duration(l.by.Load())) }

// shown is what a list says of the containers, each made anew or kept. made
// counts what was made anew.
func (h *harness) shown(o engine.ListOptions, made *int) string {
	h.Helper()
	list, err := h.e.ListEncoded(o, func(i *engine.Info) ([]byte, error) {
		*made++
		return []byte(strings.Join([]string{i.Container.Name, i.ImageName, i.State.Status, i.StatusText}, ", ")), nil
	})
	if err != nil {
		h.Fatal(err)
	}
	var out []string
	for _, b := range list {
		out = append(out, string(b))
	}
	return strings.Join(out, "\n")
}

// What a list keeps of a container must not outlive any change that shows.
func TestListKeepsNothingStale(t *testing.T) {
	clock := &later{Clock: &hurry{}}
	h := start(t, nil, func(c *engine.Config) { c.Clock = clock })
	if _, _, _, err := h.e.Pull(h.ctx, mustRef(t, "web:1"), pullNothing); err != nil {
		t.Fatal(err)
	}
	busybox, err := h.images.Resolve("busybox")
	if err != nil {
		t.Fatal(err)
	}
	h.create("other", `{"Image":"busybox","Labels":{"app":"b"}}`)
	id := h.create("one", `{"Image":"busybox","Cmd":["sleep","1h"],"Labels":{"app":"a"}}`)
	only := func(label string) engine.ListOptions {
		return engine.ListOptions{All: true, Filters: engine.Filters{"label": {"app=" + label}}}
	}
	for _, c := range []struct {
		what   string
		change func() error
		label  string
		want   string
	}{
		{"created", func() error { return nil }, "a", "one, busybox, created, Created"},
		{"the other", func() error { return nil }, "b", "other, busybox, created, Created"},
		{"renamed", func() error { return h.e.Rename(h.ctx, id, "two") }, "a", "two, busybox, created, Created"},
		{"started", func() error { return h.e.Start(h.ctx, id) }, "a", "two, busybox, running, Up Less than a second"},
		{"a moment later", func() error { clock.by.Store(int64(5*time.Second + time.Second/2)); return nil }, "a", "two, busybox, running, Up 5 seconds"},
		{"later", func() error { clock.by.Store(int64(5*time.Minute + time.Second/2)); return nil }, "a", "two, busybox, running, Up 5 minutes"},
		{"name moved", func() error { return h.images.Tag(h.ctx, "web:1", "busybox:latest") }, "a", "two, " + busybox.ID + ", running, Up 5 minutes"},
		{"name moved, the other", func() error { return nil }, "b", "other, " + busybox.ID + ", created, Created"},
		{"name moved back", func() error { return h.images.Tag(h.ctx, busybox.ID, "busybox:latest") }, "a", "two, busybox, running, Up 5 minutes"},
		{"name gone", func() error { return h.images.Untag(h.ctx, "busybox:latest") }, "a", "two, " + busybox.ID + ", running, Up 5 minutes"},
		{"name back", func() error { return h.images.Tag(h.ctx, busybox.ID, "busybox:latest") }, "a", "two, busybox, running, Up 5 minutes"},
		{"stopped", func() error { return h.e.Stop(h.ctx, id, engine.StopOptions{Signal: "SIGKILL"}) }, "a", "two, busybox, exited, Exited (137) 5 minutes ago"},
		{"labels changed", func() error {
			return h.f.Update(h.ctx, id, func(c *spec.Container) error { c.Labels["app"] = "c"; return nil })
		}, "c", "two, busybox, exited, Exited (137) 5 minutes ago"},
		{"labels changed, old ones", func() error { return nil }, "a", ""},
		{"removed", func() error { return h.e.Remove(h.ctx, id, engine.RemoveOptions{}) }, "c", ""},
	} {
		if err := c.change(); err != nil {
			t.Fatalf("%s: %v", c.what, err)
		}
		made := 0
		if d := cmp.Diff(c.want, h.shown(only(c.label), &made)); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.what, d)
		}
		if h.shown(only(c.label), &made); made > 1 {
			t.Errorf("%s: made %d times, though nothing changed after the first", c.what, made)
		}
	}
}

// noUpdate is a port layer that can change no container.
type noUpdate struct{ *enginetest.Fake }

func (noUpdate) Update(context.Context, string, func(*spec.Container) error) error {
	return errdefs.ErrInternal
}

// pauses is a clock whose waits are over when its channel says so.
type pauses struct {
	hurry
	over chan time.Time
}

func (p *pauses) After(time.Duration) <-chan time.Time { return p.over }

// That a container waits for its next start is known to the engine only: the
// port layer's view of it is the same before and after.
func TestListSeesRestarts(t *testing.T) {
	clock := &pauses{over: make(chan time.Time)}
	f := enginetest.New()
	h := start(t, f, func(c *engine.Config) { c.Clock, c.PortLayer = clock, noUpdate{f} })
	h.run("again", `"Cmd":["false"],"HostConfig":{"RestartPolicy":{"Name":"always"}}`)
	made := 0
	shows := func(want string) func() bool {
		return func() bool {
			return strings.HasPrefix(h.shown(engine.ListOptions{All: true}, &made), "again, busybox, "+want)
		}
	}
	h.until("it waits for its restart", shows("restarting, Restarting (1)"))
	clock.over <- time.Time{} // the count of restarts cannot be kept: it is given up
	h.until("it is given up", shows("exited, Exited (1)"))
}

// Lists that are made at the same time share what they keep.
func TestListWhileItChanges(t *testing.T) {
	h := start(t, nil)
	ids := []string{h.create("aa", `{"Image":"busybox"}`), h.create("bb", `{"Image":"busybox"}`)}
	var g sync.WaitGroup
	for range 4 {
		g.Go(func() {
			for range 50 {
				made := 0
				if n := strings.Count(h.shown(engine.ListOptions{All: true}, &made), "\n"); n != 1 {
					t.Errorf("%d containers", n+1)
				}
			}
		})
	}
	for n := range 50 {
		for k, id := range ids {
			if err := h.e.Rename(h.ctx, id, fmt.Sprintf("n%d-%d", k, n)); err != nil {
				t.Fatal(err)
			}
		}
	}
	g.Wait()
	made := 0
	want := "n1-49, busybox, created, Created\nn0-49, busybox, created, Created"
	if d := cmp.Diff(want, h.shown(engine.ListOptions{All: true}, &made)); d != "" {
		t.Errorf("at last (-want +got):\n%s", d)
	}
}
