package api

import (
	"encoding/base64"
	"io"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/vic-engine/vic/pkg/builder"

	"github.com/docker/docker/api/types/build"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	control "github.com/moby/buildkit/api/services/control"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func TestParseBuild(t *testing.T) {
	world := "world"
	q := url.Values{
		"t": {"app:1", "", "reg.example/app"}, "dockerfile": {"d/Dockerfile"}, "q": {"1"}, "nocache": {"1"}, "pull": {"1"}, "rm": {"1"}, "forcerm": {"1"},
		"networkmode": {"none"}, "target": {"t"}, "platform": {"linux/amd64"}, "extrahosts": {"a:1.2.3.4", "b:1.2.3.5"}, "shmsize": {"65536"},
		"buildargs": {`{"WHO":"world","UNSET":null}`}, "labels": {`{"a":"b"}`}, "cachefrom": {`["c:1"]`}, "buildid": {"b1"},
		"ulimits": {`[{"Name":"nofile","Soft":1,"Hard":2}]`}, "memory": {"0"}, "memswap": {"-1"}, "cpusetcpus": {""}, "version": {"1"}, "isolation": {"default"},
	}
	r := httptest.NewRequest("POST", "/build?"+q.Encode(), strings.NewReader("tar"))
	r.Header.Set("X-Registry-Config", base64.URLEncoding.EncodeToString([]byte(
		`{"https://index.docker.io/v1/":{"username":"u","password":"p"},"r":{"auth":"`+base64.StdEncoding.EncodeToString([]byte("x:y:z"))+`"},"i":{"identitytoken":"tok"}}`)))
	got, err := parseBuild(r)
	if err != nil {
		t.Fatal(err)
	}
	want := buildQuery{quiet: true, id: "b1", Options: builder.Options{
		Dockerfile: "d/Dockerfile", Target: "t", Args: map[string]*string{"WHO": &world, "UNSET": nil}, Labels: map[string]string{"a": "b"},
		Names: []string{"app:1", "reg.example/app"}, NoCache: true, Pull: true, Platform: "linux/amd64", Network: "none",
		Hosts: []string{"a:1.2.3.4", "b:1.2.3.5"}, CacheFrom: []string{"c:1"}, ShmBytes: 65536, Ulimits: []string{"nofile=1:2"},
		Credentials: map[string]builder.Credential{
			"https://index.docker.io/v1/": {Username: "u", Password: "p"}, "r": {Username: "x", Password: "y:z"}, "i": {Token: "tok"},
		},
	}}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(buildQuery{}), cmpopts.IgnoreFields(builder.Options{}, "Context")); d != "" {
		t.Error(d)
	}
	if b, err := io.ReadAll(got.Context); err != nil || string(b) != "tar" {
		t.Errorf("context %q %v", b, err)
	}
}

func TestParseBuildRefuses(t *testing.T) {
	for query, want := range map[string]string{
		"memory=1000000":              "memory of a build",
		"cpuquota=5":                  "cpuquota of a build",
		"cpusetcpus=0":                "cpusetcpus of a build",
		"cgroupparent=x":              "cgroupparent of a build",
		"squash=1":                    "squash",
		"securityopt=x":               "security options",
		"isolation=hyperv":            "isolation",
		"version=3":                   `invalid version "3"`,
		"remote=client-session":       "needs session",
		"remote=upload-request":       "upload-request",
		"buildid=upload-request:x":    "upload-request",
		"buildargs=[]":                "build args",
		"labels={":                    "labels",
		"cachefrom=7":                 "cache-from",
		"ulimits=[null]":              "ulimits",
		`ulimits=[{"Name":"a,b=1"}]`:  "ulimits",
		"outputs=[{},{}]":             "several outputs",
		"outputs={}":                  "outputs",
		"shmsize=-1":                  `shmsize "-1"`,
		"shmsize=64m":                 `shmsize "64m"`,
		"version=2&remote=a&outputs=": "", // what is fine
	} {
		k, v, _ := strings.Cut(query, "=")
		q := url.Values{k: {v}}
		if want == "" {
			q, _ = url.ParseQuery(query)
		}
		_, err := parseBuild(httptest.NewRequest("POST", "/build?"+q.Encode(), nil))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want) || statusOf(err) < 400) {
			t.Errorf("%s: %v, want %q", query, err, want)
		}
	}
}

