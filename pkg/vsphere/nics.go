package vsphere

import (
	"github.com/vmware/govmomi/vim25/types"
)

// SameNetwork tells whether two backings of network cards are the same vSphere
// network. What vSphere adds (ports, connection cookies) does not matter.
func SameNetwork(a, b types.BaseVirtualDeviceBackingInfo) bool {
	switch a := a.(type) {
	case *types.VirtualEthernetCardNetworkBackingInfo:
		b, ok := b.(*types.VirtualEthernetCardNetworkBackingInfo)
		return ok && a.DeviceName == b.DeviceName
	case *types.VirtualEthernetCardDistributedVirtualPortBackingInfo:
		b, ok := b.(*types.VirtualEthernetCardDistributedVirtualPortBackingInfo)
		return ok && a.Port.SwitchUuid == b.Port.SwitchUuid && a.Port.PortgroupKey == b.Port.PortgroupKey
	case *types.VirtualEthernetCardOpaqueNetworkBackingInfo:
		b, ok := b.(*types.VirtualEthernetCardOpaqueNetworkBackingInfo)
		return ok && a.OpaqueNetworkId == b.OpaqueNetworkId && a.OpaqueNetworkType == b.OpaqueNetworkType
	}
	return false
}

// Cards are the network cards among devices, in their order.
func Cards(devices []types.BaseVirtualDevice) []types.BaseVirtualEthernetCard {
	var out []types.BaseVirtualEthernetCard
	for _, d := range devices {
		if c, ok := d.(types.BaseVirtualEthernetCard); ok {
			out = append(out, c)
		}
	}
	return out
}

// SlotOf is the PCI slot number of a card; 0: vSphere has given none yet.
func SlotOf(card types.BaseVirtualEthernetCard) int {
	if s, ok := card.GetVirtualEthernetCard().SlotInfo.(*types.VirtualDevicePciBusSlotInfo); ok {
		return int(s.PciSlotNumber)
	}
	return 0
}

// FreeCard is the lowest n whose NIC(n, …) collides with none of cards.
func FreeCard(cards []types.BaseVirtualEthernetCard) int {
	taken := map[int]bool{}
	for _, c := range cards {
		taken[(SlotOf(c)-FirstPCISlot)/PCISlotStep] = true
		taken[int(c.GetVirtualEthernetCard().Key)-nicKey] = true
	}
	n := 0
	for taken[n] {
		n++
	}
	return n
}
