package engine_test

import (
	"strings"
	"testing"

	"github.com/vic-engine/vic/pkg/docker/engine"

	"github.com/containerd/errdefs"
)

func TestSocketIsRefusedUnlessAllowed(t *testing.T) {
	h := start(t, nil)
	for _, request := range []string{
		`{"Image":"busybox","HostConfig":{"Binds":["/var/run/docker.sock:/var/run/docker.sock"]}}`,
		`{"Image":"busybox","HostConfig":{"Mounts":[{"Type":"bind","Source":"/var/run/docker.sock","Target":"/d"}]}}`,
	} {
		_, _, err := h.tryCreate("xx", request)
		if !errdefs.IsPermissionDenied(err) || !strings.Contains(err.Error(), "vic-machine create --docker-socket") {
			t.Errorf("%s: %v", request, err)
		}
	}
	if len(h.f.Containers()) != 0 {
		t.Error("a container was made")
	}
}

func TestSocketIsShownAsABind(t *testing.T) {
	h := start(t, nil, func(c *engine.Config) { c.DockerSocket = true })
	id := h.create("xx", `{"Image":"busybox","HostConfig":{"Binds":["/var/run/docker.sock:/a:ro"],
		"Mounts":[{"Type":"bind","Source":"/run/docker.sock","Target":"/b","BindOptions":{"Propagation":"shared"}}]}}`)
	info, err := h.e.Inspect(id)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range info.Volumes {
		got = append(got, strings.Join([]string{string(m.Type), m.Source, m.Path, m.Mode, m.Propagation, m.Driver}, " "))
	}
	want := "socket /var/run/docker.sock /a ro rprivate \nsocket /run/docker.sock /b  shared "
	if strings.Join(got, "\n") != want {
		t.Errorf("%q, want %q", got, want)
	}
}
