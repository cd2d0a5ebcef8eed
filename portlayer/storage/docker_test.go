package storage_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vic-engine/vic/pkg/docker/api"
	"github.com/vic-engine/vic/pkg/docker/engine"
	"github.com/vic-engine/vic/pkg/docker/engine/enginetest"
	"github.com/vic-engine/vic/pkg/image"
	"github.com/vic-engine/vic/pkg/image/imagetest"
	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/portlayer/storage"
)

var _ engine.ImageRegistries = (*storage.Images)(nil)

// docker is the Docker API over a fixture's store.
type docker struct {
	*fixture
	url    string
	events chan string
}

func newDocker(t *testing.T) *docker {
	t.Helper()
	d := &docker{fixture: newFixture(t), events: make(chan string, 100)}
	log := logrus.New()
	log.SetOutput(io.Discard)
	e, err := engine.New(engine.Config{PortLayer: enginetest.New(), Images: d.Images, Log: logrus.NewEntry(log)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- e.Run(ctx) }()
	<-e.Ready()
	listening := make(chan struct{})
	go func() {
		done <- e.Events(ctx, engine.EventOptions{}, func() { close(listening) }, func(ev engine.Event) error {
			d.events <- ev.Type + " " + ev.Action + " " + ev.ID + " " + ev.Attributes["name"]
			return nil
		})
	}()
	<-listening
	h, err := api.New(api.Config{Engine: e, Log: logrus.NewEntry(log), Context: ctx})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(h)
	d.url = srv.URL + "/v1.51"
	t.Cleanup(func() {
		srv.Close()
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
	return d
}

// do sends a request and gives the status and the body.
func (d *docker) do(method, path string, body io.Reader, header ...string) (int, string) {
	d.t.Helper()
	req, err := http.NewRequest(method, d.url+path, body)
	if err != nil {
		d.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// stream is do, and gives the lines' messages: "[id ]status", a stream's text or
// an error, repeated ones once.
func (d *docker) stream(method, path string, body io.Reader, header ...string) []string {
	d.t.Helper()
	code, text := d.do(method, path, body, header...)
	if code != http.StatusOK {
		return []string{fmt.Sprintf("%d %s", code, text)}
	}
	var out []string
	for dec := json.NewDecoder(strings.NewReader(text)); dec.More(); {
		var m struct {
			ID, Status, Stream string
			ErrorDetail        struct{ Message string }
			Aux                json.RawMessage
		}
		if err := dec.Decode(&m); err != nil {
			d.t.Fatalf("%v in %s", err, text)
		}
		line := strings.TrimSpace(m.ID + " " + m.Status + m.Stream)
		if m.ErrorDetail.Message != "" {
			line = "error: " + m.ErrorDetail.Message
		}
		if line != "" && !slices.Contains(out, line) {
			out = append(out, line)
		}
	}
	return out
}

// told waits for these events, whatever comes between them and in any order.
func (d *docker) told(want ...string) {
	d.t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for len(want) > 0 {
		select {
		case ev := <-d.events:
			want = slices.DeleteFunc(want, func(w string) bool { return strings.Contains(ev, w) })
		case <-limit.C:
			d.t.Fatalf("no event %q", want)
		}
	}
}

func (d *docker) want(what string, got []string, want ...string) {
	d.t.Helper()
	for _, w := range want {
		if !slices.ContainsFunc(got, func(g string) bool { return strings.Contains(g, w) }) {
			d.t.Errorf("%s: no %q in %q", what, w, got)
		}
	}
}

// TestDockerImages is an image's life through the Docker API: pull, tag, push,
// save, rm, load, import, history, df, prune.
func TestDockerImages(t *testing.T) {
	d := newDocker(t)
	ref := d.push("app", []string{"base=1"}, []string{"top=22"})
	name := strings.TrimSuffix(ref, ":latest")
	pulled := d.stream("POST", "/images/create?fromImage="+url.QueryEscape(name)+"&tag=latest", nil)
	d.want("pull", pulled, "latest Pulling from app", "Pulling fs layer", "Pull complete", "Digest: sha256:", "Status: Downloaded newer image for "+ref)
	img, err := d.Resolve(ref)
	if err != nil {
		t.Fatal(err)
	}
	digest := img.RepoDigests[0][strings.Index(img.RepoDigests[0], "@")+1:]
	layer := img.Layers[1][7:19]
	for _, to := range []string{"other", "team/copy"} {
		if code, body := d.do("POST", "/images/app/tag?repo=x", nil); code != 404 {
			t.Errorf("tag of none: %d %s", code, body)
		}
		if code, body := d.do("POST", "/images/"+img.ID+"/tag?repo="+d.reg.Host()+"/"+to+"&tag=v1", nil); code != 201 {
			t.Fatalf("tag: %d %s", code, body)
		}
	}
	auth := base64.URLEncoding.EncodeToString([]byte(`{"username":"me","password":"geheim"}`))
	pushed := d.stream("POST", "/images/"+d.reg.Host()+"/other/push?tag=v1", nil, "X-Registry-Auth", auth)
	d.want("push", pushed, "The push refers to repository ["+d.reg.Host()+"/other]", layer+" Preparing", layer+" Layer already exists", "v1: digest: "+digest+" size: ")
	d.want("push of no tag", d.stream("POST", "/images/"+d.reg.Host()+"/other/push?tag=no", nil), "error: tag does not exist: "+d.reg.Host()+"/other:no")
	d.want("push of nothing", d.stream("POST", "/images/nothing/push?tag=no", nil), "error: An image does not exist locally with the tag: nothing")
	d.want("push of all", d.stream("POST", "/images/"+d.reg.Host()+"/team/copy/push", nil), "v1: digest: "+digest)

	code, saved := d.do("GET", "/images/get?names="+url.QueryEscape(ref)+"&names="+img.ID, nil)
	if code != 200 {
		t.Fatalf("save: %d %s", code, saved)
	}
	if code, body := d.do("GET", "/images/nope:1/get", nil); code != 404 || !strings.Contains(body, "reference does not exist") {
		t.Errorf("save of none: %d %s", code, body)
	}
	d.told("image pull "+ref+" "+name, "image tag "+img.ID+" "+d.reg.Host()+"/other:v1", "image push "+d.reg.Host()+"/other:v1 "+d.reg.Host()+"/other", "image save "+img.ID+" "+img.ID)

	arm := url.QueryEscape(`{"os":"linux","architecture":"arm64"}`)
	for q, want := range map[string]int{"?platforms=" + arm: 404, "?platforms=" + arm + "&platforms=" + arm: 400, "?platforms=x": 400} {
		if code, body := d.do("DELETE", "/images/"+img.ID+q, nil); code != want {
			t.Errorf("rm %s: %d %s", q, code, body)
		}
	}
	if code, body := d.do("DELETE", "/images/"+img.ID+"?force=1", nil); code != 200 {
		t.Fatalf("rm: %d %s", code, body)
	}
	loaded := d.stream("POST", "/images/load?quiet=0", strings.NewReader(saved), "Content-Type", "application/x-tar")
	d.want("load", loaded, layer+" Loading layer", "Loaded image: "+ref)
	if again, err := d.Resolve(ref); err != nil || again.ID != img.ID {
		t.Errorf("loaded: %v, %v", again.ID, err)
	}
	d.want("load of nonsense", d.stream("POST", "/images/load", strings.NewReader("nonsense, and no tar")), "error: ")
	d.want("load for another platform", d.stream("POST", "/images/load?platform="+url.QueryEscape(`{"os":"plan9","architecture":"mips"}`), strings.NewReader("")), "error: ")

	tar := imagetest.Tar(t, "bin/", "bin/hi=hello")
	imported := d.stream("POST", "/images/create?fromSrc=-&repo=imp&tag=1&message=by+hand&changes="+url.QueryEscape(`CMD ["/bin/hi"]`)+"&changes="+url.QueryEscape("ENV A=b\nLABEL k=v"), bytes.NewReader(tar))
	i, err := d.Resolve("imp:1")
	if err != nil || len(imported) != 1 || imported[0] != i.ID || d.file(i.ID, "bin/hi") != "hello" {
		t.Fatalf("import: %q, %v", imported, err)
	}
	code, body := d.do("GET", "/images/imp:1/json", nil)
	for _, want := range []string{`"Cmd":["/bin/hi"]`, `"Env":["A=b"]`, `"Labels":{"k":"v"}`, `"Comment":"by hand"`, `"Architecture":"amd64"`, `"Entrypoint":null`} {
		if code != 200 || !strings.Contains(body, want) {
			t.Errorf("inspect: no %s in %d %s", want, code, body)
		}
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/root.tar.gz" {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(imagetest.Gzip(t, tar).Packed)
	}))
	defer srv.Close()
	d.want("import from an address", d.stream("POST", "/images/create?fromSrc="+url.QueryEscape(srv.URL+"/root.tar.gz")+"&repo=imp&tag=2", nil), "Downloading from "+srv.URL, "sha256:")
	for _, q := range []string{"fromSrc=" + url.QueryEscape(srv.URL+"/no"), "fromSrc=file:///etc/passwd", "fromSrc=-&changes=RUN+x", "fromSrc=-&platform=windows/amd64", "fromSrc=-&repo=UP"} {
		got := d.stream("POST", "/images/create?"+q, bytes.NewReader(tar))
		if len(got) != 1 || !strings.HasPrefix(got[0], "4") {
			t.Errorf("import with %s: %q", q, got)
		}
	}
	d.told("image load "+img.ID, "image import "+i.ID+" "+i.ID, "image tag "+i.ID+" imp:1", "image delete "+img.ID)

	code, body = d.do("GET", "/images/imp:1/history", nil)
	if code != 200 || !strings.Contains(body, `"Comment":"by hand"`) || !strings.Contains(body, `"Id":"`+i.ID+`"`) || !strings.Contains(body, `"Size":5`) {
		t.Errorf("history: %d %s", code, body)
	}
	if code, body = d.do("GET", "/images/imp:1/history?platform="+url.QueryEscape(`{"os":"linux","architecture":"arm64"}`), nil); code != 404 || !strings.Contains(body, "does not match the specified platform (linux/arm64)") {
		t.Errorf("history of another platform: %d %s", code, body)
	}
	code, body = d.do("GET", "/distribution/"+ref+"/json", nil)
	if code != 200 || !strings.Contains(body, digest) || !strings.Contains(body, `"architecture":"amd64","os":"linux"`) {
		t.Errorf("distribution: %d %s", code, body)
	}
	d.diskUsage()
}

// diskUsage goes on with three images: app and two with the same layer.
func (d *docker) diskUsage() {
	t := d.t
	t.Helper()
	var df struct {
		LayersSize int64
		Images     []struct {
			ID               string
			Size, SharedSize int64
		}
	}
	code, body := d.do("GET", "/system/df", nil)
	if err := json.Unmarshal([]byte(body), &df); err != nil || code != 200 {
		t.Fatalf("df: %d %s", code, body)
	}
	if df.LayersSize != 3+5 || len(df.Images) != 3 {
		t.Errorf("df: %+v", df)
	}
	for _, i := range df.Images {
		if i.Size == 5 && i.SharedSize != 5 || i.Size == 3 && i.SharedSize != 0 {
			t.Errorf("df: %+v", i)
		}
	}
	if _, body := d.do("POST", "/images/prune", nil); !strings.Contains(body, `"SpaceReclaimed":0`) {
		t.Errorf("prune of dangling: %s", body)
	}
	_, body = d.do("POST", "/images/prune?filters="+url.QueryEscape(`{"dangling":["false"],"label":["k=v"]}`), nil)
	if !strings.Contains(body, `"Untagged":"imp:1"`) || strings.Contains(body, "imp:2") || !strings.Contains(body, `"SpaceReclaimed":0`) {
		t.Errorf("prune by label: %s", body)
	}
	_, body = d.do("POST", "/images/prune?filters="+url.QueryEscape(`{"dangling":["false"]}`), nil)
	if !strings.Contains(body, `"SpaceReclaimed":8`) || len(d.List()) != 0 || len(d.left()) != 0 {
		t.Errorf("prune of all: %s, left %q", body, d.left())
	}
	d.told("image prune  ")
}

// TestPullAllTags pulls every tag of a repository, page by page.
func TestPullAllTags(t *testing.T) {
	d := newDocker(t)
	conf := image.Config{}
	conf.OS, conf.Architecture = "linux", "amd64"
	for _, tag := range []string{"1", "2", "3"} {
		d.reg.PushImage(t, "many", tag, conf, imagetest.Gzip(t, imagetest.Tar(t, "f="+tag)))
	}
	d.reg.Misbehave(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/tags/list") {
			return false
		}
		page, next := `"1","2"`, `</v2/many/tags/list?last=2&n=2>; rel="next"`
		if r.URL.Query().Get("last") == "2" {
			page, next = `"3"`, ""
		}
		if next != "" {
			w.Header().Set("Link", next)
		}
		fmt.Fprintf(w, `{"name":"many","tags":[%s]}`, page)
		return true
	})
	got := d.stream("POST", "/images/create?fromImage="+url.QueryEscape(d.reg.Host()+"/many"), nil)
	d.want("pull", got, "1 Pulling from many", "3 Pulling from many", "Status: Downloaded newer image for "+d.reg.Host()+"/many")
	if len(d.List()) != 3 {
		t.Errorf("%+v", d.List())
	}
	if got := d.stream("POST", "/images/create?fromImage="+url.QueryEscape(d.reg.Host()+"/nosuch"), nil); !strings.HasPrefix(got[0], "404") {
		t.Errorf("%q", got)
	}
}

// TestSearch: the index of a registry is asked, and one that cannot search says
// so.
func TestSearch(t *testing.T) {
	d := newDocker(t)
	d.reg.Misbehave(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/v1/search" {
			return false
		}
		fmt.Fprintf(w, `{"results":[{"name":"%s","description":"d","star_count":5,"is_official":true},{"name":"less","star_count":1}]}`, r.URL.Query().Get("q")+r.URL.Query().Get("n"))
		return true
	})
	code, body := d.do("GET", "/images/search?limit=7&term="+url.QueryEscape(d.reg.Host()+"/bus y")+"&filters="+url.QueryEscape(`{"stars":["3"]}`), nil)
	if code != 200 || !strings.Contains(body, `"name":"bus y7"`) || strings.Contains(body, "less") || !strings.Contains(body, `"star_count":5`) {
		t.Errorf("%d %s", code, body)
	}
	for q, want := range map[string]string{"limit=1000&term=x": "outside the range", "limit=x&term=x": "invalid limit", "term=https://x": "should not have a scheme", `filters={"a":["b"]}&term=x`: "invalid filter", `filters={"stars":["b"]}&term=x`: "stars=b"} {
		if code, body := d.do("GET", "/images/search?"+strings.ReplaceAll(q, `"`, "%22"), nil); code != 400 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s", q, code, body)
		}
	}
	d.reg.Misbehave(nil)
	if code, body := d.do("GET", "/images/search?term="+url.QueryEscape(d.reg.Host()+"/x"), nil); code != 503 || !strings.Contains(body, "search of "+d.reg.Host()) {
		t.Errorf("%d %s", code, body)
	}
	if _, err := d.Search(context.Background(), "x", 101, spec.Credentials{}); err == nil {
		t.Error("limit 101")
	}
}
