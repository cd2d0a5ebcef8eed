package portlayer

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/lab"
	"github.com/vic-engine/vic/pkg/lab/machine"
	"github.com/vic-engine/vic/pkg/spec"
)

// The fake VMs have hot-plug of network cards.
var _ machine.HotPlug = (*tether)(nil)

func (t *tether) AddDisk(context.Context, machine.Disk) error    { return errdefs.ErrNotImplemented }
func (t *tether) RemoveDisk(context.Context, machine.Disk) error { return errdefs.ErrNotImplemented }
func (t *tether) GrowDisk(context.Context, machine.Disk, int64) error {
	return errdefs.ErrNotImplemented
}

func (t *tether) AddNIC(_ context.Context, n machine.NIC) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.m.NICs = append(slices.Clone(t.m.NICs), n)
	return nil
}

func (t *tether) RemoveNIC(_ context.Context, n machine.NIC) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.m.NICs = slices.DeleteFunc(slices.Clone(t.m.NICs), func(o machine.NIC) bool { return o.MAC == n.MAC })
	return nil
}

// cards are the networks of a VM's cards, with their addresses.
func (s *site) cards(id string) string {
	g := s.hyp.guest(id)
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []string
	for _, n := range g.m.NICs {
		out = append(out, n.Network+" "+strings.ToLower(n.MAC))
	}
	return strings.Join(out, ", ")
}

