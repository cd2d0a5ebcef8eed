package portlayer

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/pkg/vsphere"
	"github.com/vic-engine/vic/portlayer/network"
)

// undoTimeout bounds taking back what did not work, which goes on when the
// caller has left.
const undoTimeout = time.Minute

// Networks that containers can be on, the default one first.
func (p *PortLayer) Networks() []spec.Network { return p.leases.Networks() }

// CreateNetwork makes a bridge network; see engine.Networks.
func (p *PortLayer) CreateNetwork(ctx context.Context, n spec.Network) (spec.Network, error) {
	if _, err := p.manage(); err != nil {
		return n, err
	}
	return p.changes.create(ctx, n)
}

// RemoveNetwork removes a network without containers.
func (p *PortLayer) RemoveNetwork(ctx context.Context, id string) error {
	if _, err := p.manage(); err != nil {
		return err
	}
	return p.changes.remove(ctx, id)
}

// Connect puts a container on another network.
func (p *PortLayer) Connect(ctx context.Context, id string, e spec.Endpoint) error {
	if _, err := p.manage(); err != nil {
		return err
	}
	return p.changes.connect(ctx, id, e)
}

// Disconnect takes a container off a network.
func (p *PortLayer) Disconnect(ctx context.Context, id, network string) error {
	if _, err := p.manage(); err != nil {
		return err
	}
	return p.changes.disconnect(ctx, id, network)
}

// networkChanges makes changes of networks: each is done as a whole or not at
// all. What is kept is written first and believed after a restart: a network's
// file, a container's configuration. Addresses and the appliance follow from
// those.
type networkChanges struct {
	r     *router
	store *network.Store
	locks keyLock // by container
	now   func() time.Time
	// afterStep lets tests fail after any step.
	afterStep func(step string) error
}

func (c *networkChanges) after(step string, err error) error {
	if err == nil && c.afterStep != nil {
		err = c.afterStep(step)
	}
	return err
}

// late is for what must be brought to an end.
func late(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
}

func (c *networkChanges) create(ctx context.Context, n spec.Network) (_ spec.Network, err error) {
	if n.ID == "" {
		b := make([]byte, 32)
		_, _ = rand.Read(b) // never fails
		n.ID = hex.EncodeToString(b)
	}
	if n.Created.IsZero() {
		n.Created = c.now().UTC()
	}
	r := c.r
	err = r.leases.Change(func(s network.State) (network.State, error) {
		if s.Takes(r.views(), n.Name) {
			return s, fmt.Errorf("network with name %s already exists: containers are on it, whose file is lost: %w", n.Name, errdefs.ErrAlreadyExists)
		}
		var err error
		s, n, err = network.Create(s, n)
		return s, err
	})
	if err != nil {
		return n, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.undoCreate(ctx, n))
		}
	}()
	// The appliance is ready for it while nobody can be on it yet.
	saved := async(func() error { return c.store.Save(ctx, n) })
	// From the second network on guests filter, and are told now. Who connects to it
	// waits for them; until then there is nobody on it whom they could hear.
	r.kick()
	applied := r.apply()
	if err := c.after("file", saved()); err != nil {
		return n, err
	}
	if err := c.after("appliance", applied); err != nil {
		return n, fmt.Errorf("network %s: %w", n.Name, err)
	}
	_ = r.leases.Change(func(s network.State) (network.State, error) { return network.Commit(s, n.ID), nil })
	if err := r.apply(); err != nil { // its names
		return n, fmt.Errorf("network %s: %w", n.Name, err)
	}
	r.log.WithField(spec.FieldNetwork, n.Name).WithField("subnet", n.Subnet).Info("network made")
	return n, nil
}

func (c *networkChanges) undoCreate(ctx context.Context, n spec.Network) error {
	ctx, cancel := late(ctx)
	defer cancel()
	// A container that was put on it in that moment keeps it alive.
	err := c.r.leases.Change(func(s network.State) (network.State, error) {
		if _, err := s.Find(n.ID); err != nil {
			return s, nil //nolint:nilerr // it is pending still
		}
		s, _, err := network.Remove(s, n.ID, c.nameOf)
		return s, err
	})
	if err != nil {
		return fmt.Errorf("take back network %s: %w", n.Name, err)
	}
	if err := c.store.Delete(ctx, n.ID); err != nil {
		// The file is believed at the next start.
		return fmt.Errorf("take back network %s: %w", n.Name, err)
	}
	_ = c.r.leases.Change(func(s network.State) (network.State, error) { return network.Drop(s, n.ID), nil })
	c.r.kick()
	return nil
}

func (c *networkChanges) nameOf(id string) string {
	if v, err := c.r.containers().Container(id); err == nil {
		return v.Container.Name
	}
	return ""
}

