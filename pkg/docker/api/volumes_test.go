package api_test

import (
	"strings"
	"testing"

	"github.com/vic-engine/vic/pkg/docker/engine"
	"github.com/vic-engine/vic/pkg/docker/engine/enginetest"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/volume"
)

func serveVolumes(t testing.TB) *harness {
	return serveWith(t, func(c *engine.Config) { c.Volumes = enginetest.NewVolumes("default") })
}

func TestVolumeRoutes(t *testing.T) {
	h := serveVolumes(t)
	if _, err := h.c.VolumeCreate(h.ctx, volume.CreateOptions{Name: "db", Driver: "local", DriverOpts: map[string]string{"Capacity": "1GB"}, Labels: map[string]string{"a": "b"}}); err != nil {
		t.Fatal(err)
	}
	id := h.create("user", container.Config{Cmd: []string{"true"}}, &container.HostConfig{Binds: []string{"db:/data:ro,z"}})
	_, body := h.do("GET", "/v1.51/volumes", "")
	h.golden("volumes.json", body, id)
	_, body = h.do("GET", "/v1.51/volumes/db", "")
	h.golden("volume.json", body, id)
	c, err := h.c.ContainerInspect(h.ctx, id)
	want := container.MountPoint{Type: "volume", Name: "db", Destination: "/data", Driver: "local", Mode: "ro,z"}
	if err != nil || len(c.Mounts) != 1 || c.Mounts[0] != want {
		t.Errorf("mounts %+v, %v", c.Mounts, err)
	}
	for _, c := range []struct {
		request, body string
		status        int
		want          string
	}{
		{"DELETE /volumes/db", "", 409, "remove db: volume is in use - [" + id + "]"},
		{"DELETE /volumes/nope", "", 404, "get nope: no such volume"},
		{"DELETE /volumes/nope?force=1", "", 204, ""},
		{"GET /volumes?filters=%7B%22x%22%3A%5B%221%22%5D%7D", "", 400, "invalid filter 'x'"},
		{"POST /volumes/create", `{"Name":"xx","Driver":"nfs"}`, 404, `plugin \"nfs\" not found`},
		{"POST /volumes/create", `{"Name":"db","DriverOpts":{"Capacity":"2GB"}}`, 409, "other options"},
		{"POST /volumes/create", `{"Name":"cl","ClusterVolumeSpec":{}}`, 501, "Swarm volumes"},
		{"PUT /volumes/db?version=1", `{}`, 503, "cluster volumes"},
		{"POST /vic/volumes/db/grow", `{"Capacity":2147483648}`, 200, `"capacityBytes":2147483648`},
		{"POST /vic/volumes/db/grow", `{"Capacity":1}`, 400, "smaller"},
		{"POST /vic/volumes/db/grow", `{}`, 400, "want a number of bytes"},
		{"POST /vic/volumes/db/grow", `[`, 400, "invalid JSON"},
		{"POST /vic/volumes/nope/grow", `{"Capacity":1}`, 404, "no such volume"},
		{"POST /containers/create", `{"Image":"busybox","HostConfig":{"Binds":["zz:/a"],"VolumeDriver":"nfs"}}`, 400, "not found"},
	} {
		method, path, _ := strings.Cut(c.request, " ")
		if status, body := h.do(method, "/v1.51"+path, c.body); status != c.status || !strings.Contains(body, c.want) {
			t.Errorf("%s %s: %d %s, want %d %s", c.request, c.body, status, body, c.status, c.want)
		}
	}
	if r, err := h.c.VolumesPrune(h.ctx, filters.NewArgs()); err != nil || len(r.VolumesDeleted) != 0 {
		t.Errorf("prune: %+v, %v", r, err)
	}
	if err := h.c.ContainerRemove(h.ctx, id, container.RemoveOptions{RemoveVolumes: true}); err != nil {
		t.Fatal(err)
	}
	if r, err := h.c.VolumesPrune(h.ctx, filters.NewArgs(filters.Arg("all", "1"))); err != nil || len(r.VolumesDeleted) != 1 || r.SpaceReclaimed != 1<<20 {
		t.Errorf("prune all: %+v, %v", r, err)
	}
}

func FuzzVolumeBodies(f *testing.F) {
	h := serveVolumes(f)
	f.Add(`{"Name":"db","Driver":"local","DriverOpts":{"a":"b"},"Labels":null}`)
	f.Add(`{"Image":"busybox","Volumes":{"/a":{}},"HostConfig":{"Binds":["a:/b:ro"],"VolumesFrom":["x:ro"],"Mounts":[{"Type":"volume","Source":"xx","Target":"/x","VolumeOptions":{"DriverConfig":{}}}]}}`)
	f.Add(`{"Capacity":9223372036854775807}`)
	f.Fuzz(func(t *testing.T, body string) {
		for _, path := range []string{"/volumes/create", "/containers/create", "/vic/volumes/db/grow"} {
			send(t, h, "POST", "/v1.51"+path, body)
		}
	})
}
