package system

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A Link is one network interface.
type Link struct {
	Name string
	MAC  string
	l    netlink.Link
}

// Loopback brings lo up, by ioctl: a container without a network needs no
// netlink, and its code is slow the first time on an emulated processor.
func Loopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, req); err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	req.SetUint16(req.Uint16() | unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req); err != nil {
		return fmt.Errorf("loopback up: %w", err)
	}
	return nil
}

// LinkByMAC finds an interface by its hardware address.
func LinkByMAC(mac string) (*Link, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("network interfaces: %w", err)
	}
	var have []string
	for _, l := range links {
		a := l.Attrs()
		if a.Flags&net.FlagLoopback != 0 {
			continue
		}
		if strings.EqualFold(a.HardwareAddr.String(), mac) {
			return &Link{Name: a.Name, MAC: a.HardwareAddr.String(), l: l}, nil
		}
		have = append(have, a.HardwareAddr.String())
	}
	return nil, fmt.Errorf("no network interface %s (there are: %s)", mac, strings.Join(have, ", "))
}

// LinkAt finds the interface of the n-th network card, from 0, in the order of
// their PCI slots: the order in which one driver finds them. It is for cards whose
// hardware address vSphere gave and nobody wrote down.
func LinkAt(n int) (*Link, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("network interfaces: %w", err)
	}
	var cards []netlink.Link
	for _, l := range links {
		if l.Type() == "device" && l.Attrs().Flags&net.FlagLoopback == 0 {
			cards = append(cards, l)
		}
	}
	if n < 0 || n >= len(cards) {
		return nil, fmt.Errorf("no network card %d (there are %d)", n, len(cards))
	}
	slices.SortFunc(cards, func(a, b netlink.Link) int { return a.Attrs().Index - b.Attrs().Index })
	a := cards[n].Attrs()
	return &Link{Name: a.Name, MAC: a.HardwareAddr.String(), l: cards[n]}, nil
}

// Rename gives the interface another name; it must be down.
func (l *Link) Rename(name string) error {
	if l.Name == name {
		return nil
	}
	if err := netlink.LinkSetName(l.l, name); err != nil {
		return fmt.Errorf("rename %s to %s: %w", l.Name, name, err)
	}
	l.Name = name
	return nil
}

// Up brings the interface up.
func (l *Link) Up() error {
	if err := netlink.LinkSetUp(l.l); err != nil {
		return fmt.Errorf("%s up: %w", l.Name, err)
	}
	return nil
}

// SetAddress makes cidr the interface's only IPv4 address.
func (l *Link) SetAddress(cidr string) error {
	a, err := netlink.ParseAddr(cidr)
	if err != nil {
		return fmt.Errorf("%s: address %q: %w", l.Name, cidr, err)
	}
	old, err := netlink.AddrList(l.l, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("%s: addresses: %w", l.Name, err)
	}
	if err := netlink.AddrReplace(l.l, a); err != nil {
		return fmt.Errorf("%s: set address %s: %w", l.Name, cidr, err)
	}
	for _, o := range old {
		if o.IPNet.String() == a.IPNet.String() {
			continue
		}
		o := o
		if err := netlink.AddrDel(l.l, &o); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return fmt.Errorf("%s: remove address %s: %w", l.Name, o.IPNet, err)
		}
	}
	return nil
}

// SetDefaultRoute sends what has no other route through gateway. A gateway
// outside the interface's own network is reached on the link.
func (l *Link) SetDefaultRoute(gateway string, metric int) error {
	gw := net.ParseIP(gateway)
	if gw == nil {
		return fmt.Errorf("%s: gateway %q is not an address", l.Name, gateway)
	}
	err := netlink.RouteReplace(&netlink.Route{LinkIndex: l.l.Attrs().Index, Gw: gw, Priority: metric, Flags: int(netlink.FLAG_ONLINK)})
	if err != nil {
		return fmt.Errorf("%s: default route through %s: %w", l.Name, gateway, err)
	}
	return nil
}

// Addresses are the interface's IPv4 addresses in CIDR form.
func (l *Link) Addresses() ([]string, error) {
	list, err := netlink.AddrList(l.l, netlink.FAMILY_V4)
	if err != nil {
		return nil, fmt.Errorf("%s: addresses: %w", l.Name, err)
	}
	var out []string
	for _, a := range list {
		out = append(out, a.IPNet.String())
	}
	return out, nil
}
