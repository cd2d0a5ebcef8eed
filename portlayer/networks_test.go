package portlayer

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/lab"
	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/portlayer/network"
)

// nats is the appliance's network as it was set up last.
type nats struct {
	mu    sync.Mutex // guards what follows
	nat   network.NAT
	ports []string
	err   error // of the next
}

func (n *nats) set(nat network.NAT) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.err != nil {
		return n.err
	}
	n.nat = nat
	return nil
}

func (n *nats) report(ports []string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ports = ports
	return nil
}

func (n *nats) fail(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.err = err
}

// text names gateways and published ports.
func (n *nats) text() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []string
	for _, s := range n.nat.Networks {
		out = append(out, s.Gateway.String())
	}
	for _, p := range n.nat.Ports {
		out = append(out, fmt.Sprintf("%s>%s", p.Publication, p.To))
	}
	return strings.Join(append(out, n.ports...), " ")
}

// eventually waits for a state that is on its way.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("never: " + what)
		}
	}
}

// told is what a guest was told last, in words; empty: nothing.
func (s *site) told(id string) string {
	g := s.hyp.guest(id)
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.nets) == 0 {
		return ""
	}
	u := g.nets[len(g.nets)-1]
	var w []string
	for _, e := range u.Endpoints {
		w = append(w, e.Network+"="+e.IP)
		if e.IP6 != "" {
			w = append(w, e.IP6)
		}
	}
	for _, p := range u.Peers {
		w = append(w, "peer "+strings.Join(p.Addresses, ","))
	}
	if u.Filter {
		w = append(w, "filter")
	}
	return strings.Join(append(w, u.DNS.Servers...), " ")
}

func (s *site) refuse(id string, err error) {
	g := s.hyp.guest(id)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.netErr = err
}

// run makes and starts a service.
func (s *site) run(p *PortLayer, img spec.Image, n int, eps ...spec.Endpoint) string {
	s.t.Helper()
	c := s.container(n, img, "/bin/serve", "ready")
	c.Endpoints = eps
	if _, err := p.Create(s.t.Context(), c); err != nil {
		s.t.Fatal(err)
	}
	if err := p.Start(s.t.Context(), c.ID); err != nil {
		s.t.Fatal(err)
	}
	return c.ID
}

// consistent checks that addresses, files and rules are those that containers
// and networks have, and no others.
func (s *site) consistent(p *PortLayer) {
	s.t.Helper()
	have, want := []string{}, []string{}
	for _, v := range p.Containers() {
		for _, e := range v.Container.Endpoints {
			for _, ip := range []string{e.IP, e.IP6} {
				if a, _, ok := strings.Cut(ip, "/"); ok {
					want = append(want, e.Network+" "+a+" "+v.Container.ID)
				}
			}
		}
	}
	files, gateways := []string{}, []string{}
	for name, sc := range p.leases.State().Scopes {
		for a, owner := range sc.Leases {
			have = append(have, name+" "+a.String()+" "+owner)
		}
		if sc.Net.Driver == spec.DriverExternal {
			continue // the appliance is not on it
		}
		if !sc.Net.Builtin {
			files = append(files, sc.Net.ID+".json")
		}
		gateways = append(gateways, netip.PrefixFrom(sc.Gateway, sc.Subnet.Bits()).String())
	}
	slices.Sort(have)
	slices.Sort(want)
	if !slices.Equal(have, want) {
		s.t.Errorf("leases %q, endpoints %q", have, want)
	}
	var kept []string
	entries, err := os.ReadDir(filepath.Join(s.store, "VCH001", "VIC", s.cfg.VCH.UUID, "networks"))
	if err != nil {
		s.t.Error(err)
	}
	for _, e := range entries {
		kept = append(kept, e.Name())
	}
	slices.Sort(files)
	if !slices.Equal(kept, files) {
		s.t.Errorf("files %q, networks %q", kept, files)
	}
	eventually(s.t, "the appliance's addresses are "+strings.Join(gateways, " "), func() bool {
		text := s.nats.text()
		return strings.Count(text, "/1")+strings.Count(text, "/2") >= len(gateways) &&
			!slices.ContainsFunc(gateways, func(g string) bool { return !strings.Contains(text, g) }) && len(s.nats.gateways()) == len(gateways)
	})
}

