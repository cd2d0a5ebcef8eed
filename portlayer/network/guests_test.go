package network

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/vic-engine/vic/pkg/spec"
)

func view(id, name, mac string, phase spec.Phase, eps ...spec.Endpoint) *spec.View {
	for i := range eps {
		eps[i].MAC = mac
	}
	return &spec.View{Container: spec.Container{ID: id, Name: name, Endpoints: eps}, Status: spec.Status{Phase: phase}}
}

func village(t *testing.T) (State, []*spec.View) {
	s, _ := make1(t, bridge(t, Config{}), spec.Network{Name: "app"})
	s, _ = make1(t, s, spec.Network{Name: "db", Internal: true, Subnet: "10.9.0.0/24"})
	views := []*spec.View{
		view("1111111111111", "web", "m1", spec.PhaseRunning,
			spec.Endpoint{Network: "app", IP: "172.17.0.2/16", Gateway: "172.17.0.1", Aliases: []string{"www"}, Links: []string{"sql:store"}, Ports: []string{"80:8080/tcp"}},
			spec.Endpoint{Network: "db", IP: "10.9.0.2/24", Links: []string{"sql:store"}}),
		view("2222222222222", "sql", "m2", spec.PhaseStarting, spec.Endpoint{Network: "db", IP: "10.9.0.3/24", Ports: []string{"5432:5432"}}),
		view("3333333333333", "plain", "m3", spec.PhaseRunning, spec.Endpoint{Network: "bridge", IP: "172.16.0.2/16", Gateway: "172.16.0.1"}),
		view("4444444444444", "off", "m4", spec.PhaseExited, spec.Endpoint{Network: "app", IP: "172.17.0.9/16", Gateway: "172.17.0.1", Ports: []string{"81:81"}}),
	}
	views[0].Container.Hostname = "host1"
	return s, views
}

func TestPeers(t *testing.T) {
	s, views := village(t)
	for i, want := range [][]spec.Peer{
		{{MAC: "m2", Addresses: []string{"10.9.0.3"}}},
		{{MAC: "m1", Addresses: []string{"10.9.0.2"}}}, // not its address on app
		nil,
		{{MAC: "m1", Addresses: []string{"172.17.0.2"}}},
	} {
		u := s.Update(&views[i].Container, views, "gw")
		if d := cmp.Diff(want, u.Peers); d != "" || !u.Filter || u.GatewayMAC != "gw" || len(u.Endpoints) != len(views[i].Container.Endpoints) {
			t.Errorf("%s: %+v\n%s", views[i].Container.Name, u, d)
		}
	}
	if u := bridge(t, Config{}).Update(&views[2].Container, views, "gw"); u.Filter || u.Peers != nil {
		t.Errorf("one network: %+v", u)
	}
}

func TestForwards(t *testing.T) {
	_, views := village(t)
	all := func(id string) []Publication {
		for _, v := range views {
			if v.Container.ID == id {
				return Published(v.Container.Endpoints)
			}
		}
		return nil
	}
	got := Forwards(views, all)
	if len(got) != 1 || got[0].HostPort != 80 || got[0].To.String() != "172.17.0.2" {
		t.Errorf("%+v", got) // sql is on an internal network, off does not run
	}
	if got := Forwards(views, func(string) []Publication { return nil }); got != nil {
		t.Errorf("not allowed: %+v", got)
	}
}

func TestZones(t *testing.T) {
	s, views := village(t)
	a := netip.MustParseAddr
	got := s.Zones(views)
	slices.SortFunc(got, func(x, y Zone) int { return x.Gateway.Compare(y.Gateway) })
	want := []Zone{
		{Network: "db", Gateway: a("10.9.0.1"), Subnet: netip.MustParsePrefix("10.9.0.0/24"), Internal: true, Names: []Name{
			{Owner: "1111111111111", Names: []string{"web", "111111111111", "host1"}, Addrs: []netip.Addr{a("10.9.0.2")}, PTR: "web.db"},
			{Owner: "2222222222222", Names: []string{"sql", "222222222222"}, Addrs: []netip.Addr{a("10.9.0.3")}, PTR: "sql.db"},
			{For: "1111111111111", Names: []string{"store"}, Addrs: []netip.Addr{a("10.9.0.3")}},
		}},
		{Network: "bridge", Gateway: a("172.16.0.1"), Subnet: netip.MustParsePrefix("172.16.0.0/16"), Names: []Name{
			{Owner: "3333333333333", Addrs: []netip.Addr{a("172.16.0.2")}},
		}},
		{Network: "app", Gateway: a("172.17.0.1"), Subnet: netip.MustParsePrefix("172.17.0.0/16"), Names: []Name{
			{Owner: "1111111111111", Names: []string{"web", "111111111111", "www", "host1"}, Addrs: []netip.Addr{a("172.17.0.2")}, PTR: "web.app"},
		}},
	}
	if d := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); d != "" {
		t.Error(d)
	}
}

func TestDNS(t *testing.T) {
	s, _ := village(t)
	appliance := []string{"192.0.2.53"}
	for _, tc := range []struct {
		networks, own, want []string
	}{
		{nil, nil, appliance},
		{[]string{"bridge"}, nil, appliance},
		{[]string{"bridge"}, []string{"9.9.9.9"}, []string{"9.9.9.9"}},
		{[]string{"app"}, nil, []string{"172.17.0.1"}},
		{[]string{"bridge", "db"}, []string{"9.9.9.9"}, []string{"10.9.0.1", "9.9.9.9"}},
	} {
		var eps []spec.Endpoint
		for _, n := range tc.networks {
			eps = append(eps, spec.Endpoint{Network: n})
		}
		got := s.DNS(eps, tc.own, appliance)
		if !slices.Equal(got, tc.want) {
			t.Errorf("%v: %v", tc, got)
		}
		// What was chosen is told from what was asked for.
		if own := s.OwnDNS(got, appliance); !slices.Equal(own, tc.own) {
			t.Errorf("%v: own servers %v", tc, own)
		}
	}
}

func TestTakes(t *testing.T) {
	s, views := village(t)
	for name, want := range map[string]bool{"app": false, "lost": true, "new": false} {
		views[0].Container.Endpoints[1].Network = "lost"
		if got := s.Takes(views, name); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
