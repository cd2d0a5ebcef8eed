package api_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/vic-engine/vic/pkg/builder"
	"github.com/vic-engine/vic/pkg/docker/api"

	"github.com/containerd/errdefs"
	"github.com/sirupsen/logrus"
)

// withBuilder gives the API a builder whose VM cannot be started.
func withBuilder(t testing.TB) func(*api.Config) {
	t.Helper()
	log := logrus.New()
	log.SetOutput(io.Discard)
	b, err := builder.New(builder.Config{
		Start: func(context.Context) (func(), error) {
			return nil, fmt.Errorf("builder: image moby/buildkit:v1: no route: %w", errdefs.ErrUnavailable)
		},
		Dial:   func(context.Context) (net.Conn, error) { return nil, errdefs.ErrUnavailable },
		Exists: func() (bool, bool) { return false, false },
		Load:   func(context.Context, io.Reader) (string, error) { return "", errdefs.ErrUnavailable },
		Tag:    func(context.Context, string, string) error { return errdefs.ErrUnavailable },
		Local:  func() map[string]string { return nil },
		Blob: func(context.Context, string, int64) (io.ReadCloser, int64, error) {
			return nil, 0, errdefs.ErrUnavailable
		},
		Log: logrus.NewEntry(log),
	})
	if err != nil {
		t.Fatal(err)
	}
	return func(c *api.Config) { c.Builder = b }
}

// TestBuildRoutes: what cannot work says why before the connection is taken over.
func TestBuildRoutes(t *testing.T) {
	h := serveAll(t, false, nil, withBuilder(t))
	for _, c := range []struct {
		req, upgrade, session string
		code                  int
		want                  string
	}{
		{"POST /build", "", "", 503, "moby/buildkit:v1: no route"},
		{"POST /build?memory=100000000", "", "", 501, "memory of a build"},
		{"POST /build?t=UPPER", "", "", 400, `\"UPPER\"`}, // no builder is started for it
		{"POST /build?networkmode=mine", "", "", 400, `\"mine\"`},
		{"POST /build?remote=a", "", "", 400, `remote context \"a\": want the URL`},
		{"POST /build?platform=linux%2Famd64,linux%2Farm64", "", "", 400, "linux/amd64,linux/arm64"},
		{"POST /build?extrahosts=a", "", "", 400, `extra host \"a\"`},
		{"POST /build?buildargs=[", "", "", 400, "build args"},
		{"POST /grpc", "", "", 400, "no upgrade proto"},
		{"POST /grpc", "websocket", "", 400, "protocol websocket not supported"},
		{"POST /session", "h2c", "", 400, "X-Docker-Expose-Session-Uuid"},
		{"POST /session", "", "u", 400, "no upgrade proto"},
		{"POST /session", "h2c", "u", 503, "no route"},
		{"POST /build/cancel", "", "", 400, "build ID not provided"},
		{"POST /build/cancel?id=x", "", "", 200, ""},
		{"POST /build/prune?keep-storage=x", "", "", 400, "keep-storage"},
		{"POST /build/prune", "", "", 200, `"SpaceReclaimed":0`}, // there is none yet, and none is made for it
	} {
		method, path, _ := strings.Cut(c.req, " ")
		req, err := http.NewRequestWithContext(t.Context(), method, h.url+"/v1.51"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.upgrade != "" {
			req.Header.Set("Connection", "Upgrade")
			req.Header.Set("Upgrade", c.upgrade)
		}
		if c.session != "" {
			req.Header.Set("X-Docker-Expose-Session-Uuid", c.session)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != c.code || !strings.Contains(string(body), c.want) {
			t.Errorf("%s %s %s: %d %s %v, want %d %s", c.req, c.upgrade, c.session, resp.StatusCode, body, err, c.code, c.want)
		}
	}
	p, err := h.c.Ping(t.Context())
	if err != nil || p.BuilderVersion != "2" {
		t.Errorf("ping %+v %v", p, err)
	}
}
