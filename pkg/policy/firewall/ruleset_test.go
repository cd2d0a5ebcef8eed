package firewall

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"

	"github.com/vic-engine/vic/pkg/spec"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func addrs(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range list {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func ports(list ...uint16) []spec.PortRange {
	var out []spec.PortRange
	for i := 0; i < len(list); i += 2 {
		out = append(out, spec.PortRange{First: list[i], Last: list[i+1]})
	}
	return out
}

func TestRulesets(t *testing.T) {
	front, back := addrs("10.0.0.3", "10.0.0.2", "10.0.0.2", "fd00::2"), addrs("10.0.0.9", "::ffff:10.0.0.8")
	rules := []spec.PolicyRule{
		{Deny: true, Proto: "tcp", Ports: ports(80, 80), From: front, To: front},
		{Proto: "udp", Ports: ports(53, 53, 5000, 5999), From: front},
		{Deny: true, Proto: "any", From: front, To: back}, // no IPv6 on the other side
		{Proto: "icmp"},
		{Deny: true, Proto: "any", From: addrs("fd00::2"), To: back}, // no family at all
		{Deny: true, Proto: "any"},
	}
	for name, r := range map[string]Ruleset{
		"guest": New(Guest, rules), "router": New(Router, rules[:1]), "none": New(Guest, nil), "closed": {Hooks: Guest, Closed: true},
	} {
		file := filepath.Join("testdata", name+".nft")
		if *update {
			if err := os.WriteFile(file, []byte(r.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(want), r.String()); d != "" {
			t.Errorf("%s (-want +got); -update rewrites it:\n%s", name, d)
		}
	}
}

func TestCheck(t *testing.T) {
	good := spec.PolicyRule{Proto: "tcp", Ports: ports(1, 65535), From: addrs("10.0.0.1"), To: addrs("fd00::1")}
	if err := Check([]spec.PolicyRule{good, {Proto: "any", Deny: true}}); err != nil {
		t.Error(err)
	}
	for _, change := range []func(*spec.PolicyRule){
		func(r *spec.PolicyRule) { r.Proto = "" }, func(r *spec.PolicyRule) { r.Proto = "sctp" }, func(r *spec.PolicyRule) { r.Proto = "icmp" },
		func(r *spec.PolicyRule) { r.Ports = ports(0, 1) }, func(r *spec.PolicyRule) { r.Ports = ports(2, 1) },
		func(r *spec.PolicyRule) { r.From = make([]netip.Addr, 1) }, func(r *spec.PolicyRule) { r.To = addrs("::") },
	} {
		bad := good
		change(&bad)
		if err := Check([]spec.PolicyRule{good, bad}); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}
