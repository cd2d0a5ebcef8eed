package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/vic-engine/vic/pkg/docker/api"
	"github.com/vic-engine/vic/pkg/docker/engine"
	"github.com/vic-engine/vic/pkg/docker/engine/enginetest"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"
	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"
)

var update = flag.Bool("update", false, "rewrite the files in testdata")

// patience bounds what must happen soon; it only ends tests that fail.
const patience = time.Minute

type harness struct {
	*testing.T
	f      *enginetest.Fake
	images *enginetest.Images
	e      *engine.Engine
	url    string
	c      *client.Client
	ctx    context.Context
}

// serve runs the API over a port layer in memory, on TLS or not.
func serve(t testing.TB, useTLS bool) *harness { return serveAll(t, useTLS, nil) }

// serveWith is serve without TLS, over an engine that change configures.
func serveWith(t testing.TB, change func(*engine.Config)) *harness { return serveAll(t, false, change) }

func serveAll(t testing.TB, useTLS bool, change func(*engine.Config), changeAPI ...func(*api.Config)) *harness {
	t.Helper()
	log := logrus.New()
	log.SetOutput(io.Discard)
	ctx, cancel := context.WithCancel(context.Background())
	h := &harness{f: enginetest.New(), images: enginetest.NewImages(), ctx: ctx}
	if tt, ok := t.(*testing.T); ok {
		h.T = tt
	}
	var err error
	cfg := engine.Config{PortLayer: h.f, Networks: h.f, Controls: h.f, Images: h.images, Log: logrus.NewEntry(log), Rand: func(int) int { return 0 }}
	if change != nil {
		change(&cfg)
	}
	h.e, err = engine.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- h.e.Run(ctx) }()
	<-h.e.Ready()
	apiConfig := api.Config{
		Engine: h.e, Log: logrus.NewEntry(log), Context: ctx, Version: "1.2.3", Commit: "c0ffee", BuildTime: "2026-01-02T03:04:05Z", Name: "VCH001",
		ID: "6f9619ff-8b86-d011-b42d-00c04fc964ff", RegistryMirrors: []string{"http://registry.lab.test:5000"}, InsecureRegistries: []string{"127.0.0.0/8", "registry.lab.test:5000"},
		RegistryTransport: nearRegistries{},
	}
	for _, c := range changeAPI {
		c(&apiConfig)
	}
	handler, err := api.New(apiConfig)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(handler)
	opts := []client.Opt{client.WithVersion(api.Version)}
	if useTLS {
		srv.StartTLS()
		opts = append(opts, client.WithHTTPClient(srv.Client()), client.WithScheme("https"))
	} else {
		srv.Start()
	}
	h.url = srv.URL
	opts = append(opts, client.WithHost("tcp://"+strings.TrimPrefix(strings.TrimPrefix(srv.URL, "http://"), "https://")))
	if h.c, err = client.NewClientWithOpts(opts...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		h.c.Close()
		cancel()
		srv.CloseClientConnections()
		srv.Close()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return h
}

// nearRegistries reaches those of this computer; any other wants a login and grants
// none.
type nearRegistries struct{}

func (nearRegistries) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Hostname() == "127.0.0.1" {
		return http.DefaultTransport.RoundTrip(r)
	}
	return &http.Response{StatusCode: http.StatusUnauthorized, Header: http.Header{"Www-Authenticate": {`Basic realm="x"`}}, Body: http.NoBody, Request: r}, nil
}

func (h *harness) create(name string, c container.Config, hc *container.HostConfig) string {
	h.Helper()
	if c.Image == "" {
		c.Image = "busybox"
	}
	r, err := h.c.ContainerCreate(h.ctx, &c, hc, nil, nil, name)
	if err != nil {
		h.Fatalf("create %s: %v", name, err)
	}
	return r.ID
}

func (h *harness) run(name string, cmd ...string) string {
	h.Helper()
	id := h.create(name, container.Config{Cmd: cmd}, nil)
	h.start(id)
	return id
}

func (h *harness) start(id string) {
	h.Helper()
	if err := h.c.ContainerStart(h.ctx, id, container.StartOptions{}); err != nil {
		h.Fatalf("start %s: %v", id, err)
	}
}

func (h *harness) exit(id string) int64 {
	h.Helper()
	ok, bad := h.c.ContainerWait(h.ctx, id, container.WaitConditionNotRunning)
	select {
	case r := <-ok:
		return r.StatusCode
	case err := <-bad:
		h.Fatalf("wait: %v", err)
	case <-time.After(patience):
		h.Fatal("wait was not answered")
	}
	return -1
}

// do sends a raw request and gives status and body.
func (h *harness) do(method, path, body string) (int, string) {
	h.Helper()
	req, err := http.NewRequestWithContext(h.ctx, method, h.url+path, strings.NewReader(body))
	if err != nil {
		h.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		h.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		h.Fatalf("%s %s: %v", method, path, err)
	}
	return resp.StatusCode, string(b)
}

// until waits for a condition.
func (h *harness) until(what string, ok func() bool) {
	h.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			h.Fatalf("did not happen: %s", what)
		}
	}
}

// masks hide in goldens what differs from run to run.
var masks = []struct {
	re *regexp.Regexp
	to string
}{
	{regexp.MustCompile(`"(Created|StartedAt|SystemTime|LastTagTime)": "20[0-9T:.\-]+(Z|[+-][0-9:]+)"`), `"$1": "TIME"`},
	{regexp.MustCompile(`"Created": [0-9]+`), `"Created": 0`},
	{regexp.MustCompile(`"(NGoroutines|NFd)": [1-9][0-9]*`), `"$1": 1`},
	{regexp.MustCompile(`"Up [^"]*"`), `"Up TIME"`},
	{regexp.MustCompile(`go1\.[0-9.]+`), `go1`},
}

func (h *harness) golden(name string, body, id string) {
	h.Helper()
	var out bytes.Buffer
	if err := json.Indent(&out, []byte(body), "", "  "); err != nil {
		h.Fatalf("%s: %v\n%s", name, err, body)
	}
	got := out.String()
	if id != "" {
		got = strings.ReplaceAll(strings.ReplaceAll(got, id, "ID"), id[:12], "SHORTID")
		got = regexp.MustCompile(`"(EndpointID|SandboxID)": "[0-9a-f]{64}"`).ReplaceAllString(got, `"$1": "DERIVED"`)
	}
	for _, m := range masks {
		got = m.re.ReplaceAllString(got, m.to)
	}
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			h.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		h.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		h.Errorf("%s (-want +got):\n%s", path, d)
	}
}
