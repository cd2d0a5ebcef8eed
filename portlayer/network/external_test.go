package network

import (
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"

	"github.com/vic-engine/vic/pkg/spec"
)

// prods are two container networks, one with addresses of the VCH's choice.
func prods() []spec.ContainerNetwork {
	return []spec.ContainerNetwork{
		{Name: "dhcp", PortGroup: "VM Network", Trust: spec.TrustPublished},
		{Name: "static", PortGroup: "prod", Gateway: "10.2.0.1/16", Ranges: []string{"10.2.1.250-10.2.1.252", "10.2.3.0/31"},
			DNS: []string{"10.2.0.2"}, Trust: spec.TrustPeers},
	}
}

func TestContainerNetworks(t *testing.T) {
	s := bridge(t, Config{VCH: "v", PortGroup: "pg", External: prods()})
	l := NewLeases(s)
	out, err := l.Allocate("c1", []spec.Endpoint{{Network: "dhcp", Ports: []string{"80/tcp"}}, {Network: "bridge", Ports: []string{"8000:80/tcp"}}, {Network: "static"}})
	if err != nil {
		t.Fatal(err)
	}
	d, b, st := out[0], out[1], out[2]
	if d.Network != "dhcp" || d.PortGroup != "VM Network" || d.IP != "" || d.Gateway != "" || d.Trust != spec.TrustPublished || !cmp.Equal(d.Ports, []string{"80/tcp"}) {
		t.Errorf("%+v", d)
	}
	if b.Network != "bridge" || b.IP != "172.16.0.2/16" || b.Trust != "" || !cmp.Equal(b.Ports, []string{"8000:80/tcp"}) {
		t.Errorf("%+v", b)
	}
	if st.IP != "10.2.1.250/16" || st.Gateway != "10.2.0.1" || st.Trust != spec.TrustPeers || !cmp.Equal(st.Peers, prods()[1].Ranges) || len(st.Ports) > 0 {
		t.Errorf("%+v", st)
	}
	if d.MAC == b.MAC || d.MAC == st.MAC || b.MAC == st.MAC || !strings.HasPrefix(d.MAC, "00:50:56:") {
		t.Errorf("cards share an address: %s %s %s", d.MAC, b.MAC, st.MAC)
	}
	var ips []string
	for _, owner := range []string{"c2", "c3", "c4"} {
		out, err := l.Allocate(owner, []spec.Endpoint{{Network: "static"}})
		if err != nil {
			t.Fatal(err)
		}
		ips = append(ips, out[0].IP)
	}
	if want := []string{"10.2.1.251/16", "10.2.1.252/16", "10.2.3.0/16"}; !cmp.Equal(ips, want) {
		t.Errorf("%v", ips)
	}
	if _, err := l.Allocate("c5", []spec.Endpoint{{Network: "static", IP: "10.2.3.1"}}); err != nil {
		t.Error(err)
	}
	if _, err := l.Allocate("c6", []spec.Endpoint{{Network: "static"}}); !errdefs.IsResourceExhausted(err) {
		t.Errorf("no address is left: %v", err)
	}
	if _, err := l.Allocate("c6", []spec.Endpoint{{Network: "static", IP: "10.2.9.9"}}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("an address that is not the containers': %v", err)
	}
	if _, err := l.Allocate("c6", []spec.Endpoint{{Network: "dhcp", IP: "10.9.9.9"}}); !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), "DHCP") {
		t.Errorf("an address with DHCP: %v", err)
	}
	l.Release("c2")
	if out, err := l.Allocate("c7", []spec.Endpoint{{Network: "static"}}); err != nil || out[0].IP != "10.2.1.251/16" {
		t.Errorf("what was given back: %+v, %v", out, err)
	}
	// A VCH that begins again finds what its containers have.
	again := NewLeases(bridge(t, Config{VCH: "v", PortGroup: "pg", External: prods()}))
	if err := again.Restore("c1", out); err != nil {
		t.Error(err)
	}
	if _, err := again.Allocate("c8", []spec.Endpoint{{Network: "static", IP: "10.2.1.250"}}); !errdefs.IsConflict(err) {
		t.Errorf("an address that a container has: %v", err)
	}
	if _, err := again.Allocate("c8", []spec.Endpoint{{Network: "dhcp", MAC: d.MAC}}); !errdefs.IsConflict(err) {
		t.Errorf("a card's address that a container has: %v", err)
	}
}