func (c *networkChanges) remove(ctx context.Context, id string) error {
	r := c.r
	var n spec.Network
	err := r.leases.Change(func(s network.State) (network.State, error) {
		var err error
		s, n, err = network.Remove(s, id, c.nameOf)
		return s, err
	})
	if err != nil {
		return err
	}
	ctx, cancel := late(ctx) // half removed is worse than late
	defer cancel()
	if err := c.after("file", c.store.Delete(ctx, n.ID)); err != nil {
		// The file may be gone all the same.
		err = errors.Join(err, c.store.Save(ctx, n))
		_ = r.leases.Change(func(s network.State) (network.State, error) { return network.Commit(s, n.ID), nil })
		return err
	}
	_ = r.leases.Change(func(s network.State) (network.State, error) { return network.Drop(s, n.ID), nil })
	if err := r.apply(); err != nil {
		r.log.WithError(err).WithField(spec.FieldNetwork, n.Name).Error("the VCH's network still has a network that was removed")
	}
	r.kick()
	r.log.WithField(spec.FieldNetwork, n.Name).Info("network removed")
	return nil
}

func (c *networkChanges) connect(ctx context.Context, id string, e spec.Endpoint) (err error) {
	unlock, err := c.locks.lock(ctx, id)
	if err != nil {
		return err
	}
	defer unlock()
	r := c.r
	v, err := r.containers().Container(id)
	if err != nil {
		return err
	}
	n, err := r.leases.State().Find(e.Network)
	if err != nil {
		return err
	}
	before := v.Container.Endpoints
	if slices.ContainsFunc(before, func(o spec.Endpoint) bool { return o.Network == n.Name }) {
		return fmt.Errorf("endpoint with name %s already exists in network %s: %w", v.Container.Name, n.Name, errdefs.ErrPermissionDenied)
	}
	mac, slot, err := c.card(ctx, v, n)
	if err != nil {
		return err
	}
	e.Network = n.Name
	if mac != "" && n.Trust != "" {
		e.MAC = mac // a card that an unplug has left
	}
	if e, err = r.leases.Join(id, mac, e); err != nil {
		return err
	}
	e.PCISlot = slot
	leave := func(context.Context) { r.leases.Leave(id, n.Name, e.MAC) }
	if err := c.after("address", nil); err != nil {
		leave(ctx)
		return err
	}
	plugged := slot == 0
	if plugged {
		if e.PCISlot, err = c.plug(ctx, id, e); err != nil {
			leave(ctx)
			return err
		}
		leave = func(ctx context.Context) { c.unplug(ctx, id, e); r.leases.Leave(id, n.Name, e.MAC) }
	}
	return c.carryOut(ctx, v, network.Arrange(append(slices.Clone(before), e)), plugged, leave)
}

// plug gives a container the card of an endpoint, or none.
func (c *networkChanges) plug(ctx context.Context, id string, e spec.Endpoint) (int, error) {
	ctx, cancel := late(ctx) // half done is worse than late
	defer cancel()
	slot, err := c.r.containers().Plug(ctx, id, e.PortGroup, e.MAC)
	if err = c.after("card", err); err != nil {
		c.unplug(ctx, id, e) // also when the answer was lost
		return 0, err
	}
	return slot, nil
}

// unplug takes the card of an endpoint away that no network needs. One that stays
// is taken by the next endpoint on its port group.
func (c *networkChanges) unplug(ctx context.Context, id string, e spec.Endpoint) {
	if err := c.r.containers().Unplug(ctx, id, e.PortGroup, e.MAC); err != nil && !errdefs.IsNotFound(err) {
		c.r.log.WithError(err).WithField(spec.FieldContainer, id).WithField(spec.FieldNetwork, e.Network).Warn("network card stays plugged, without a network")
	}
}

func (c *networkChanges) disconnect(ctx context.Context, id, name string) error {
	unlock, err := c.locks.lock(ctx, id)
	if err != nil {
		return err
	}
	defer unlock()
	r := c.r
	v, err := r.containers().Container(id)
	if err != nil {
		return err
	}
	before := v.Container.Endpoints
	at := slices.IndexFunc(before, func(e spec.Endpoint) bool { return e.Network == name || e.NetworkID == name })
	if at < 0 {
		return fmt.Errorf("container %s is not connected to network %s: %w", id, name, errdefs.ErrNotFound)
	}
	gone := before[at]
	now := slices.Delete(slices.Clone(before), at, at+1)
	if i := slices.IndexFunc(now, func(e spec.Endpoint) bool { return e.Trust == "" }); i >= 0 && gone.Trust == "" {
		now[i].Ports = append(slices.Clone(now[i].Ports), gone.Ports...)
	}
	if err := c.carryOut(ctx, v, network.Arrange(now), false, func(context.Context) {}); err != nil {
		return err
	}
	// A last card stays, down: a guest that never had one has no driver for it, so
	// that one without any is connected to nothing again.
	if gone.Trust != "" && len(now) > 0 {
		ctx, cancel := late(ctx)
		defer cancel()
		c.unplug(ctx, id, gone)
	}
	r.leases.Leave(id, gone.Network, gone.MAC)
	return nil
}

