package portlayer

import (
	"fmt"
	"sync"

	"github.com/vic-engine/vic/pkg/policy"
	"github.com/vic-engine/vic/pkg/policy/firewall"
	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/portlayer/network"
)

// vchPolicies are those of the file that the VCH was made with.
func vchPolicies(v spec.VCH) ([]policy.Policy, error) {
	if v.Policies == "" {
		return nil, nil
	}
	list, err := policy.ParseFile([]byte(v.Policies))
	if err != nil {
		return nil, fmt.Errorf("policies of the VCH: %w", err)
	}
	return list, nil
}

// appliancePolicies enforces rules on what passes through the appliance. Containers
// reach published ports through it under its own address, so that their guests
// cannot tell who is behind them.
func appliancePolicies(f *firewall.Firewall) func([]spec.PolicyRule) error {
	return func(rules []spec.PolicyRule) error {
		if len(rules) == 0 {
			return f.Clear() // an engine that was there before may have left some
		}
		return f.Set(firewall.New(firewall.Router, rules))
	}
}

// policySet is every rule that there is now.
func (r *router) policySet() policy.Set { return r.leases.State().Rules(r.vch) }

// tells says whether guests have to be told of others: when there are networks to
// be kept apart, or policies.
func (r *router) tells() bool {
	s := r.leases.State()
	return s.Several() || len(s.Rules(r.vch)) > 0
}

// update is what a guest is told: its networks, and the rules that concern it.
func (r *router) update(v *spec.View) spec.NetworkUpdate {
	s, views := r.leases.State(), r.views()
	u := s.Update(&v.Container, views, r.mac)
	rules := s.Rules(r.vch)
	if len(rules) == 0 {
		return u
	}
	if me := network.Member(&v.Container, v.Status.Addresses); rules.Concerns(me) {
		u.Policed, u.Policy = true, rules.For(me, r.members.of(views))
	}
	return u
}

// memberCache keeps what policies see of containers: each guest that is told needs
// it of all of them.
type memberCache struct {
	mu    sync.Mutex // guards known
	known map[*spec.View]policy.Member
}

// of are the members among views. A view's pointer stays the same as long as nothing
// about it changes.
func (m *memberCache) of(views []*spec.View) []policy.Member {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.known) > 2*len(views)+64 { // most of it is of views that were
		m.known = nil
	}
	if m.known == nil {
		m.known = map[*spec.View]policy.Member{}
	}
	var out []policy.Member
	for _, v := range views {
		if !network.Running(v) {
			continue
		}
		member, ok := m.known[v]
		if !ok {
			member = network.Member(&v.Container, v.Status.Addresses)
			m.known[v] = member
		}
		out = append(out, member)
	}
	return out
}

// Policies are the rules of all policies, in the order in which they are asked.
func (p *PortLayer) Policies() policy.Set { return p.router.policySet() }

// Traceflow says what becomes of a connection now. Containers are named by their
// full ids.
func (p *PortLayer) Traceflow(f policy.Flow) policy.Trace {
	return policy.World{
		Set: p.router.policySet(), Members: p.router.members.of(p.router.views()), Networks: p.leases.Networks(),
	}.Trace(f)
}