func (n *nats) gateways() []network.Segment {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.nat.Networks
}

// Networks come and go under running containers, over a restart of the engine.
func TestNetworks(t *testing.T) {
	for _, mode := range []lab.Mode{lab.ModeESXi, lab.ModeVCenter} {
		t.Run(string(mode), func(t *testing.T) { testNetworks(t, newSite(t, mode)) })
	}
}

func testNetworks(t *testing.T, s *site) {
	p, stop := s.boot()
	defer func() { stop() }()
	ctx := t.Context()
	img, _, err := p.Images().Pull(ctx, s.image, spec.PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	a := s.run(p, img, 1, spec.Endpoint{Network: "bridge"})
	if s.told(a) != "" || s.hyp.guest(a).c.NetworkFilter {
		t.Errorf("with one network, the guest is told %q", s.told(a))
	}
	began := time.Now()
	app, err := p.CreateNetwork(ctx, spec.Network{Name: "app", Labels: map[string]string{"l": "1"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("network create took %s", time.Since(began))
	eventually(t, "with two networks, the first guest is told to filter", func() bool { return s.told(a) == "bridge=172.16.0.2/16 filter 10.118.0.1" })
	if _, err := p.CreateNetwork(ctx, spec.Network{Name: "app"}); !errdefs.IsAlreadyExists(err) {
		t.Error(err)
	}
	b := s.run(p, img, 2, spec.Endpoint{Network: "app"})
	if !s.hyp.guest(b).c.NetworkFilter || s.hyp.guest(b).c.Endpoints[0].MAC == "" {
		t.Errorf("the second guest boots with %+v", s.hyp.guest(b).c)
	}
	if s.told(b) != "app=172.17.0.2/16 filter 172.17.0.1" {
		t.Errorf("the second guest is told %q", s.told(b))
	}
	began = time.Now()
	if err := p.Connect(ctx, a, spec.Endpoint{Network: app.ID, Aliases: []string{"x"}}); err != nil {
		t.Fatal(err)
	}
	t.Logf("connect took %s", time.Since(began))
	if s.told(a) != "bridge=172.16.0.2/16 app=172.17.0.3/16 peer 172.17.0.2 filter 172.17.0.1" || s.told(b) != "app=172.17.0.2/16 peer 172.17.0.3 filter 172.17.0.1" {
		t.Errorf("connected: %q, %q", s.told(a), s.told(b))
	}
	if err := p.Connect(ctx, a, spec.Endpoint{Network: "app"}); !errdefs.IsPermissionDenied(err) {
		t.Errorf("twice: %v", err)
	}
	if err := p.RemoveNetwork(ctx, app.ID); !errdefs.IsPermissionDenied(err) || !strings.Contains(err.Error(), `network app has active endpoints (name:"c1" id:"000000000000", name:"c2" id:"000000000000")`) {
		t.Errorf("remove: %v", err)
	}
	// A guest that cannot be told: it stays where it was.
	s.refuse(a, errors.New("no"))
	if err := p.Disconnect(ctx, a, "app"); err == nil {
		t.Error("a guest that refuses is disconnected")
	}
	if v, _ := p.Container(a); len(v.Container.Endpoints) != 2 || v.Container.DNS.Servers[0] != "172.17.0.1" {
		t.Errorf("after that: %+v", v.Container)
	}
	s.refuse(a, nil)
	s.consistent(p)

	stop()
	p, stop = s.boot()
	if n := p.Networks(); len(n) != 2 || n[1].Name != "app" || n[1].Labels["l"] != "1" {
		t.Errorf("networks after a restart: %+v", n)
	}
	s.consistent(p)
	if err := p.Disconnect(ctx, a, app.ID); err != nil {
		t.Fatal(err)
	}
	if s.told(a) != "bridge=172.16.0.2/16 filter 10.118.0.1" {
		t.Errorf("disconnected: %q", s.told(a))
	}
	eventually(t, "the other hears of it", func() bool { return s.told(b) == "app=172.17.0.2/16 filter 172.17.0.1" })
	if err := p.Disconnect(ctx, a, "app"); !errdefs.IsNotFound(err) {
		t.Errorf("twice: %v", err)
	}
	// Its last network goes, and comes back on the same card.
	before, _ := p.Container(a)
	if err := p.Disconnect(ctx, a, "bridge"); err != nil {
		t.Fatal(err)
	}
	if err := p.Connect(ctx, a, spec.Endpoint{Network: "bridge"}); err != nil {
		t.Fatal(err)
	}
	if v, _ := p.Container(a); len(v.Container.Endpoints) != 1 || v.Container.Endpoints[0].MAC != before.Container.Endpoints[0].MAC || v.Container.Endpoints[0].PCISlot != 192 {
		t.Errorf("%+v, was %+v", v.Container.Endpoints, before.Container.Endpoints)
	}
	// One that is off only has it written down, and boots with it.
	if err := p.Stop(ctx, b, "", patience); err != nil {
		t.Fatal(err)
	}
	if err := p.Connect(ctx, b, spec.Endpoint{Network: "bridge", IP: "172.16.0.77"}); err != nil {
		t.Fatal(err)
	}
	if err := p.Start(ctx, b); err != nil {
		t.Fatal(err)
	}
	if c := s.hyp.guest(b).c; len(c.Endpoints) != 2 || c.Endpoints[1].IP != "172.16.0.77/16" || !c.NetworkFilter {
		t.Errorf("booted with %+v", c)
	}
	eventually(t, "both know each other", func() bool {
		return strings.Contains(s.told(b), "peer 172.16.0.") && strings.Contains(s.told(a), "peer 172.16.0.77")
	})
	if err := p.Remove(ctx, b, true); err != nil {
		t.Fatal(err)
	}
	if err := p.RemoveNetwork(ctx, "app"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "with one network, guests do not filter", func() bool { return !strings.Contains(s.told(a), "filter") })
	s.consistent(p)
}

// TestGuestThatWaits: a guest that boots while there are several networks lets nobody
// in before it was told of them, also when the others are gone by then.
func TestGuestThatWaits(t *testing.T) {
	s := newSite(t, lab.ModeESXi)
	p, stop := s.boot()
	defer func() { stop() }()
	ctx := t.Context()
	img, _, err := p.Images().Pull(ctx, s.image, spec.PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i, attached := range []bool{false, true} {
		n, err := p.CreateNetwork(ctx, spec.Network{Name: "other"})
		if err != nil {
			t.Fatal(err)
		}
		s.hyp.booting = func() {
			if err := p.RemoveNetwork(ctx, n.ID); err != nil {
				t.Error(err)
			}
		}
		c := s.container(i+1, img, "/bin/serve", "ready")
		c.Process.Attach = attached
		if _, err := p.Create(ctx, c); err != nil {
			t.Fatal(err)
		}
		if err := p.Start(ctx, c.ID); err != nil {
			t.Fatal(err)
		}
		if !s.hyp.guest(c.ID).c.NetworkFilter {
			t.Error("it booted without a filter")
		}
		if s.told(c.ID) == "" {
			t.Errorf("attached %v: it was not told of its network", attached)
		}
	}
}

// TestPublishedPorts: they are there when a start returns, and one container's at a time.
func TestPublishedPorts(t *testing.T) {
	s := newSite(t, lab.ModeESXi)
	p, stop := s.boot()
	defer func() { stop() }()
	ctx := t.Context()
	img, _, err := p.Images().Pull(ctx, s.image, spec.PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	a := s.run(p, img, 1, spec.Endpoint{Network: "bridge", Ports: []string{"80:8080", "53000:53/udp"}})
	const with = "172.16.0.1/16 80:8080/tcp>172.16.0.2 53000:53/udp>172.16.0.2 53000/udp 80/tcp"
	if got := s.nats.text(); got != with {
		t.Errorf("published: %q", got)
	}
	c := s.container(2, img, "/bin/serve", "x")
	c.Endpoints[0].Ports = []string{"80:80", "81"}
	v, err := p.Create(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	if ports := v.Container.Endpoints[0].Ports; ports[0] != "80:80/tcp" || !strings.HasSuffix(ports[1], ":81/tcp") {
		t.Errorf("%q", ports)
	}
	err = p.Start(ctx, c.ID)
	if err == nil || !strings.Contains(err.Error(), "driver failed programming external connectivity on endpoint c2 ("+c.ID+"): Bind for 0.0.0.0:80 failed: port is already allocated") {
		t.Errorf("%v", err)
	}
	if got := s.nats.text(); got != with {
		t.Errorf("after a conflict: %q", got)
	}
	// They stay published while there is no engine, and are known to the next.
	stop()
	p, stop = s.boot()
	if err := p.Start(ctx, c.ID); err == nil {
		t.Error("a conflict with a container of the engine before is not seen")
	}
	if err := p.Stop(ctx, a, "", patience); err != nil {
		t.Fatal(err)
	}
	eventually(t, "nothing is published", func() bool { return s.nats.text() == "172.16.0.1/16" })
	// The appliance cannot do it: then the container does not run.
	s.nats.fail(errors.New("no nftables"))
	if err := p.Start(ctx, c.ID); err == nil || !strings.Contains(err.Error(), "no nftables") {
		t.Errorf("%v", err)
	}
	s.nats.fail(nil)
	if err := p.Start(ctx, c.ID); err != nil {
		t.Fatal(err)
	}
	if got := s.nats.text(); !strings.Contains(got, "80:80/tcp>172.16.0.3") {
		t.Errorf("published: %q", got)
	}
	if _, err := p.Create(ctx, func() spec.Container {
		c := s.container(3, img, "/bin/serve")
		c.Endpoints[0].Ports = []string{"2376:80"}
		return c
	}()); !errdefs.IsInvalidArgument(err) {
		t.Errorf("a port of the VCH: %v", err)
	}
	s.consistent(p)
}

// changing is a site with a network of one's own, and a container on the default
// one.
func changing(t *testing.T) (s *site, p *PortLayer, stop func(), container string) {
	t.Helper()
	s = newSite(t, lab.ModeESXi)
	p, stop = s.boot()
	img, _, err := p.Images().Pull(t.Context(), s.image, spec.PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.CreateNetwork(t.Context(), spec.Network{Name: "app"}); err != nil {
		t.Fatal(err)
	}
	return s, p, stop, s.run(p, img, 1, spec.Endpoint{Network: "bridge"})
}

// A change that fails after any of its steps leaves nothing behind.
func TestNetworkChangesFail(t *testing.T) {
	s, p, stop, a := changing(t)
	defer func() { stop() }()
	ctx := t.Context()
	for _, tc := range changes {
		for _, step := range tc.steps {
			steps, before := 0, s.told(a)
			p.changes.afterStep = func(at string) error {
				if at == step {
					steps++
					return errors.New("broken")
				}
				return nil
			}
			if err := tc.do(ctx, p, a); err == nil || !strings.Contains(err.Error(), "broken") || steps != 1 {
				t.Errorf("%s, %s: %v, reached %d times", tc.name, step, err, steps)
			}
			p.changes.afterStep = nil
			// Its address is free for others.
			if tc.name == "connect" && s.told(a) != before {
				t.Errorf("%s, %s: the guest is told %q, before %q", tc.name, step, s.told(a), before)
			}
			if tc.name != "remove" && tc.name != "disconnect" {
				if n := len(p.Networks()); n != 2 {
					t.Errorf("%s, %s: %d networks", tc.name, step, n)
				}
			}
			s.consistent(p)
		}
		if err := tc.do(ctx, p, a); err != nil {
			t.Errorf("%s after failures: %v", tc.name, err)
		}
		s.consistent(p)
		if tc.name == "create" {
			if err := p.RemoveNetwork(ctx, "new"); err != nil {
				t.Error(err)
			}
		}
	}
}

// The steps of each change, in an order in which one can follow the other.
var changes = []struct {
	name  string
	steps []string
	do    func(ctx context.Context, p *PortLayer, id string) error
}{
	{"create", []string{"file", "appliance"}, func(ctx context.Context, p *PortLayer, _ string) error {
		_, err := p.CreateNetwork(ctx, spec.Network{Name: "new"})
		return err
	}},
	{"connect", []string{"address", "configuration", "appliance", "guest"}, func(ctx context.Context, p *PortLayer, id string) error {
		return p.Connect(ctx, id, spec.Endpoint{Network: "app"})
	}},
	{"disconnect", []string{"configuration", "appliance", "guest"}, func(ctx context.Context, p *PortLayer, id string) error {
		return p.Disconnect(ctx, id, "app")
	}},
	{"remove", []string{"file"}, func(ctx context.Context, p *PortLayer, _ string) error { return p.RemoveNetwork(ctx, "app") }},
}

// An engine that is killed after any step of a change leaves nothing that does
// not belong: the next finds the change made, or not made.
func TestNetworkChangesKilled(t *testing.T) {
	s, p, stop, a := changing(t)
	defer func() { stop() }()
	ctx := t.Context()
	for _, tc := range changes {
		for _, step := range tc.steps {
			p.changes.afterStep = func(at string) error {
				if at == step {
					runtime.Goexit() // nothing of it is done any more
				}
				return nil
			}
			var died sync.WaitGroup
			died.Go(func() { t.Errorf("%s: not killed at %s: %v", tc.name, step, tc.do(ctx, p, a)) })
			died.Wait()
			stop()
			p, stop = s.boot()
			s.consistent(p)
			v, err := p.Container(a)
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			for _, e := range v.Container.Endpoints {
				want = append(want, e.Network+"="+e.IP)
			}
			eventually(t, tc.name+", "+step+": the guest has "+strings.Join(want, " "), func() bool {
				return strings.HasPrefix(s.told(a)+" ", strings.Join(want, " ")+" ")
			})
			// Back to before.
			switch tc.name {
			case "create":
				err = p.RemoveNetwork(ctx, "new")
			case "connect":
				err = p.Disconnect(ctx, a, "app")
			case "disconnect":
				err = p.Connect(ctx, a, spec.Endpoint{Network: "app"})
			}
			if err != nil && !errdefs.IsNotFound(err) && !errdefs.IsPermissionDenied(err) {
				t.Errorf("%s, %s: %v", tc.name, step, err)
			}
		}
		if tc.name == "remove" {
			continue
		}
		if err := tc.do(ctx, p, a); err != nil {
			t.Errorf("%s after being killed: %v", tc.name, err)
		}
	}
}

// A network whose file is damaged is not made again by another of its name.
func TestDamagedNetwork(t *testing.T) {
	s := newSite(t, lab.ModeESXi)
	p, stop := s.boot()
	defer func() { stop() }()
	ctx := t.Context()
	for _, name := range []string{"cut", "empty", "good"} {
		n, err := p.CreateNetwork(ctx, spec.Network{Name: name})
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(s.store, "VCH001", "VIC", s.cfg.VCH.UUID, "networks", n.ID+".json")
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		b = b[:map[string]int{"cut": len(b) * 3 / 4, "empty": 0, "good": len(b)}[name]]
		if err := os.WriteFile(file, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	half := filepath.Join(s.store, "VCH001", "VIC", s.cfg.VCH.UUID, "networks", "x.json.new")
	if err := os.WriteFile(half, []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	stop()
	p, stop = s.boot()
	if n := p.Networks(); len(n) != 2 || n[1].Name != "good" {
		t.Errorf("%+v", n)
	}
	if _, err := p.CreateNetwork(ctx, spec.Network{Name: "cut"}); !errdefs.IsAlreadyExists(err) || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("%v", err)
	}
	if n, err := p.CreateNetwork(ctx, spec.Network{Name: "other"}); err != nil || n.Subnet == "172.17.0.0/16" {
		t.Errorf("%+v, %v", n, err)
	}
	if _, err := os.Stat(half); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("half-made file: %v", err)
	}
}