// card gives the MAC address and slot of a container's NIC on a network's port
// group; 0 and none: it must be plugged.
func (c *networkChanges) card(ctx context.Context, v spec.View, n spec.Network) (string, int, error) {
	for _, e := range v.Container.Endpoints {
		if e.PortGroup == n.PortGroup && e.MAC != "" {
			return e.MAC, e.PCISlot, nil
		}
	}
	nic, cards, err := c.r.containers().Card(ctx, v.Container.ID, n.PortGroup)
	switch {
	case err != nil:
		return "", 0, err
	case cards == 0:
		return "", 0, fmt.Errorf("container %s was made without a network card, it cannot be connected to a network: %w", v.Container.ID, errdefs.ErrPermissionDenied)
	case nic == nil:
		return "", 0, nil
	}
	return nic.MAC, cmp.Or(nic.Slot, vsphere.FirstPCISlot), nil
}

// ports lets a running container have the host ports of its endpoints.
func (c *networkChanges) ports(v spec.View, endpoints []spec.Endpoint) error {
	if network.Running(&v) {
		with := v.Container
		with.Endpoints = endpoints
		if err := c.r.claim(&with); err != nil {
			with.Endpoints = v.Container.Endpoints
			return errors.Join(err, c.r.claim(&with))
		}
	}
	c.r.leases.HasPorts(v.Container.ID, endpoints)
	return nil
}

// async runs f beside the caller, who must wait for its end.
func async(f func() error) (wait func() error) {
	ended := make(chan error, 1)
	go func() { ended <- f() }()
	return sync.OnceValue(func() error { return <-ended })
}

// carryOut gives a container other endpoints: in its configuration, which is
// believed from then on, in the appliance and in its guest, which takes about as
// long and is told meanwhile. When that does not work, everything is as it was, and
// undone is called; it is not when the configuration cannot be written again.
// plugged: the guest has to find a card first.
func (c *networkChanges) carryOut(ctx context.Context, v spec.View, now []spec.Endpoint, plugged bool, undone func(context.Context)) error {
	// From here on it is done, or undone, also without the caller.
	ctx, cancel := late(ctx)
	defer cancel()
	r, id := c.r, v.Container.ID
	if err := c.ports(v, now); err != nil {
		undone(ctx)
		return err
	}
	timeout := pushTimeout
	if plugged {
		timeout = plugTimeout
	}
	told := async(func() error { return r.foretell(ctx, v, now, timeout) })
	defer func() { _ = told() }() // it is asked below, unless this is cut off
	err := r.containers().Update(ctx, id, func(s *spec.Container) error {
		s.Endpoints = now
		r.Settle(s)
		return nil
	})
	if err = c.after("configuration", err); err == nil {
		err = c.after("appliance", r.apply())
	}
	early := told()
	if v, verr := r.containers().Container(id); err == nil && verr == nil && v.Status.Phase == spec.PhaseRunning {
		// One that starts is told when its line is up.
		if err = early; err == nil {
			err = r.tell(ctx, id, timeout) // if something else has changed meanwhile
		}
		err = c.after("guest", err)
	}
	if err == nil {
		r.push(ctx)
		return nil
	}
	err = fmt.Errorf("networks of container %s: %w", id, err)
	defer r.kick()
	// Also when writing it failed: it may have been written all the same.
	back := r.containers().Update(ctx, id, func(s *spec.Container) error {
		s.Endpoints, s.DNS = v.Container.Endpoints, v.Container.DNS
		s.NetworkFilter, s.NetworkPolicy = v.Container.NetworkFilter, v.Container.NetworkPolicy
		return nil
	})
	if back != nil && !errdefs.IsNotFound(back) {
		return errors.Join(err, fmt.Errorf("taking it back: %w", back))
	}
	_ = c.ports(v, v.Container.Endpoints) // it had these
	// Before an address of it is anybody else's. One that does not listen now hears
	// it as soon as it does.
	if err := r.retell(ctx, id); err != nil {
		r.log.WithError(err).WithField(spec.FieldContainer, id).Warn("guest does not know that its networks stay as they were, it is told again")
	}
	undone(ctx)
	return err
}
