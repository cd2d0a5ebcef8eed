package builder

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	control "github.com/moby/buildkit/api/services/control"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// A client's solve for "moby" lands in the store, its other results with the client.
func TestSolve(t *testing.T) {
	f := newFixture(t)
	u := f.use(t)
	c := newClient(t, u, "s1")
	r := &control.SolveRequest{
		Ref: "r", Session: "s1",
		Exporters: []*control.Exporter{
			{Type: "tar"},
			{Type: exporterMoby, Attrs: map[string]string{"name": "app,reg.example/x:2", "compression": "zstd"}},
		},
	}
	resp, err := c.Solve(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if got := resp.ExporterResponse; got["containerimage.config.digest"] != "sha256:1" || got["containerimage.digest"] != "sha256:ab" ||
		got["image.name"] != "docker.io/library/app:latest,reg.example/x:2" {
		t.Errorf("response %v", got)
	}
	if d := cmp.Diff([]string{"docker of "}, f.loaded); d != "" {
		t.Error("loaded", d)
	}
	if d := cmp.Diff([]string{"sha256:1 docker.io/library/app:latest", "sha256:1 reg.example/x:2"}, f.tags); d != "" {
		t.Error("tags", d)
	}
	if d := cmp.Diff(map[string]string{"0": "tar of "}, c.sent); d != "" {
		t.Error("the client's", d)
	}
	if got := f.d.solves[0].Exporters[1]; got.Type != exporterDocker || len(got.Attrs) != 1 || got.Attrs["compression"] != "zstd" {
		t.Errorf("exporter %v", got)
	}
	if !slices.Contains(f.d.methods["s1"], methodFileSend) || !slices.Contains(f.d.methods["s1"], "/x/y") {
		t.Errorf("session's methods %v", f.d.methods["s1"])
	}
	// Calls that are not rewritten pass, streams too.
	if i, err := c.Info(t.Context(), &control.InfoRequest{}); err != nil || i.BuildkitVersion.Version != "v1-fake" {
		t.Errorf("info %v %v", i, err)
	}
	p, err := c.Prune(t.Context(), &control.PruneRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"one", "two"} {
		if m, err := p.Recv(); err != nil || m.ID != want {
			t.Fatalf("prune: %v %v", m, err)
		}
	}
}

// What fails, fails with its own words, and a session can be used again.
func TestSolveFails(t *testing.T) {
	f := newFixture(t)
	c := newClient(t, f.use(t), "s1")
	solve := func(name string) error {
		_, err := c.Solve(t.Context(), &control.SolveRequest{Ref: "r", Session: "s1",
			Exporters: []*control.Exporter{{Type: exporterMoby, Attrs: map[string]string{"name": name}}}})
		return err
	}
	f.d.fail = status.Error(codes.InvalidArgument, "no Dockerfile")
	if err := solve("a"); status.Code(err) != codes.InvalidArgument || status.Convert(err).Message() != "no Dockerfile" {
		t.Errorf("buildkitd's error: %v", err)
	}
	f.d.fail = nil
	f.loadErr = errors.New("datastore is full")
	if err := solve("a"); err == nil || status.Convert(err).Message() != "datastore is full" {
		t.Errorf("the store's error: %v", err)
	}
	f.loadErr = nil
	if err := solve("UPPER"); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), `"UPPER"`) {
		t.Errorf("a wrong name: %v", err)
	}
	if err := solve("a@sha256:" + strings.Repeat("a", 64)); status.Code(err) != codes.InvalidArgument {
		t.Errorf("a digest as name: %v", err)
	}
	if len(f.tags) != 0 {
		t.Errorf("tags %v", f.tags)
	}
	if err := solve("a"); err != nil {
		t.Errorf("after all that: %v", err)
	}
}

func TestClassicBuild(t *testing.T) {
	f := newFixture(t)
	u := f.use(t)
	text := strings.Repeat("0123456789abcdef", 10<<10) // more than one message
	var told []string
	var words Text
	id, err := u.Build(t.Context(), Options{Context: strings.NewReader(text), Names: []string{"app:1"}}, func(m *control.StatusResponse) {
		told = append(told, words.Add(m))
	})
	if err != nil || id != "sha256:1" {
		t.Fatalf("id %q, %v", id, err)
	}
	if len(f.d.contexts) != 1 || f.d.contexts[0] != text {
		t.Errorf("the context did not arrive whole")
	}
	if d := cmp.Diff([]string{"sha256:1 docker.io/library/app:1"}, f.tags); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff("#1 step of a build\n#1 CACHED\n", strings.Join(told, "")); d != "" {
		t.Error(d)
	}
	f.d.fail = status.Error(codes.Unknown, "exit code: 1")
	if _, err := u.Build(t.Context(), Options{Context: strings.NewReader("x")}, func(*control.StatusResponse) {}); err == nil || err.Error() != "exit code: 1" {
		t.Errorf("failed build: %v", err)
	}
}

// A client that goes away ends its build.
func TestBuildCancelled(t *testing.T) {
	f := newFixture(t)
	u := f.use(t)
	f.d.gate = make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	_, err := u.Build(ctx, Options{Context: strings.NewReader("x")}, func(*control.StatusResponse) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestTrack(t *testing.T) {
	f := newFixture(t)
	stopped := 0
	forget, err := f.Track("b1", func() { stopped++ })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Track("b1", func() {}); !errdefs.IsConflict(err) {
		t.Errorf("twice: %v", err)
	}
	f.Cancel("b1")
	f.Cancel("other")
	forget()
	f.Cancel("b1")
	if stopped != 1 {
		t.Errorf("stopped %d times", stopped)
	}
}

func TestSessionHeaders(t *testing.T) {
	for _, c := range []struct {
		in   map[string][]string
		want map[string][]string // nil: refused
	}{
		{map[string][]string{"X-Docker-Expose-Session-Uuid": {"u"}, "Cookie": {"c"}, "X-Docker-Expose-Session-Grpc-Method": {"/a", "/b"}},
			map[string][]string{headerID: {"u"}, headerMethods: {"/a", "/b"}}},
		{map[string][]string{}, nil},
		{map[string][]string{"X-Docker-Expose-Session-Uuid": {""}}, nil},
		{map[string][]string{"X-Docker-Expose-Session-Uuid": {"a", "b"}}, nil},
		{map[string][]string{"X-Docker-Expose-Session-Uuid": {"a"}, "X-Docker-Expose-Session-Name": {"ü"}}, nil},
	} {
		got, err := SessionHeaders(c.in)
		if c.want == nil {
			if !errdefs.IsInvalidArgument(err) {
				t.Errorf("%v: %v", c.in, err)
			}
			continue
		}
		if d := cmp.Diff(c.want, got); err != nil || d != "" {
			t.Errorf("%v: %v %s", c.in, err, d)
		}
	}
}