func withContainerNetworks(t *testing.T, mode lab.Mode) (*site, *PortLayer, func(), spec.Image) {
	t.Helper()
	s := newSite(t, mode)
	s.cfg.VCH.ContainerNetworks = []spec.ContainerNetwork{
		{Name: "direct", PortGroup: "VM Network", Gateway: "10.9.0.1/16", Ranges: []string{"10.9.1.0/24"}, DNS: []string{"10.9.0.2"}, Trust: spec.TrustPeers},
	}
	p, stop := s.boot()
	img, _, err := p.Images().Pull(t.Context(), s.image, spec.PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return s, p, stop, img
}

// A container on a container network has a card of its own there, from the create
// on or plugged while it runs.
func TestContainerNetworks(t *testing.T) {
	for _, mode := range []lab.Mode{lab.ModeESXi, lab.ModeVCenter} {
		t.Run(string(mode), func(t *testing.T) { testContainerNetworks(t, mode) })
	}
}

func testContainerNetworks(t *testing.T, mode lab.Mode) {
	s, p, stop, img := withContainerNetworks(t, mode)
	defer func() { stop() }()
	ctx := t.Context()
	a := s.run(p, img, 1, spec.Endpoint{Network: "direct", Ports: []string{"80/tcp"}})
	v, _ := p.Container(a)
	e := v.Container.Endpoints[0]
	if c := s.hyp.guest(a).c; len(c.Endpoints) != 1 || c.Endpoints[0].IP != "10.9.1.1/16" && c.Endpoints[0].IP != "10.9.1.0/16" || c.Endpoints[0].Trust != spec.TrustPeers ||
		!slices.Equal(c.Endpoints[0].Peers, []string{"10.9.1.0/24"}) || !slices.Equal(c.DNS.Servers, []string{"10.9.0.2"}) || c.NetworkFilter {
		t.Errorf("booted with %+v", c)
	}
	if got := s.cards(a); got != "VM Network "+e.MAC {
		t.Errorf("cards: %s, endpoint %+v", got, e)
	}
	b := s.run(p, img, 2, spec.Endpoint{Network: "bridge"})
	first := s.cards(b)
	if err := p.Connect(ctx, b, spec.Endpoint{Network: "direct"}); err != nil {
		t.Fatal(err)
	}
	v, _ = p.Container(b)
	e = v.Container.Endpoints[1]
	if e.PCISlot != 224 || s.cards(b) != first+", VM Network "+e.MAC || s.told(b) != "bridge=172.16.0.2/16 direct="+e.IP+" 10.118.0.1" {
		t.Errorf("plugged: %s, told %s, endpoint %+v", s.cards(b), s.told(b), e)
	}
	s.consistent(p)
	if err := p.RemoveNetwork(ctx, "direct"); !errdefs.IsPermissionDenied(err) {
		t.Errorf("removed: %v", err)
	}
	stop()
	p, stop = s.boot()
	s.consistent(p)
	if err := p.Disconnect(ctx, b, "direct"); err != nil {
		t.Fatal(err)
	}
	if s.cards(b) != first || s.told(b) != "bridge=172.16.0.2/16 10.118.0.1" {
		t.Errorf("unplugged: %s, told %s", s.cards(b), s.told(b))
	}
	if err := p.Connect(ctx, b, spec.Endpoint{Network: "direct", IP: "10.9.1.77"}); err != nil {
		t.Fatal(err)
	}
	if v, _ = p.Container(b); v.Container.Endpoints[1].MAC != e.MAC {
		t.Errorf("the card is another one: %+v, was %+v", v.Container.Endpoints[1], e)
	}
	// The other way round, while it is off: a first card on the bridge.
	if err := p.Stop(ctx, a, "", patience); err != nil {
		t.Fatal(err)
	}
	if err := p.Connect(ctx, a, spec.Endpoint{Network: "bridge"}); err != nil {
		t.Fatal(err)
	}
	if err := p.Start(ctx, a); err != nil {
		t.Fatal(err)
	}
	v, _ = p.Container(a)
	if eps := v.Container.Endpoints; len(eps) != 2 || eps[1].PCISlot != 224 || eps[0].MAC == eps[1].MAC ||
		s.cards(a) != "VM Network "+eps[0].MAC+", "+s.cfg.VCH.Networks["bridge"].PortGroup+" "+eps[1].MAC {
		t.Errorf("cards %s, endpoints %+v", s.cards(a), v.Container.Endpoints)
	}
	s.consistent(p)
	// Its last network goes: the card stays for the next.
	if err := errors.Join(p.Disconnect(ctx, a, "bridge"), p.Disconnect(ctx, a, "direct")); err != nil {
		t.Fatal(err)
	}
	kept := s.cards(a)
	if err := p.Connect(ctx, a, spec.Endpoint{Network: "direct"}); err != nil || s.cards(a) != kept || !strings.HasPrefix(s.told(a), "direct=10.9.1.") {
		t.Errorf("connected again: %v, cards %s, were %s, told %s", err, s.cards(a), kept, s.told(a))
	}
	s.consistent(p)
}

// What fails, or is killed, at any step leaves no card behind that nobody finds,
// and no address.
func TestContainerNetworkConnectFails(t *testing.T) {
	s, p, stop, img := withContainerNetworks(t, lab.ModeESXi)
	defer func() { stop() }()
	ctx := t.Context()
	a := s.run(p, img, 1, spec.Endpoint{Network: "bridge"})
	first := s.cards(a)
	steps := []string{"address", "card", "configuration", "appliance", "guest"}
	for _, step := range steps {
		p.changes.afterStep = func(at string) error {
			if at == step {
				return errors.New("as the test wants")
			}
			return nil
		}
		if err := p.Connect(ctx, a, spec.Endpoint{Network: "direct"}); err == nil {
			t.Errorf("%s: connected", step)
		}
		p.changes.afterStep = nil
		if v, _ := p.Container(a); s.cards(a) != first || len(v.Container.Endpoints) != 1 {
			t.Errorf("%s: cards %s, endpoints %+v", step, s.cards(a), v.Container.Endpoints)
		}
		s.consistent(p)
	}
	for _, step := range steps {
		p.changes.afterStep = func(at string) error {
			if at == step {
				runtime.Goexit() // nothing of it is done any more
			}
			return nil
		}
		var died sync.WaitGroup
		died.Go(func() { t.Errorf("not killed at %s: %v", step, p.Connect(ctx, a, spec.Endpoint{Network: "direct"})) })
		died.Wait()
		stop()
		p, stop = s.boot()
		s.consistent(p)
		// Whatever was left is what the next finds.
		v, _ := p.Container(a)
		if len(v.Container.Endpoints) == 1 {
			if err := p.Connect(ctx, a, spec.Endpoint{Network: "direct"}); err != nil {
				t.Errorf("%s: %v", step, err)
			}
		}
		v, _ = p.Container(a)
		if s.cards(a) != first+", VM Network "+v.Container.Endpoints[1].MAC {
			t.Errorf("%s: cards %s, endpoints %+v", step, s.cards(a), v.Container.Endpoints)
		}
		eventually(t, step+": the guest knows", func() bool { return strings.Contains(s.told(a), "direct="+v.Container.Endpoints[1].IP) })
		if err := p.Disconnect(ctx, a, "direct"); err != nil || s.cards(a) != first {
			t.Errorf("%s: disconnect: %v, cards %s", step, err, s.cards(a))
		}
	}
}
