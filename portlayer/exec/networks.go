package exec

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/spec"
)

// startedTimeout bounds how long a start waits until the others know of it.
const startedTimeout = 5 * time.Second

// Networks decides what containers have on their networks and what the rest of
// the VCH makes of them. Implemented by package portlayer.
type Networks interface {
	// Settle completes a container that has its addresses: its name servers, and
	// whether its guest filters from the beginning. It must not block.
	Settle(c *spec.Container)
	// Starting is called before a VM is turned on, with the container starting.
	// An error ends the start.
	Starting(ctx context.Context, id string) error
	// Greet is called with the line of a guest whose process waits on it.
	Greet(ctx context.Context, id string, l Line)
	// Started is called before a start returns.
	Started(ctx context.Context, id string)
}

// settle is Networks.Settle, or what is done without it.
func (m *Manager) settle(c *spec.Container) {
	if m.cfg.Networks != nil {
		m.cfg.Networks.Settle(c)
		return
	}
	if len(c.DNS.Servers) == 0 {
		c.DNS.Servers = m.cfg.DNS()
	}
}

// networksBefore gets a container's networks ready for its start.
func (m *Manager) networksBefore(ctx context.Context, c *Controller) error {
	if m.cfg.Networks == nil {
		return nil
	}
	v, ok := c.listed()
	if !ok {
		return errGone
	}
	// There may be more networks, or fewer, than when it was made.
	now := v.Container
	m.settle(&now)
	if now.NetworkFilter != v.Container.NetworkFilter || !slices.Equal(now.DNS.Servers, v.Container.DNS.Servers) {
		err := m.Update(ctx, c.id, func(s *spec.Container) error {
			m.settle(s)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return m.cfg.Networks.Starting(ctx, c.id)
}

func (m *Manager) networksAfter(ctx context.Context, c *Controller) {
	if m.cfg.Networks == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, startedTimeout)
	defer cancel()
	m.cfg.Networks.Started(ctx, c.id)
}

// NIC gives the MAC address and PCI slot of a container's first network card;
// ok is false when it has none.
func (m *Manager) NIC(ctx context.Context, id string) (mac string, slot int, ok bool, err error) {
	c, err := m.find(id)
	if err != nil {
		return "", 0, false, err
	}
	devices, err := m.cfg.VSphere.Devices(ctx, c.ref())
	if err != nil {
		return "", 0, false, fmt.Errorf("network cards of container %s: %w", id, err)
	}
	for _, d := range devices {
		card, is := d.(types.BaseVirtualEthernetCard)
		if !is {
			continue
		}
		e := card.GetVirtualEthernetCard()
		if s, is := e.SlotInfo.(*types.VirtualDevicePciBusSlotInfo); is {
			slot = int(s.PciSlotNumber)
		}
		return e.MacAddress, slot, true, nil
	}
	return "", 0, false, nil
}

// Session gives the line of a container's guest, waiting for it until ctx ends.
func (m *Manager) Session(ctx context.Context, id string) (Line, error) {
	return m.cfg.Lines.Session(ctx, id)
}
