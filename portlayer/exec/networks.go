package exec

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/pkg/vsphere"
	"github.com/vic-engine/vic/portlayer/vmspec"
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
	if now.NetworkFilter != v.Container.NetworkFilter || now.NetworkPolicy != v.Container.NetworkPolicy || !slices.Equal(now.DNS.Servers, v.Container.DNS.Servers) {
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

// NIC is a network card of a containerVM; Slot 0: vSphere has given none yet.
type NIC struct {
	MAC  string
	Slot int
}

// Card gives a container's network card on a port group, nil when it has none
// there, and how many it has in all.
func (m *Manager) Card(ctx context.Context, id, portGroup string) (nic *NIC, cards int, err error) {
	list, backing, _, err := m.cards(ctx, id, portGroup)
	if err != nil {
		return nil, 0, err
	}
	for _, c := range list {
		if e := c.GetVirtualEthernetCard(); vsphere.SameNetwork(backing, e.Backing) {
			return &NIC{e.MacAddress, vsphere.SlotOf(c)}, len(list), nil
		}
	}
	return nil, len(list), nil
}

func (m *Manager) cards(ctx context.Context, id, portGroup string) ([]types.BaseVirtualEthernetCard, types.BaseVirtualDeviceBackingInfo, *Controller, error) {
	c, err := m.find(id)
	if err != nil {
		return nil, nil, nil, err
	}
	backing, err := m.nic(ctx, portGroup)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("network cards of container %s: %w", id, err)
	}
	devices, err := m.cfg.VSphere.Devices(ctx, c.ref())
	if err != nil {
		return nil, nil, nil, fmt.Errorf("network cards of container %s: %w", id, err)
	}
	return vsphere.Cards(devices), backing, c, nil
}

// Plug gives a container, running or not, a card on a port group, and tells the
// card's PCI slot.
func (m *Manager) Plug(ctx context.Context, id, portGroup, mac string) (slot int, err error) {
	cards, backing, c, err := m.cards(ctx, id, portGroup)
	if err != nil {
		return 0, err
	}
	if len(cards) >= vmspec.MaxNICs {
		return 0, fmt.Errorf("container %s has %d network cards, a VM can have no more: %w", id, len(cards), errdefs.ErrFailedPrecondition)
	}
	n := vsphere.FreeCard(cards)
	if err := m.reconfigure(ctx, c, vsphere.Add(vsphere.NIC(n, backing, mac))); err != nil {
		return 0, fmt.Errorf("give container %s a network card on %s: %w", id, portGroup, err)
	}
	return vsphere.PCISlot(n), nil
}

// Unplug takes a container's card on a port group away. None is no error.
func (m *Manager) Unplug(ctx context.Context, id, portGroup, mac string) error {
	cards, backing, c, err := m.cards(ctx, id, portGroup)
	if err != nil {
		return err
	}
	for _, card := range cards {
		if e := card.GetVirtualEthernetCard(); !vsphere.SameNetwork(backing, e.Backing) || !strings.EqualFold(e.MacAddress, mac) {
			continue
		}
		err := m.reconfigure(ctx, c, &types.VirtualDeviceConfigSpec{
			Operation: types.VirtualDeviceConfigSpecOperationRemove, Device: card.(types.BaseVirtualDevice),
		})
		if err != nil {
			return fmt.Errorf("take the network card on %s from container %s: %w", portGroup, id, err)
		}
	}
	return nil
}

// reconfigure changes a container's hardware, in turn with Update.
func (m *Manager) reconfigure(ctx context.Context, c *Controller, change types.BaseVirtualDeviceConfigSpec) error {
	if err := hold(ctx, c.config); err != nil {
		return err
	}
	defer letGo(c.config)
	return m.cfg.VSphere.Reconfigure(ctx, c.ref(), types.VirtualMachineConfigSpec{DeviceChange: []types.BaseVirtualDeviceConfigSpec{change}})
}

// Session gives the line of a container's guest, waiting for it until ctx ends.
func (m *Manager) Session(ctx context.Context, id string) (Line, error) {
	return m.cfg.Lines.Session(ctx, id)
}
