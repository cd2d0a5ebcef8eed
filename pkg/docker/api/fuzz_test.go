package api_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"
)

// send gives the status of a raw request. No body and no query may crash the
// server or be answered with an internal error.
func send(t *testing.T, h *harness, method, path, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, h.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatalf("%s %s %q: %v", method, path, body, err)
	}
	resp.Body.Close()
	if resp.StatusCode == http.StatusInternalServerError {
		t.Fatalf("%s %s %q: %s", method, path, body, resp.Status)
	}
}

func FuzzCreateBody(f *testing.F) {
	h := serve(f, false)
	f.Add(`{"Image":"busybox","HostConfig":{"Mounts":[{"Type":"tmpfs","Target":"/a","TmpfsOptions":{"Options":[["a","b"]]}}]}}`)
	f.Add(`{"Image":"busybox","Healthcheck":{"Test":["CMD"]},"ExposedPorts":{"80":{}},"NetworkingConfig":{"EndpointsConfig":{"":null}}}`)
	f.Add(`{"Image":"busybox","MacAddress":"02:42:ac:11:00:02","HostConfig":{"PidsLimit":-5,"NetworkMode":"default","Sysctls":{"net.ipv4.conf.eth0.x":"1"}}}`)
	f.Fuzz(func(t *testing.T, body string) { send(t, h, "POST", "/v1.51/containers/create", body) })
}

func FuzzExecBody(f *testing.F) {
	h := serve(f, false)
	if _, err := h.c.ContainerList(h.ctx, listAll); err != nil {
		f.Fatal(err)
	}
	f.Add(`{"Cmd":["x"],"ConsoleSize":[1,2],"DetachKeys":"ctrl-a"}`)
	f.Fuzz(func(t *testing.T, body string) { send(t, h, "POST", "/v1.51/containers/nope/exec", body) })
}

func FuzzFilters(f *testing.F) {
	h := serve(f, false)
	f.Add(`{"label":{"a=b":true},"status":["exited"]}`)
	f.Add(`{"until":["1h"],"dangling":["true"],"reference":["[a-"]}`)
	f.Fuzz(func(t *testing.T, text string) {
		q := "?all=1&filters=" + url.QueryEscape(text)
		for _, path := range []string{"/containers/json", "/images/json", "/networks", "/volumes"} {
			send(t, h, "GET", "/v1.51"+path+q, "")
		}
		send(t, h, "GET", "/v1.51/events?until=1&filters="+url.QueryEscape(text), "")
	})
}

var listAll = container.ListOptions{All: true}
