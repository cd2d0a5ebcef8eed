package system

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/bits"
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
	_, err := l.SetAddresses([]string{cidr})
	return err
}

// SetAddresses makes cidrs the interface's only IPv4 addresses, and returns those
// that are new. Those that stay are not touched. What goes, goes first: an address
// added to a subnet that has one would go with that one.
func (l *Link) SetAddresses(cidrs []string) (added []string, err error) {
	return l.setAddresses(netlink.FAMILY_V4, 0, cidrs)
}

// SetAddresses6 likewise makes cidrs its only IPv6 addresses besides link-local
// ones. They can be used at once: who gives them out gives each once.
func (l *Link) SetAddresses6(cidrs []string) (added []string, err error) {
	return l.setAddresses(netlink.FAMILY_V6, unix.IFA_F_NODAD, cidrs)
}

func (l *Link) setAddresses(family, flags int, cidrs []string) (added []string, err error) {
	old, err := netlink.AddrList(l.l, family)
	if err != nil {
		return nil, fmt.Errorf("%s: addresses: %w", l.Name, err)
	}
	old = slices.DeleteFunc(old, func(a netlink.Addr) bool { return family == netlink.FAMILY_V6 && a.IP.IsLinkLocalUnicast() })
	var want []*netlink.Addr
	for _, cidr := range cidrs {
		a, err := netlink.ParseAddr(cidr)
		if err != nil {
			return nil, fmt.Errorf("%s: address %q: %w", l.Name, cidr, err)
		}
		a.Flags = flags
		want = append(want, a)
	}
	same := func(a netlink.Addr, b *netlink.Addr) bool { return a.IPNet.String() == b.IPNet.String() }
	for _, o := range old {
		if slices.ContainsFunc(want, func(w *netlink.Addr) bool { return same(o, w) }) {
			continue
		}
		if err := netlink.AddrDel(l.l, &o); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return added, fmt.Errorf("%s: remove address %s: %w", l.Name, o.IPNet, err)
		}
	}
	for i, w := range want {
		if slices.ContainsFunc(old, func(o netlink.Addr) bool { return same(o, w) }) {
			continue
		}
		if err := netlink.AddrReplace(l.l, w); err != nil {
			return added, fmt.Errorf("%s: set address %s: %w", l.Name, cidrs[i], err)
		}
		added = append(added, cidrs[i])
	}
	return added, nil
}

// IPv6 turns IPv6 on or off on the interface. Turned on, it has a link-local address
// and waits for nothing: it does not look for duplicates, and takes no addresses
// and routes from whoever says to be a router.
func (l *Link) IPv6(on bool) error {
	list := []struct{ name, value string }{{"disable_ipv6", "1"}}
	if on {
		list = []struct{ name, value string }{{"accept_ra", "0"}, {"autoconf", "0"}, {"accept_redirects", "0"}, {"accept_dad", "0"}, {"disable_ipv6", "0"}}
	}
	for _, s := range list {
		if err := Sysctl("net.ipv6.conf."+strings.ReplaceAll(l.Name, ".", "/")+"."+s.name, s.value); err != nil {
			if !on && errors.Is(err, fs.ErrNotExist) {
				return nil // a kernel without IPv6
			}
			return fmt.Errorf("%s: IPv6: %w", l.Name, err)
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

// KeepDefaultRoute removes the interface's default routes but the one through
// gateway; with none given, all of them.
func (l *Link) KeepDefaultRoute(gateway string) error {
	return l.keepDefaultRoute(netlink.FAMILY_V4, gateway)
}

// KeepDefaultRoute6 is that of IPv6.
func (l *Link) KeepDefaultRoute6(gateway string) error {
	return l.keepDefaultRoute(netlink.FAMILY_V6, gateway)
}

func (l *Link) keepDefaultRoute(family int, gateway string) error {
	list, err := netlink.RouteList(l.l, family)
	if err != nil {
		return fmt.Errorf("%s: routes: %w", l.Name, err)
	}
	for _, r := range list {
		if r.Dst != nil && !r.Dst.IP.IsUnspecified() || gateway != "" && r.Gw.Equal(net.ParseIP(gateway)) {
			continue
		}
		if err := netlink.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("%s: remove default route through %s: %w", l.Name, r.Gw, err)
		}
	}
	return nil
}

// Announce tells everybody on the link that cidr's address is here, so that
// nobody keeps the place where it was before.
func (l *Link) Announce(cidr string) error {
	frame, err := announcement(l.MAC, cidr)
	if err != nil {
		return fmt.Errorf("%s: announce %s: %w", l.Name, cidr, err)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("%s: announce %s: %w", l.Name, cidr, err)
	}
	defer unix.Close(fd)
	to := &unix.SockaddrLinklayer{Protocol: bits.ReverseBytes16(binary.BigEndian.Uint16(frame[12:])), Ifindex: l.l.Attrs().Index, Halen: 6}
	copy(to.Addr[:], frame[:6])
	if err := unix.Sendto(fd, frame, 0, to); err != nil {
		return fmt.Errorf("%s: announce %s: %w", l.Name, cidr, err)
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
