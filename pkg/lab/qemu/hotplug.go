package qemu

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/lab/machine"
)

var _ machine.HotPlug = (*instance)(nil)

// card is a network card that QEMU has.
type card struct {
	place
	unlink context.CancelFunc // takes it from its network; nil: it is on none
}

// ejectLimit is how long a guest has to let go of a card. Linux takes under a
// second; one that has not booted yet never answers.
const ejectLimit = 15 * time.Second

// GrowDisk implements machine.HotPlug.
func (i *instance) GrowDisk(ctx context.Context, d machine.Disk, capacity int64) error {
	i.hot.Lock()
	defer i.hot.Unlock()
	ctx, cancel := i.command(ctx)
	defer cancel()
	if d.Extent == "" || d.Nonpersistent || d.ReadOnly {
		return fmt.Errorf("grow %s of VM %s: not one plain extent that this VM writes: %w", diskID(d), i.m.Name, errdefs.ErrNotImplemented)
	}
	return i.qmp.run(ctx, "block_resize", map[string]any{"node-name": nodeOf(d), "size": capacity}, nil)
}

// AddDisk implements machine.HotPlug. A controller without disks does not exist in
// QEMU: it comes with the first one.
func (i *instance) AddDisk(ctx context.Context, d machine.Disk) (err error) {
	i.hot.Lock()
	defer i.hot.Unlock()
	ctx, cancel := i.command(ctx)
	defer cancel()
	have, err := i.devices(ctx)
	if err != nil {
		return err
	}
	one := i.m
	one.Disks, one.NICs = []machine.Disk{d}, nil
	if err := Check(one); err != nil {
		return err
	}
	if have[diskID(d)] {
		return fmt.Errorf("disk %s of VM %s: %w", diskID(d), i.m.Name, errdefs.ErrAlreadyExists)
	}
	dropRedo, err := makeRedo(one)
	if err != nil {
		return err
	}
	defer dropRedo() // open by then, or not needed
	var added []string
	defer func() {
		if err != nil {
			i.dropNodes(added)
		}
	}()
	for _, n := range diskNodes(i.m, d) {
		if err := i.qmp.run(ctx, "blockdev-add", n.json(""), nil); err != nil {
			return err
		}
		added = append(added, n.get("node-name"))
	}
	if !have[controllerID(d.Bus)] {
		if err := i.qmp.run(ctx, "device_add", controller(d.Bus).json("driver"), nil); err != nil {
			return err
		}
	}
	return i.qmp.run(ctx, "device_add", diskDevice(d).json("driver"), nil)
}

// RemoveDisk implements machine.HotPlug.
func (i *instance) RemoveDisk(ctx context.Context, d machine.Disk) error {
	i.hot.Lock()
	defer i.hot.Unlock()
	ctx, cancel := i.command(ctx)
	defer cancel()
	if err := i.eject(ctx, diskID(d)); err != nil {
		return err
	}
	var nodes []string
	for _, n := range diskNodes(i.m, d) {
		nodes = append(nodes, n.get("node-name"))
	}
	i.dropNodes(nodes)
	return nil
}

// dropNodes closes the files of a disk that has no device any more.
func (i *instance) dropNodes(nodes []string) {
	ctx, cancel := context.WithTimeout(i.ctx, commandLimit)
	defer cancel()
	for n := len(nodes) - 1; n >= 0; n-- {
		if err := i.qmp.run(ctx, "blockdev-del", map[string]any{"node-name": nodes[n]}, nil); err != nil {
			i.log.WithError(err).WithField("node", nodes[n]).Warn("disk's file stays open")
		}
	}
}

// AddNIC implements machine.HotPlug.
func (i *instance) AddNIC(ctx context.Context, nic machine.NIC) (err error) {
	i.hot.Lock()
	defer i.hot.Unlock()
	ctx, cancel := i.command(ctx)
	defer cancel()
	one := i.m
	one.Disks, one.NICs = nil, []machine.NIC{nic}
	if err := Check(one); err != nil {
		return err
	}
	at, err := i.free(nic.MAC)
	if err != nil {
		return err
	}
	_ = os.Remove(i.p.NIC(at.Number)) // of a card that was there before
	if err := i.qmp.run(ctx, "netdev_add", netdev(i.p, at.Number).json("type"), nil); err != nil {
		return err
	}
	i.place(map[string]place{nic.MAC: at})
	defer func() {
		if err != nil {
			i.dropNIC(nic.MAC, at.Number)
		}
	}()
	if i.h.cfg.Network != nil {
		if err = i.link(ctx, nic); err != nil {
			return err
		}
	}
	if err := i.qmp.run(ctx, "device_add", nicDevice(nic, at.Number, at.Slot).json("driver"), nil); err != nil {
		return err
	}
	return i.register()
}

// RemoveNIC implements machine.HotPlug.
func (i *instance) RemoveNIC(ctx context.Context, nic machine.NIC) error {
	i.hot.Lock()
	defer i.hot.Unlock()
	ctx, cancel := i.command(ctx)
	defer cancel()
	i.mu.Lock()
	c := i.nics[strings.ToLower(nic.MAC)]
	i.mu.Unlock()
	if c == nil {
		return fmt.Errorf("NIC %s of VM %s: %w", nic.MAC, i.m.Name, errdefs.ErrNotFound)
	}
	if err := i.eject(ctx, cardID(c.Number)); err != nil {
		return err
	}
	i.dropNIC(nic.MAC, c.Number)
	return i.register()
}

