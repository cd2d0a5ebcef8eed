package network

import (
	"context"
	"net/netip"
	"slices"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/spec"
)

// made creates and commits a network.
func made(t *testing.T, s State, n spec.Network) (State, spec.Network) {
	t.Helper()
	n.ID = "id-" + n.Name
	s, n, err := Create(s, n)
	if err != nil {
		t.Fatal(err)
	}
	return Commit(s, n.ID), n
}

func TestCreate6(t *testing.T) {
	s := bridge(t, Config{VCH: "u", Used: []netip.Prefix{netip.MustParsePrefix("fd77::/64")}})
	s, one := made(t, s, spec.Network{Name: "one", IPv6: true})
	s, two := made(t, s, spec.Network{Name: "two", IPv6: true})
	a, b := netip.MustParsePrefix(one.Subnet6), netip.MustParsePrefix(two.Subnet6)
	if a.Bits() != 64 || b.Bits() != 64 || a == b || a.Addr().As16()[0] != 0xfd || one.Gateway6 != a.Addr().Next().String() || one.Chosen6 {
		t.Errorf("%+v\n%+v", one, two)
	}
	if again, err := bridge(t, Config{VCH: "u"}).freeSubnet6(); err != nil || again != a {
		t.Errorf("the same VCH begins with %v, %v", again, err)
	}
	if other := bridge(t, Config{VCH: "other"}).pool6(); other.Contains(a.Addr()) {
		t.Errorf("another VCH has %s too", other)
	}
	s, own := made(t, s, spec.Network{Name: "own", IPv6: true, Subnet6: "fd00:20::5/64", IPRange6: "fd00:20::100/120", Reserved6: map[string]string{"router": "fd00:20::1"}})
	if own.Subnet6 != "fd00:20::/64" || own.IPRange6 != "fd00:20::100/120" || own.Gateway6 != "fd00:20::2" || !own.Chosen6 || own.Subnet == "" || own.Chosen {
		t.Errorf("%+v", own)
	}
	if n := s.Networks()[0]; n.IPv6 || n.Subnet6 != "" {
		t.Errorf("default bridge: %+v", n)
	}
	for what, tc := range map[string]struct {
		n  spec.Network
		is func(error) bool
	}{
		"overlap":               {spec.Network{IPv6: true, Subnet6: "fd00:20::/80"}, errdefs.IsPermissionDenied},
		"the VCH's own network": {spec.Network{IPv6: true, Subnet6: "fd77::/48"}, errdefs.IsPermissionDenied},
		"not IPv6":              {spec.Network{IPv6: true, Subnet6: "10.0.0.0/24"}, errdefs.IsInvalidArgument},
		"IPv4 in IPv6":          {spec.Network{IPv6: true, Subnet6: "::ffff:10.0.0.0/120"}, errdefs.IsInvalidArgument},
		"nonsense":              {spec.Network{IPv6: true, Subnet6: "x"}, errdefs.IsInvalidArgument},
		"link-local":            {spec.Network{IPv6: true, Subnet6: "fe80::/64"}, errdefs.IsInvalidArgument},
		"multicast":             {spec.Network{IPv6: true, Subnet6: "ff05::/64"}, errdefs.IsInvalidArgument},
		"too wide":              {spec.Network{IPv6: true, Subnet6: "fd00::/8"}, errdefs.IsInvalidArgument},
		"too narrow":            {spec.Network{IPv6: true, Subnet6: "fd01::/127"}, errdefs.IsInvalidArgument},
		"range outside":         {spec.Network{IPv6: true, Subnet6: "fd01::/64", IPRange6: "fd02::/80"}, errdefs.IsInvalidArgument},
		"gateway outside":       {spec.Network{IPv6: true, Subnet6: "fd01::/64", Gateway6: "fd02::1"}, errdefs.IsInvalidArgument},
		"gateway is the subnet": {spec.Network{IPv6: true, Subnet6: "fd01::/64", Gateway6: "fd01::"}, errdefs.IsInvalidArgument},
		"reserved gateway":      {spec.Network{IPv6: true, Subnet6: "fd01::/64", Gateway6: "fd01::1", Reserved6: map[string]string{"a": "fd01::1"}}, errdefs.IsInvalidArgument},
		"reserved outside":      {spec.Network{IPv6: true, Subnet6: "fd01::/64", Reserved6: map[string]string{"a": "10.0.0.1"}}, errdefs.IsInvalidArgument},
		"gateway of no subnet":  {spec.Network{IPv6: true, Gateway6: "fd01::1"}, errdefs.IsInvalidArgument},
		"without --ipv6":        {spec.Network{Subnet6: "fd01::/64"}, errdefs.IsInvalidArgument},
	} {
		tc.n.Name, tc.n.ID = "x", "id-x"
		if next, _, err := Create(s, tc.n); !tc.is(err) || len(next.pending) > 0 {
			t.Errorf("%s: %v, %d pending", what, err, len(next.pending))
		}
	}
}