// TestContainerNetworksAreNotRouted: the VCH has no place on them.
func TestContainerNetworksAreNotRouted(t *testing.T) {
	plain := bridge(t, Config{VCH: "v", PortGroup: "pg"})
	s := bridge(t, Config{VCH: "v", PortGroup: "pg", External: prods()})
	if d := cmp.Diff(Text(Rules(plain.NATFor("m", nil, nil))), Text(Rules(s.NATFor("m", nil, nil)))); d != "" {
		t.Error(d)
	}
	if len(s.Zones(nil)) != 1 || s.Several() {
		t.Error("they count as bridge networks")
	}
	l := NewLeases(s)
	one, err := l.Allocate("one", []spec.Endpoint{{Network: "static", Ports: []string{"80/tcp"}}})
	if err != nil {
		t.Fatal(err)
	}
	two, err := l.Allocate("two", []spec.Endpoint{{Network: "static"}})
	if err != nil {
		t.Fatal(err)
	}
	a := &spec.View{Container: spec.Container{ID: "one", Endpoints: one}, Status: spec.Status{Phase: spec.PhaseRunning}}
	b := &spec.View{Container: spec.Container{ID: "two", Endpoints: two}, Status: spec.Status{Phase: spec.PhaseRunning}}
	if p := Peers(&a.Container, []*spec.View{a, b}); len(p) > 0 {
		t.Errorf("peers on the bridge: %+v", p)
	}
	if len(Published(one)) > 0 || len(Forwards([]*spec.View{a}, func(string) []Publication { return Published(one) })) > 0 {
		t.Error("the VCH publishes their ports")
	}
	s, _ = make1(t, l.State(), spec.Network{Name: "other"})
	if s.Filters(one) || !s.Filters(append(one, spec.Endpoint{Network: "bridge"})) {
		t.Error("who filters on the bridge")
	}
	if _, err := Load(s, spec.Network{ID: "x", Name: "x", Subnet: "10.2.9.0/24"}); err == nil {
		t.Error("a bridge network has a container network's subnet")
	}
	if _, _, err := Create(s, spec.Network{ID: "x", Name: "static"}); !errdefs.IsAlreadyExists(err) {
		t.Errorf("a bridge network has a container network's name: %v", err)
	}
	if _, _, err := Remove(s, "static", nil); !errdefs.IsPermissionDenied(err) || !strings.Contains(err.Error(), "container network") {
		t.Errorf("removed: %v", err)
	}
	if n, err := s.Find("static"); err != nil || !n.Builtin || n.Driver != spec.DriverExternal || n.Subnet != "10.2.0.0/16" {
		t.Errorf("%+v, %v", n, err)
	}
}

func TestContainerNetworkDNS(t *testing.T) {
	s := bridge(t, Config{VCH: "v", PortGroup: "pg", External: prods()})
	s, n := make1(t, s, spec.Network{Name: "mine"})
	on := func(names ...string) []spec.Endpoint {
		var out []spec.Endpoint
		for _, name := range names {
			sc, _ := s.find(name)
			out = append(out, spec.Endpoint{Network: name, Trust: sc.Net.Trust})
		}
		return out
	}
	appliance := []string{"192.0.2.1"}
	for _, c := range []struct {
		on   []spec.Endpoint
		own  []string
		want []string
	}{
		{on("dhcp"), nil, nil}, // the guest takes what the lease says
		{on("static"), nil, []string{"10.2.0.2"}},
		{on("static"), []string{"198.51.100.1"}, []string{"198.51.100.1"}},
		{on("static", "bridge"), nil, appliance},
		{on("static", "mine"), nil, []string{n.Gateway}},
		{nil, nil, appliance},
	} {
		got := s.DNS(c.on, c.own, appliance)
		if !cmp.Equal(got, c.want) {
			t.Errorf("%v: %v, want %v", c.on, got, c.want)
		}
		if again := s.DNS(c.on, s.OwnDNS(got, appliance), appliance); !cmp.Equal(again, c.want) {
			t.Errorf("%v, settled again: %v, want %v", c.on, again, c.want)
		}
	}
}

func TestArrangeContainerNetworks(t *testing.T) {
	in := []spec.Endpoint{
		{Network: "inner", Ports: []string{"8000:80/tcp"}},
		{Network: "dhcp", Trust: spec.TrustPublished, Ports: []string{"80/tcp"}},
		{Network: "bridge", Gateway: "g"},
	}
	want := []spec.Endpoint{
		{Network: "dhcp", Trust: spec.TrustPublished, Ports: []string{"80/tcp"}},
		{Network: "bridge", Gateway: "g", Ports: []string{"8000:80/tcp"}},
		{Network: "inner"},
	}
	if d := cmp.Diff(want, Arrange(in)); d != "" {
		t.Error(d)
	}
}

func TestBadContainerNetworks(t *testing.T) {
	for _, n := range []spec.ContainerNetwork{
		{Name: "bridge", PortGroup: "x", Trust: spec.TrustOpen},
		{Name: "none", PortGroup: "x", Trust: spec.TrustOpen},
		{Name: "n", PortGroup: "pg", Trust: spec.TrustOpen},
		{Name: "n", Trust: spec.TrustOpen},
		{Name: "n", PortGroup: "x"},
		{Name: "n", PortGroup: "x", Trust: "shut"},
		{Name: "n", PortGroup: "x", Trust: spec.TrustOpen, Gateway: "10.2.0.1"},
		{Name: "n", PortGroup: "x", Trust: spec.TrustOpen, Gateway: "10.2.0.1/24", Ranges: []string{"10.3.0.0/24"}},
	} {
		if _, err := New(Config{PortGroup: "pg", External: []spec.ContainerNetwork{n}}); err == nil {
			t.Errorf("accepted: %+v", n)
		}
	}
}
