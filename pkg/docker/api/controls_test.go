package api_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"
)

// TestControls: what clients get of a container that runs, in Docker's forms.
func TestControls(t *testing.T) {
	h := serve(t, false)
	h.run("runs", "sleep", "1h")
	one, err := h.c.ContainerStatsOneShot(h.ctx, "runs")
	if err != nil {
		t.Fatal(err)
	}
	defer one.Body.Close()
	var s container.StatsResponse
	if err := json.NewDecoder(one.Body).Decode(&s); err != nil {
		t.Fatal(err)
	}
	if s.Name != "/runs" || len(s.ID) != 64 || s.CPUStats.CPUUsage.TotalUsage != 1e8 || s.CPUStats.SystemUsage != 1e9 || !s.PreRead.IsZero() ||
		s.MemoryStats.Limit != 256<<20 || s.MemoryStats.Stats["workingset_refault"] != 5 || s.PidsStats.Current != 1 || s.Networks["eth0"].TxBytes != 20 ||
		len(s.BlkioStats.IoServiceBytesRecursive) != 2 || s.BlkioStats.IoServiceBytesRecursive[1].Op != "write" {
		t.Errorf("one shot: %+v", s)
	}
	// A stream's first line already tells how much of the CPU is used.
	stream, err := h.c.ContainerStats(h.ctx, "runs", true)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.NewDecoder(stream.Body).Decode(&s); err != nil || s.CPUStats.CPUUsage.TotalUsage-s.PreCPUStats.CPUUsage.TotalUsage != 1e8 || s.PreRead.IsZero() {
		t.Errorf("first line: %+v, %v", s, err)
	}
	stream.Body.Close()

	top, err := h.c.ContainerTop(h.ctx, "runs", []string{"aux"})
	if err != nil || top.Titles[0] != "USER" || len(top.Processes) != 1 || len(top.Processes[0]) != len(top.Titles) {
		t.Errorf("top: %+v, %v", top, err)
	}
	u, err := h.c.ContainerUpdate(h.ctx, "runs", container.UpdateConfig{Resources: container.Resources{Memory: 128 << 20, BlkioWeight: 10},
		RestartPolicy: container.RestartPolicy{Name: "on-failure", MaximumRetryCount: 2}})
	if err != nil || len(u.Warnings) != 1 {
		t.Errorf("update: %+v, %v", u, err)
	}
	if err := h.c.ContainerPause(h.ctx, "runs"); err != nil {
		t.Fatal(err)
	}
	i, err := h.c.ContainerInspect(h.ctx, "runs")
	if err != nil || i.State.Status != "paused" || !i.State.Paused || !i.State.Running || i.HostConfig.Memory != 128<<20 ||
		i.HostConfig.RestartPolicy.MaximumRetryCount != 2 || i.HostConfig.BlkioWeight != 10 {
		t.Errorf("inspect: %+v %+v, %v", i.State, i.HostConfig.Resources, err)
	}
	for req, want := range map[string]struct {
		code  int
		words string
	}{
		"POST /containers/runs/pause":                    {http.StatusConflict, "already paused"},
		"POST /containers/nope/pause":                    {http.StatusNotFound, "No such container"},
		"GET /containers/runs/top?ps_args=-o+pid,wchan":  {http.StatusBadRequest, "wchan"},
		"GET /containers/runs/stats?stream=1&one-shot=1": {http.StatusBadRequest, "cannot have stream=true"},
		"GET /containers/nope/stats":                     {http.StatusNotFound, "No such container"},
	} {
		method, path, _ := strings.Cut(req, " ")
		if code, got := h.do(method, "/v1.51"+path, ""); code != want.code || !strings.Contains(got, want.words) {
			t.Errorf("%s: %d %s", req, code, got)
		}
	}
	for body, code := range map[string]int{`{"Memory":`: http.StatusBadRequest, `{"Memory":"x"}`: http.StatusBadRequest, `{"Memory":1}`: http.StatusBadRequest, `{}`: http.StatusOK} {
		if got, text := h.do(http.MethodPost, "/v1.51/containers/runs/update", body); got != code {
			t.Errorf("update with %s: %d %s", body, got, text)
		}
	}
}
