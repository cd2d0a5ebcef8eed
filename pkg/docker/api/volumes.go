package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/vic-engine/vic/pkg/docker/engine"
	"github.com/vic-engine/vic/pkg/nfs"
	"github.com/vic-engine/vic/pkg/spec"

	"github.com/docker/docker/api/server/httputils"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/docker/volume/service/opts"
	"github.com/docker/go-units"
)

// volumes serves docker's volume router.
type volumes struct{ *server }

func (b volumes) List(_ context.Context, f filters.Args) ([]*volume.Volume, []string, error) {
	list, warnings, err := b.e.VolumeList(engineFilters(f))
	if err != nil {
		return nil, nil, err
	}
	out := []*volume.Volume{}
	for _, v := range list {
		out = append(out, volumeResponse(v))
	}
	return out, warnings, nil
}

func (b volumes) Get(_ context.Context, name string, _ ...opts.GetOption) (*volume.Volume, error) {
	v, err := b.e.VolumeInspect(name)
	if err != nil {
		return nil, err
	}
	out := volumeResponse(v)
	out.Status = volumeStatus(v)
	return out, nil
}

func (b volumes) Create(ctx context.Context, name, driver string, options ...opts.CreateOption) (*volume.Volume, error) {
	var cfg opts.CreateConfig
	for _, o := range options {
		o(&cfg)
	}
	v, err := b.e.VolumeCreate(ctx, spec.VolumeRequest{Name: name, Driver: driver, Options: cfg.Options, Labels: cfg.Labels})
	if err != nil {
		return nil, err
	}
	return volumeResponse(v), nil
}

func (b volumes) Remove(ctx context.Context, name string, options ...opts.RemoveOption) error {
	var cfg opts.RemoveConfig
	for _, o := range options {
		o(&cfg)
	}
	return b.e.VolumeRemove(ctx, name, cfg.PurgeOnError)
}

func (b volumes) Prune(ctx context.Context, f filters.Args) (*volume.PruneReport, error) {
	gone, freed, err := b.e.VolumePrune(ctx, engineFilters(f))
	if err != nil {
		return nil, err
	}
	return &volume.PruneReport{VolumesDeleted: append([]string{}, gone...), SpaceReclaimed: uint64(max(0, freed))}, nil
}

func volumeResponse(v engine.VolumeInfo) *volume.Volume {
	out := &volume.Volume{
		Name: v.Name, Driver: v.Driver, Mountpoint: v.Source, Scope: "local", Labels: v.Labels, Options: v.Options,
	}
	if !v.Created.IsZero() {
		out.CreatedAt = v.Created.UTC().Format(time.RFC3339)
	}
	return out
}

// volumeStatus is what vSphere's side of a volume is, for inspect.
func volumeStatus(v engine.VolumeInfo) map[string]any {
	out := map[string]any{"store": v.Store, "access": v.Access, "attachedTo": append([]string{}, v.Users...)}
	if share, err := nfs.Parse(v.Share); err == nil {
		out["fstype"], out["server"], out["export"], out["source"] = "nfs", share.Host, share.Path, v.Source
		if v.MountOptions != "" {
			out["mountOptions"] = v.MountOptions
		}
	} else {
		out["capacity"], out["capacityBytes"] = units.BytesSize(float64(v.Capacity)), v.Capacity
		out["allocated"], out["allocatedBytes"] = units.BytesSize(float64(v.Allocated)), v.Allocated
		out["fstype"], out["datastorePath"] = v.FSType, v.Source
		if v.Policy != "" {
			out["storagePolicy"] = v.Policy
		}
	}
	if v.Unavailable != "" {
		out["unavailable"] = v.Unavailable
	}
	return out
}

// volumeUsage is the volumes' part of system df.
func (s *server) volumeUsage() (*volume.DiskUsage, error) {
	list, _, err := s.e.VolumeList(nil)
	if err != nil {
		return nil, err
	}
	out := &volume.DiskUsage{Items: []*volume.Volume{}}
	for _, v := range list {
		item := volumeResponse(v)
		item.UsageData = &volume.UsageData{RefCount: int64(len(v.Users)), Size: v.Allocated}
		if len(v.Users) == 0 {
			out.Reclaimable += v.Allocated
		}
		out.TotalSize += v.Allocated
		out.Items = append(out.Items, item)
	}
	return out, nil
}

// volumeRoutes are our own: what Docker has no request for.
func (s *server) volumeRoutes() []route {
	return []route{{http.MethodPost, "/vic/volumes/{name}/grow", s.postVolumeGrow}}
}

// GrowRequest is the body of POST /vic/volumes/NAME/grow, which vic-machine
// sends; the answer is the volume as inspect shows it.
type GrowRequest struct {
	Capacity int64 // bytes
}

func (s *server) postVolumeGrow(ctx context.Context, w http.ResponseWriter, r *http.Request, vars map[string]string) error {
	if err := httputils.CheckForJSON(r); err != nil {
		return err
	}
	var q GrowRequest
	if err := decodeJSON(r.Body, &q); err != nil {
		return err
	}
	if q.Capacity <= 0 {
		return badRequest("capacity %d: want a number of bytes", q.Capacity)
	}
	v, err := s.e.VolumeGrow(ctx, vars["name"], q.Capacity)
	if err != nil {
		return err
	}
	out := volumeResponse(v)
	out.Status = volumeStatus(v)
	return httputils.WriteJSON(w, http.StatusOK, out)
}

// noCluster is the volume router's Swarm half: this is never a manager, so
// only IsManager is called, and CreateVolume for a request for Swarm.
type noCluster struct{}

func (noCluster) IsManager() bool { return false }

func (noCluster) GetVolume(string) (volume.Volume, error) {
	return volume.Volume{}, errNotSwarm
}

func (noCluster) GetVolumes(volume.ListOptions) ([]*volume.Volume, error) { return nil, nil }

func (noCluster) CreateVolume(volume.CreateOptions) (*volume.Volume, error) {
	return nil, missing("Swarm volumes")
}

func (noCluster) RemoveVolume(string, bool) error { return errNotSwarm }

func (noCluster) UpdateVolume(string, uint64, volume.UpdateOptions) error {
	return missing("Swarm volumes")
}

// errNotSwarm is not seen: IsManager is false.
var errNotSwarm = errors.New("this node is not a swarm manager")
