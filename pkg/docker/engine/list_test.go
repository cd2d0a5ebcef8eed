package engine_test

import (
	"strings"
	"testing"

	"github.com/vic-engine/vic/pkg/docker/engine"

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
