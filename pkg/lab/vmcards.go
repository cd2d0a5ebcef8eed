package lab

import (
	"net"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

func (p *plan) addCard(i int, card *types.VirtualEthernetCard) types.BaseMethodFault {
	if f := p.network(i, card); f != nil {
		return f
	}
	n, slots := int32(0), map[int]bool{}
	for _, d := range p.devices {
		slots[slotOf(d.GetVirtualDevice())] = true
		if _, ok := d.(types.BaseVirtualEthernetCard); ok {
			n++
		}
	}
	if n >= 10 {
		return invalidDevice(i, "device")
	}
	card.ControllerKey = 100
	p.key(&card.VirtualDevice, 4000)
	unit := card.Key - 4000 + 7
	card.UnitNumber = &unit
	if slot := slotOf(&card.VirtualDevice); slot > 0 && slots[slot] {
		return invalidDevice(i, "device.slotInfo")
	} else if slot <= 0 {
		for slot = 192; slots[slot]; slot += 32 {
		}
		card.SlotInfo = &types.VirtualDevicePciBusSlotInfo{PciSlotNumber: int32(slot)}
	}
	if card.Connectable == nil {
		card.Connectable = &types.VirtualDeviceConnectInfo{StartConnected: true, AllowGuestControl: true}
	}
	return p.mac(i, card)
}

// mac checks a card's address, or makes one: of VMware's range for generated
// ones of a host, of vCenter's for assigned ones. No other VM has it.
func (p *plan) mac(i int, card *types.VirtualEthernetCard) types.BaseMethodFault {
	if card.AddressType == "" {
		card.AddressType = string(types.VirtualEthernetCardMacTypeGenerated)
		if p.l.cfg.Mode == ModeVCenter {
			card.AddressType = string(types.VirtualEthernetCardMacTypeAssigned)
		}
	}
	if hw, err := net.ParseMAC(card.MacAddress); err == nil && len(hw) == 6 && hw[0]&1 == 0 {
		card.MacAddress = hw.String()
		p.l.macs.keep(card.MacAddress)
		return nil
	}
	if card.MacAddress != "" || card.AddressType == string(types.VirtualEthernetCardMacTypeManual) {
		return invalidDevice(i, "device.macAddress")
	}
	card.MacAddress = p.l.macs.next(card.AddressType == string(types.VirtualEthernetCardMacTypeAssigned))
	return nil
}

func (p *plan) network(i int, card *types.VirtualEthernetCard) types.BaseMethodFault {
	bad := func(prop string) types.BaseMethodFault {
		return &types.InvalidDeviceBacking{InvalidDeviceSpec: *invalidDevice(i, prop).(*types.InvalidDeviceSpec)}
	}
	switch b := card.Backing.(type) {
	case *types.VirtualEthernetCardNetworkBackingInfo:
		if b.DeviceName == "" && b.Network != nil {
			b.DeviceName = nameOf(p.c, *b.Network)
		}
		n := p.c.Map.FindByName(b.DeviceName, p.dc.Network)
		if n == nil || n.Reference().Type != "Network" {
			return bad("device.backing.deviceName")
		}
	case *types.VirtualEthernetCardDistributedVirtualPortBackingInfo:
		pg, ok := p.c.Map.Get(types.ManagedObjectReference{Type: "DistributedVirtualPortgroup", Value: b.Port.PortgroupKey}).(*simulator.DistributedVirtualPortgroup)
		if !ok || pg.Config.DistributedVirtualSwitch == nil {
			return bad("device.backing.port.portgroupKey")
		}
		s, ok := p.c.Map.Get(*pg.Config.DistributedVirtualSwitch).(*simulator.DistributedVirtualSwitch)
		if !ok || s.Uuid != b.Port.SwitchUuid {
			return bad("device.backing.port.switchUuid")
		}
	default:
		return bad("device.backing")
	}
	return nil
}

func (p *plan) cdrom(i int, x *types.VirtualCdrom) types.BaseMethodFault {
	if x.Connectable == nil {
		x.Connectable = &types.VirtualDeviceConnectInfo{StartConnected: true, AllowGuestControl: true}
	}
	b, ok := x.Backing.(*types.VirtualCdromIsoBackingInfo)
	if !ok {
		return nil
	}
	_, fault := p.file(b.FileName) // that it exists is a matter of power-on
	return fault
}

func (p *plan) serial(i int, x *types.VirtualSerialPort) types.BaseMethodFault {
	if x.Connectable == nil {
		x.Connectable = &types.VirtualDeviceConnectInfo{StartConnected: true}
	}
	switch b := x.Backing.(type) {
	case *types.VirtualSerialPortFileBackingInfo:
		if b.FileName == "" {
			return invalidDevice(i, "device.backing.fileName")
		}
		_, fault := p.file(b.FileName)
		return fault
	case *types.VirtualSerialPortURIBackingInfo:
		if b.ServiceURI == "" && b.ProxyURI == "" || b.Direction != "client" && b.Direction != "server" {
			return invalidDevice(i, "device.backing")
		}
	case nil:
		return invalidDevice(i, "device.backing")
	}
	return nil
}
