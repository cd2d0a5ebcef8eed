package portlayer

import (
	"context"

	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/portlayer/exec"
	"github.com/vic-engine/vic/portlayer/network"
)

var _ exec.Networks = (*router)(nil)

// Settle completes a container that has its addresses.
func (r *router) Settle(c *spec.Container) {
	s := r.leases.State()
	appliance := r.dns()
	c.DNS.Servers = s.DNS(c.Endpoints, s.OwnDNS(c.DNS.Servers, appliance), appliance)
	c.NetworkFilter = s.Filters(c.Endpoints)
	c.NetworkPolicy = s.Rules(r.vch).Concerns(network.Member(c, nil))
}

// Starting gives a container its ports and its names before its VM is turned on.
func (r *router) Starting(_ context.Context, id string) error {
	v, err := r.containers().Container(id)
	if err != nil {
		return err
	}
	for _, e := range v.Container.Endpoints {
		if _, err := r.leases.State().Find(e.Network); err != nil {
			return err
		}
	}
	if err := r.claim(&v.Container); err != nil {
		return err
	}
	g := r.guest(id)
	r.mu.Lock()
	g.ours, g.told, g.sent = true, false, ""
	delete(r.ups, id)
	r.mu.Unlock()
	if err := r.apply(); err != nil {
		if len(network.Published(v.Container.Endpoints)) > 0 {
			return err
		}
		r.log.WithError(err).WithField(spec.FieldContainer, id).Error("container starts on a network that is not as it should be")
	}
	r.kick() // the others hear of it while it boots
	return nil
}

// Greet tells a guest of its networks before its process is let go.
func (r *router) Greet(ctx context.Context, id string, line exec.Line) {
	if v, err := r.containers().Container(id); err != nil || !r.tells() && !waits(&v.Container) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, pushTimeout)
	defer cancel()
	if err := r.tellOn(ctx, id, line, nil); err != nil {
		r.log.WithError(err).WithField(spec.FieldContainer, id).Warn("guest does not know its networks and policies, it lets nobody in")
	}
}

// Started waits until all guests know the container, and it knows them.
func (r *router) Started(ctx context.Context, id string) {
	v, err := r.containers().Container(id)
	if r.tells() || err == nil && waits(&v.Container) {
		r.push(ctx)
	}
}
