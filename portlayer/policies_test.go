package portlayer

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/lab"
	"github.com/vic-engine/vic/pkg/policy"
	"github.com/vic-engine/vic/pkg/spec"
)

// rulesOf is what rules say, in few words.
func rulesOf(rules []spec.PolicyRule) string {
	var out []string
	for _, r := range rules {
		out = append(out, fmt.Sprintf("%s%v%v>%v", r.Proto, r.Ports, r.From, r.To))
	}
	return strings.Join(out, "; ")
}

// policed is what a guest was told of policies last.
func (s *site) policed(id string) string {
	g := s.hyp.guest(id)
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.nets) == 0 || !g.nets[len(g.nets)-1].Policed {
		return "none"
	}
	return rulesOf(g.nets[len(g.nets)-1].Policy)
}

// Rules follow containers: as they start, stop, come on a network and leave it, and
// over a restart of the engine.
func TestPolicies(t *testing.T) {
	s := newSite(t, lab.ModeESXi)
	var mu sync.Mutex
	var appliance string
	s.cfg.SetUpPolicies = func(rules []spec.PolicyRule) error {
		mu.Lock()
		defer mu.Unlock()
		appliance = rulesOf(rules)
		return nil
	}
	passing := func() string {
		mu.Lock()
		defer mu.Unlock()
		return appliance
	}
	s.cfg.VCH.Policies = "policies: [{name: all, rules: [deny udp/53 from locked to locked]}]"
	p, stop := s.boot()
	defer func() { stop() }()
	ctx := t.Context()
	img, _, err := p.Images().Pull(ctx, s.image, spec.PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	labels := map[string]string{"vic.policy.web": "deny tcp/80 from tier=front to tier=front"}
	_, err = p.CreateNetwork(ctx, spec.Network{Name: "bad", Labels: map[string]string{"vic.policy.x": "deny all"}})
	if !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), `network bad: label vic.policy.x: rule "deny all": `) {
		t.Errorf("bad grammar: %v", err)
	}
	run := func(n int, tier string, networks ...string) string {
		c := s.container(n, img, "/bin/serve", "ready")
		c.Labels, c.Endpoints = map[string]string{"tier": tier}, nil
		for _, n := range networks {
			c.Endpoints = append(c.Endpoints, spec.Endpoint{Network: n})
		}
		if _, err := p.Create(ctx, c); err != nil {
			t.Fatal(err)
		}
		if err := p.Start(ctx, c.ID); err != nil {
			t.Fatal(err)
		}
		return c.ID
	}
	if _, err := p.CreateNetwork(ctx, spec.Network{Name: "shop", Labels: labels}); err != nil {
		t.Fatal(err)
	}
	a := run(1, "front", "shop")
	if !s.hyp.guest(a).c.NetworkPolicy || s.policed(a) != "tcp[80][172.17.0.2]>[172.17.0.2]" {
		t.Errorf("the first is told %s, boots with %v", s.policed(a), s.hyp.guest(a).c.NetworkPolicy)
	}
	back, other := run(2, "back", "shop"), run(3, "front", "bridge")
	if s.hyp.guest(back).c.NetworkPolicy || s.policed(back) != "none" || s.hyp.guest(other).c.NetworkPolicy || s.policed(other) != "none" {
		t.Errorf("whom no rule concerns is told %s, %s", s.policed(back), s.policed(other))
	}
	const both = "tcp[80][172.17.0.2 172.17.0.4]>[172.17.0.2 172.17.0.4]"
	if err := p.Connect(ctx, other, spec.Endpoint{Network: "shop"}); err != nil {
		t.Fatal(err)
	}
	if s.policed(other) != both || s.policed(a) != both {
		t.Errorf("connected: %s, %s", s.policed(other), s.policed(a))
	}
	eventually(t, "the appliance knows", func() bool { return passing() == both })
	if v, _ := p.Container(other); !v.Container.NetworkPolicy {
		t.Error("it would boot without rules")
	}
	tr := p.Traceflow(policy.Flow{From: a, To: other, Proto: "tcp", Port: 80})
	if tr.Allowed || tr.Rule != "deny tcp/80 from tier=front to tier=front" || tr.Point != policy.PointSource {
		t.Errorf("trace: %+v", tr)
	}

	stop()
	p, stop = s.boot()
	if err := p.Disconnect(ctx, other, "shop"); err != nil {
		t.Fatal(err)
	}
	if s.policed(other) != "none" {
		t.Errorf("disconnected: %s", s.policed(other))
	}
	eventually(t, "the other hears of it", func() bool { return s.policed(a) == "tcp[80][172.17.0.2]>[172.17.0.2]" })
	third := run(4, "front", "shop")
	eventually(t, "both know each other", func() bool { return s.policed(third) == s.policed(a) && strings.Contains(s.policed(a), "172.17.0.2 ") })
	if err := p.Remove(ctx, third, true); err != nil {
		t.Fatal(err)
	}
	eventually(t, "who is gone is in no rule", func() bool { return s.policed(a) == "tcp[80][172.17.0.2]>[172.17.0.2]" && passing() == s.policed(a) })
	// The rules of the VCH hold on the default network alone, too.
	locked := s.container(5, img, "/bin/serve", "ready")
	locked.Labels = map[string]string{"locked": ""}
	if _, err := p.Create(ctx, locked); err != nil {
		t.Fatal(err)
	}
	if err := p.Start(ctx, locked.ID); err != nil {
		t.Fatal(err)
	}
	if got := s.policed(locked.ID); got != "udp[53][172.16.0.3]>[172.16.0.3]" {
		t.Errorf("the VCH's: %s", got)
	}
}
