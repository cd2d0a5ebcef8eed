package builder

import (
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	control "github.com/moby/buildkit/api/services/control"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func TestSolveOptions(t *testing.T) {
	world := "world"
	o := Options{
		Remote: "https://git.example/x.git#main", Dockerfile: "d/Dockerfile", Target: "t", Args: map[string]*string{"WHO": &world, "UNSET": nil},
		Labels: map[string]string{"a": "b"}, Names: []string{"app"}, NoCache: true, Pull: true, Platform: "linux/amd64", Network: "host",
		Hosts: []string{"b:10.0.0.2", "a:[fd00::1]"}, CacheFrom: []string{"c:1", ""}, ShmBytes: 65536, Ulimits: []string{"nofile=1:2"},
	}
	r, err := o.solve("ref")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"context": o.Remote, "filename": "d/Dockerfile", "target": "t", "build-arg:WHO": "world", "label:a": "b", "no-cache": "",
		"image-resolve-mode": "pull", "platform": "linux/amd64", "force-network-mode": "host", "add-hosts": "a=fd00::1,b=10.0.0.2",
		"shm-size": "65536", "ulimit": "nofile=1:2",
	}
	if d := cmp.Diff(want, r.FrontendAttrs); d != "" {
		t.Error(d)
	}
	if len(r.Cache.Imports) != 1 || r.Cache.Imports[0].Attrs["ref"] != "c:1" || len(r.Entitlements) != 1 || r.Exporters[0].Type != exporterMoby {
		t.Errorf("%v", r)
	}
	for _, c := range []struct {
		o    Options
		want string
		is   func(error) bool
	}{
		{Options{}, "without a context", errdefs.IsInvalidArgument},
		{Options{Remote: "https://x", Network: "mynet"}, `network mode "mynet"`, errdefs.IsInvalidArgument},
		{Options{Remote: "https://x", Hosts: []string{"nonsense"}}, `extra host "nonsense"`, errdefs.IsInvalidArgument},
		{Options{Remote: "https://x", Hosts: []string{"a:host-gateway"}}, "name the address", errdefs.IsInvalidArgument},
		{Options{Remote: "https://x", Hosts: []string{"a:1,b=2"}}, "want NAME:ADDRESS", errdefs.IsInvalidArgument},
		{Options{Remote: "docker-image://x"}, `remote context "docker-image://x"`, errdefs.IsInvalidArgument},
		{Options{Remote: "https://x", Names: []string{"BAD"}}, `image name "BAD"`, errdefs.IsInvalidArgument},
		{Options{Remote: "https://x", Output: &Output{Type: "tar"}}, `output of type "tar"`, errdefs.IsNotImplemented},
	} {
		if _, err := c.o.solve("r"); err == nil || !c.is(err) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c.o, err)
		}
	}
}

func TestRedirect(t *testing.T) {
	r := &control.SolveRequest{ExporterDeprecated: exporterMoby, ExporterAttrsDeprecated: map[string]string{"name": "a:1", "push": "true", "annotation.x": "y"}}
	names, err := redirect(r)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[int][]string{0: {"docker.io/library/a:1"}}, names); d != "" {
		t.Error(d)
	}
	if len(r.Exporters) != 2 || r.Exporters[0].Type != exporterDocker || r.Exporters[0].Attrs["annotation.x"] != "y" || r.Exporters[0].Attrs["push"] != "" ||
		r.Exporters[1].Type != exporterImage || r.Exporters[1].Attrs["push"] != "true" || r.ExporterDeprecated != "" {
		t.Errorf("%v", r)
	}
	// What is not for the store is not touched.
	r = &control.SolveRequest{Exporters: []*control.Exporter{{Type: "local", Attrs: map[string]string{"a": "b"}}}}
	if names, err := redirect(r); err != nil || len(names) != 0 || r.Exporters[0].Type != "local" || len(r.Exporters) != 1 {
		t.Errorf("%v %v %v", names, err, r)
	}
}

