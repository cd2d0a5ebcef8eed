package network

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// forgetStale makes the kernel forget flows that do not go where the rules now
// say; the next packet of each is a first packet again. have is what there was
// before, nil when that is not known.
func forgetStale(have *NAT, n NAT) error {
	for v6, family := range map[bool]netlink.InetFamily{false: unix.AF_INET, true: unix.AF_INET6} {
		if !mayBeStale(have, n, v6) {
			continue
		}
		if _, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, family, staleFlows{n}); err != nil {
			return fmt.Errorf("forget connections of ports that are published no more: %w", err)
		}
	}
	return nil
}

// staleFlows finds the kernel's flows that are stale.
type staleFlows struct{ n NAT }

var _ netlink.CustomConntrackFilter = staleFlows{}

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (s staleFlows) MatchConntrackFlow(k *netlink.ConntrackFlow) bool {
	f, ok := flowOf(k)
	return ok && f.stale(s.n)
}

func flowOf(k *netlink.ConntrackFlow) (flow, bool) {
	proto := map[uint8]string{unix.IPPROTO_TCP: "tcp", unix.IPPROTO_UDP: "udp"}[k.Forward.Protocol]
	to, ok1 := netip.AddrFromSlice(k.Forward.DstIP)
	from, ok2 := netip.AddrFromSlice(k.Reverse.SrcIP)
	return flow{
		proto: proto,
		to:    netip.AddrPortFrom(to.Unmap(), k.Forward.DstPort),
		from:  netip.AddrPortFrom(from.Unmap(), k.Reverse.SrcPort),
	}, proto != "" && ok1 && ok2
}
