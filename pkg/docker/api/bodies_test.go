package api_test

import (
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"
)

// TestHugeBodies: JSON larger than the limit is refused by every route that reads
// some, and nothing is made of it.
func TestHugeBodies(t *testing.T) {
	h := serve(t, false)
	h.run("runs", "sleep", "1h")
	huge := strings.Repeat("x", 5<<20)
	for _, c := range []struct{ request, body string }{
		{"POST /containers/create?name=huge", `{"Image":"busybox","Labels":{"a":"` + huge + `"}}`},
		{"POST /containers/runs/exec", `{"Cmd":["true","` + huge + `"]}`},
		{"POST /containers/runs/update", `{"CpusetCpus":"` + huge + `"}`},
		{"POST /networks/create", `{"Name":"huge","Labels":{"a":"` + huge + `"}}`},
		{"POST /networks/bridge/connect", `{"Container":"` + huge + `"}`},
		{"POST /volumes/create", `{"Name":"huge","Labels":{"a":"` + huge + `"}}`},
		{"POST /auth", `{"username":"` + huge + `"}`},
	} {
		method, path, _ := strings.Cut(c.request, " ")
		code, body := h.do(method, "/v1.51"+path, c.body)
		if code != 400 || !strings.Contains(body, "too large") && !strings.Contains(body, "larger than 4 MiB") {
			t.Errorf("%s: %d %.200s, want 400 and the limit", c.request, code, body)
		}
	}
	if list, err := h.c.ContainerList(h.ctx, container.ListOptions{All: true}); err != nil || len(list) != 1 {
		t.Errorf("%d containers, want the one there was: %v", len(list), err)
	}
	if code, body := h.do("GET", "/v1.51/networks/huge", ""); code != 404 {
		t.Errorf("a network was made: %d %s", code, body)
	}
}
