package engine_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/vic-engine/vic/pkg/docker/engine"
	"github.com/vic-engine/vic/pkg/docker/engine/enginetest"
	"github.com/vic-engine/vic/pkg/spec"

	"github.com/containerd/errdefs"
)

type volumeHarness struct {
	*harness
	v *enginetest.Volumes
}

func startVolumes(t *testing.T, labels ...string) volumeHarness {
	t.Helper()
	v := enginetest.NewVolumes(labels...)
	return volumeHarness{start(t, nil, func(c *engine.Config) { c.Volumes = v }), v}
}

func (h volumeHarness) names(f engine.Filters) []string {
	h.Helper()
	list, _, err := h.e.VolumeList(f)
	if err != nil {
		h.Fatal(err)
	}
	out := []string{}
	for _, v := range list {
		out = append(out, v.Name)
	}
	return out
}

func (h volumeHarness) want(f engine.Filters, names ...string) {
	h.Helper()
	if got := h.names(f); !slices.Equal(got, names) {
		h.Errorf("volumes %v: %q, want %q", f, got, names)
	}
}

func (h volumeHarness) volume(r spec.VolumeRequest) engine.VolumeInfo {
	h.Helper()
	v, err := h.e.VolumeCreate(h.ctx, r)
	if err != nil {
		h.Fatal(err)
	}
	return v
}

func TestVolumes(t *testing.T) {
	h := startVolumes(t, "default", "fast")
	h.v.Warnings = []string{"store slow cannot be reached"}
	seen := h.collect(engine.Filters{"type": {"volume"}})
	h.volume(spec.VolumeRequest{Name: "db", Driver: "local", Labels: map[string]string{"app": "x"}})
	h.volume(spec.VolumeRequest{Name: "web", Options: map[string]string{"VolumeStore": "fast"}})
	h.volume(spec.VolumeRequest{Name: "web"}) // is there
	anonymous := h.volume(spec.VolumeRequest{})
	if _, marked := anonymous.Labels["com.docker.volume.anonymous"]; len(anonymous.Name) != 64 || !marked || !anonymous.Anonymous {
		t.Errorf("anonymous volume %+v", anonymous)
	}
	for _, c := range []struct {
		r    spec.VolumeRequest
		want string
		is   func(error) bool
	}{
		{spec.VolumeRequest{Name: "web", Options: map[string]string{"VolumeStore": "default"}}, "other options", errdefs.IsConflict},
		{spec.VolumeRequest{Name: "xx", Driver: "nfs"}, `create xx: error looking up volume plugin nfs: plugin "nfs" not found`, errdefs.IsNotFound},
		{spec.VolumeRequest{Name: "a/b"}, "includes invalid characters", errdefs.IsInvalidArgument},
		{spec.VolumeRequest{Name: "xx", Options: map[string]string{"VolumeStore": "no"}}, "no volume store", errdefs.IsNotFound},
	} {
		if _, err := h.e.VolumeCreate(h.ctx, c.r); err == nil || !strings.Contains(err.Error(), c.want) || !c.is(err) {
			t.Errorf("%+v: %v, want %q", c.r, err, c.want)
		}
	}
	id := h.create("user", `{"Image":"busybox","HostConfig":{"Binds":["db:/db"]}}`)
	h.want(engine.Filters{"name": {"^db$"}}, "db")
	h.want(engine.Filters{"driver": {"local"}}, "db")
	h.want(engine.Filters{"label": {"app=x"}}, "db")
	h.want(engine.Filters{"dangling": {"false"}}, "db")
	h.want(engine.Filters{"dangling": {"1"}, "name": {"web"}}, "web")
	if _, w, _ := h.e.VolumeList(nil); !slices.Equal(w, h.v.Warnings) {
		t.Errorf("warnings %q", w)
	}
	if _, _, err := h.e.VolumeList(engine.Filters{"size": {"1"}}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("unknown filter: %v", err)
	}
	if i, err := h.e.VolumeInspect("db"); err != nil || !slices.Equal(i.Users, []string{id}) {
		t.Errorf("inspect %+v, %v", i, err)
	}
	if err := h.e.VolumeRemove(h.ctx, "db", true); !errdefs.IsConflict(err) || err.Error() != "remove db: volume is in use - ["+id+"]" {
		t.Errorf("remove one in use: %v", err)
	}
	if err := h.e.VolumeRemove(h.ctx, "nope", false); !errdefs.IsNotFound(err) || err.Error() != "get nope: no such volume" {
		t.Errorf("remove none: %v", err)
	}
	if err := h.e.VolumeRemove(h.ctx, "nope", true); err != nil {
		t.Errorf("remove none by force: %v", err)
	}
	if v, err := h.e.VolumeGrow(h.ctx, "db", 4<<30); err != nil || v.Capacity != 4<<30 {
		t.Errorf("grow: %+v, %v", v, err)
	}
	if _, err := h.e.VolumeGrow(h.ctx, "db", 1<<20); !errdefs.IsInvalidArgument(err) {
		t.Errorf("shrink: %v", err)
	}
	gone, freed, err := h.e.VolumePrune(h.ctx, nil)
	if err != nil || !slices.Equal(gone, []string{anonymous.Name}) || freed != 1<<20 {
		t.Errorf("prune %q %d %v", gone, freed, err)
	}
	if gone, _, err := h.e.VolumePrune(h.ctx, engine.Filters{"all": {"1"}, "label!": {"app"}}); err != nil || !slices.Equal(gone, []string{"web"}) {
		t.Errorf("prune all %q %v", gone, err)
	}
	want := []string{"create", "create", "create", "destroy", "prune", "destroy", "prune"}
	h.until(fmt.Sprint("events ", want), func() bool { return slices.Equal(seen(), want) })
}

