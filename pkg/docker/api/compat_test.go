package api_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/vic-engine/vic/pkg/docker/engine"
	"github.com/vic-engine/vic/pkg/docker/engine/enginetest"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"
	"github.com/google/go-cmp/cmp"
)

var updateDoc = flag.Bool("update-doc", false, "rewrite the tables of docs/compatibility.md")

// optionType is one object of Docker's requests.
type optionType struct {
	prefix, title string
	typ           reflect.Type
}

func optionTypes() []optionType {
	return []optionType{
		{"Config.", "Containers: Config", reflect.TypeFor[container.Config]()},
		{"HostConfig.", "Containers: HostConfig", reflect.TypeFor[container.HostConfig]()},
		{"Healthcheck.", "Containers: Config.Healthcheck", reflect.TypeFor[container.HealthConfig]()},
		{"Mount.", "Containers: HostConfig.Mounts", reflect.TypeFor[mount.Mount]()},
		{"VolumeOptions.", "Containers: HostConfig.Mounts, VolumeOptions", reflect.TypeFor[mount.VolumeOptions]()},
		{"TmpfsOptions.", "Containers: HostConfig.Mounts, TmpfsOptions", reflect.TypeFor[mount.TmpfsOptions]()},
		{"NetworkingConfig.", "Containers: NetworkingConfig", reflect.TypeFor[network.NetworkingConfig]()},
		{"Endpoint.", "Containers and network connect: EndpointSettings", reflect.TypeFor[network.EndpointSettings]()},
		{"NetworkCreate.", "Networks", reflect.TypeFor[network.CreateRequest]()},
		{"VolumeCreate.", "Volumes", reflect.TypeFor[volume.CreateOptions]()},
	}
}

// fieldsOf gives the JSON names of a type's fields, those of embedded ones too.
func fieldsOf(typ reflect.Type) []string {
	var out []string
	for _, f := range reflect.VisibleFields(typ) {
		if f.Anonymous {
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" {
			name = f.Name
		}
		out = append(out, name)
	}
	return out
}

// TestCompatibilityDoc holds the tables of docs/compatibility.md to the code: the
// fields by reflection over docker's types, the routes by asking each.
func TestCompatibilityDoc(t *testing.T) {
	name := filepath.Join("..", "..", "..", "docs", "compatibility.md")
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	have, want := string(text), string(text)
	for section, table := range map[string]string{"options": optionTable(t), "routes": routeTable(t)} {
		open, end := "<!-- "+section+" -->\n", "<!-- /"+section+" -->"
		head, rest, ok := strings.Cut(want, open)
		_, tail, ok2 := strings.Cut(rest, end)
		if !ok || !ok2 {
			t.Fatalf("%s has no %s…%s", name, strings.TrimSpace(open), end)
		}
		want = head + open + table + end + tail
	}
	if *updateDoc {
		if err := os.WriteFile(name, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if d := cmp.Diff(want, have); d != "" {
		t.Errorf("docs/compatibility.md is not what the code says (run this test with -update-doc):\n%s", d)
	}
}

func optionTable(t *testing.T) string {
	table := map[string]engine.Option{}
	for _, o := range engine.Options() {
		table[o.Field] = o
	}
	var b strings.Builder
	noted := 0
	for _, o := range optionTypes() {
		fmt.Fprintf(&b, "\n### %s\n\n| field | treatment | note |\n|---|---|---|\n", o.title)
		for _, f := range fieldsOf(o.typ) {
			e, ok := table[o.prefix+f]
			if !ok {
				t.Errorf("%s%s is not in the table", o.prefix, f)
			}
			note := e.Why
			if n := engine.OptionNote(e.Field); n != "" {
				noted++
				note = n
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", f, e.How, note)
		}
	}
	if n := engine.OptionNotes(); n != noted {
		t.Errorf("%d notes are about fields that do not exist", n-noted)
	}
	b.WriteString("\n")
	return b.String()
}

// routeTable asks every route of the API, each about a container that runs.
func routeTable(t *testing.T) string {
	list, err := os.ReadFile(filepath.Join("testdata", "routes-1.51.txt"))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("\n| endpoint | answer |\n|---|---|\n")
	for _, r := range strings.Split(strings.TrimSpace(string(list)), "\n") {
		method, path, _ := strings.Cut(r, " ")
		h := serveAll(t, false, func(c *engine.Config) { c.Volumes = enginetest.NewVolumes("default") }, withBuilder(t))
		h.run("runs", "sleep", "1h")
		fmt.Fprintf(&b, "| `%s` | %s |\n", r, h.probe(method, path))
	}
	b.WriteString("\n")
	return b.String()
}

// probe tells what becomes of a request: what matters is whether the route is
// there, not whether this request was a good one. Who waits has said so before, by
// the head of the answer.
func (h *harness) probe(method, path string) string {
	h.Helper()
	ctx, cancel := context.WithTimeout(h.ctx, patience)
	defer cancel()
	name := map[bool]string{true: "busybox", false: "runs"}[strings.HasPrefix(path, "/images/") || strings.HasPrefix(path, "/distribution/")]
	path = strings.NewReplacer("{id}", name, "{name}", name, "{checkpoint}", "x").Replace(path)
	body := ""
	if method == http.MethodPost || method == http.MethodPut {
		body = "{}"
	}
	req, err := http.NewRequestWithContext(ctx, method, h.url+"/v1.51"+path+"?path=/&names=busybox&term=x&stream=0&stdout=1", strings.NewReader(body))
	if err != nil {
		h.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		h.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode < 400 {
		return "served"
	}
	var e struct{ Message string }
	if method != http.MethodHead {
		if err := json.NewDecoder(resp.Body).Decode(&e); err != nil {
			h.Errorf("%s %s: %d without a message: %v", method, path, resp.StatusCode, err)
		}
	}
	switch {
	case e.Message == "page not found":
		h.Errorf("%s %s has no route, not even one that says why", method, path)
	case resp.StatusCode == http.StatusNotImplemented && method == http.MethodHead:
		return h.probe(http.MethodGet, path)
	case resp.StatusCode == http.StatusNotImplemented:
		return "refused: " + strings.TrimPrefix(e.Message, "not supported: ")
	}
	return "served"
}
