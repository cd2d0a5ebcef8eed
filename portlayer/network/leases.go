package network

import (
	"maps"
	"strings"
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

// Allocate fills in the address, gateway, port group and MAC address of every
// endpoint, or of none, and chooses host ports. No endpoints stay none: a
// container without a network.
func (l *Leases) Allocate(owner string, endpoints []spec.Endpoint) ([]spec.Endpoint, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s, out := l.s, append([]spec.Endpoint(nil), endpoints...)
	if len(out) == 0 {
		return out, nil
	}
	s, mac, err := bridgeMAC(s, owner, out)
	if err != nil {
		return nil, err
	}
	for i := range out {
		if s, err = fill(s, owner, mac, &out[i]); err != nil {
			return nil, err
		}
	}
	out = Arrange(out)
	for i := range out {
		if out[i].Trust != "" {
			continue // its ports are nobody else's
		}
		if out[i].Ports, err = choosePorts(s, owner, out[i].Ports); err != nil {
			return nil, err
		}
	}
	l.s = s.withPorts(owner, out)
	return out, nil
}

// bridgeMAC gives the address of the card on the bridge: the first that is asked
// for. Without bridge networks there is no such card.
func bridgeMAC(s State, owner string, endpoints []spec.Endpoint) (State, string, error) {
	want, bridged := "", false
	for _, e := range endpoints {
		if sc, err := s.find(e.Network); err == nil && sc.external() {
			continue
		}
		bridged = true
		if want == "" {
			want = e.MAC
		}
	}
	if !bridged {
		return s, "", nil
	}
	return MAC(s, owner, want)
}

// Join gives a container that exists an address on one more network, and host
// ports. mac is that of its NIC on the bridge; empty: it has none yet, and is
// given one.
func (l *Leases) Join(owner, mac string, e spec.Endpoint) (spec.Endpoint, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s, err := l.s, error(nil)
	if mac == "" {
		if s, mac, err = bridgeMAC(s, owner, []spec.Endpoint{e}); err != nil {
			return e, err
		}
	}
	if s, err = fill(s, owner, mac, &e); err != nil {
		return e, err
	}
	if e.Trust == "" {
		if e.Ports, err = choosePorts(s, owner, e.Ports); err != nil {
			return e, err
		}
	}
	l.s = s.withMAC(e.MAC, owner)
	return e, nil
}

// HasPorts notes the host ports that a container has from now on.
func (l *Leases) HasPorts(owner string, endpoints []spec.Endpoint) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.s = l.s.withPorts(owner, endpoints)
}

// Leave gives back an address on one network, and on a container network that of
// the card, which goes with it.
func (l *Leases) Leave(owner, network, mac string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if sc, err := l.s.find(network); err == nil && sc.external() && l.s.macs[strings.ToLower(mac)] == owner {
		l.s.macs = maps.Clone(l.s.macs)
		delete(l.s.macs, strings.ToLower(mac))
	}
	l.s = ReleaseOn(l.s, owner, network)
}

func fill(s State, owner, mac string, e *spec.Endpoint) (State, error) {
	if sc, err := s.find(e.Network); err == nil && sc.external() {
		return fillExternal(s, owner, sc, e)
	}
	s, lease, err := Allocate(s, Request{Network: e.Network, Owner: owner, IP: e.IP, IP6: e.IP6})
	if err != nil {
		return s, err
	}
	e.Static, e.Static6 = e.Static || e.IP != "", e.Static6 || e.IP6 != ""
	e.Network, e.NetworkID, e.PortGroup, e.MAC = lease.Network, lease.NetworkID, lease.PortGroup, mac
	e.IP, e.Gateway = lease.Prefix.String(), ""
	if lease.Gateway.IsValid() {
		e.Gateway = lease.Gateway.String()
	}
	e.IP6, e.Gateway6 = "", ""
	if lease.Prefix6.IsValid() {
		e.IP6 = lease.Prefix6.String()
	}
	if lease.Gateway6.IsValid() {
		e.Gateway6 = lease.Gateway6.String()
	}
	return s, nil
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

// Change replaces the state by what f makes of it; with an error nothing
// changes. f must not call back.
func (l *Leases) Change(f func(State) (State, error)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	s, err := f(l.s)
	if err == nil {
		l.s = s
	}
	return err
}

// State is a copy of the state.
func (l *Leases) State() State {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.s
}

// Networks lists the scopes, the default one first.
func (l *Leases) Networks() []spec.Network { return l.State().Networks() }
