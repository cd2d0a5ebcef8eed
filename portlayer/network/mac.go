package network

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"net"
	"strings"

	"github.com/containerd/errdefs"
)

// MAC gives a container the MAC address that it asks for, or else one that
// follows from its id, so that it is known before the VM is made. vSphere lets
// people give VMs addresses from 00:50:56:00:00:00 to 00:50:56:3f:ff:ff.
func MAC(s State, owner, want string) (State, string, error) {
	if want != "" {
		hw, err := net.ParseMAC(want)
		if err != nil || len(hw) != 6 {
			return s, "", fmt.Errorf("%q is not a MAC address%w", want, hidden{errdefs.ErrInvalidArgument})
		}
		mac := hw.String()
		if other, taken := s.macs[mac]; taken && other != owner {
			return s, "", fmt.Errorf("MAC address %s is already in use by container %s%w", mac, other, hidden{errdefs.ErrConflict})
		}
		return s.withMAC(mac, owner), mac, nil
	}
	for n := range 1000 {
		h := sha256.Sum256(fmt.Appendf(nil, "%s/%s/%d", s.vch, owner, n))
		mac := net.HardwareAddr{0x00, 0x50, 0x56, h[0] & 0x3f, h[1], h[2]}.String()
		if other, taken := s.macs[mac]; !taken || other == owner {
			return s.withMAC(mac, owner), mac, nil
		}
	}
	return s, "", fmt.Errorf("no free MAC address%w", hidden{errdefs.ErrResourceExhausted})
}

func (s State) withMAC(mac, owner string) State {
	mac = strings.ToLower(mac)
	if _, taken := s.macs[mac]; taken {
		return s
	}
	s.macs = maps.Clone(s.macs)
	if s.macs == nil {
		s.macs = map[string]string{}
	}
	s.macs[mac] = owner
	return s
}

func (s State) withoutMAC(owner string) State {
	kept := maps.Clone(s.macs)
	maps.DeleteFunc(kept, func(_, o string) bool { return o == owner })
	s.macs = kept
	return s
}
