package network

import (
	"fmt"
	"net"
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
