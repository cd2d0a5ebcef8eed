package vsphere

import (
	"testing"

	"github.com/vmware/govmomi/vim25/types"
)

func TestSameNetwork(t *testing.T) {
	std := func(name string) types.BaseVirtualDeviceBackingInfo {
		return &types.VirtualEthernetCardNetworkBackingInfo{VirtualDeviceDeviceBackingInfo: types.VirtualDeviceDeviceBackingInfo{DeviceName: name}}
	}
	dvs := func(sw, key, port string) types.BaseVirtualDeviceBackingInfo {
		return &types.VirtualEthernetCardDistributedVirtualPortBackingInfo{Port: types.DistributedVirtualSwitchPortConnection{SwitchUuid: sw, PortgroupKey: key, PortKey: port}}
	}
	opaque := func(id string) types.BaseVirtualDeviceBackingInfo {
		return &types.VirtualEthernetCardOpaqueNetworkBackingInfo{OpaqueNetworkId: id, OpaqueNetworkType: "nsx"}
	}
	for _, c := range []struct {
		a, b types.BaseVirtualDeviceBackingInfo
		want bool
	}{
		{std("a"), std("a"), true},
		{std("a"), std("b"), false},
		{dvs("s", "k", ""), dvs("s", "k", "7"), true},
		{dvs("s", "k", ""), dvs("s", "l", ""), false},
		{opaque("x"), opaque("x"), true},
		{opaque("x"), std("x"), false},
		{nil, std("a"), false},
	} {
		if got := SameNetwork(c.a, c.b); got != c.want {
			t.Errorf("%v, %v: %v", c.a, c.b, got)
		}
	}
}

func TestFreeCard(t *testing.T) {
	var cards []types.BaseVirtualEthernetCard
	for want := range 3 {
		n := FreeCard(cards)
		if n != want {
			t.Errorf("card %d, want %d", n, want)
		}
		cards = append(cards, Cards([]types.BaseVirtualDevice{NIC(n, nil, "")})...)
	}
	if n := FreeCard(append(cards[:1:1], cards[2])); n != 1 {
		t.Errorf("card %d is free, not 1", n)
	}
	if s := SlotOf(cards[2]); s != 256 {
		t.Errorf("slot %d", s)
	}
}
