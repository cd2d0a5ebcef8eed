package network

import (
	"net/netip"
	"slices"
	"testing"
)

func TestStaleFlows(t *testing.T) {
	n := wanted(t)["full"]
	for what, tc := range map[string]struct {
		proto, to, from string
		want            bool
	}{
		"goes where it should":                {"tcp", "192.0.2.7:80", "172.16.0.2:8080", false},
		"goes there, udp":                     {"udp", "192.0.2.7:5353", "172.17.0.3:5353", false},
		"by a gateway's address":              {"tcp", "172.17.0.1:80", "172.16.0.2:8080", false},
		"the port is gone":                    {"udp", "192.0.2.7:9999", "172.16.0.2:9999", true},
		"another protocol's port":             {"udp", "192.0.2.7:80", "172.16.0.2:8080", true},
		"another container has the port":      {"udp", "192.0.2.7:5353", "172.17.0.9:5353", true},
		"another port of the container":       {"tcp", "192.0.2.7:80", "172.16.0.2:80", true},
		"published on another address only":   {"tcp", "192.0.2.8:443", "172.17.0.2:443", true},
		"to the VCH, before it was published": {"udp", "192.0.2.7:5353", "192.0.2.7:5353", true},
		"to the VCH itself":                   {"tcp", "192.0.2.7:2376", "192.0.2.7:2376", false},
		"a container to the world":            {"tcp", "198.51.100.9:80", "198.51.100.9:80", false},
		"a container asks for names":          {"udp", "172.16.0.1:53", "172.16.0.1:53", false},
		"of somebody who is no container":     {"tcp", "192.0.2.7:81", "198.51.100.9:81", false},
		"IPv6, goes where it should":          {"tcp", "[fd00::1]:8080", "[fd00:17::2]:80", false},
		"IPv6, the port is gone":              {"tcp", "[fd00::1]:8081", "[fd00:17::2]:80", true},
		"IPv6, another container has it":      {"udp", "[fd00::1]:5353", "[fd00:17::9]:5353", true},
		"IPv6, of who is no container":        {"udp", "[fd00::1]:5354", "[2001:db8::9]:5354", false},
		"IPv4 only, and sent there":           {"tcp", "192.0.2.7:81", "172.17.0.3:81", false},
	} {
		f := flow{tc.proto, netip.MustParseAddrPort(tc.to), netip.MustParseAddrPort(tc.from)}
		if got := f.stale(n); got != tc.want {
			t.Errorf("%s: stale is %v", what, got)
		}
	}
}

// Flows are looked for only where some can be stale.
func TestMayBeStale(t *testing.T) {
	plain, full := wanted(t)["plain"], wanted(t)["full"]
	more := plain
	more.Networks = append(slices.Clone(plain.Networks), Segment{Gateway: netip.MustParsePrefix("172.18.0.1/16")})
	moved, less, six := full, full, full
	moved.Networks = full.Networks[:2]
	less.Ports = nil
	six.Ports = append(slices.Clone(full.Ports), forward(t, "[::]:9000:90", "fd00:17::2"))
	for what, tc := range map[string]struct {
		have   *NAT
		now    NAT
		v4, v6 bool
	}{
		"anything may be there":              {nil, plain, true, true},
		"another network, nothing published": {&plain, more, false, false},
		"the first ports":                    {&plain, full, true, true},
		"the last ports":                     {&full, less, true, true},
		"the same":                           {&full, full, false, false},
		"another place for ports":            {&full, moved, true, true},
		"a port of IPv6":                     {&full, six, false, true},
	} {
		if v4, v6 := mayBeStale(tc.have, tc.now, false), mayBeStale(tc.have, tc.now, true); v4 != tc.v4 || v6 != tc.v6 {
			t.Errorf("%s: %v, %v", what, v4, v6)
		}
	}
}
