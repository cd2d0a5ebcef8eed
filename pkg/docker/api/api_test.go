package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/vic-engine/vic/pkg/docker/engine"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/go-connections/nat"
	"github.com/google/go-cmp/cmp"
)

// TestEveryFieldIsTreated fails when docker's request has a field that no entry
// of the engine's table covers, or the table one that docker does not have.
func TestEveryFieldIsTreated(t *testing.T) {
	table := map[string]bool{}
	for _, o := range engine.Options() {
		if table[o.Field] {
			t.Errorf("%s is in the table twice", o.Field)
		}
		table[o.Field] = true
		if (o.How == engine.Refused || o.How == engine.Warned) && o.Why == "" {
			t.Errorf("%s has no message", o.Field)
		}
	}
	seen := map[string]bool{}
	for _, o := range optionTypes() {
		for _, f := range fieldsOf(o.typ) {
			seen[o.prefix+f] = true
			if !table[o.prefix+f] {
				t.Errorf("%s%s is neither honoured, refused nor warned of", o.prefix, f)
			}
		}
	}
	for f := range table {
		if !seen[f] {
			t.Errorf("%s is in the table and not in docker's types", f)
		}
	}
}

// TestConfigIsMirrored: every field of docker's Config comes through the
// engine's and back.
func TestConfigIsMirrored(t *testing.T) {
	var c container.Config
	fill(reflect.ValueOf(&c).Elem(), 0)
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	var mine engine.ContainerConfig
	if err := json.Unmarshal(b, &mine); err != nil {
		t.Fatal(err)
	}
	if b, err = json.Marshal(mine); err != nil {
		t.Fatal(err)
	}
	var back container.Config
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(c, back); d != "" {
		t.Errorf("lost on the way (-docker +back):\n%s", d)
	}
}

// fill sets every field to something that is not zero.
func fill(v reflect.Value, depth int) {
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(1000000 + depth))
	case reflect.String:
		v.SetString("s")
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), depth+1)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), depth+1)
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		k, e := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(k, depth+1)
		fill(e, depth+1)
		v.SetMapIndex(k, e)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), depth+1)
		}
	}
}

func TestGoldens(t *testing.T) {
	h := serve(t, false)
	timeout := 5
	id := h.create("jolly_panini", container.Config{
		Cmd: []string{"sleep", "1h"}, Env: []string{"A=1"}, Labels: map[string]string{"k": "v"}, StopTimeout: &timeout, AttachStdout: true,
		ExposedPorts: nat.PortSet{"80/tcp": {}},
	}, &container.HostConfig{Resources: container.Resources{Memory: 256 << 20, NanoCPUs: 2e9}, Tmpfs: map[string]string{"/run": ""}})
	h.start(id)
	for name, path := range map[string]string{
		"inspect.json":  "/v1.51/containers/jolly_panini/json",
		"ps.json":       "/v1.51/containers/json",
		"info.json":     "/v1.51/info",
		"version.json":  "/v1.51/version",
		"images.json":   "/v1.51/images/json",
		"image.json":    "/v1.51/images/busybox/json",
		"history.json":  "/v1.51/images/busybox/history",
		"networks.json": "/v1.51/networks",
		"network.json":  "/v1.51/networks/bridge",
		"df.json":       "/v1.51/system/df",
	} {
		code, body := h.do("GET", path, "")
		if code != http.StatusOK {
			t.Errorf("%s: %d %s", path, code, body)
			continue
		}
		h.golden(name, body, id)
	}
}

