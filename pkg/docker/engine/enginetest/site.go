package enginetest

import (
	"context"

	"github.com/vic-engine/vic/pkg/docker/engine"
	"github.com/vic-engine/vic/pkg/spec"
)

var _ engine.Sites = (*Fake)(nil)

// Site implements engine.Sites. It fails when Capacity does.
func (f *Fake) Site(context.Context) (spec.Site, error) {
	if f.CapacityErr != nil {
		return spec.Site{}, f.CapacityErr
	}
	return spec.Site{
		CPUUsedMHz: 1200, CPULimitMHz: 8000, MemoryUsed: 3 << 30, DefaultCPUs: 1, DefaultMemoryMB: 256, DefaultRootMB: 8192,
		BridgeRange: "172.16.0.0/12", BridgeWidth: 16,
		VolumeStores: []spec.StoreSpace{
			{Label: "default", Place: "datastore2", Capacity: 1 << 40, Free: 1 << 38},
			{Label: "lost", Place: "datastore3", Problem: "datastore datastore3 is not accessible"},
			{Label: "share", Place: "nfs://nas.lab.test/vol"},
		},
	}, nil
}

// RootSize implements engine.Sites.
func (f *Fake) RootSize(_ context.Context, id string) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, err := f.get(id); err != nil {
		return 0, err
	}
	return 5 << 20, nil
}
