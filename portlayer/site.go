package portlayer

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/pkg/vsphere"
	"github.com/vic-engine/vic/portlayer/exec"
	"github.com/vic-engine/vic/portlayer/vmspec"
)

// connected gives the running part; ErrUnavailable before that.
func (p *PortLayer) connected(what string) (*live, error) {
	if l := p.live.Load(); l != nil {
		return l, nil
	}
	return nil, fmt.Errorf("%s: not connected to vSphere yet: %w", what, errdefs.ErrUnavailable)
}

// Site implements engine.Sites. A store that cannot be looked at says so itself.
func (p *PortLayer) Site(ctx context.Context) (spec.Site, error) {
	l, err := p.connected("site")
	if err != nil {
		return spec.Site{}, err
	}
	pool, err := l.session.PoolCapacity(ctx, l.place.Pool)
	if err != nil {
		return spec.Site{}, err
	}
	v := p.cfg.VCH
	s := spec.Site{
		CPUUsedMHz: pool.CPUUsedMHz, CPULimitMHz: pool.CPULimitMHz, MemoryUsed: pool.MemoryUsed, MemoryLimit: pool.MemoryLimit,
		VolumeStores: p.volumes.Places(), DefaultCPUs: cmp.Or(v.DefaultCPUs, spec.DefaultCPUs),
		DefaultMemoryMB: max(cmp.Or(v.DefaultMemoryMB, spec.DefaultMemoryMB), spec.MinMemoryMB), DefaultRootMB: cmp.Or(v.RootSizeMB, exec.DefaultRootSizeMB),
		BridgeRange: v.BridgeRange, BridgeWidth: v.BridgeWidth,
	}
	for i := range s.VolumeStores {
		st := &s.VolumeStores[i]
		if st.Problem != "" || strings.HasPrefix(st.Place, "nfs://") {
			continue
		}
		ds, err := l.session.Datastore(ctx, vsphere.DatastoreConfig{Datacenter: v.Datacenter, Name: st.Place})
		if err == nil {
			st.Capacity, st.Free, err = ds.Space(ctx)
		}
		if err != nil {
			st.Problem = err.Error()
		}
	}
	return s, nil
}

// RootSize implements engine.Sizes: what the container's own disk takes of the
// image datastore, its filesystem's own tables included. It does not ask the guest.
func (p *PortLayer) RootSize(ctx context.Context, id string) (int64, error) {
	l, err := p.connected("size of container " + id)
	if err != nil {
		return 0, err
	}
	return l.ds.Allocated(ctx, vmspec.Disk(l.ds.Name(), id))
}
