package network

import (
	"net/netip"

	"github.com/vic-engine/vic/pkg/policy"
	"github.com/vic-engine/vic/pkg/spec"
)

// Rules are the rules of all policies: those of the VCH, and those that networks
// have as labels.
func (s State) Rules(vch []policy.Policy) policy.Set {
	all := vch[:len(vch):len(vch)]
	for _, sc := range s.Scopes {
		all = append(all, sc.Policies...)
	}
	return policy.NewSet(all...)
}

// Member is one container as policies see it. reported are the addresses that its
// guest has, by network, of which those count that it was not given by the VCH.
func Member(c *spec.Container, reported map[string]string) policy.Member {
	m := policy.Member{ID: c.ID, Name: c.Name, Labels: c.Labels, Addresses: map[string][]netip.Addr{}}
	for _, e := range c.Endpoints {
		if m.Route == "" && e.Gateway != "" {
			m.Route = e.Network
		}
		texts := []string{e.IP, e.IP6}
		if e.IP == "" && e.IP6 == "" {
			texts = []string{reported[e.Network]}
		}
		m.Addresses[e.Network] = nil // it is on it
		for _, text := range texts {
			if a, err := parseAddr(text); err == nil {
				m.Addresses[e.Network] = append(m.Addresses[e.Network], a)
			}
		}
	}
	return m
}