func TestAllocate6(t *testing.T) {
	s, n := made(t, bridge(t, Config{}), spec.Network{Name: "six", IPv6: true, Subnet: "10.1.0.0/24", Subnet6: "fd00:20::/64", Reserved6: map[string]string{"a": "fd00:20::3"}})
	for i, tc := range []struct {
		req  Request
		want string
		is   func(error) bool
	}{
		{req: Request{Owner: "a"}, want: "fd00:20::2/64"},
		{req: Request{Owner: "b"}, want: "fd00:20::4/64"},
		{req: Request{Owner: "c", IP6: "fd00:20::5"}, want: "fd00:20::5/64"},
		{req: Request{Owner: "d"}, want: "fd00:20::6/64"},
		{req: Request{Owner: "e", IP6: "fd00:20::ffff:ffff:ffff:ffff"}, want: "fd00:20::ffff:ffff:ffff:ffff/64"},
		{req: Request{Owner: "f", IP6: "fd00:20::5/64"}, is: errdefs.IsConflict},
		{req: Request{Owner: "f", IP6: "fd00:20::1"}, is: errdefs.IsInvalidArgument},
		{req: Request{Owner: "f", IP6: "fd00:20::"}, is: errdefs.IsInvalidArgument},
		{req: Request{Owner: "f", IP6: "fd00:20::3"}, is: errdefs.IsInvalidArgument},
		{req: Request{Owner: "f", IP6: "fd00:21::9"}, is: errdefs.IsInvalidArgument},
		{req: Request{Owner: "f", IP6: "10.1.0.9"}, is: errdefs.IsInvalidArgument},
		{req: Request{Owner: "f", IP: "fd00:20::9"}, is: errdefs.IsInvalidArgument},
		{req: Request{Owner: "f", IP6: "x"}, is: errdefs.IsInvalidArgument},
	} {
		tc.req.Network = n.Name
		next, l, err := Allocate(s, tc.req)
		if tc.is != nil {
			if !tc.is(err) || len(next.Scopes["six"].Leases) != len(s.Scopes["six"].Leases) {
				t.Errorf("%d: %+v: %v", i, tc.req, err)
			}
			continue
		}
		if err != nil || l.Prefix6.String() != tc.want || l.Gateway6.String() != "fd00:20::1" || !l.Addr.Is4() {
			t.Errorf("%d: %+v: %+v, %v", i, tc.req, l, err)
		}
		s = next
	}
	if _, _, err := Allocate(s, Request{Owner: "g", IP6: "fd00:20::9"}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("IPv6 on a network without: %v", err)
	}
	// Given back, it is not given out at once, but can be asked for.
	s = ReleaseOn(s, "a", "six")
	if _, l, err := Allocate(s, Request{Network: "six", Owner: "h"}); err != nil || l.Prefix6.Addr().String() != "fd00:20::7" {
		t.Errorf("%+v, %v", l, err)
	}
	if _, l, err := Allocate(s, Request{Network: "six", Owner: "h", IP6: "fd00:20::2"}); err != nil || l.Prefix6.Addr().String() != "fd00:20::2" {
		t.Errorf("%+v, %v", l, err)
	}
	if _, _, err := Remove(s, "six", func(string) string { return "" }); !errdefs.IsPermissionDenied(err) {
		t.Errorf("network with containers: %v", err)
	}
	for _, id := range []string{"b", "c", "d", "e"} {
		s = Release(s, id)
	}
	if l := s.Scopes["six"].Leases; len(l) != 0 {
		t.Errorf("left: %v", l)
	}
}

