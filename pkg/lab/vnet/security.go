package vnet

import "sync/atomic"

// Security is a port group's policy, with the meaning of vSphere's. The zero value
// rejects all three.
type Security struct {
	// Promiscuous: NICs of the port group get every frame of the switch, also
	// those for other NICs.
	Promiscuous bool
	// MACChanges: a guest may have another address than its NIC's. This
	// computer sees of it what the guest sends only, so that it is taken for
	// ForgedTransmits, and frames for such an address are delivered.
	MACChanges bool
	// ForgedTransmits: a guest may send frames from other addresses than its
	// NIC's.
	ForgedTransmits bool
}

// policy is a port group's Security, shared by its ports.
type policy struct{ now atomic.Pointer[Security] }

func newPolicy() *policy {
	p := &policy{}
	p.now.Store(&Security{})
	return p
}

// SetSecurity changes a port group's policy, also for NICs that are on it. Without
// it everything is rejected.
func (n *Network) SetSecurity(portGroup string, s Security) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.policyOf(portGroup).now.Store(&s)
}

// policyOf is called with mu held.
func (n *Network) policyOf(portGroup string) *policy {
	p := n.policies[portGroup]
	if p == nil {
		p = newPolicy()
		n.policies[portGroup] = p
	}
	return p
}

// maySend tells whether the switch takes a frame from the NIC.
func (p *port) maySend(f frame) bool {
	if p.policy == nil || f.src() == p.hw {
		return true
	}
	s := p.policy.now.Load()
	return s.ForgedTransmits || s.MACChanges
}

// hears tells whether a frame that is not known to be for the NIC is given to it.
func (p *port) hears(f frame) bool {
	return p.policy == nil || f.dst().group() || f.dst() == p.hw || p.policy.now.Load().Promiscuous
}

// snoops tells whether the NIC also gets the frames of others.
func (p *port) snoops() bool {
	return p.policy != nil && p.policy.now.Load().Promiscuous
}
