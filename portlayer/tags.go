package portlayer

import (
	"context"

	"github.com/vic-engine/vic/pkg/vsphere"
	"github.com/vic-engine/vic/portlayer/tagging"
)

// tag keeps vCenter's tags on the containers' VMs until ctx is done.
func (p *PortLayer) tag(ctx context.Context, s *vsphere.Session) {
	store := s.Tags()
	defer func() {
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), logoutTimeout)
		defer cancel()
		if err := store.Close(late); err != nil {
			p.cfg.Log.WithError(err).Debug("session of vCenter's REST API is left to its timeout")
		}
	}()
	tagging.New(tagging.Config{
		VCH: p.cfg.VCH.UUID, Labels: p.cfg.VCH.TagLabels, Store: store,
		Containers: p.router.views, Subscribe: p.bus.Subscribe, Log: p.cfg.Log,
	}).Run(ctx)
}
