package api_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/vic-engine/vic/pkg/docker/engine"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
)

// tarOf is a tar of files, "name=text".
func tarOf(t testing.TB, list ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range list {
		name, text, _ := strings.Cut(e, "=")
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(text)), Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// untar lists a tar as tarOf takes it.
func untar(t testing.TB, r io.Reader) []string {
	t.Helper()
	var out []string
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, h.Name+"="+string(text))
	}
}

func gzipped(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if _, err := z.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestCopy(t *testing.T) {
	h := serve(t, false)
	id := h.create("cc", container.Config{Cmd: []string{"sh"}}, nil)
	for _, in := range [][]byte{tarOf(t, "a=one"), gzipped(t, tarOf(t, "b=two")), {}} {
		if err := h.c.CopyToContainer(h.ctx, "cc", "/etc", bytes.NewReader(in), container.CopyToContainerOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	st, err := h.c.ContainerStatPath(h.ctx, id[:12], "/etc/a")
	if err != nil || st.Name != "a" || st.Size != 3 || st.Mode != 0o644 || st.Mtime.Year() != 2026 {
		t.Errorf("%+v %v", st, err)
	}
	r, st, err := h.c.CopyFromContainer(h.ctx, "cc", "/etc")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got := untar(t, r); !slices.Equal(got, []string{"etc/a=one", "etc/b=two"}) || !st.Mode.IsDir() {
		t.Errorf("%v %+v", got, st)
	}
	list, err := h.c.ContainerDiff(h.ctx, "cc")
	if err != nil || len(list) != 2 || list[0] != (container.FilesystemChange{Kind: container.ChangeAdd, Path: "/etc/a"}) {
		t.Errorf("%v %v", list, err)
	}
	x, err := h.c.ContainerExport(h.ctx, "cc")
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	if got := untar(t, x); len(got) != 2 {
		t.Errorf("%v", got)
	}
}

func TestCopyRefuses(t *testing.T) {
	h := serve(t, false)
	h.create("cc", container.Config{Cmd: []string{"sh"}}, nil)
	for _, tt := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"GET", "/containers/no/archive?path=/etc", "", 404, "No such container: no"},
		{"GET", "/containers/cc/archive?path=/no", "", 404, "Could not find the file /no in container cc"},
		{"GET", "/containers/cc/archive", "", 400, "path"},
		{"HEAD", "/containers/cc/archive?path=/no", "", 404, ""},
		{"PUT", "/containers/cc/archive?path=/no", string(tarOf(t, "a=1")), 404, "Could not find the file /no in container cc"},
		{"PUT", "/containers/cc/archive", "", 400, "path"},
		{"PUT", "/containers/cc/archive?path=/etc", "BZh91AY&SY not bzip2", 500, "unexpected EOF"},
		{"PUT", "/containers/cc/archive?path=/etc", "\xfd7zXZ\x00", 400, "xz"},
		{"PUT", "/containers/cc/archive?path=/etc", strings.Repeat("x", 2000), 500, "invalid tar header"},
		{"GET", "/containers/no/changes", "", 404, "No such container: no"},
		{"GET", "/containers/no/export", "", 404, "No such container: no"},
		{"POST", "/commit?container=no", "", 404, "No such container: no"},
		{"POST", "/commit?container=cc&repo=UPPER", "", 400, "lowercase"},
		{"POST", "/commit?container=cc&repo=a@sha256:" + strings.Repeat("ab", 32), "", 400, "digest"},
		{"POST", "/commit?container=cc&changes=RUN+x", "", 400, "RUN is not a valid change command"},
		{"POST", "/commit?container=cc&changes=EXPOSE+nowhere", "", 400, "nowhere"},
		{"POST", "/commit?container=cc", "{", 400, "invalid JSON"},
		{"POST", "/commit?container=cc", `{"Env":3}`, 400, "invalid JSON"},
		{"POST", "/commit?container=cc", `{"WorkingDir":"here"}`, 400, "absolute path"},
	} {
		req, err := http.NewRequestWithContext(h.ctx, tt.method, h.url+"/v1.51"+tt.path, strings.NewReader(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != tt.status || !strings.Contains(string(text), tt.want) {
			t.Errorf("%s %s: %d %s %v, want %d %s", tt.method, tt.path, res.StatusCode, text, err, tt.status, tt.want)
		}
	}
}

// TestCopyBreaksOff: a tar that ends in the midst does not look whole to a client.
func TestCopyBreaksOff(t *testing.T) {
	h := serve(t, false)
	h.create("cc", container.Config{Cmd: []string{"sh"}}, nil)
	if err := h.c.CopyToContainer(h.ctx, "cc", "/etc", bytes.NewReader(tarOf(t, "a=one")), container.CopyToContainerOptions{}); err != nil {
		t.Fatal(err)
	}
	h.f.FailFiles(nil, errors.New("the guest is gone"))
	for _, path := range []string{"archive?path=/etc", "export"} {
		res, err := http.Get(h.url + "/containers/cc/" + path)
		if err == nil { // else it ended before anything was sent
			_, err = io.ReadAll(res.Body)
			res.Body.Close()
		}
		if !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
			t.Errorf("%s ends with %v", path, err)
		}
	}
	h.f.FailFiles(fmt.Errorf("volume data is in use%w", errdefs.ErrConflict), nil)
	if _, err := h.c.ContainerExport(h.ctx, "cc"); !errdefs.IsConflict(err) || !strings.Contains(err.Error(), "Error exporting container cc") {
		t.Errorf("export: %v", err)
	}
}

func TestCommit(t *testing.T) {
	h := serve(t, false)
	id := h.create("cc", container.Config{Cmd: []string{"sh", "-c", "exit"}, Env: []string{"A=1"}, Labels: map[string]string{"l": "1"}, User: "7"}, nil)
	if err := h.c.CopyToContainer(h.ctx, "cc", "/etc", bytes.NewReader(tarOf(t, "a=one")), container.CopyToContainerOptions{}); err != nil {
		t.Fatal(err)
	}
	r, err := h.c.ContainerCommit(h.ctx, "cc", container.CommitOptions{
		Reference: "app:1", Author: "me", Comment: "why",
		Changes: []string{`CMD ["run", "$A"]`, "ENV B=$A C=3", "LABEL m=2", "EXPOSE 80 81/udp", "WORKDIR /srv", "VOLUME /data", "USER 8", "HEALTHCHECK CMD true", "ONBUILD RUN x", "STOPSIGNAL INT"},
	})
	if err != nil {
		t.Fatal(err)
	}
	i, err := h.c.ImageInspect(h.ctx, "app:1")
	if err != nil || i.ID != r.ID {
		t.Fatalf("%+v %v", i, err)
	}
	if i.Author != "me" || i.Comment != "why" || len(i.RootFS.Layers) != 2 {
		t.Errorf("author %q, comment %q, layers %v", i.Author, i.Comment, i.RootFS.Layers)
	}
	got, err := json.Marshal(i.Config)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"Cmd":["run","$A"]`, `"A=1"`, `"B=1","C=3"`, `"l":"1"`, `"m":"2"`, `"80/tcp":{}`, `"81/udp":{}`, `"WorkingDir":"/srv"`, `"/data":{}`, `"User":"8"`,
		`"Test":["CMD-SHELL","true"]`, `"OnBuild":["RUN x"]`, `"StopSignal":"INT"`,
	} {
		if !strings.Contains(string(got), want) {
			t.Errorf("no %s in %s", want, got)
		}
	}
	// Nothing has changed: no layer, but a line in the history; a configuration of
	// one's own is filled up from the container's.
	h.create("same", container.Config{Cmd: []string{"sh"}, User: "7"}, nil)
	res, err := http.Post(h.url+"/v1.51/commit?container=same&repo=same", "application/json", strings.NewReader(`{"Cmd":["other"],"Env":["Z=1"]}`))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if i, err = h.c.ImageInspect(h.ctx, "same"); err != nil || len(i.RootFS.Layers) != 1 || i.Config.User != "7" || !slices.Equal(i.Config.Cmd, []string{"other"}) {
		t.Errorf("%d %+v %+v %v", res.StatusCode, i.Config, i.RootFS, err)
	}
	ev := map[string]string{}
	err = h.e.Events(h.ctx, engine.EventOptions{Until: h.e.Time().Now().Add(-1), Filters: engine.Filters{"event": {"commit", "extract-to-dir"}}}, nil, func(e engine.Event) error {
		if e.ID == id {
			ev[e.Action] = e.Attributes["imageID"] + " " + e.Attributes["imageRef"]
		}
		return nil
	})
	if err != nil || ev["commit"] != r.ID+" app:1" || ev["extract-to-dir"] != " " {
		t.Errorf("events %v %v", ev, err)
	}
}

// TestCommitFails: without its image, and when the store cannot make one.
func TestCommitFails(t *testing.T) {
	h := serve(t, false)
	h.create("cc", container.Config{Cmd: []string{"sh"}}, nil)
	h.images.PutErr = fmt.Errorf("no room%w", errdefs.ErrUnavailable)
	if _, err := h.c.ContainerCommit(h.ctx, "cc", container.CommitOptions{}); err == nil || !strings.Contains(err.Error(), "no room") {
		t.Errorf("%v", err)
	}
	h.images.PutErr = nil
	h.f.FailFiles(errors.New("its VM does not boot"), nil)
	if _, err := h.c.ContainerCommit(h.ctx, "cc", container.CommitOptions{}); err == nil || !strings.Contains(err.Error(), "does not boot") {
		t.Errorf("%v", err)
	}
}