// TestStatuses: what is wrong with a request gets Docker's status and words.
func TestStatuses(t *testing.T) {
	h := serve(t, false)
	h.run("runs", "sleep", "1h")
	h.create("fresh", container.Config{Cmd: []string{"nosuch"}}, nil)
	create := `{"Image":"busybox"%s}`
	for _, c := range []struct {
		req, body string
		code      int
		want      string
	}{
		{"GET /_ping", "", 200, "OK"},
		{"GET /nothing/here", "", 404, "page not found"},
		{"PATCH /info", "", 404, "page not found"},
		{"GET /v1.23/info", "", 400, "client version 1.23 is too old. Minimum supported API version is 1.24"},
		{"GET /v1.52/info", "", 400, "client version 1.52 is too new. Maximum supported API version is 1.51"},
		{"GET /v1.24/info", "", 200, "VCH001"},
		{"GET /containers/nope/json", "", 404, "No such container: nope"},
		{"POST /containers/create", "{", 400, "invalid JSON"},
		{"POST /containers/create", "null", 400, "config cannot be empty"},
		{"POST /containers/create", `{"Image":5}`, 400, "invalid JSON"},
		{"POST /containers/create", `{"Image":"busybox"} x`, 400, "unexpected content after JSON"},
		{"POST /containers/create", `{}`, 400, "config cannot be empty"},
		{"POST /containers/create", `{"Cmd":["x"]}`, 400, "no image specified"},
		{"POST /containers/create?name=a%20b", fmt.Sprintf(create, ""), 400, "Invalid container name (a b)"},
		{"POST /containers/create?name=runs", fmt.Sprintf(create, ""), 409, `The container name \"/runs\" is already in use`},
		{"POST /containers/create", `{"Image":"nope"}`, 404, "No such image: nope:latest"},
		{"POST /containers/create", `{"Image":"Bad Name"}`, 400, "invalid reference format"},
		{"POST /containers/create", fmt.Sprintf(create, `,"HostConfig":{"Binds":["/a:/b"]}`), 501, "not supported: bind mount /a:/b"},
		{"POST /containers/create", fmt.Sprintf(create, `,"HostConfig":{"Memory":1}`), 400, "Minimum memory limit allowed is 6MB"},
		{"POST /containers/create", fmt.Sprintf(create, `,"HostConfig":{"Ulimits":[null]}`), 400, "null in Ulimits"},
		{"POST /containers/create", fmt.Sprintf(create, `,"NetworkingConfig":{"EndpointsConfig":{"bridge":null}}`), 201, "Id"},
		{"POST /containers/create", fmt.Sprintf(create, `,"NetworkingConfig":{"EndpointsConfig":{"bridge":{"IPAMConfig":{"IPv4Address":"1.2.3.4"}}}}`), 400, "user specified IP address is supported on user defined networks only"},
		{"POST /containers/create?platform=linux/arm64", fmt.Sprintf(create, ""), 404, "does not match the specified platform"},
		{"POST /containers/runs/start", "", 304, ""},
		{"POST /containers/fresh/stop", "", 304, ""},
		{"POST /containers/fresh/start", "", 400, `executable file not found in $PATH: unknown`},
		{"POST /containers/fresh/start?checkpoint=x", "", 501, "checkpoints"},
		{"POST /containers/fresh/kill", "", 409, "cannot kill container: fresh: container "},
		{"POST /containers/runs/kill?signal=NOPE", "", 400, "invalid signal: NOPE"},
		{"POST /containers/runs/wait?condition=never", "", 400, "invalid condition"},
		{"POST /containers/fresh/resize?h=1&w=2", "", 409, "is not running"},
		{"POST /containers/runs/resize?h=x&w=2", "", 400, "invalid resize height"},
		{"POST /containers/runs/rename?name=fresh", "", 409, "Error when allocating new name"},
		{"DELETE /containers/runs", "", 409, `cannot remove container \"runs\": container is running: stop the container before removing or force remove`},
		{"DELETE /containers/nope", "", 404, "No such container: nope"},
		{"GET /containers/json?filters={", "", 400, ""},
		{`GET /containers/json?filters={"bogus":["x"]}`, "", 400, "invalid filter 'bogus'"},
		{`GET /containers/json?filters={"status":["x"]}`, "", 400, "invalid filter 'status="},
		{"GET /containers/runs/logs", "", 400, "you must choose at least one stream"},
		{"GET /containers/runs/logs?stdout=1&since=soon", "", 400, "failed to parse value as time or duration"},
		{"POST /containers/fresh/exec", `{"Cmd":["true"]}`, 409, "is not running"},
		{"POST /containers/runs/exec", `{}`, 400, "No exec command specified"},
		{"POST /containers/runs/exec", `{"Cmd":["x"],"DetachKeys":"nonsense-x"}`, 400, "Invalid detach keys"},
		{"POST /exec/nope/start", `{}`, 404, "No such exec instance: nope"},
		{"GET /exec/nope/json", "", 404, "No such exec instance: nope"},
		{"GET /images/nope/json", "", 404, "No such image: nope:latest"},
		{"DELETE /images/nope", "", 404, "No such image: nope:latest"},
		{"DELETE /images/busybox", "", 409, "is using its referenced image"},
		{"POST /images/busybox/tag", "", 400, "repository name must be given"},
		{"POST /images/busybox/tag?repo=Bad%20One", "", 400, "invalid reference format"},
		{"POST /images/busybox/tag?repo=ok/one&tag=1", "", 201, ""},
		{"POST /images/create?fromImage=nope&tag=1", "", 404, "manifest unknown"},
		{"POST /images/create?fromImage=Bad%20One&tag=1", "", 400, "invalid reference format"},
		{"POST /images/create?fromSrc=-", "", 400, "it is empty"},
		{"POST /images/create", "", 400, "fromImage or fromSrc"},
		{"GET /networks/nope", "", 404, "network nope not found"},
		{"DELETE /networks/bridge", "", 403, "bridge is a pre-defined network and cannot be removed"},
		{"GET /volumes", "", 200, `"Volumes":[]`},
		{"GET /volumes/x", "", 404, "get x: no such volume"},
		{"POST /volumes/create", `{"Name":"xy"}`, 501, "not supported: volumes"},
		{"GET /events?since=2&until=1", "", 400, "cannot be after"},
		{`GET /events?filters={"bogus":["x"]}`, "", 400, "invalid filter 'bogus'"},
		{"POST /auth", "{", 400, "invalid JSON"},
		{"GET /plugins", "", 200, "[]"},
		{"POST /build/prune", "", 200, "CachesDeleted"},
	} {
		method, path, _ := strings.Cut(c.req, " ")
		path = strings.NewReplacer("{", "%7B", "}", "%7D", `"`, "%22").Replace(path)
		code, body := h.do(method, path, c.body)
		if code != c.code || !strings.Contains(body, c.want) {
			t.Errorf("%s %s: %d %s\nwant %d %s", c.req, c.body, code, body, c.code, c.want)
		}
	}
}

