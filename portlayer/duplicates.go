package portlayer

import (
	"context"
	"fmt"
	"time"

	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/portlayer/network"
)

// listen hears on the bridge, until ctx is done, who claims addresses of others:
// a machine on the port group that is none of the VCH's, or a container that
// gives itself an address.
func (r *router) listen(ctx context.Context) {
	for failed := false; ; failed = true {
		err := r.arp(ctx, r.mac, r.hear)
		if ctx.Err() != nil {
			return
		}
		if !failed {
			r.log.WithError(err).Warn("addresses that are used twice on the bridge are not noticed, trying again")
		}
		t := time.NewTimer(retryPush)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
	}
}

func (r *router) hear(c network.Claim) {
	owner, wrong := r.leases.State().Usurped(c, r.mac)
	if !wrong || !r.duplicates.Hear(c, time.Now()) {
		return
	}
	log := r.log.WithField("address", c.Addr.String()).WithField("mac", c.MAC)
	if owner != "" {
		log = log.WithField(spec.FieldContainer, owner)
	}
	log.Error("address is used twice: a machine on the bridge says that it is its own")
}

// troubles are the addresses that are used twice, in words.
func (r *router) troubles() []string {
	var out []string
	s := r.leases.State()
	for _, c := range r.duplicates.List(time.Now()) {
		owner, wrong := s.Usurped(c, r.mac)
		if !wrong {
			continue // it is nobody's any more
		}
		whose := "the VCH, the gateway of a network,"
		if owner != "" {
			whose = fmt.Sprintf("container %.12s", owner)
			if v, err := r.containers().Container(owner); err == nil {
				whose = fmt.Sprintf("container %s (%.12s)", v.Container.Name, owner)
			}
		}
		out = append(out, fmt.Sprintf("address %s of %s is used twice: the network card %s on the bridge port group says that it is its own", c.Addr, whose, c.MAC))
	}
	return out
}

// Troubles are what somebody should see to; see engine.Troubled.
func (p *PortLayer) Troubles() []string {
	if _, err := p.manage(); err != nil {
		return nil
	}
	return p.router.troubles()
}
