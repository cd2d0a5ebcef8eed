package portlayer

import (
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/lab"
	"github.com/vic-engine/vic/pkg/spec"
)

// IPv6 of a network reaches guests, the router and names, over a restart.
func TestNetworks6(t *testing.T) {
	s := newSite(t, lab.ModeESXi)
	p, stop := s.boot()
	defer func() { stop() }()
	ctx := t.Context()
	img, _, err := p.Images().Pull(ctx, s.image, spec.PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	six, err := p.CreateNetwork(ctx, spec.Network{Name: "six", IPv6: true, Subnet: "10.6.0.0/24", Subnet6: "fd00:6::/64"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.CreateNetwork(ctx, spec.Network{Name: "other", IPv6: true, Subnet6: "fd00:6::/80"}); !errdefs.IsPermissionDenied(err) {
		t.Errorf("the same subnet again: %v", err)
	}
	a := s.run(p, img, 1, spec.Endpoint{Network: "six", IP6: "fd00:6::42", Ports: []string{"8082:80", "[::]:81:81"}})
	b := s.run(p, img, 2, spec.Endpoint{Network: "bridge"})
	if c := s.hyp.guest(a).c; c.Endpoints[0].IP6 != "fd00:6::42/64" || c.Endpoints[0].Gateway6 != "fd00:6::1" || !c.Endpoints[0].Static6 {
		t.Errorf("it boots with %+v", c.Endpoints)
	}
	if err := p.Connect(ctx, b, spec.Endpoint{Network: "six", IP6: "fd00:6::42"}); !errdefs.IsConflict(err) {
		t.Errorf("an address that is taken: %v", err)
	}
	s.consistent(p)
	if err := p.Connect(ctx, b, spec.Endpoint{Network: "six"}); err != nil {
		t.Fatal(err)
	}
	if s.told(b) != "bridge=172.16.0.2/16 six=10.6.0.3/24 fd00:6::2/64 peer 10.6.0.2,fd00:6::42 filter 10.6.0.1" {
		t.Errorf("connected: %q", s.told(b))
	}
	eventually(t, "the other hears of it", func() bool { return strings.Contains(s.told(a), "peer 10.6.0.3,fd00:6::2") })

	check := func() {
		t.Helper()
		s.consistent(p)
		eventually(t, "the router has the addresses and ports", func() bool {
			gws, text := s.nats.gateways(), s.nats.text()
			return len(gws) == 2 && !gws[0].Gateway6.IsValid() && gws[1].Gateway6.String() == "fd00:6::1/64" &&
				strings.Contains(text, "8082:80/tcp>10.6.0.2 8082:80/tcp>fd00:6::42") && strings.Contains(text, "[::]:81:81/tcp>fd00:6::42")
		})
		var asked []string
		for _, v := range dnsViews(p.leases.State().Zones(p.router.views())) {
			if v.Network == "six" {
				asked = append(asked, v.Listen.String()+" "+v.Subnet.String())
				if len(v.Records) != 2 || len(v.Records[0].Addrs) != 2 {
					t.Errorf("records: %+v", v.Records)
				}
			}
		}
		if !slices.Equal(asked, []string{"10.6.0.1 10.6.0.0/24", "fd00:6::1 fd00:6::/64"}) {
			t.Errorf("names are asked at %q", asked)
		}
	}
	check()
	stop()
	p, stop = s.boot()
	if n := p.Networks(); len(n) != 2 || !n[1].IPv6 || n[1].Subnet6 != "fd00:6::/64" || n[1].Gateway6 != "fd00:6::1" || !n[1].Chosen6 {
		t.Errorf("networks after a restart: %+v", n)
	}
	check()
	if err := p.Disconnect(ctx, b, "six"); err != nil {
		t.Fatal(err)
	}
	if err := p.Remove(ctx, a, true); err != nil {
		t.Fatal(err)
	}
	if err := p.RemoveNetwork(ctx, six.ID); err != nil {
		t.Fatal(err)
	}
	s.consistent(p)
}
