package engine

import (
	"net/netip"
	"slices"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/policy"
)

// PolicyRule is a rule that concerns a network, as inspect shows it.
type PolicyRule struct {
	policy.Bound
	// Senders and Receivers name the containers that are in the groups now and run, sorted;
	// of a group that is any there are none.
	Senders, Receivers []string
}

// policyRules are the rules that concern the containers of a network, in the order
// in which they are asked.
func (e *Engine) policyRules(network string, members []*Info) []PolicyRule {
	if e.policies == nil || network == noNetwork {
		return nil
	}
	names := func(g policy.Group) []string {
		var out []string
		for _, m := range members {
			if !g.Any() && m.State.Running && g.Has(m.Container.Labels) {
				out = append(out, m.Container.Name)
			}
		}
		slices.Sort(out)
		return out
	}
	var out []PolicyRule
	for _, b := range e.policies.Policies() {
		if b.Network == "" || b.Network == network {
			out = append(out, PolicyRule{b, names(b.From), names(b.To)})
		}
	}
	return out
}

// TraceRequest asks what becomes of a connection from a container to another, or to
// an address.
type TraceRequest struct {
	From, To string
	Proto    string // "tcp", "udp" or "icmp"
	Port     int    // of the destination; 0 with icmp
}

// Traceflow says whether a connection would be let through now, and what decides.
func (e *Engine) Traceflow(r TraceRequest) (policy.Trace, error) {
	if e.policies == nil {
		return policy.Trace{}, notImplemented("not supported: traceflow: this VCH cannot tell")
	}
	f := policy.Flow{Proto: r.Proto}
	switch r.Proto {
	case "tcp", "udp":
		if r.Port < 1 || r.Port > 65535 {
			return policy.Trace{}, invalid("port %d: want the destination's, from 1 to 65535", r.Port)
		}
		f.Port = uint16(r.Port)
	case "icmp":
		if r.Port != 0 {
			return policy.Trace{}, invalid("port %d: icmp has no ports", r.Port)
		}
	default:
		return policy.Trace{}, invalid("protocol %q: want tcp, udp or icmp", r.Proto)
	}
	from, err := e.find(r.From)
	if err != nil {
		return policy.Trace{}, err
	}
	f.From = from.Container.ID
	to, err := e.find(r.To)
	switch addr, perr := netip.ParseAddr(r.To); {
	case err == nil:
		f.To = to.Container.ID
	case perr == nil && errdefs.IsNotFound(err):
		f.Address = addr.Unmap()
	default:
		return policy.Trace{}, err
	}
	return e.policies.Traceflow(f), nil
}