func TestRange6(t *testing.T) {
	s, _ := made(t, bridge(t, Config{}), spec.Network{Name: "six", IPv6: true, Subnet6: "fd00:20::/64", IPRange6: "fd00:20::10/126"})
	var got []string
	for range 4 {
		next, l, err := Allocate(s, Request{Network: "six", Owner: "a"})
		if err != nil {
			t.Fatal(err)
		}
		s, got = next, append(got, l.Prefix6.Addr().String())
	}
	if !slices.Equal(got, []string{"fd00:20::10", "fd00:20::11", "fd00:20::12", "fd00:20::13"}) {
		t.Errorf("%v", got)
	}
	if next, _, err := Allocate(s, Request{Network: "six", Owner: "b"}); !errdefs.IsResourceExhausted(err) || len(next.Scopes["six"].Leases) != 8 {
		t.Errorf("full range: %v, %v", err, next.Scopes["six"].Leases)
	}
	if _, l, err := Allocate(s, Request{Network: "six", Owner: "b", IP6: "fd00:20::20"}); err != nil || l.Prefix6.Addr().String() != "fd00:20::20" {
		t.Errorf("outside the range, asked for: %+v, %v", l, err)
	}
}

func TestRestore6(t *testing.T) {
	fresh := func() State {
		s, _ := made(t, bridge(t, Config{}), spec.Network{Name: "six", IPv6: true, Subnet: "10.1.0.0/24", Subnet6: "fd00:20::/64"})
		return s
	}
	l := NewLeases(fresh())
	first, err := l.Allocate("a", []spec.Endpoint{{Network: "six", IP6: "fd00:20::2"}})
	if err != nil || first[0].IP6 != "fd00:20::2/64" || first[0].Gateway6 != "fd00:20::1" || !first[0].Static6 || first[0].Static {
		t.Fatalf("%+v, %v", first, err)
	}
	s, err := Restore(fresh(), "a", first)
	if err == nil {
		s, err = Restore(s, "a", first) // again
	}
	if err != nil || len(s.Scopes["six"].Leases) != 2 {
		t.Fatalf("%v, %v", s.Scopes["six"].Leases, err)
	}
	s, err = Restore(s, "b", []spec.Endpoint{{Network: "six", IP: "10.1.0.9/24", IP6: "fd00:20::2/64"}})
	if !errdefs.IsConflict(err) || s.Scopes["six"].Leases[netip.MustParseAddr("10.1.0.9")] != "b" {
		t.Errorf("address of another: %v, %v", err, s.Scopes["six"].Leases)
	}
	if _, lease, err := Allocate(s, Request{Network: "six", Owner: "c"}); err != nil || lease.Prefix6.String() != "fd00:20::3/64" {
		t.Errorf("after a restart: %+v, %v", lease, err)
	}
}

func TestKept6(t *testing.T) {
	_, n := made(t, bridge(t, Config{}), spec.Network{Name: "six", IPv6: true, IPRange6: "fd00:20::/80", Subnet6: "fd00:20::/64", Reserved6: map[string]string{"a": "fd00:20::9"}})
	store := NewStore(&memory{files: map[string][]byte{}, left: -1}, "[ds] nets")
	if err := store.Save(context.Background(), n); err != nil {
		t.Fatal(err)
	}
	all, _, err := store.Load(context.Background())
	if err != nil || len(all) != 1 {
		t.Fatalf("%v, %v", all, err)
	}
	s, err := Load(bridge(t, Config{}), all[0])
	if sc := s.Scopes["six"]; err != nil || sc.Six.Gateway.String() != "fd00:20::1" || !sc.Reserved[netip.MustParseAddr("fd00:20::9")] || sc.Six.Range.Bits() != 80 || !sc.Net.Chosen6 {
		t.Errorf("%+v, %v", sc, err)
	}
	_, d := parseRecord("x", []byte(`{"Version":1,"Network":{"Name":"six","Subnet":"10.0.0.0/24","Subnet6":"fd00:20::/64",`), nil)
	if d == nil || d.Subnet6.String() != "fd00:20::/64" || d.Subnet.String() != "10.0.0.0/24" {
		t.Fatalf("damaged: %+v", d)
	}
	s = bridge(t, Config{})
	s.Damaged = []Damaged{*d}
	if _, _, err := Create(s, spec.Network{Name: "y", ID: "y", IPv6: true, Subnet6: "fd00:20::/64"}); !errdefs.IsPermissionDenied(err) {
		t.Errorf("subnet of a damaged network: %v", err)
	}
}

