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

// sourceRules is the priority of our routing rules, before the kernel's own for its
// main table (32766); firstTable the first of our tables, one for each card.
const (
	sourceRules = 100
	firstTable  = 100
)

// A Source is a card with its addresses and the router that is its way out.
type Source struct {
	Link      *Link
	Addresses []string // CIDR form
	Gateway   string   // empty: none
}

// RouteBySource lets what has an address of a card leave by that card, to its own
// router if not to a neighbour there: who came in by one card gets an answer by the
// way he came, also when his own network is that of another card. With one card
// there is nothing to choose. It may be called again whenever anything has changed.
func RouteBySource(sources []Source) error {
	var rules []*netlink.Rule
	for i, s := range sources {
		if len(sources) < 2 || len(s.Addresses) == 0 {
			continue
		}
		routes, nets, err := s.routes(firstTable + i)
		if err != nil {
			return err
		}
		if err := setTable(firstTable+i, routes); err != nil {
			return fmt.Errorf("%s: routes of its own: %w", s.Link.Name, err)
		}
		for _, n := range nets {
			r := netlink.NewRule()
			r.Priority, r.Table, r.Family = sourceRules, firstTable+i, unix.AF_INET
			r.Src = &net.IPNet{IP: n.IP, Mask: net.CIDRMask(32, 32)}
			rules = append(rules, r)
		}
	}
	return setRules(rules)
}

// routes are what a card's table holds, and its addresses.
func (s Source) routes(table int) (routes []netlink.Route, nets []*net.IPNet, err error) {
	index := s.Link.l.Attrs().Index
	for _, cidr := range s.Addresses {
		a, err := netlink.ParseAddr(cidr)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: address %q: %w", s.Link.Name, cidr, err)
		}
		nets = append(nets, a.IPNet)
		routes = append(routes, netlink.Route{LinkIndex: index, Table: table, Scope: netlink.SCOPE_LINK,
			Dst: &net.IPNet{IP: a.IP.Mask(a.Mask), Mask: a.Mask}})
	}
	if s.Gateway == "" {
		return routes, nets, nil
	}
	gw := net.ParseIP(s.Gateway)
	if gw == nil {
		return nil, nil, fmt.Errorf("%s: gateway %q is not an address", s.Link.Name, s.Gateway)
	}
	return append(routes, netlink.Route{LinkIndex: index, Table: table, Gw: gw, Flags: int(netlink.FLAG_ONLINK)}), nets, nil
}

// setTable makes want all routes of a table.
func setTable(table int, want []netlink.Route) error {
	for _, r := range want {
		if err := netlink.RouteReplace(&r); err != nil {
			return fmt.Errorf("set %s: %w", r, err)
		}
	}
	have, err := netlink.RouteListFiltered(unix.AF_INET, &netlink.Route{Table: table}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return fmt.Errorf("list: %w", err)
	}
	for _, h := range have {
		same := func(w netlink.Route) bool {
			whole := w.Dst == nil && (h.Dst == nil || h.Dst.IP.IsUnspecified())
			return h.LinkIndex == w.LinkIndex && (whole || w.Dst != nil && h.Dst != nil && h.Dst.String() == w.Dst.String()) && h.Gw.Equal(w.Gw)
		}
		if slices.ContainsFunc(want, same) {
			continue
		}
		if err := netlink.RouteDel(&h); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("remove %s: %w", h, err)
		}
	}
	return nil
}

func setRules(want []*netlink.Rule) error {
	have, err := netlink.RuleList(unix.AF_INET)
	if err != nil {
		return fmt.Errorf("routing rules: %w", err)
	}
	same := func(h, w *netlink.Rule) bool {
		return h.Table == w.Table && h.Src != nil && h.Src.String() == w.Src.String()
	}
	have = slices.DeleteFunc(have, func(h netlink.Rule) bool { return h.Priority != sourceRules })
	for _, w := range want {
		if slices.ContainsFunc(have, func(h netlink.Rule) bool { return same(&h, w) }) {
			continue
		}
		if err := netlink.RuleAdd(w); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("routing rule %s: %w", w, err)
		}
	}
	for _, h := range have {
		if slices.ContainsFunc(want, func(w *netlink.Rule) bool { return same(&h, w) }) {
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
