package network

import (
	"sync"

	"github.com/vic-engine/vic/pkg/spec"
)

// Leases is a State that many goroutines use.
type Leases struct {
	mu sync.Mutex // guards s
	s  State
}

// NewLeases begins with a state.
func NewLeases(s State) *Leases { return &Leases{s: s} }

// Allocate fills in the address, gateway and port group of every endpoint, or
// of none. No endpoints stay none: a container without a network.
func (l *Leases) Allocate(owner string, endpoints []spec.Endpoint) ([]spec.Endpoint, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s, out := l.s, append([]spec.Endpoint(nil), endpoints...)
	for i := range out {
		e := &out[i]
		next, lease, err := Allocate(s, Request{Network: e.Network, Owner: owner, IP: e.IP})
		if err != nil {
			return nil, err
		}
		s = next
		e.Network, e.NetworkID, e.PortGroup = lease.Network, lease.NetworkID, lease.PortGroup
		e.IP, e.Gateway = lease.Prefix.String(), lease.Gateway.String()
	}
	l.s = s
	return out, nil
}

// Restore takes back what an existing container has; see the function Restore.
func (l *Leases) Restore(owner string, endpoints []spec.Endpoint) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	s, err := Restore(l.s, owner, endpoints)
	l.s = s
	return err
}

// Release gives back all addresses of an owner.
func (l *Leases) Release(owner string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.s = Release(l.s, owner)
}

// State is a copy of the state.
func (l *Leases) State() State {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.s
}

// Networks lists the scopes, the default one first.
func (l *Leases) Networks() []spec.Network { return l.State().Networks() }
