package api

import (
	"github.com/vic-engine/vic/pkg/docker/engine"
	"github.com/vic-engine/vic/pkg/spec"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
)

func mounts(i engine.Info) []container.MountPoint {
	out := []container.MountPoint{}
	for _, m := range i.Volumes {
		if m.Type == spec.MountSocket {
			out = append(out, container.MountPoint{
				Type: mount.TypeBind, Source: m.Source, Destination: m.Path, Mode: m.Mode, RW: !m.ReadOnly, Propagation: mount.Propagation(m.Propagation),
			})
			continue
		}
		out = append(out, container.MountPoint{
			Type: mount.TypeVolume, Name: m.Name, Source: m.Source, Destination: m.Path, Driver: m.Driver, Mode: m.Mode, RW: !m.ReadOnly,
		})
	}
	return out
}
