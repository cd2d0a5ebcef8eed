package system

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Priorities of our routing rules, before the kernel's own for its main table
// (32766), and the first of our tables, one for each card.
const (
	localRules  = 100 // the main table, without its default routes
	sourceRules = 101 // by the source, a card's own
	firstTable  = 100
)

// A Source is a card with its addresses and the router that is its way out.
type Source struct {
	Link      *Link
	Addresses []string // CIDR form
	Gateway   string   // empty: none
}

// RouteBySource lets what has an address of a card leave by that card, to its own
// router: who came in by a card that has not the default route gets an answer by
// the way he came. With one card there is nothing to choose. It may be called
// again whenever anything has changed.
func RouteBySource(sources []Source) error {
	var want []*netlink.Rule
	for i, s := range sources {
		if s.Gateway == "" || len(sources) < 2 {
			continue
		}
		gw := net.ParseIP(s.Gateway)
		if gw == nil {
			return fmt.Errorf("%s: gateway %q is not an address", s.Link.Name, s.Gateway)
		}
		err := netlink.RouteReplace(&netlink.Route{LinkIndex: s.Link.l.Attrs().Index, Gw: gw, Table: firstTable + i, Flags: int(netlink.FLAG_ONLINK)})
		if err != nil {
			return fmt.Errorf("%s: route of its own through %s: %w", s.Link.Name, s.Gateway, err)
		}
		for _, cidr := range s.Addresses {
			a, err := netlink.ParseAddr(cidr)
			if err != nil {
				return fmt.Errorf("%s: address %q: %w", s.Link.Name, cidr, err)
			}
			r := netlink.NewRule()
			r.Priority, r.Table, r.Family = sourceRules, firstTable+i, unix.AF_INET
			r.Src = &net.IPNet{IP: a.IP, Mask: net.CIDRMask(32, 32)}
			want = append(want, r)
		}
	}
	if len(want) > 0 {
		r := netlink.NewRule()
		r.Priority, r.Table, r.Family, r.SuppressPrefixlen = localRules, unix.RT_TABLE_MAIN, unix.AF_INET, 0
		want = append(want, r)
	}
	return setRules(want)
}

func setRules(want []*netlink.Rule) error {
	have, err := netlink.RuleList(unix.AF_INET)
	if err != nil {
		return fmt.Errorf("routing rules: %w", err)
	}
	same := func(a, b *netlink.Rule) bool {
		return a.Priority == b.Priority && a.Table == b.Table && (a.Src == nil) == (b.Src == nil) && (a.Src == nil || a.Src.String() == b.Src.String())
	}
	for _, w := range want {
		if slices.ContainsFunc(have, func(h netlink.Rule) bool { return same(&h, w) }) {
			continue
		}
		if err := netlink.RuleAdd(w); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("routing rule %s: %w", w, err)
		}
	}
	for _, h := range have {
		ours := h.Priority == localRules || h.Priority == sourceRules
		if !ours || slices.ContainsFunc(want, func(w *netlink.Rule) bool { return same(&h, w) }) {
			continue
		}
		if err := netlink.RuleDel(&h); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("remove routing rule %s: %w", h, err)
		}
	}
	return nil
}

// AwaitLink is LinkByMAC for a card that is being plugged: it waits for it until
// ctx ends.
func AwaitLink(ctx context.Context, mac string) (*Link, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("follow network interfaces: %w", err)
	}
	news := os.NewFile(uintptr(fd), "rtnetlink")
	defer news.Close()
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: unix.RTMGRP_LINK}); err != nil {
		return nil, fmt.Errorf("follow network interfaces: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = news.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	buf := make([]byte, 64<<10)
	for {
		l, err := LinkByMAC(mac)
		if err == nil {
			return l, nil
		}
		// What the news are does not matter, nor that some were lost (ENOBUFS).
		if _, rerr := news.Read(buf); rerr != nil && !errors.Is(rerr, unix.ENOBUFS) {
			return nil, err
		}
	}
}

// Down takes the interface down. One that is not there any more is.
func (l *Link) Down() error {
	if err := netlink.LinkSetDown(l.l); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("%s down: %w", l.Name, err)
	}
	return nil
}
