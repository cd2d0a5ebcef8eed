package engine_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/vic-engine/vic/pkg/docker/engine"
	"github.com/vic-engine/vic/pkg/docker/engine/enginetest"

	"github.com/containerd/errdefs"
)

// builderHarness is an engine whose builder's image is busybox, with programs that
// do what buildkitd and buildctl do as far as the engine sees it.
func builderHarness(t *testing.T) volumeHarness {
	t.Helper()
	h := startVolumes(t, "default")
	h.f.Programs["sh"] = func(p *enginetest.Proc) int {
		select {
		case <-p.Signals:
			return 0
		case <-p.Killed:
			return 137
		}
	}
	h.f.Programs["buildctl"] = func(p *enginetest.Proc) int {
		_, _ = io.Copy(p.Stdout, p.Stdin)
		return 0
	}
	return h
}

func (h volumeHarness) builder(cfg engine.BuilderConfig) *engine.BuilderVM {
	h.Helper()
	if cfg.Image == "" {
		cfg.Image = "busybox"
	}
	vm, err := h.e.NewBuilderVM(cfg)
	if err != nil {
		h.Fatal(err)
	}
	return vm
}

func TestBuilderVM(t *testing.T) {
	h := builderHarness(t)
	vm := h.builder(engine.BuilderConfig{Cache: true, Idle: time.Second}) // which the tests' clock makes pass at once
	if made, running := vm.Exists(); made || running {
		t.Error("there is a builder before the first build")
	}
	done, err := vm.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i := h.inspect(engine.BuilderName)
	if i.State.Status != "running" || !strings.Contains(string(i.HostConfig), `"Privileged":true`) || !strings.Contains(string(i.HostConfig), `"Memory":2147483648`) || i.Config.Labels["com.vic-engine.builder"] == "" {
		t.Errorf("builder %+v %s", i.State, i.HostConfig)
	}
	if v, err := h.e.VolumeInspect(engine.BuilderCacheVolume); err != nil || len(v.Users) != 1 {
		t.Errorf("cache %+v %v", v, err)
	}
	conn, err := vm.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 5)
	if _, err := io.ReadFull(conn, b); err != nil || string(b) != "hello" {
		t.Errorf("echo %q %v", b, err)
	}
	conn.Close()
	// A second use is of the same container, and as long as one is left it runs.
	again, err := vm.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	done()
	done() // counts once
	if id := h.inspect(engine.BuilderName).Container.ID; id != i.Container.ID || h.status(i.Container.ID) != "running" {
		t.Errorf("builder %s, was %s", id, i.Container.ID)
	}
	again()
	h.until("the idle builder stops", func() bool { return h.status(i.Container.ID) == "exited" })
	if _, err := vm.Dial(t.Context()); !errdefs.IsConflict(err) {
		t.Errorf("dial one that is stopped: %v", err)
	}
	done, err = vm.Start(t.Context())
	if err != nil || h.status(i.Container.ID) != "running" {
		t.Fatalf("start again: %v", err)
	}
	defer done()
}

// A builder gets the size that the VCH was given, and a new one when that changes.
func TestBuilderResized(t *testing.T) {
	h := builderHarness(t)
	for _, c := range []struct {
		cfg  engine.BuilderConfig
		want []string
	}{
		{engine.BuilderConfig{}, []string{`"Memory":2147483648`, `"NanoCpus":2000000000`}},
		{engine.BuilderConfig{MemoryMB: 4096, CPUs: 3}, []string{`"Memory":4294967296`, `"NanoCpus":3000000000`}},
	} {
		done, err := h.builder(c.cfg).Start(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		done()
		for _, want := range c.want {
			if got := string(h.inspect(engine.BuilderName).HostConfig); !strings.Contains(got, want) {
				t.Errorf("%+v: %s, want %s", c.cfg, got, want)
			}
		}
	}
}

// A builder that an older configuration made is made anew, and its cache stays.
func TestBuilderChanged(t *testing.T) {
	h := builderHarness(t)
	var ids []string
	for _, mirror := range []string{"http://one:5000", "http://two:5000"} {
		vm := h.builder(engine.BuilderConfig{Cache: true, Registries: engine.Registries{Mirrors: []string{mirror}}})
		done, err := vm.Start(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		done()
		i := h.inspect(engine.BuilderName)
		if env := strings.Join(i.Config.Env, "\n"); !strings.Contains(env, strings.TrimPrefix(mirror, "http://")) {
			t.Errorf("environment %s", env)
		}
		ids = append(ids, i.Container.ID)
	}
	if ids[0] == ids[1] || h.status(ids[0]) != "gone" {
		t.Errorf("builders %q", ids)
	}
	h.want(nil, engine.BuilderCacheVolume)
}

func TestBuilderFails(t *testing.T) {
	h := builderHarness(t)
	if _, err := h.e.NewBuilderVM(engine.BuilderConfig{Image: "BAD IMAGE"}); !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), "BAD IMAGE") {
		t.Errorf("bad image: %v", err)
	}
	h.images.PullErr = errors.New("no route to registry")
	if _, err := h.builder(engine.BuilderConfig{Image: "moby/buildkit:v9"}).Start(t.Context()); err == nil ||
		!strings.Contains(err.Error(), "moby/buildkit:v9") || !strings.Contains(err.Error(), "no route") || !strings.Contains(err.Error(), "--builder-image") {
		t.Errorf("no image: %v", err)
	}
	h.images.PullErr = nil
	vm := h.builder(engine.BuilderConfig{Cache: true})
	done, err := vm.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	done()
	if err := h.e.Stop(t.Context(), h.inspect(engine.BuilderName).Container.ID, engine.StopOptions{}); err != nil {
		t.Fatal(err)
	}
	h.f.StartErr = fmt.Errorf("file not found: [ds] cache.vmdk: %w", errdefs.ErrNotFound)
	if _, err := vm.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "cache.vmdk") || !strings.Contains(err.Error(), "docker volume rm "+engine.BuilderCacheVolume) {
		t.Errorf("the cache's disk is gone: %v", err)
	}
	h.f.StartErr = nil
	if err := h.e.Remove(t.Context(), h.inspect(engine.BuilderName).Container.ID, engine.RemoveOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	h.create(engine.BuilderName, `{"Image":"busybox","Cmd":["true"]}`)
	if _, err := h.builder(engine.BuilderConfig{}).Start(t.Context()); !errdefs.IsConflict(err) || !strings.Contains(err.Error(), "docker rename") {
		t.Errorf("the name is taken: %v", err)
	}
}

func TestBuilderConfigText(t *testing.T) {
	h := builderHarness(t)
	vm := h.builder(engine.BuilderConfig{Registries: engine.Registries{
		Mirrors: []string{"http://m.example:5000", "https://n.example/hub/"}, Insecure: []string{"i.example", "10.0.0.0/8", "m.example:5000"}, CAs: "PEM",
	}})
	done, err := vm.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	want := `VIC_BUILDKITD_TOML=insecure-entitlements = ["network.host", "security.insecure"]
[registry."docker.io"]
  mirrors = ["m.example:5000", "n.example/hub"]
[registry."i.example"]
  http = true
  insecure = true
[registry."m.example:5000"]
  http = true
  insecure = true

VIC_REGISTRY_CAS=PEM`
	if env := strings.Join(h.inspect(engine.BuilderName).Config.Env, "\n"); !strings.Contains(env, want) {
		t.Errorf("environment:\n%s\nwant:\n%s", env, want)
	}
}
