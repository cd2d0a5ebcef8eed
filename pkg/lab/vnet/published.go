package vnet

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
)

// Port is one that a guest publishes.
type Port struct {
	Proto string // "tcp" or "udp"
	Port  uint16
}

func (p Port) String() string { return fmt.Sprintf("%d/%s", p.Port, p.Proto) }

// maxPublished bounds what one guest may have opened: each port is a socket of
// this computer.
const maxPublished = 256

// ParsePorts reads a guest's list of published ports, such as
// ["80/tcp","53/udp"]. Empty text is an empty list. The result is sorted and has
// no port twice.
func ParsePorts(text string) ([]Port, error) {
	if text == "" {
		return nil, nil
	}
	var list []string
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return nil, fmt.Errorf("list of ports %.80q: %w", text, errdefs.ErrInvalidArgument)
	}
	if len(list) > maxPublished {
		return nil, fmt.Errorf("list of %d ports: at most %d: %w", len(list), maxPublished, errdefs.ErrInvalidArgument)
	}
	var out []Port
	for _, s := range list {
		number, proto, _ := strings.Cut(s, "/")
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil || n == 0 || proto != "tcp" && proto != "udp" {
			return nil, fmt.Errorf("port %.80q: want one like 80/tcp or 53/udp: %w", s, errdefs.ErrInvalidArgument)
		}
		out = append(out, Port{Proto: proto, Port: uint16(n)})
	}
	slices.SortFunc(out, func(a, b Port) int {
		return (int(a.Port)-int(b.Port))*2 + strings.Compare(a.Proto, b.Proto)
	})
	return slices.Compact(out), nil
}

// Publish makes the ports of the guest that has the NIC reachable on this
// computer, at its addresses' aliases and under their own numbers, and no longer
// those of an earlier call. They are open whenever the NIC is connected and shows an
// address. A port that can't be opened is logged and left out.
func (n *Network) Publish(nicMAC string, ports []Port) {
	n.fwd.publish(strings.ToLower(nicMAC), ports)
}

func (f *forwards) publish(nicMAC string, ports []Port) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || f.off {
		return
	}
	if len(ports) > maxPublished {
		f.log.WithField("mac", nicMAC).Warnf("guest publishes %d ports, of which %d are forwarded", len(ports), maxPublished)
		ports = ports[:maxPublished]
	}
	if len(ports) == 0 {
		delete(f.published, nicMAC)
	} else {
		f.published[nicMAC] = slices.Clone(ports)
	}
	for a, c := range f.owners {
		if c.by.mac == nicMAC {
			f.sync(a, c)
		}
	}
}

// sync opens and closes what an address's owner publishes. Called with mu held.
func (f *forwards) sync(a netip.Addr, c *claim) {
	want := f.published[c.by.mac]
	for p, end := range c.published {
		if !slices.Contains(want, p) {
			_ = end.Close()
			delete(c.published, p)
		}
	}
	for _, p := range want {
		if c.published[p] != nil || p.Proto == "tcp" && slices.ContainsFunc(f.ports, func(fw Forward) bool { return fw.Guest == p.Port && fw.local() == p.Port }) {
			continue // open already
		}
		var end io.Closer
		var err error
		if p.Proto == "udp" {
			end, err = f.openUDP(a, p.Port)
		} else {
			end, err = f.open(c.ctx, a, Forward{Guest: p.Port})
		}
		if err != nil {
			f.log.WithError(err).Warn("guest's published port not forwarded")
			continue
		}
		f.log.WithField("address", a.String()).WithField("port", p.String()).Info("guest's published port forwarded")
		c.published[p] = end
	}
}

func (f *forwards) openUDP(a netip.Addr, port uint16) (io.Closer, error) {
	host, _ := f.gw.plan.HostAddress(a) // a is of the subnet
	l, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(host, port)))
	if err != nil {
		return nil, fmt.Errorf("forward to %s UDP port %d: %w", a, port, err)
	}
	r := &udpRelay{gw: f.gw, log: f.log, in: l, to: netip.AddrPortFrom(a, port), flows: map[netip.AddrPort]net.Conn{}}
	f.wg.Go(r.run)
	return l, nil
}
