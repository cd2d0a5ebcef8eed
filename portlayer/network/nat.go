package network

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
)

// interfaceByMAC finds a NIC; names depend on the order of detection, MACs do not.
func interfaceByMAC(all []net.Interface, mac string) (net.Interface, error) {
	for _, i := range all {
		if mac != "" && strings.EqualFold(i.HardwareAddr.String(), mac) {
			return i, nil
		}
	}
	return net.Interface{}, fmt.Errorf("no network interface with MAC address %q: %w", mac, errdefs.ErrNotFound)
}

// LocalAddresses are the addresses of this machine, in order, but those of the NIC
// on the bridge and IPv6's link-local ones, which other networks have as well.
func LocalAddresses(bridgeMAC string) ([]netip.Addr, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list network interfaces: %w", err)
	}
	var out []netip.Addr
	for _, i := range all {
		if strings.EqualFold(i.HardwareAddr.String(), bridgeMAC) {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			return nil, fmt.Errorf("addresses of %s: %w", i.Name, err)
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil && !p.Addr().IsLoopback() && (p.Addr().Is4() || !p.Addr().IsLinkLocalUnicast()) {
				out = append(out, p.Addr())
			}
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out, nil
}
