package engine_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/vic-engine/vic/pkg/docker/engine"
	"github.com/vic-engine/vic/pkg/docker/engine/enginetest"
	"github.com/vic-engine/vic/pkg/spec"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"
)

var pullNothing spec.PullOptions

func mustRef(t *testing.T, name string) reference.Named {
	t.Helper()
	n, err := engine.PullRef(name, "")
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// startFuzz is an engine with one container for fuzz targets.
func startFuzz(f *testing.F) *harness {
	log := logrus.New()
	log.SetOutput(io.Discard)
	fake := enginetest.New()
	e, err := engine.New(engine.Config{PortLayer: fake, Images: enginetest.NewImages(), Log: logrus.NewEntry(log)})
	if err != nil {
		f.Fatal(err)
	}
	fake.Add(spec.View{Container: spec.Container{ID: strings.Repeat("ab", 32), Name: "one"}, Status: spec.Status{Phase: spec.PhaseRunning}})
	return &harness{e: e, f: fake}
}

func TestPullRef(t *testing.T) {
	for _, c := range []struct{ image, tag, want string }{
		{"busybox", "latest", "docker.io/library/busybox:latest"},
		{"reg.test:5000/a/b", "1", "reg.test:5000/a/b:1"},
		{"busybox:2", "", "docker.io/library/busybox:2"},
		{"busybox", "sha256:" + strings.Repeat("a", 64), "docker.io/library/busybox@sha256:" + strings.Repeat("a", 64)},
	} {
		got, err := engine.PullRef(c.image, c.tag)
		if err != nil || got.String() != c.want {
			t.Errorf("%s %s: %v, %v", c.image, c.tag, got, err)
		}
	}
	for _, c := range []struct {
		image, tag string
		is         func(error) bool
	}{
		{"Bad Name", "", errdefs.IsInvalidArgument},
		{"busybox", "bad tag", errdefs.IsInvalidArgument},
		{"busybox", "sha256:short", errdefs.IsInvalidArgument},
		{"scratch", "latest", errdefs.IsPermissionDenied},
	} {
		if got, err := engine.PullRef(c.image, c.tag); !c.is(err) {
			t.Errorf("%s %s: %v, %v", c.image, c.tag, got, err)
		}
	}
}

func TestImageRemove(t *testing.T) {
	h := start(t, nil)
	id := func() string { i, _ := h.e.ImageInspect("busybox"); return i.ID }()
	short := strings.TrimPrefix(id, "sha256:")[:12]
	h.run("user", `"Cmd":["sleep","1h"]`)
	user, _ := h.e.Resolve("user")
	_, err := h.e.ImageRemove(h.ctx, "busybox", false)
	if want := `conflict: unable to remove repository reference "busybox" (must force) - container ` + user[:12] + " is using its referenced image " + short; err == nil || err.Error() != want || !errdefs.IsConflict(err) {
		t.Errorf("by name, running: %v\nwant %s", err, want)
	}
	_, err = h.e.ImageRemove(h.ctx, id, true)
	if want := "conflict: unable to delete " + short + " (cannot be forced) - image is being used by running container " + user[:12]; err == nil || err.Error() != want {
		t.Errorf("by id, running, forced: %v\nwant %s", err, want)
	}
	if err := h.e.Kill(h.ctx, "user", ""); err != nil {
		t.Fatal(err)
	}
	_, err = h.e.ImageRemove(h.ctx, short, false)
	if want := "conflict: unable to delete " + short + " (must be forced) - image is being used by stopped container " + user[:12]; err == nil || err.Error() != want {
		t.Errorf("by id, stopped: %v\nwant %s", err, want)
	}
	if err := h.e.ImageTag(h.ctx, "busybox", "mine", "v1"); err != nil {
		t.Fatal(err)
	}
	done, err := h.e.ImageRemove(h.ctx, "mine:v1", false)
	if d := cmp.Diff([]engine.ImageDeletion{{Untagged: "mine:v1"}}, done); err != nil || d != "" {
		t.Errorf("one name of two: %v\n%s", err, d)
	}
	if err := h.e.Remove(h.ctx, "user", engine.RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	done, err = h.e.ImageRemove(h.ctx, "busybox", false)
	if err != nil || len(done) != 4 || done[0].Untagged != "busybox:latest" || !strings.HasPrefix(done[1].Untagged, "busybox@sha256:") || done[2].Deleted != id {
		t.Errorf("last name: %+v, %v", done, err)
	}
	if _, err := h.e.ImageRemove(h.ctx, "busybox", false); err == nil || err.Error() != "No such image: busybox:latest" || !errdefs.IsNotFound(err) {
		t.Errorf("again: %v", err)
	}
	if _, _, err := h.tryCreate("", `{"Image":"busybox"}`); err == nil || err.Error() != "No such image: busybox:latest" {
		t.Errorf("create from it: %v", err)
	}
}

// TestImageInSeveralRepositories cannot be removed by id without force.
func TestImageInSeveralRepositories(t *testing.T) {
	h := start(t, nil)
	if err := h.e.ImageTag(h.ctx, "busybox", "other/repo", "x"); err != nil {
		t.Fatal(err)
	}
	i, err := h.e.ImageInspect("other/repo:x")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.e.ImageRemove(h.ctx, i.ID, false); !errdefs.IsConflict(err) || !strings.Contains(err.Error(), "referenced in multiple repositories") {
		t.Errorf("without force: %v", err)
	}
	done, err := h.e.ImageRemove(h.ctx, i.ID, true)
	if err != nil || len(done) < 3 {
		t.Errorf("with force: %v, %v", done, err)
	}
}

func TestPullIsCancelled(t *testing.T) {
	h := start(t, nil)
	h.images.Block = make(chan struct{})
	ctx, cancel := context.WithCancel(h.ctx)
	o := spec.PullOptions{Progress: func(spec.Progress) { cancel() }}
	if _, _, _, err := h.e.Pull(ctx, mustRef(t, "web:1"), o); !errors.Is(err, context.Canceled) {
		t.Errorf("pull: %v", err)
	}
}

func TestImageWarnings(t *testing.T) {
	h := start(t, nil)
	if _, _, _, err := h.e.Pull(h.ctx, mustRef(t, "web:1"), pullNothing); err != nil {
		t.Fatal(err)
	}
	_, warnings, err := h.tryCreate("web", `{"Image":"web:1","HostConfig":{"LogConfig":{"Type":"json-file","Config":{"max-size":"1m"}}}}`)
	if err != nil || len(warnings) != 2 || !strings.Contains(warnings[0], "log option max-size") || !strings.Contains(warnings[1], "/data") {
		t.Errorf("warnings %q, %v", warnings, err)
	}
	p := h.inspect("web").Container.Process
	if p.Path != "deaf" || p.User != "www" || p.Dir != "/srv" || p.StopSignal != "SIGQUIT" {
		t.Errorf("process %+v", p)
	}
	if p := h.inspect("web").Container.Root.ImageDisk; !strings.HasPrefix(p, "[mydatastore] ") {
		t.Errorf("image disk %q", p)
	}
}

func TestImagePrune(t *testing.T) {
	h := start(t, nil)
	done, n, err := h.e.ImagePrune(h.ctx, nil)
	if err != nil || len(done) != 0 || n != 0 {
		t.Errorf("dangling only: %v, %d, %v", done, n, err)
	}
	h.create("user", `{"Image":"busybox"}`)
	if done, _, err = h.e.ImagePrune(h.ctx, engine.Filters{"dangling": {"false"}}); err != nil || len(done) != 0 {
		t.Errorf("in use: %v, %v", done, err)
	}
	if err := h.e.Remove(h.ctx, "user", engine.RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	if done, n, err = h.e.ImagePrune(h.ctx, engine.Filters{"dangling": {"false"}}); err != nil || len(done) == 0 || n != 4<<20 {
		t.Errorf("all: %v, %d, %v", done, n, err)
	}
}
