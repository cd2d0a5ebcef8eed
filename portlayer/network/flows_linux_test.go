package network

import (
	"net"
	"testing"

	"github.com/vishvananda/netlink"
)

// The kernel's own form of flows, addresses of four and of sixteen bytes.
func TestKernelFlows(t *testing.T) {
	n := wanted(t)["full"]
	kernel := func(proto uint8, to string, toPort uint16, from net.IP, fromPort uint16) *netlink.ConntrackFlow {
		return &netlink.ConntrackFlow{
			Forward: netlink.IPTuple{Protocol: proto, SrcIP: net.IPv4(198, 51, 100, 1), SrcPort: 4000, DstIP: net.ParseIP(to).To4(), DstPort: toPort},
			Reverse: netlink.IPTuple{Protocol: proto, SrcIP: from, SrcPort: fromPort, DstIP: net.IPv4(198, 51, 100, 1), DstPort: 4000},
		}
	}
	for what, tc := range map[string]struct {
		k    *netlink.ConntrackFlow
		want bool
	}{
		"right":       {kernel(17, "192.0.2.7", 5353, net.IPv4(172, 17, 0, 3), 5353), false},
		"old target":  {kernel(17, "192.0.2.7", 5353, net.IPv4(172, 17, 0, 4), 5353), true},
		"tcp":         {kernel(6, "192.0.2.7", 80, net.IPv4(172, 16, 0, 9).To4(), 8080), true},
		"icmp":        {kernel(1, "192.0.2.7", 0, net.IPv4(172, 17, 0, 4), 0), false},
		"no address":  {kernel(17, "192.0.2.7", 5353, nil, 5353), false},
		"not a netip": {kernel(17, "192.0.2.7", 5353, net.IP{1, 2}, 5353), false},
	} {
		if got := (staleFlows{n}).MatchConntrackFlow(tc.k); got != tc.want {
			t.Errorf("%s: %v", what, got)
		}
	}
}