// dropNIC removes what is behind a card that is gone.
func (i *instance) dropNIC(mac string, n int) {
	i.mu.Lock()
	c := i.nics[strings.ToLower(mac)]
	delete(i.nics, strings.ToLower(mac))
	i.mu.Unlock()
	if c != nil && c.unlink != nil {
		c.unlink()
	}
	ctx, cancel := context.WithTimeout(i.ctx, commandLimit)
	defer cancel()
	if err := i.qmp.run(ctx, "netdev_del", map[string]any{"id": netdevID(n)}, nil); err != nil {
		i.log.WithError(err).Warn("network back end stays")
	}
	_ = os.Remove(i.p.NIC(n))
}

// link puts a card on its network until it is taken away.
func (i *instance) link(ctx context.Context, nic machine.NIC) error {
	i.mu.Lock()
	c := i.nics[strings.ToLower(nic.MAC)]
	i.mu.Unlock()
	if c == nil {
		i.log.WithField("mac", nic.MAC).Warn("this VM was started without the NIC: it comes at the next power-on")
		return nil
	}
	life, unlink := context.WithCancel(i.ctx)
	serve := func(ctx context.Context, conn net.Conn) error {
		return i.h.cfg.Network.Connect(ctx, nic.Network, nic.MAC, conn)
	}
	if err := i.keep(ctx, life, cardID(c.Number), i.p.NIC(c.Number), serve); err != nil {
		unlink()
		return err
	}
	i.mu.Lock()
	c.unlink = unlink
	i.mu.Unlock()
	return nil
}

// eject asks for a device to go, and waits until it has gone. A guest that was
// asked before may only answer now.
func (i *instance) eject(ctx context.Context, id string) error {
	i.mu.Lock()
	gone, asked := i.ejected[id]
	if !asked {
		gone = make(chan struct{})
		i.ejected[id] = gone
	}
	i.mu.Unlock()
	have, err := i.devices(ctx)
	if err != nil {
		return err
	}
	if !have[id] {
		i.gone(id)
		return nil
	}
	if err := i.qmp.run(ctx, "device_del", map[string]any{"id": id}, nil); err != nil && !asked {
		i.gone(id)
		return err
	}
	t := time.NewTimer(ejectLimit)
	defer t.Stop()
	select {
	case <-gone:
		return nil
	case <-t.C:
		return fmt.Errorf("the guest of VM %s does not let go of %s: %w", i.m.Name, id, errdefs.ErrUnavailable)
	case <-ctx.Done():
		return fmt.Errorf("remove %s of VM %s: %w", id, i.m.Name, ctx.Err())
	}
}

// gone notes that a device has gone.
func (i *instance) gone(id string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if ch := i.ejected[id]; ch != nil {
		delete(i.ejected, id)
		close(ch)
	}
}

// devices are the ids of the devices that QEMU has.
func (i *instance) devices(ctx context.Context) (map[string]bool, error) {
	var list []struct{ Name string }
	if err := i.qmp.run(ctx, "qom-list", map[string]any{"path": "/machine/peripheral"}, &list); err != nil {
		return nil, err
	}
	out := map[string]bool{}
	for _, d := range list {
		out[d.Name] = true
	}
	return out, nil
}

// command bounds a change, which ends with the VM as well.
func (i *instance) command(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	stop := context.AfterFunc(i.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}

// firstPlaces are those of the cards that a VM starts with, as Args has them.
func firstPlaces(nics []machine.NIC) map[string]place {
	out := map[string]place{}
	for i, n := range nicOrder(nics) {
		out[nics[n].MAC] = place{Number: n, Slot: slotNIC + i}
	}
	return out
}

func (i *instance) place(at map[string]place) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for mac, p := range at {
		i.nics[strings.ToLower(mac)] = &card{place: p}
	}
}

func (i *instance) places() map[string]place {
	i.mu.Lock()
	defer i.mu.Unlock()
	out := map[string]place{}
	for mac, c := range i.nics {
		out[mac] = c.place
	}
	return out
}

// free is the first place that no card has.
func (i *instance) free(mac string) (place, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.nics[strings.ToLower(mac)] != nil {
		return place{}, fmt.Errorf("NIC %s of VM %s: %w", mac, i.m.Name, errdefs.ErrAlreadyExists)
	}
	number, slot := map[int]bool{}, map[int]bool{}
	for _, c := range i.nics {
		number[c.Number], slot[c.Slot] = true, true
	}
	p := place{Slot: slotNIC}
	for number[p.Number] {
		p.Number++
	}
	for slot[p.Slot] {
		p.Slot++
	}
	if p.Number >= maxNICs || p.Slot >= slotNIC+maxNICs {
		return place{}, fmt.Errorf("VM %s has %d NICs: %w", i.m.Name, maxNICs, errdefs.ErrResourceExhausted)
	}
	return p, nil
}
