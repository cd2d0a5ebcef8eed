package spec

import (
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
)

// DriverExternal is the driver of container networks, as Docker clients see it:
// port groups that containers are on without the VCH between.
const DriverExternal = "external"

// Trust is what a container on a container network may hear and say there. Its
// guest holds itself to it. Empty: not a container network.
type Trust string

// The trust levels, from the narrowest. Replies to what is let out or in pass
// with it, from TrustOutbound on.
const (
	TrustClosed    Trust = "closed"    // nothing in or out
	TrustOutbound  Trust = "outbound"  // connections out
	TrustPeers     Trust = "peers"     // also in from the network's own range
	TrustPublished Trust = "published" // out, and in to published ports: the default
	TrustOpen      Trust = "open"      // everything
)

// TrustLevels are all levels, from the narrowest.
func TrustLevels() []Trust {
	return []Trust{TrustClosed, TrustOutbound, TrustPeers, TrustPublished, TrustOpen}
}

// Validate refuses what is no level (ErrInvalidArgument).
func (t Trust) Validate() error {
	var names []string
	for _, l := range TrustLevels() {
		if t == l {
			return nil
		}
		names = append(names, string(l))
	}
	return fmt.Errorf("trust level %q: want %s: %w", string(t), strings.Join(names, ", "), errdefs.ErrInvalidArgument)
}

// ContainerNetwork is a vSphere network that containers can be on with a NIC of
// their own, given when the VCH is made.
type ContainerNetwork struct {
	Name      string // what Docker calls it
	PortGroup string
	// Gateway is the default route with the subnet's length, "10.2.0.1/16";
	// empty: addresses, routes and name servers come from DHCP.
	Gateway string
	// Ranges are what addresses are given from, "10.2.1.0/24" or
	// "10.2.1.10-10.2.1.99"; none: the subnet.
	Ranges []string
	DNS    []string // of containers that are on no bridge network
	Trust  Trust
}