func TestNoVolumes(t *testing.T) {
	h := start(t, nil)
	if _, err := h.e.VolumeCreate(h.ctx, spec.VolumeRequest{Name: "db"}); !errdefs.IsNotImplemented(err) {
		t.Errorf("create: %v", err)
	}
	if _, _, err := h.tryCreate("xx", `{"Image":"busybox","HostConfig":{"Binds":["db:/db"]}}`); !errdefs.IsNotImplemented(err) {
		t.Errorf("-v: %v", err)
	}
	if l, _, err := h.e.VolumeList(nil); err != nil || len(l) != 0 {
		t.Errorf("list: %v, %v", l, err)
	}
}

func TestContainerVolumes(t *testing.T) {
	h := startVolumes(t, "default")
	// Filters match beginnings, and anonymous volumes have names in hexadecimal:
	// no such name begins like this one.
	seen := h.collect(engine.Filters{"type": {"volume"}, "volume": {"shop"}})
	id := h.create("one", `{"Image":"busybox","Cmd":["cat"],"OpenStdin":true,"Volumes":{"/anon":{}},"HostConfig":{"Binds":["shop:/db:rw"],
		"Mounts":[{"Type":"volume","Source":"conf","Target":"/conf","ReadOnly":true,"VolumeOptions":{"Subpath":"a","NoCopy":true,"DriverConfig":{"Name":"vsphere","Options":{"VolumeStore":"default"}},"Labels":{"k":"v"}}}]}}`)
	c := h.inspect(id)
	if len(c.Container.Mounts) != 3 || len(c.Volumes) != 3 || c.Container.Mounts[1].SubPath != "a" || !c.Container.Mounts[1].NoCopy || c.Volumes[2].Mode != "rw" {
		t.Fatalf("mounts %+v", c.Volumes)
	}
	if v, err := h.e.VolumeInspect("conf"); err != nil || v.Labels["k"] != "v" || v.Options["VolumeStore"] != "default" {
		t.Errorf("made by --mount: %+v, %v", v, err)
	}
	anonymous := c.Container.Mounts[0].Name
	two := h.create("two", `{"Image":"busybox","HostConfig":{"VolumesFrom":["one:ro"]}}`)
	if m := h.inspect(two).Container.Mounts; len(m) != 3 || m[0].Name != anonymous || !m[2].ReadOnly {
		t.Errorf("volumes from: %+v", m)
	}
	for _, by := range []string{"shop", "/db"} {
		l, err := h.e.List(engine.ListOptions{All: true, Filters: engine.Filters{"volume": {by}}})
		if err != nil || len(l) != 2 {
			t.Errorf("ps by volume %s: %d, %v", by, len(l), err)
		}
	}
	if err := h.e.Start(h.ctx, id); err != nil {
		t.Fatal(err)
	}
	if err := h.e.Kill(h.ctx, id, "KILL"); err != nil {
		t.Fatal(err)
	}
	h.answer(h.wait(id, engine.WaitNotRunning))
	if err := h.e.Remove(h.ctx, id, engine.RemoveOptions{Volumes: true}); err != nil {
		t.Fatal(err)
	}
	h.want(nil, slices.Sorted(slices.Values([]string{anonymous, "conf", "shop"}))...) // two has it
	if err := h.e.Remove(h.ctx, two, engine.RemoveOptions{Volumes: true}); err != nil {
		t.Fatal(err)
	}
	h.want(nil, "conf", "shop")
	want := []string{"create", "mount", "unmount"}
	h.until(fmt.Sprint("events ", want), func() bool { return slices.Equal(seen(), want) })
}

