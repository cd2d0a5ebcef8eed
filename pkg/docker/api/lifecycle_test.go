package api_test

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/go-connections/nat"
)

// TestEventsOldFields: status, id and from are of containers and images, as in dockerd.
func TestEventsOldFields(t *testing.T) {
	h := serve(t, false)
	ctx, cancel := context.WithCancel(h.ctx)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, h.url+"/v1.51/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	h.create("cc", container.Config{}, nil)
	if _, err := h.c.NetworkCreate(h.ctx, "nn", network.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	old := map[events.Type]bool{}
	for d := json.NewDecoder(resp.Body); len(old) < 2; {
		var m struct {
			Type         events.Type
			Status, From *string
			ID           *string `json:"id"`
		}
		if err := d.Decode(&m); err != nil {
			t.Fatal(err)
		}
		old[m.Type] = m.Status != nil && m.ID != nil
		if m.Type == events.NetworkEventType && (m.Status != nil || m.ID != nil || m.From != nil) {
			t.Errorf("a network's event has %v, %v, %v", m.Status, m.ID, m.From)
		}
	}
	if !old[events.ContainerEventType] {
		t.Error("a container's event has no status and id")
	}
}

// TestPortsWhileRestarting: a container between two runs has no ports.
func TestPortsWhileRestarting(t *testing.T) {
	h := serve(t, false)
	id := h.create("cc", container.Config{Cmd: []string{"sleep", "1h"}, ExposedPorts: nat.PortSet{"80/tcp": {}}},
		&container.HostConfig{RestartPolicy: container.RestartPolicy{Name: "always"}})
	if err := h.c.ContainerStart(h.ctx, id, container.StartOptions{}); err != nil {
		t.Fatal(err)
	}
	begin, let := make(chan struct{}), make(chan struct{})
	h.f.OnStart = func(string) error { close(begin); <-let; return nil }
	defer close(let)
	if err := h.f.Signal(h.ctx, id, "SIGKILL"); err != nil {
		t.Fatal(err)
	}
	<-begin
	i, err := h.c.ContainerInspect(h.ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	if !i.State.Restarting || len(i.NetworkSettings.Ports) != 0 || i.NetworkSettings.SandboxID != "" {
		t.Errorf("inspect: %+v, %+v", i.State, i.NetworkSettings)
	}
	l, err := h.c.ContainerList(h.ctx, container.ListOptions{})
	if err != nil || len(l) != 1 || l[0].State != "restarting" || len(l[0].Ports) != 0 {
		t.Errorf("list: %+v, %v", l, err)
	}
}