// TestMissing: everything that is not there says what it is, with 501.
func TestMissing(t *testing.T) {
	h := serve(t, false)
	h.run("runs", "sleep", "1h")
	for req, want := range map[string]string{
		"POST /build": "build", "POST /grpc": "build", "POST /session": "build", "POST /swarm/init": "Swarm", "GET /swarm": "Swarm", "GET /nodes": "nodes",
		"GET /services": "services", "GET /tasks": "tasks", "GET /secrets": "secrets", "GET /configs": "configs",
		"POST /plugins/pull":               "plugins",
		"GET /containers/runs/checkpoints": "checkpoints",
	} {
		method, path, _ := strings.Cut(req, " ")
		body := ""
		if method == http.MethodPost {
			body = "{}"
		}
		code, got := h.do(method, "/v1.51"+path, body)
		if code != http.StatusNotImplemented || !strings.Contains(got, want) || (method != http.MethodHead && !strings.Contains(got, "not supported: ")) {
			t.Errorf("%s: %d %s, want 501 naming %q", req, code, got, want)
		}
	}
}

// TestOldClients: each version that is spoken gets lists and an inspect that
// its client can read.
func TestOldClients(t *testing.T) {
	h := serve(t, false)
	h.run("runs", "sleep", "1h")
	for minor := 24; minor <= 51; minor++ {
		for _, path := range []string{"/info", "/version", "/containers/json?all=1", "/containers/runs/json", "/images/json", "/images/busybox/json", "/networks", "/system/df", "/_ping"} {
			if code, body := h.do("GET", fmt.Sprintf("/v1.%d%s", minor, path), ""); code != http.StatusOK || body == "null" {
				t.Errorf("1.%d %s: %d %s", minor, path, code, body)
			}
		}
	}
	if code, body := h.do("POST", "/v1.24/containers/create", `{"Image":"busybox","Cmd":["true"],"HostConfig":{"AutoRemove":true}}`); code != 201 {
		t.Errorf("create by 1.24: %d %s", code, body)
	}
}

func TestCapacityUnknown(t *testing.T) {
	h := serve(t, false)
	h.f.CapacityErr = fmt.Errorf("vCenter is away")
	info, err := h.c.Info(h.ctx)
	if err != nil || len(info.Warnings) != 1 || !strings.Contains(info.Warnings[0], "vCenter is away") {
		t.Errorf("info: %+v, %v", info.Warnings, err)
	}
}

// TestManyContainers: ps of 200 containers is served from memory in no time.
func TestManyContainers(t *testing.T) {
	h := serve(t, false)
	for i := range 200 {
		h.create(fmt.Sprintf("c%03d", i), container.Config{Cmd: []string{"true"}}, nil)
	}
	// On a busy machine one of some is as quick as it should be.
	for end := time.Now().Add(patience); ; {
		began := time.Now()
		code, body := h.do("GET", "/containers/json?all=1", "")
		took := time.Since(began)
		if n := strings.Count(body, `"Id"`); code != 200 || n != 200 {
			t.Fatalf("%d, %d containers", code, n)
		}
		t.Logf("ps of 200 containers took %v", took)
		if took < time.Second {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("ps of 200 containers took %v", took)
		}
	}
}
