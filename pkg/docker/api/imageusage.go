package api

import (
	"encoding/json"
	"maps"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/versions"
)

// imageUsage is the images' part of system df. As in Docker an image that a
// container uses keeps what it has alone; everything else can be had back.
func (s *server) imageUsage() (*image.DiskUsage, error) {
	list, err := s.e.ImageList(nil)
	if err != nil {
		return nil, err
	}
	shared := s.e.SharedSizes()
	u := &image.DiskUsage{Items: []*image.Summary{}, TotalSize: s.e.LayersSize()}
	u.Reclaimable = u.TotalSize
	for _, i := range list {
		sum := imageSummary(i)
		sum.SharedSize = shared[i.ID]
		u.Items = append(u.Items, sum)
		if sum.Containers != 0 {
			u.Reclaimable -= sum.Size - sum.SharedSize
		}
	}
	return u, nil
}

// containerUsage is the containers' part of system df.
func containerUsage(list []*container.Summary) *container.DiskUsage {
	u := &container.DiskUsage{Items: list}
	for _, c := range list {
		u.TotalSize += c.SizeRw
		switch c.State {
		case container.StateRunning, container.StatePaused, container.StateRestarting:
		default:
			u.Reclaimable += c.SizeRw
		}
	}
	return u
}

func unixOrZero(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

// The fields of an inspected image's Config that Docker writes even when they
// are not set, until API 1.49 and since.
var (
	inspectFields = map[string]any{"Cmd": nil, "Entrypoint": nil, "Env": nil, "Labels": nil, "OnBuild": nil, "User": "", "Volumes": nil, "WorkingDir": ""}
	// https://github.com/moby/moby/pull/48457 left these out.
	oldInspectFields = map[string]any{
		"AttachStderr": false, "AttachStdin": false, "AttachStdout": false, "Domainname": "", "Hostname": "", "Image": "", "OpenStdin": false,
		"StdinOnce": false, "Tty": false,
	}
)

// inspected is an answer with all fields of Config.
type inspected struct {
	*image.InspectResponse
	Config map[string]any
}

// compatInspect gives an inspected image the fields that clients of the version
// expect.
func compatInspect(version string, r *image.InspectResponse) any {
	raw, err := json.Marshal(r.Config)
	have := map[string]any{}
	if err != nil || json.Unmarshal(raw, &have) != nil {
		return r // its own fields, then
	}
	fields := maps.Clone(inspectFields)
	if versions.LessThan(version, "1.50") {
		maps.Copy(fields, oldInspectFields)
	}
	maps.Copy(fields, have)
	return &inspected{InspectResponse: r, Config: fields}
}
