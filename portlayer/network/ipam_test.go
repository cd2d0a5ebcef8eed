package network

import (
	"fmt"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/spec"
)

func bridge(t *testing.T, c Config) State {
	t.Helper()
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestNew(t *testing.T) {
	n := bridge(t, Config{VCH: "u", PortGroup: "VCH Bridge"}).Networks()[0]
	if n.Subnet != "172.16.0.0/16" || n.Gateway != "172.16.0.1" || n.Name != "bridge" || n.PortGroup != "VCH Bridge" || len(n.ID) != 64 {
		t.Errorf("default bridge: %+v", n)
	}
	if m := bridge(t, Config{VCH: "u"}).Networks()[0]; m.ID != n.ID {
		t.Error("the id is not the same after a restart")
	}
	if m := bridge(t, Config{Range: "10.9.8.7/20", Width: 24}).Networks()[0]; m.Subnet != "10.9.0.0/24" {
		t.Errorf("subnet %s", m.Subnet)
	}
	for _, c := range []Config{{Range: "x"}, {Range: "fd00::/8"}, {Range: "10.0.0.0/20", Width: 16}, {Width: 30}} {
		if _, err := New(c); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestAllocate(t *testing.T) {
	s := bridge(t, Config{PortGroup: "pg"})
	for i, tc := range []struct {
		req  Request
		want string
		is   func(error) bool
	}{
		{req: Request{Owner: "a"}, want: "172.16.0.2/16"},
		{req: Request{Owner: "b", Network: "bridge"}, want: "172.16.0.3/16"},
		{req: Request{Owner: "c", Network: s.Scopes["bridge"].Net.ID}, want: "172.16.0.4/16"},
		{req: Request{Owner: "d", IP: "172.16.0.5"}, want: "172.16.0.5/16"},
		{req: Request{Owner: "e"}, want: "172.16.0.6/16"},
		{req: Request{Owner: "f", IP: "172.16.0.5/16"}, is: errdefs.IsConflict},
		{req: Request{Owner: "f", IP: "172.16.0.1"}, is: errdefs.IsInvalidArgument},
		{req: Request{Owner: "f", IP: "172.16.0.0"}, is: errdefs.IsInvalidArgument},
		{req: Request{Owner: "f", IP: "172.16.255.255"}, is: errdefs.IsInvalidArgument},
		{req: Request{Owner: "f", IP: "10.0.0.1"}, is: errdefs.IsInvalidArgument},
		{req: Request{Owner: "f", IP: "x"}, is: errdefs.IsInvalidArgument},
		{req: Request{Owner: "f", Network: "none"}, is: errdefs.IsNotFound},
	} {
		next, l, err := Allocate(s, tc.req)
		if tc.is != nil {
			if !tc.is(err) {
				t.Errorf("%d: %+v: %v", i, tc.req, err)
			}
			continue
		}
		if err != nil || l.Prefix.String() != tc.want || l.PortGroup != "pg" || l.Gateway.String() != "172.16.0.1" {
			t.Errorf("%d: %+v: %+v, %v", i, tc.req, l, err)
		}
		if len(s.Scopes["bridge"].Leases) == len(next.Scopes["bridge"].Leases) {
			t.Errorf("%d: the old state was changed", i)
		}
		s = next
	}
}

func TestExhaustionAndReuse(t *testing.T) {
	s := bridge(t, Config{Range: "10.0.0.0/24", Width: 29}) // .2 to .6
	for i := range 5 {
		var err error
		if s, _, err = Allocate(s, Request{Owner: fmt.Sprint(i)}); err != nil {
			t.Fatalf("%d: %v", i, err)
		}
	}
	if _, _, err := Allocate(s, Request{Owner: "x"}); !errdefs.IsResourceExhausted(err) {
		t.Fatalf("full network: %v", err)
	}
	s = Release(s, "1")
	s, l, err := Allocate(s, Request{Owner: "x"})
	if err != nil || l.Addr.String() != "10.0.0.3" {
		t.Errorf("the address that was given back: %v, %v", l.Addr, err)
	}
	s = Release(Release(s, "0"), "4")
	// The search goes on after the last one given out: .4 on, then around.
	for _, want := range []string{"10.0.0.6", "10.0.0.2"} {
		if s, l, err = Allocate(s, Request{Owner: "y"}); err != nil || l.Addr.String() != want {
			t.Errorf("got %v, %v; want %s", l.Addr, err, want)
		}
	}
	if n := len(Release(s, "y").Scopes["bridge"].Leases); n != 3 {
		t.Errorf("%d leases after an owner of two is gone", n)
	}
}

func TestRestore(t *testing.T) {
	s := bridge(t, Config{})
	ep := func(net, ip string) []spec.Endpoint { return []spec.Endpoint{{Network: net, IP: ip}} }
	s, err := Restore(s, "a", ep("bridge", "172.16.0.2/16"))
	if err != nil {
		t.Fatal(err)
	}
	if s, err = Restore(s, "a", ep("bridge", "172.16.0.2/16")); err != nil {
		t.Errorf("again: %v", err)
	}
	if s, err = Restore(s, "b", append(ep("bridge", "172.16.0.2/16"), ep("bridge", "172.16.0.9/16")...)); !errdefs.IsConflict(err) {
		t.Errorf("address of another: %v", err)
	}
	if s, err = Restore(s, "c", append(ep("dmz", "10.0.0.1/8"), spec.Endpoint{Network: "bridge"})); err != nil {
		t.Errorf("not ours: %v", err)
	}
	_, l, err := Allocate(s, Request{Owner: "d"})
	if err != nil || l.Addr.String() != "172.16.0.3" {
		t.Errorf("after a restart: %v, %v", l.Addr, err)
	}
	if o := s.Scopes["bridge"].Leases; len(o) != 2 {
		t.Errorf("leases: %v", o)
	}
}

func TestLeasesAreAllOrNothing(t *testing.T) {
	l := NewLeases(bridge(t, Config{PortGroup: "pg"}))
	if _, err := l.Allocate("a", []spec.Endpoint{{Network: "bridge"}, {Network: "none"}}); !errdefs.IsNotFound(err) {
		t.Errorf("unknown network: %v", err)
	}
	if n := len(l.State().Scopes["bridge"].Leases); n != 0 {
		t.Errorf("%d leases left behind", n)
	}
	in := []spec.Endpoint{{Network: "bridge", Aliases: []string{"web"}}}
	out, err := l.Allocate("a", in)
	if err != nil || out[0].IP != "172.16.0.2/16" || out[0].PortGroup != "pg" || out[0].Aliases[0] != "web" || in[0].IP != "" {
		t.Errorf("%+v, %v", out, err)
	}
	l.Release("a")
	if n := len(l.State().Scopes["bridge"].Leases); n != 0 {
		t.Errorf("%d leases after release", n)
	}
	if err := l.Restore("b", out); err != nil {
		t.Error(err)
	}
}