func TestRemoveKeepsVolumes(t *testing.T) {
	h := startVolumes(t, "default")
	id := h.create("", `{"Image":"busybox","Volumes":{"/a":{}},"HostConfig":{"Binds":["named:/n"]}}`)
	if err := h.e.Remove(h.ctx, id, engine.RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	if n := h.names(nil); len(n) != 2 {
		t.Errorf("without -v: %q", n)
	}
	// An anonymous volume that is then mounted by its name is a named one.
	name := h.names(engine.Filters{"label": {"com.docker.volume.anonymous"}})[0]
	id = h.create("", `{"Image":"busybox","HostConfig":{"Binds":["`+name+`:/n"]}}`)
	if err := h.e.Remove(h.ctx, id, engine.RemoveOptions{Volumes: true}); err != nil {
		t.Fatal(err)
	}
	if n := h.names(nil); len(n) != 2 {
		t.Errorf("named by the user: %q", n)
	}
}

// TestAutoRemoveVolumes: whoever waits for --rm finds the anonymous volumes gone.
func TestAutoRemoveVolumes(t *testing.T) {
	h := startVolumes(t, "default")
	id := h.create("", `{"Image":"busybox","Cmd":["true"],"Volumes":{"/a":{}},"HostConfig":{"AutoRemove":true,"Binds":["named:/n"]}}`)
	w := h.wait(id, engine.WaitRemoved)
	if err := h.e.Start(h.ctx, id); err != nil {
		t.Fatal(err)
	}
	h.answer(w)
	h.want(nil, "named")
}

func TestFailedCreateRemovesVolumes(t *testing.T) {
	h := startVolumes(t, "default")
	h.f.CreateErr = errors.New("no room")
	_, _, err := h.tryCreate("", `{"Image":"busybox","Volumes":{"/a":{}},"HostConfig":{"Binds":["named:/n"]}}`)
	if err == nil || !strings.Contains(err.Error(), "no room") {
		t.Fatal(err)
	}
	h.want(nil, "named")

	// The second of two cannot be made.
	h.f.CreateErr = nil
	n := 0
	h.v.OnCreate = func(spec.VolumeRequest) error {
		if n++; n == 2 {
			return fmt.Errorf("store is full: %w", errdefs.ErrResourceExhausted)
		}
		return nil
	}
	if _, _, err := h.tryCreate("", `{"Image":"busybox","Volumes":{"/a":{},"/b":{}}}`); !errdefs.IsResourceExhausted(err) {
		t.Fatal(err)
	}
	h.v.OnCreate = nil
	h.want(nil, "named")
	// A create that is refused makes nothing.
	if _, _, err := h.tryCreate("", `{"Image":"busybox","Volumes":{"/a":{}},"HostConfig":{"PidMode":"host"}}`); !errdefs.IsNotImplemented(err) {
		t.Error(err)
	}
	h.want(nil, "named")
}

// TestVolumeOfCreateUnderWay: neither prune nor rm takes a volume from a
// container that is being made.
func TestVolumeOfCreateUnderWay(t *testing.T) {
	h := startVolumes(t, "default")
	h.v.OnCreate = func(r spec.VolumeRequest) error {
		if r.Name != "second" {
			return nil
		}
		if gone, _, err := h.e.VolumePrune(context.Background(), engine.Filters{"all": {"1"}}); err != nil || len(gone) != 0 {
			t.Errorf("prune took %q, %v", gone, err)
		}
		if err := h.e.VolumeRemove(context.Background(), "first", false); !errdefs.IsConflict(err) {
			t.Errorf("rm: %v", err)
		}
		return nil
	}
	h.create("", `{"Image":"busybox","HostConfig":{"Binds":["first:/a","second:/b"]}}`)
	h.want(nil, "first", "second")
}

// TestNoDefaultStore: what an image declares stays on the container's own disk;
// what a user asks for fails, and not as if the image were missing.
func TestNoDefaultStore(t *testing.T) {
	h := startVolumes(t, "fast")
	if _, _, _, err := h.e.Pull(h.ctx, mustRef(t, "web:1"), pullNothing); err != nil {
		t.Fatal(err)
	}
	_, warnings, err := h.tryCreate("web", `{"Image":"web:1"}`)
	if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], "/data of the image") {
		t.Errorf("image's volume: %q, %v", warnings, err)
	}
	if m := h.inspect("web").Container.Mounts; len(m) != 0 {
		t.Errorf("mounts %+v", m)
	}
	for _, body := range []string{
		`{"Image":"web:1","Volumes":{"/data":{}}}`, `{"Image":"web:1","HostConfig":{"Binds":["x:/data"]}}`,
		`{"Image":"busybox","HostConfig":{"Binds":["xx:/data"],"VolumeDriver":"nfs"}}`,
	} {
		if _, _, err := h.tryCreate("", body); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%s: %v", body, err)
		}
	}
	h.volume(spec.VolumeRequest{Name: "db", Options: map[string]string{"VolumeStore": "fast"}})
	h.create("", `{"Image":"web:1","HostConfig":{"Binds":["db:/data"]}}`)
}

// TestImageVolume: with a default store it is an anonymous volume.
func TestImageVolume(t *testing.T) {
	h := startVolumes(t, "default")
	if _, _, _, err := h.e.Pull(h.ctx, mustRef(t, "web:1"), pullNothing); err != nil {
		t.Fatal(err)
	}
	id := h.create("web", `{"Image":"web:1"}`)
	m := h.inspect("web").Container.Mounts
	if len(m) != 1 || m[0].Path != "/data" || len(m[0].Name) != 64 {
		t.Fatalf("mounts %+v", m)
	}
	if err := h.e.Remove(h.ctx, id, engine.RemoveOptions{Volumes: true}); err != nil {
		t.Fatal(err)
	}
	h.want(nil)
}