// TestGuests6: what follows from IPv6 for peers, names, the router and ports.
func TestGuests6(t *testing.T) {
	s, _ := made(t, bridge(t, Config{}), spec.Network{Name: "six", IPv6: true, Subnet: "10.1.0.0/24", Subnet6: "fd00:20::/64"})
	view := func(id string, eps ...spec.Endpoint) *spec.View {
		v := &spec.View{Container: spec.Container{ID: id, Name: "n" + id, Endpoints: eps}}
		v.Status.Phase = spec.PhaseRunning
		return v
	}
	web := view("a",
		spec.Endpoint{Network: "bridge", MAC: "m1", IP: "172.16.0.2/16", Gateway: "172.16.0.1", Ports: []string{"80:80/tcp", "[::]:81:81/tcp", "0.0.0.0:82:82/tcp"}},
		spec.Endpoint{Network: "six", MAC: "m1", IP: "10.1.0.2/24", IP6: "fd00:20::2/64", Gateway: "10.1.0.1", Gateway6: "fd00:20::1"})
	other := view("b", spec.Endpoint{Network: "six", MAC: "m2", IP: "10.1.0.3/24", IP6: "fd00:20::3/64", Gateway: "10.1.0.1", Gateway6: "fd00:20::1"})
	plain := view("c", spec.Endpoint{Network: "bridge", MAC: "m3", IP: "172.16.0.3/16", Gateway: "172.16.0.1", Ports: []string{"83:83/tcp", "[::]:84:84/tcp"}})
	all := []*spec.View{web, other, plain}
	if p := Peers(&other.Container, all); len(p) != 1 || !slices.Equal(p[0].Addresses, []string{"10.1.0.2", "fd00:20::2"}) {
		t.Errorf("peers: %+v", p)
	}
	if p := Peers(&plain.Container, all); len(p) != 1 || !slices.Equal(p[0].Addresses, []string{"172.16.0.2"}) {
		t.Errorf("peers on the network without: %+v", p)
	}
	z := s.Zones(all)[1]
	if z.Gateway6.String() != "fd00:20::1" || z.Subnet6.String() != "fd00:20::/64" || len(z.Names) != 2 || len(z.Names[0].Addrs) != 2 {
		t.Errorf("zone: %+v", z)
	}
	var to []string
	for _, f := range Forwards(all, func(id string) []Publication {
		return Published(map[string]*spec.View{"a": web, "b": other, "c": plain}[id].Container.Endpoints)
	}) {
		to = append(to, f.Publication.String()+" "+f.To.String())
	}
	if want := []string{"80:80/tcp 172.16.0.2", "80:80/tcp fd00:20::2", "[::]:81:81/tcp fd00:20::2", "0.0.0.0:82:82/tcp 172.16.0.2", "83:83/tcp 172.16.0.3"}; !slices.Equal(to, want) {
		t.Errorf("%q\nwant %q", to, want)
	}
	nat := s.NATFor("m", nil, nil)
	if nat.Networks[0].Gateway6.IsValid() || nat.Networks[1].Gateway6.String() != "fd00:20::1/64" {
		t.Errorf("%+v", nat.Networks)
	}
}

func FuzzSubnet6(f *testing.F) {
	f.Add("fd00::/64", "fd00::/80", "fd00::1", "fd00::2")
	f.Add("fd00::/126", "", "", "")
	f.Fuzz(func(t *testing.T, subnet, within, gateway, reserved string) {
		n := spec.Network{ID: "x", Name: "x", Subnet: "10.0.0.0/24", IPv6: true, Subnet6: subnet, IPRange6: within, Gateway6: gateway}
		if reserved != "" {
			n.Reserved6 = map[string]string{"r": reserved}
		}
		sc, err := newScope(n)
		if err != nil {
			return
		}
		if again, err := newScope(sc.Net); err != nil || again.Six != sc.Six {
			t.Errorf("%+v is read again as %+v, %v", sc.Six, again.Six, err)
		}
		if _, a, err := sc.give(sc.six(), "o", ""); err == nil && (!sc.Six.Range.Contains(a) || a == sc.Six.Gateway || a.String() == reserved) {
			t.Errorf("%s of %+v", a, sc.Six)
		}
	})
}
