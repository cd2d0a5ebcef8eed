package lab

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/lab/machine"
)

// maxValue and maxConfig bound extra configuration, as state.md has it.
const (
	maxValue  = 64 << 10
	maxConfig = 1 << 20
)

// guestEnd is machine.Guest: what a running VM says to vSphere.
type guestEnd struct {
	l *Lab
	o *simulator.VirtualMachine
}

var _ machine.Guest = (*guestEnd)(nil)

func (l *Lab) guest(o *simulator.VirtualMachine) *guestEnd { return &guestEnd{l: l, o: o} }

// InfoGet reads a guestinfo key; other keys of the configuration are none of a
// guest's business.
func (g *guestEnd) InfoGet(key string) (value string, ok bool) {
	if !strings.HasPrefix(key, "guestinfo.") {
		return "", false
	}
	locked(g.l.context(nil), g.o, func() {
		for _, o := range g.o.Config.ExtraConfig {
			if v := o.GetOptionValue(); v.Key == key {
				value, ok = fmt.Sprint(v.Value), true
				return
			}
		}
	})
	return value, ok
}

// InfoSet writes a guestinfo key. A slash after "guestinfo." marks what only
// vSphere clients may write. An empty value removes the key.
func (g *guestEnd) InfoSet(key, value string) error {
	if !strings.HasPrefix(key, "guestinfo.") || strings.HasPrefix(key, "guestinfo./") {
		return fmt.Errorf("set %.80q: %w", key, errdefs.ErrPermissionDenied)
	}
	if f := checkOption(key, value); f != nil {
		return fmt.Errorf("set %.80q: %s: %w", key, faultText(f), errdefs.ErrInvalidArgument)
	}
	c := g.l.context(nil)
	var err error
	locked(c, g.o, func() {
		total := 0
		for _, o := range g.o.Config.ExtraConfig {
			if v := o.GetOptionValue(); v.Key != key {
				total += len(v.Key) + len(fmt.Sprint(v.Value))
			}
		}
		if total+len(key)+len(value) > maxConfig {
			err = fmt.Errorf("set %.80q: the configuration would be over %d bytes: %w", key, maxConfig, errdefs.ErrResourceExhausted)
			return
		}
		setExtraConfig(c, g.o, []types.BaseOptionValue{&types.OptionValue{Key: key, Value: value}})
	})
	if err == nil && key == portsKey {
		g.l.publish(g.o)
	}
	return err
}

// Tools reports that the guest's tools run, or no longer do.
func (g *guestEnd) Tools(running bool) { g.l.setTools(g.l.context(nil), g.o, running) }

// Hostname reports the guest's name.
func (g *guestEnd) Hostname(name string) {
	c := g.l.context(nil)
	locked(c, g.o, func() {
		c.Update(g.o, []types.PropertyChange{set("guest.hostName", name), set("summary.guest.hostName", name)})
	})
}

// Addresses reports every NIC's addresses by MAC.
func (g *guestEnd) Addresses(nics []machine.GuestNIC) {
	c := g.l.context(nil)
	locked(c, g.o, func() {
		var net []types.GuestNicInfo
		primary := ""
		for _, n := range nics {
			info := types.GuestNicInfo{MacAddress: strings.ToLower(n.MAC), Connected: true, DeviceConfigId: -1,
				IpConfig: &types.NetIpConfigInfo{}}
			for _, d := range g.o.Config.Hardware.Device {
				if card, ok := d.(types.BaseVirtualEthernetCard); ok && strings.EqualFold(card.GetVirtualEthernetCard().MacAddress, n.MAC) {
					e := card.GetVirtualEthernetCard()
					info.Network, info.DeviceConfigId = networkName(c, e.Backing), e.Key
				}
			}
			for _, s := range n.Addresses {
				p, err := netip.ParsePrefix(s)
				if err != nil {
					continue
				}
				shown := g.l.cfg.ShownAddress(info.Network, p.Addr()).String()
				info.IpAddress = append(info.IpAddress, shown)
				info.IpConfig.IpAddress = append(info.IpConfig.IpAddress, types.NetIpConfigInfoIpAddress{
					IpAddress: shown, PrefixLength: int32(p.Bits()), State: string(types.NetIpConfigInfoIpAddressStatusPreferred)})
				if primary == "" && p.Addr().Is4() && !p.Addr().IsLinkLocalUnicast() {
					primary = shown
				}
			}
			net = append(net, info)
		}
		c.Update(g.o, []types.PropertyChange{
			set("guest.net", net), set("guest.ipAddress", primary), set("summary.guest.ipAddress", primary)})
	})
}