func TestBuildMessages(t *testing.T) {
	report := &control.StatusResponse{Vertexes: []*control.Vertex{{Digest: "a", Name: "[1/1] FROM x", Cached: true}}}
	for _, c := range []struct {
		m    buildMessages
		want string
	}{
		{buildMessages{}, `{"stream":"#1 [1/1] FROM x\n#1 CACHED\n"}` + "\r\n" + `{"aux":{"ID":"sha256:0123456789abcdef"}}` + "\r\n" +
			`{"stream":"Successfully built 0123456789ab\n"}` + "\r\n" + `{"stream":"Successfully tagged a:1\n"}` + "\r\n" + `{"stream":"Successfully tagged h:5/b:latest\n"}` + "\r\n"},
		{buildMessages{quiet: true}, `{"stream":"sha256:0123456789abcdef\n"}` + "\r\n"},
		{buildMessages{trace: true}, `{"id":"moby.buildkit.trace","aux":"ChMKAWEaDFsxLzFdIEZST00geCAB"}` + "\r\n" + `{"id":"moby.image.id","aux":{"ID":"sha256:0123456789abcdef"}}` + "\r\n"},
	} {
		var out strings.Builder
		c.m.out = &out
		c.m.report(report)
		c.m.done("sha256:0123456789abcdef", []string{"a:1", "h:5/b"})
		if d := cmp.Diff(c.want, out.String()); d != "" {
			t.Error(d)
		}
	}
}

func TestPruneRequest(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	r := httptest.NewRequest("POST", "/build/prune?all=1&keep-storage=5&max-used-space=7", nil)
	if err := parseForm(r); err != nil {
		t.Fatal(err)
	}
	p, err := pruneRequest(r, map[string][]string{"until": {"24h"}, "type": {"regular"}, "inuse": {"false"}, "id": {"ab"}}, now)
	if err != nil {
		t.Fatal(err)
	}
	if !p.All || p.ReservedSpace != 5 || p.MaxUsedSpace != 7 || p.KeepDuration != int64(24*time.Hour) {
		t.Errorf("%v", p)
	}
	if d := cmp.Diff([]string{"id~=ab,inuse==false,type==regular"}, p.Filter); d != "" {
		t.Error(d)
	}
	for query, f := range map[string]map[string][]string{
		"keep-storage=x": nil, "reserved-space=-1": nil, "a=1": {"bogus": {"x"}}, "a=2": {"until": {"1h", "2h"}}, "a=3": {"until": {"soon"}}, "a=4": {"type": {"a,b"}},
	} {
		r := httptest.NewRequest("POST", "/build/prune?"+query, nil)
		if err := parseForm(r); err != nil {
			t.Fatal(err)
		}
		if _, err := pruneRequest(r, f, now); err == nil || statusOf(err) != 400 {
			t.Errorf("%s %v: %v", query, f, err)
		}
	}
}

// FuzzBuildQuery: no query and no header is worse than a bad request.
func FuzzBuildQuery(f *testing.F) {
	f.Add("t=a&buildargs=%7B%22a%22%3Anull%7D&ulimits=%5B%7B%7D%5D", "e30=")
	f.Add("version=2&session=x&remote=client-session&outputs=%5B%7B%22Type%22%3A%22tar%22%7D%5D", "bnVsbA==")
	f.Fuzz(func(t *testing.T, query, auth string) {
		r := httptest.NewRequest("POST", "/build", nil)
		r.URL.RawQuery = query
		r.Header.Set("X-Registry-Config", auth)
		q, err := parseBuild(r)
		if err == nil {
			err = q.Check()
		}
		if err != nil && statusOf(err) == 500 {
			t.Errorf("%q: %v", query, err)
		}
	})
}

func TestCacheRecords(t *testing.T) {
	at := time.Unix(1000, 0).UTC()
	got := cacheRecords([]*control.UsageRecord{
		{ID: "a", Parents: []string{"p", "q"}, RecordType: "regular", Description: "RUN x", InUse: true, Size: 7, UsageCount: 2, CreatedAt: timestamppb.New(at), LastUsedAt: timestamppb.New(at)},
		{ID: "b"},
	})
	want := []*build.CacheRecord{
		{ID: "a", Parent: "p", Parents: []string{"p", "q"}, Type: "regular", Description: "RUN x", InUse: true, Size: 7, UsageCount: 2, CreatedAt: at, LastUsedAt: &at},
		{ID: "b"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
