package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/vic-engine/vic/pkg/spec"
)

// DefaultPriority is that of rules that name none.
const DefaultPriority = 1000

// maxPriority is the largest one.
const maxPriority = 65535

// A Policy is a named list of rules, valid on one network or on all.
type Policy struct {
	Name string
	// Network is the only one whose addresses the rules concern; empty: all.
	Network string
	Rules   []Rule
}

// A Rule allows or denies connections from one group to another.
type Rule struct {
	// Line counts the rules of the policy from 1.
	Line     int
	Priority int
	Deny     bool
	// Proto is "tcp", "udp", "icmp" or "any".
	Proto string
	// Ports are those of the destination; none: all.
	Ports    []spec.PortRange
	From, To Group
}

// A Group is all containers that have the labels of every term; none: any, also
// what is no container.
type Group struct{ Terms []Term }

// Term selects by one label: by its value, or by its being there.
type Term struct {
	Key, Value string
	// Equal compares the value; not set: any value will do.
	Equal bool
}

// Any tells whether the group is everybody.
func (g Group) Any() bool { return len(g.Terms) == 0 }

// Has tells whether a container with these labels is in the group.
func (g Group) Has(labels map[string]string) bool {
	for _, t := range g.Terms {
		if v, ok := labels[t.Key]; !ok || t.Equal && v != t.Value {
			return false
		}
	}
	return true
}

// String is the group as rules spell it.
func (g Group) String() string {
	if g.Any() {
		return "any"
	}
	var out []string
	for _, t := range g.Terms {
		s := t.Key
		if t.Equal {
			s += "=" + t.Value
		}
		out = append(out, s)
	}
	return strings.Join(out, ",")
}

// String is the rule as it is spelled, without the priority that all have.
func (r Rule) String() string {
	var b strings.Builder
	if r.Priority != DefaultPriority {
		fmt.Fprintf(&b, "%d ", r.Priority)
	}
	b.WriteString(verb(r.Deny) + " " + r.Proto)
	for i, p := range r.Ports {
		b.WriteByte("/,"[min(i, 1)])
		b.WriteString(p.String())
	}
	fmt.Fprintf(&b, " from %s to %s", r.From, r.To)
	return b.String()
}

func verb(deny bool) string {
	if deny {
		return "deny"
	}
	return "allow"
}

// A Set is every rule of a VCH in the order in which they are asked: by priority,
// then those of the VCH before those of networks, then by network, policy and line.
type Set []Bound

// Bound is a rule and where it is from.
type Bound struct {
	Policy, Network string
	Rule
}

// NewSet orders the rules of policies.
func NewSet(policies ...Policy) Set {
	var s Set
	for _, p := range policies {
		for _, r := range p.Rules {
			s = append(s, Bound{Policy: p.Name, Network: p.Network, Rule: r})
		}
	}
	slices.SortFunc(s, func(a, b Bound) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Network, b.Network),
			cmp.Compare(a.Policy, b.Policy), cmp.Compare(a.Line, b.Line))
	})
	return s
}

// Name says which rule it is, for people.
func (b Bound) Name() string {
	of := "of the VCH"
	if b.Network != "" {
		of = "of network " + b.Network
	}
	return fmt.Sprintf("policy %s %s, rule %d", b.Policy, of, b.Line)
}
