package network

import (
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/containerd/errdefs"
)

// NAT is the appliance's place on a bridge network.
type NAT struct {
	// MAC of the appliance's NIC on the bridge.
	MAC string
	// Gateway is the NIC's address, with the subnet's length.
	Gateway netip.Prefix
}

// NATFor gives the place of the appliance on the default network.
func (s State) NATFor(mac string) NAT {
	sc := s.Scopes[s.Default]
	return NAT{MAC: mac, Gateway: netip.PrefixFrom(sc.Gateway, sc.Subnet.Bits())}
}

// interfaceByMAC finds a NIC; names depend on the order of detection, MACs do not.
func interfaceByMAC(all []net.Interface, mac string) (net.Interface, error) {
	for _, i := range all {
		if mac != "" && strings.EqualFold(i.HardwareAddr.String(), mac) {
			return i, nil
		}
	}
	return net.Interface{}, fmt.Errorf("no network interface with MAC address %q: %w", mac, errdefs.ErrNotFound)
}
