package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/vic-engine/vic/pkg/docker/api"
	"github.com/vic-engine/vic/pkg/docker/engine"
	"github.com/vic-engine/vic/pkg/docker/engine/enginetest"
	"github.com/vic-engine/vic/pkg/spec"

	"github.com/docker/docker/api/types/container"
	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"
)

// still is a port layer whose containers do not change while they are listed.
type still struct {
	*enginetest.Fake
	views []*spec.View
}

func (s *still) Snapshots() []*spec.View { return slices.Clone(s.views) }

// manyContainers gives an API whose port layer has n containers, and a way to
// ask it without a network in between.
func manyContainers(b *testing.B, n int, start bool) http.Handler {
	log := logrus.New()
	log.SetOutput(io.Discard)
	pl := &still{Fake: enginetest.New()}
	e, err := engine.New(engine.Config{PortLayer: pl, Images: enginetest.NewImages(), Log: logrus.NewEntry(log)})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		<-done
	})
	<-e.Ready()
	for i := range n {
		r, err := engine.ParseRequest([]byte(`{"Image":"busybox","Cmd":["sleep","1h"],"Labels":{"bench":"ps"}}`))
		if err != nil {
			b.Fatal(err)
		}
		id, _, err := e.Create(ctx, engine.CreateOptions{Name: fmt.Sprintf("c%d", i), Request: r})
		if err != nil {
			b.Fatal(err)
		}
		if start {
			if err := e.Start(ctx, id); err != nil {
				b.Fatal(err)
			}
		}
	}
	pl.views = pl.Fake.Snapshots()
	h, err := api.New(api.Config{Engine: e, Log: logrus.NewEntry(log), Context: ctx})
	if err != nil {
		b.Fatal(err)
	}
	return h
}

type counter struct {
	h http.Header
	n int
}

func (c *counter) Header() http.Header         { return c.h }
func (c *counter) WriteHeader(int)             {}
func (c *counter) Write(p []byte) (int, error) { c.n += len(p); return len(p), nil }

// BenchmarkList is what docker ps -a costs with 200 containers, without the
// network.
func BenchmarkList(b *testing.B) {
	for _, start := range []bool{false, true} {
		b.Run(map[bool]string{false: "created", true: "running"}[start], func(b *testing.B) {
			h := manyContainers(b, 200, start)
			b.ReportAllocs()
			for b.Loop() {
				c := &counter{h: http.Header{}}
				h.ServeHTTP(c, httptest.NewRequest(http.MethodGet, "/v1.51/containers/json?all=1", nil))
				b.SetBytes(int64(c.n))
			}
		})
	}
}

// BenchmarkListTLS is the same over one connection.
func BenchmarkListTLS(b *testing.B) {
	srv := httptest.NewTLSServer(manyContainers(b, 200, false))
	defer srv.Close()
	b.ReportAllocs()
	for b.Loop() {
		res, err := srv.Client().Get(srv.URL + "/v1.51/containers/json?all=1")
		if err != nil {
			b.Fatal(err)
		}
		n, err := io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != http.StatusOK {
			b.Fatal(res.Status, err)
		}
		b.SetBytes(n)
	}
}

// The text of a list is what docker's own handler would send, with its length
// known before.
func TestListText(t *testing.T) {
	h := serve(t, false)
	path := "/containers/json?all=1"
	get := func(version, path string) (string, []container.Summary) {
		t.Helper()
		res, err := h.c.HTTPClient().Get(h.url + "/v" + version + path)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("%s, %v: %s", res.Status, err, b)
		}
		if version == api.Version && !strings.Contains(path, "size") && res.ContentLength != int64(len(b)) {
			t.Errorf("length %d of %d bytes", res.ContentLength, len(b))
		}
		list := []container.Summary{}
		if err := json.Unmarshal(b, &list); err != nil {
			t.Fatal(err)
		}
		return string(b), list
	}
	if text, _ := get(api.Version, path); text != "[]\n" {
		t.Errorf("no container: %q", text)
	}
	// Together more than what is sent at once.
	long := strings.Repeat("<&>", 8<<10)
	for _, name := range []string{"one", "two", "three"} {
		h.create(name, container.Config{Labels: map[string]string{"long": long}}, &container.HostConfig{Annotations: map[string]string{"k": "v"}})
	}
	h.start("two")
	text, list := get(api.Version, path)
	if len(list) != 3 || list[1].Names[0] != "/two" || list[1].Labels["long"] != long || list[1].HostConfig.Annotations["k"] != "v" {
		t.Fatalf("the list is %.300s", text)
	}
	var want bytes.Buffer
	enc := json.NewEncoder(&want)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(list); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want.String(), text); d != "" {
		t.Errorf("encoded otherwise (-want +got):\n%s", d)
	}
	if _, old := get("1.45", path); len(old) != 3 || old[1].HostConfig.Annotations != nil {
		t.Errorf("1.45 shows annotations: %v", old[1].HostConfig)
	}
	if _, sized := get(api.Version, path+"&size=1"); len(sized) != 3 || sized[1].SizeRootFs == 0 {
		t.Errorf("no sizes: %v", sized)
	}
	// Neither of them has changed what is kept.
	if _, again := get(api.Version, path); len(again) != 3 || again[1].SizeRootFs != 0 || again[1].HostConfig.Annotations["k"] != "v" {
		t.Errorf("asked again: %+v", again)
	}
	if code, body := h.do(http.MethodGet, "/containers/json?limit=x", ""); code != http.StatusBadRequest {
		t.Errorf("limit=x: %d %s", code, body)
	}
}