func TestText(t *testing.T) {
	at := func(ms int) *timestamppb.Timestamp {
		return timestamppb.New(time.Unix(1000, 0).Add(time.Duration(ms) * time.Millisecond))
	}
	v := func(d, name string, start, end int) *control.Vertex {
		x := &control.Vertex{Digest: d, Name: name}
		if start >= 0 {
			x.Started = at(start)
		}
		if end >= 0 {
			x.Completed = at(end)
		}
		return x
	}
	log := func(d, s string, ms int) *control.VertexLog {
		return &control.VertexLog{Vertex: d, Msg: []byte(s), Timestamp: at(ms)}
	}
	var x Text
	var got strings.Builder
	failed := v("c", "[3/3] RUN false", 1500, 1600)
	failed.Error = "exit code: 1"
	cached := v("b", "[2/3] COPY . .", 0, 0)
	cached.Cached = true
	for _, m := range []*control.StatusResponse{
		{Vertexes: []*control.Vertex{v("a", "[1/3] RUN make", -1, -1), v("b", "[2/3] COPY . .", -1, -1)}},
		{Vertexes: []*control.Vertex{v("a", "[1/3] RUN make", 0, -1)}, Logs: []*control.VertexLog{log("a", "one\r\ntw", 412), log("unknown", "x\n", 1)}},
		{Logs: []*control.VertexLog{log("a", "o\nrest", 500)}, Warnings: []*control.VertexWarning{{Short: []byte("old syntax")}}},
		{Vertexes: []*control.Vertex{v("a", "[1/3] RUN make", 0, 1240), cached}},
		{Vertexes: []*control.Vertex{failed, failed}},
		{},
	} {
		got.WriteString(x.Add(m))
	}
	want := `#1 [1/3] RUN make
#1 0.412 one
#1 0.500 two
WARN: old syntax
#1 rest
#1 DONE 1.2s
#2 [2/3] COPY . .
#2 CACHED
#3 [3/3] RUN false
#3 ERROR: exit code: 1
`
	if d := cmp.Diff(want, got.String()); d != "" {
		t.Error(d)
	}
}

func TestCredential(t *testing.T) {
	s := newOwnSession(nil, "x", Options{Credentials: map[string]Credential{
		"https://index.docker.io/v1/": {Username: "hub", Password: "p"}, "reg.example:5000": {Username: "u", Token: "tok"},
	}})
	for host, want := range map[string][2]string{
		"registry-1.docker.io": {"hub", "p"}, "reg.example:5000": {"", "tok"}, "other.example": {"", ""},
	} {
		out, err := s.credential(protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), host))
		if err != nil {
			t.Fatal(err)
		}
		user, err1 := stringField(out, 1)
		secret, err2 := stringField(out, 2)
		if got := [2]string{user, secret}; got != want || err1 != nil || err2 != nil {
			t.Errorf("%s: %q %v %v", host, got, err1, err2)
		}
	}
	if _, err := s.credential([]byte{0x0a, 0xff}); err == nil {
		t.Error("half a message was taken")
	}
}

// FuzzText feeds progress as a builder that lies would send it.
func FuzzText(f *testing.F) {
	f.Add("a", "name", "line\nrest", "", true)
	f.Add("", "", "\r\n\n", "error", false)
	f.Fuzz(func(t *testing.T, digest, name, log, failure string, cached bool) {
		var x Text
		m := &control.StatusResponse{
			Vertexes: []*control.Vertex{{Digest: digest, Name: name, Error: failure, Cached: cached}},
			Logs:     []*control.VertexLog{{Vertex: digest, Msg: []byte(log)}},
		}
		for range 2 {
			if out := x.Add(m); out != "" && !strings.HasSuffix(out, "\n") {
				t.Errorf("half a line: %q", out)
			}
		}
	})
}

// FuzzField reads messages of the guest's.
func FuzzField(f *testing.F) {
	f.Add([]byte{0x0a, 1, 'x'})
	f.Add([]byte{0x0a, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) { _, _ = stringField(b, 1) })
}
