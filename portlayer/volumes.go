package portlayer

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/pkg/vsphere"
	"github.com/vic-engine/vic/portlayer/storage"
)

// volumesWait is how long the port layer waits for volume stores before it is
// ready without them.
const volumesWait = 10 * time.Second

// Volumes are the volumes of all stores.
func (p *PortLayer) Volumes() *storage.Volumes { return p.volumes }

func (p *PortLayer) newVolumes() (*storage.Volumes, error) {
	return storage.NewVolumes(storage.VolumesConfig{
		Stores: p.cfg.VCH.VolumeStores, VCH: p.cfg.VCH.UUID, Spool: p.cfg.SpoolDir, Log: p.cfg.Log,
		Containers: p.Snapshots, Open: p.openStore, Grow: p.growDisk,
	})
}

// openStore finds the datastore of a volume store.
func (p *PortLayer) openStore(ctx context.Context, name string) (storage.VolumeDatastore, error) {
	l := p.live.Load()
	if l == nil {
		return nil, fmt.Errorf("datastore %s: not connected to vSphere yet: %w", name, errdefs.ErrUnavailable)
	}
	if name == l.ds.Name() {
		return l.ds, nil
	}
	return l.session.Datastore(ctx, vsphere.DatastoreConfig{
		Datacenter: p.cfg.VCH.Datacenter, Name: name, Pool: &l.place.Pool, Folder: &l.place.Folder, Host: l.place.Host, Owner: p.cfg.VCH.UUID,
	})
}

func (p *PortLayer) growDisk(ctx context.Context, id string, unit int, capacity int64) (bool, error) {
	m, err := p.manage()
	if err != nil {
		return false, err
	}
	return m.GrowDisk(ctx, id, unit, capacity)
}

// A VM may leave the inventory before its disks are deleted: volumes that were
// attached to it are looked at at once, and lookAgain times more, every lookEvery.
const (
	lookAgain = 5
	lookEvery = time.Second
)

// checkVolumes looks, until ctx is done, at the volumes of containers whose VMs
// others delete.
func (p *PortLayer) checkVolumes(ctx context.Context) {
	again := time.NewTicker(lookEvery)
	defer again.Stop()
	left := map[string]int{} // looks, by volume
	events := p.bus.Subscribe(ctx)
	for ctx.Err() == nil {
		select {
		case e, ok := <-events:
			if !ok { // too slow, or done
				events = p.bus.Subscribe(ctx)
				continue
			}
			if e.Kind != spec.EventRemoved || !e.External {
				continue
			}
			for _, m := range e.View.Container.Mounts {
				if m.Type == spec.MountVolume {
					left[m.Name] = lookAgain
					p.checkVolume(ctx, m.Name)
				}
			}
		case <-again.C:
			for name := range left {
				if left[name]--; left[name] == 0 {
					delete(left, name)
				}
				p.checkVolume(ctx, name)
			}
		}
	}
}

func (p *PortLayer) checkVolume(ctx context.Context, name string) {
	if err := p.volumes.Check(ctx, name); err != nil && ctx.Err() == nil {
		p.cfg.Log.WithError(err).WithField(spec.FieldVolume, name).Warn("a container was deleted by somebody else, perhaps with its volume's disk")
	}
}

// awaitVolumes waits for the first look at the volume stores: not for long, as
// one that cannot be reached must not stop the VCH.
func (p *PortLayer) awaitVolumes(ctx context.Context) {
	t := time.NewTimer(volumesWait)
	defer t.Stop()
	select {
	case <-p.volumes.Scanned():
	case <-ctx.Done():
	case <-t.C:
		p.cfg.Log.Warn("going on without volume stores that do not answer")
	}
}
