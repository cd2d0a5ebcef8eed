package network

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/spec"
)

// make1 makes a network that is there at once.
func make1(t *testing.T, s State, n spec.Network) (State, spec.Network) {
	t.Helper()
	if n.ID == "" {
		n.ID = "id of " + n.Name
	}
	s, n, err := Create(s, n)
	if err != nil {
		t.Fatal(err)
	}
	return Commit(s, n.ID), n
}

func TestCreate(t *testing.T) {
	s := bridge(t, Config{PortGroup: "pg", Used: []netip.Prefix{netip.MustParsePrefix("172.18.5.0/24")}})
	s.Damaged = []Damaged{{ID: "d", Name: "lost", Subnet: netip.MustParsePrefix("172.19.0.0/16")}}
	s, a := make1(t, s, spec.Network{Name: "a"})
	if a.Subnet != "172.17.0.0/16" || a.Gateway != "172.17.0.1" || a.PortGroup != "pg" || a.Driver != "bridge" || a.Chosen {
		t.Errorf("%+v", a)
	}
	// 172.18 is the VCH's own, 172.19 of a network that cannot be read.
	s, b := make1(t, s, spec.Network{Name: "b"})
	if b.Subnet != "172.20.0.0/16" {
		t.Errorf("%+v", b)
	}
	s, c := make1(t, s, spec.Network{Name: "c", Subnet: "10.1.2.3/24", IPRange: "10.1.2.128/25", Gateway: "10.1.2.254", Reserved: map[string]string{"r": "10.1.2.129"}})
	if c.Subnet != "10.1.2.0/24" || c.Gateway != "10.1.2.254" || !c.Chosen {
		t.Errorf("%+v", c)
	}
	for _, want := range []string{"10.1.2.128", "10.1.2.130"} {
		var l Lease
		var err error
		if s, l, err = Allocate(s, Request{Network: "c", Owner: "x"}); err != nil || l.Addr.String() != want {
			t.Errorf("%v, %v, want %s", l.Addr, err, want)
		}
	}
	if _, l, err := Allocate(s, Request{Network: c.ID, Owner: "x", IP: "10.1.2.5"}); err != nil || l.Prefix.String() != "10.1.2.5/24" {
		t.Errorf("outside of the range, but asked for: %+v, %v", l, err)
	}
	if _, _, err := Allocate(s, Request{Network: "c", Owner: "x", IP: "10.1.2.129"}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("reserved address: %v", err)
	}
	if _, d := make1(t, s, spec.Network{Name: "d", Subnet: "10.9.0.0/24", Reserved: map[string]string{"r": "10.9.0.1"}}); d.Gateway != "10.9.0.2" {
		t.Errorf("gateway %s", d.Gateway)
	}
	for name, tc := range map[string]struct {
		n  spec.Network
		is func(error) bool
	}{
		"taken":               {spec.Network{Name: "a"}, errdefs.IsAlreadyExists},
		"default":             {spec.Network{Name: "bridge"}, errdefs.IsAlreadyExists},
		"damaged":             {spec.Network{Name: "lost"}, errdefs.IsAlreadyExists},
		"predefined":          {spec.Network{Name: "host"}, errdefs.IsPermissionDenied},
		"no name":             {spec.Network{}, errdefs.IsInvalidArgument},
		"bad name":            {spec.Network{Name: "-x"}, errdefs.IsInvalidArgument},
		"overlap":             {spec.Network{Name: "x", Subnet: "172.17.4.0/24"}, errdefs.IsPermissionDenied},
		"overlap of the VCH":  {spec.Network{Name: "x", Subnet: "172.18.5.128/25"}, errdefs.IsPermissionDenied},
		"overlap of the lost": {spec.Network{Name: "x", Subnet: "172.19.1.0/24"}, errdefs.IsPermissionDenied},
		"loopback":            {spec.Network{Name: "x", Subnet: "127.0.0.0/16"}, errdefs.IsInvalidArgument},
		"too small":           {spec.Network{Name: "x", Subnet: "10.0.0.0/31"}, errdefs.IsInvalidArgument},
		"range elsewhere":     {spec.Network{Name: "x", Subnet: "10.0.0.0/24", IPRange: "10.1.0.0/25"}, errdefs.IsInvalidArgument},
		"gateway elsewhere":   {spec.Network{Name: "x", Subnet: "10.0.0.0/24", Gateway: "10.1.0.1"}, errdefs.IsInvalidArgument},
		"gateway reserved":    {spec.Network{Name: "x", Subnet: "10.0.0.0/24", Gateway: "10.0.0.1", Reserved: map[string]string{"r": "10.0.0.1"}}, errdefs.IsInvalidArgument},
		"reserved elsewhere":  {spec.Network{Name: "x", Subnet: "10.0.0.0/24", Reserved: map[string]string{"r": "10.1.0.1"}}, errdefs.IsInvalidArgument},
		"range, no subnet":    {spec.Network{Name: "x", IPRange: "10.0.0.0/24"}, errdefs.IsInvalidArgument},
		"IPv6 as the subnet":  {spec.Network{Name: "x", Subnet: "fd00::/64"}, errdefs.IsInvalidArgument},
		"driver":              {spec.Network{Name: "x", Driver: "overlay"}, errdefs.IsInvalidArgument},
	} {
		if tc.n.ID == "" {
			tc.n.ID = "new"
		}
		if _, _, err := Create(s, tc.n); !tc.is(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPoolExhausted(t *testing.T) {
	s := bridge(t, Config{Range: "10.0.0.0/22", Width: 24})
	for i := range 3 {
		s, _ = make1(t, s, spec.Network{Name: fmt.Sprint("n", i)})
	}
	if _, _, err := Create(s, spec.Network{ID: "x", Name: "x"}); !errdefs.IsResourceExhausted(err) {
		t.Errorf("full pool: %v", err)
	}
	s, n, err := Remove(s, "n1", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := Create(s, spec.Network{ID: "x", Name: "x"}); !errdefs.IsResourceExhausted(err) {
		t.Errorf("the subnet is free before the network's file is gone: %v", err)
	}
	if _, x := make1(t, Drop(s, n.ID), spec.Network{Name: "x"}); x.Subnet != "10.0.2.0/24" {
		t.Errorf("reuse: %s", x.Subnet)
	}
	// The last of all addresses.
	s = bridge(t, Config{Range: "255.255.254.0/23", Width: 24})
	s, _ = make1(t, s, spec.Network{Name: "last"})
	if _, _, err := Create(s, spec.Network{ID: "x", Name: "x"}); !errdefs.IsResourceExhausted(err) {
		t.Errorf("after 255.255.255.0/24: %v", err)
	}
}

func TestPending(t *testing.T) {
	s := bridge(t, Config{})
	s, n, err := Create(s, spec.Network{ID: "1", Name: "a"})
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Networks()) != 1 {
		t.Error("a network that is being made is listed")
	}
	if !s.Several() {
		t.Error("guests filter only once the network is there")
	}
	if _, _, err := Allocate(s, Request{Network: "a", Owner: "c"}); !errdefs.IsNotFound(err) {
		t.Errorf("an address of it: %v", err)
	}
	if _, _, err := Create(s, spec.Network{ID: "2", Name: "a"}); !errdefs.IsAlreadyExists(err) {
		t.Errorf("the same name: %v", err)
	}
	if _, m, err := Create(s, spec.Network{ID: "2", Name: "b"}); err != nil || m.Subnet == n.Subnet {
		t.Errorf("%+v, %v", m, err)
	}
	if s = Commit(s, "1"); len(s.Networks()) != 2 || !s.Several() {
		t.Error("not there")
	}
	if s = Drop(s, "1"); len(s.Networks()) != 2 {
		t.Error("dropped")
	}
}

func TestRemove(t *testing.T) {
	s, a := make1(t, bridge(t, Config{}), spec.Network{Name: "a"})
	id := strings.Repeat("cd", 32)
	s, _, err := Allocate(s, Request{Network: "a", Owner: id})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = Remove(s, "a", func(string) string { return "web" })
	if !errdefs.IsPermissionDenied(err) || !strings.Contains(err.Error(), `error while removing network: network a has active endpoints (name:"web" id:"cdcdcdcdcdcd")`) {
		t.Error(err)
	}
	if _, _, err := Remove(s, "bridge", nil); !errdefs.IsPermissionDenied(err) {
		t.Error(err)
	}
	if _, _, err := Remove(s, "none", nil); !errdefs.IsNotFound(err) {
		t.Error(err)
	}
	s = ReleaseOn(s, id, "a")
	if s, _, err = Remove(s, a.ID, nil); err != nil || len(s.Networks()) != 1 {
		t.Error(err)
	}
}

// What is kept is the same network again, and its containers' addresses too.
func TestLoadAgain(t *testing.T) {
	s, a := make1(t, bridge(t, Config{VCH: "u", PortGroup: "pg"}), spec.Network{Name: "a", Internal: true})
	l := NewLeases(s)
	eps, err := l.Allocate("c1", []spec.Endpoint{{Network: "a", Ports: []string{"80"}}, {Network: "bridge"}})
	if err != nil {
		t.Fatal(err)
	}
	if eps[0].Network != "bridge" || len(eps[0].Ports) != 1 || eps[1].Gateway != "" || eps[0].MAC != eps[1].MAC || !strings.HasPrefix(eps[0].MAC, "00:50:56:") {
		t.Errorf("endpoints: %+v", eps)
	}
	again, err := Load(bridge(t, Config{VCH: "u", PortGroup: "other"}), a)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := again.Find("a"); err != nil || n.PortGroup != "other" || n.Subnet != a.Subnet || !n.Internal {
		t.Errorf("%+v, %v", n, err)
	}
	if again, err = Restore(again, "c1", eps); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Allocate(again, Request{Network: "a", Owner: "x", IP: eps[1].IP}); !errdefs.IsConflict(err) {
		t.Errorf("address of a container: %v", err)
	}
	if _, _, err := MAC(again, "x", eps[0].MAC); !errdefs.IsConflict(err) {
		t.Errorf("MAC of a container: %v", err)
	}
	if _, mac, err := MAC(again, "c1", ""); err != nil || mac != eps[0].MAC {
		t.Errorf("%s, %v", mac, err)
	}
	p, _ := ParsePort(eps[0].Ports[0])
	if !again.portsOfOthers("x")[0].conflicts(p) {
		t.Error("host port is forgotten")
	}
	if _, err := Load(again, a); !errdefs.IsAlreadyExists(err) {
		t.Errorf("twice: %v", err)
	}
	a.ID, a.Name = "other", "other"
	if _, err := Load(again, a); !errdefs.IsConflict(err) {
		t.Errorf("overlap: %v", err)
	}
}
