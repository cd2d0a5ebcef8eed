package admin

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vic-engine/vic/pkg/spec"
)

func get(t *testing.T, h http.Handler, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w.Code, w.Body.String()
}

func TestHandler(t *testing.T) {
	log := filepath.Join(t.TempDir(), "vic-engine.log")
	if err := os.WriteFile(log, []byte("first line\nlast line\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	state := "RUNNING"
	requests := NewRequests()
	requests.Took("POST", "/networks/create", 250*time.Millisecond)
	requests.Took("POST", "/networks/create", 500*time.Millisecond)
	h, err := New(Config{
		VCH:     spec.VCH{Name: "VCH001", UUID: "u-1", Target: "https://esxi01/sdk", Password: "secret-password", ServerKey: "secret-key", AttachKey: "secret-attach"},
		Version: "9.9", State: func() string { return state }, Started: time.Now(), Log: logrus.NewEntry(logrus.New()),
		Requests: requests,
		Logs:     map[string]string{"vic-engine.log": log, "gone.log": log + ".gone"},
		Containers: func() []spec.View {
			return []spec.View{
				{Container: spec.Container{Name: "jolly<panini>", Repo: "hello-world"}, Status: spec.Status{Phase: spec.PhaseExited}},
				{Container: spec.Container{Name: "web", Repo: "web"}, Status: spec.Status{Phase: spec.PhaseRunning}},
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		path string
		code int
		want []string
	}{
		{"/", 200, []string{"VCH001", "RUNNING", "jolly&lt;panini&gt;", "https://esxi01/sdk", `href="/logs/vic-engine.log"`}},
		{"/logs/vic-engine.log", 200, []string{"first line\nlast line\n"}},
		{"/logs/vic-engine.log?tail=10", 200, []string{"last line\n"}},
		{"/logs/vic-engine.log?tail=-3", 400, []string{`tail="-3"`, "1048576"}},
		{"/logs/gone.log", 404, []string{"cannot be read"}},
		{"/logs/nosuch", 404, []string{`"nosuch"`, "vic-engine.log"}},
		{"/metrics", 200, []string{`vic_containers{state="exited"} 1`, `vic_containers{state="running"} 1`, `vic_containers{state="created"} 0`, "vic_engine_running 1",
			`vic_api_request_seconds_sum{method="POST",route="/networks/create"} 0.75`, `vic_api_request_seconds_count{method="POST",route="/networks/create"} 2`, `vic_info{name="VCH001",uuid="u-1",version="9.9"} 1`}},
		{"/healthz", 200, []string{"RUNNING"}},
	} {
		code, body := get(t, h, tc.path)
		if code != tc.code {
			t.Errorf("%s: status %d, want %d", tc.path, code, tc.code)
		}
		for _, w := range tc.want {
			if !strings.Contains(body, w) {
				t.Errorf("%s: %q is not in:\n%s", tc.path, w, body)
			}
		}
		if strings.Contains(body, "secret") {
			t.Errorf("%s shows a secret", tc.path)
		}
	}
	if _, body := get(t, h, "/logs/vic-engine.log?tail=10"); strings.Contains(body, "first") {
		t.Errorf("tail=10 sent more: %q", body)
	}
	state = "STARTING"
	if code, body := get(t, h, "/healthz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "STARTING") {
		t.Errorf("/healthz while starting: %d %q", code, body)
	}
	if code, body := get(t, h, "/metrics"); code != 200 || !strings.Contains(body, "vic_engine_running 0") {
		t.Errorf("/metrics while starting: %d, running is not 0", code)
	}
}

func TestNewWantsItsSources(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("New took an empty Config")
	}
}
