package api

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/docker/volume/service/opts"
)

// volumes serves docker's volume router. There are none in this version: lists
// are empty, which is the truth, and what would make one is refused.
type volumes struct{}

func (volumes) List(context.Context, filters.Args) ([]*volume.Volume, []string, error) {
	return []*volume.Volume{}, nil, nil
}

func (volumes) Get(_ context.Context, name string, _ ...opts.GetOption) (*volume.Volume, error) {
	return nil, noSuchVolume(name)
}

func (volumes) Create(context.Context, string, string, ...opts.CreateOption) (*volume.Volume, error) {
	return nil, missing("volumes")
}

func (volumes) Remove(_ context.Context, name string, _ ...opts.RemoveOption) error {
	return noSuchVolume(name)
}

func (volumes) Prune(context.Context, filters.Args) (*volume.PruneReport, error) {
	return &volume.PruneReport{VolumesDeleted: []string{}}, nil
}

func noSuchVolume(name string) error {
	return fmt.Errorf("get %s: no such volume%w", name, hidden{errdefs.ErrNotFound})
}

// noCluster is the volume router's Swarm half: this is never a manager, so
// only IsManager is called.
type noCluster struct{}

func (noCluster) IsManager() bool { return false }

func (noCluster) GetVolume(name string) (volume.Volume, error) {
	return volume.Volume{}, noSuchVolume(name)
}

func (noCluster) GetVolumes(volume.ListOptions) ([]*volume.Volume, error) { return nil, nil }

func (noCluster) CreateVolume(volume.CreateOptions) (*volume.Volume, error) {
	return nil, missing("Swarm volumes")
}

func (noCluster) RemoveVolume(name string, _ bool) error { return noSuchVolume(name) }

func (noCluster) UpdateVolume(string, uint64, volume.UpdateOptions) error {
	return missing("Swarm volumes")
}
