package network

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// tableName is the nftables table, of IPv4 and of IPv6, that belongs to the port
// layer alone.
const tableName = "vic-bridge"

// Place is the appliance's place on the bridge in the kernel. Its methods must not
// be called at the same time. The zero value knows nothing of what is there.
type Place struct {
	have *NAT // as it was made last; nil: it may be anything
}

// Set makes the place what is wanted: the NIC has the gateway addresses and no
// others, and our tables have the rules. What is so already is not touched, as far
// as that is known; a table is replaced at once, so that connections go on, but
// those of ports that are published no more, or elsewhere.
func (p *Place) Set(n NAT) error {
	have := p.have
	p.have = nil
	if err := change(have, n); err != nil {
		return err
	}
	p.have = &n
	return nil
}

// change makes n of have, or of anything when that is nil.
func change(have *NAT, n NAT) error {
	all, err := net.Interfaces()
	if err != nil {
		return fmt.Errorf("list network interfaces: %w", err)
	}
	nic, err := interfaceByMAC(all, n.MAC)
	if err != nil {
		return err
	}
	if err := addresses(nic, n); err != nil {
		return err
	}
	for name, value := range map[string]string{
		"ip_forward": "1",
		// Containers of several networks are behind one NIC: telling them to
		// speak to each other directly would be wrong.
		"conf/all/send_redirects":              "0",
		"conf/" + nic.Name + "/send_redirects": "0",
	} {
		if err := os.WriteFile("/proc/sys/net/ipv4/"+name, []byte(value+"\n"), 0o644); err != nil {
			return fmt.Errorf("set net.ipv4.%s: %w", name, err)
		}
	}
	if err := router6(n, nic.Name, all); err != nil {
		return err
	}
	if err := replace(nic.Name, have, n); err != nil {
		return err
	}
	return forgetStale(have, n)
}

// router6 keeps what guests say of routers from the appliance, and makes it a
// router of IPv6 itself once a network has that. Its other NICs go on taking what
// their own routers tell, which a router else does not (accept_ra of
// Documentation/networking/ip-sysctl.rst).
func router6(n NAT, bridgeNIC string, all []net.Interface) error {
	const sysctls = "/proc/sys/net/ipv6/"
	if _, err := os.Stat(sysctls); err != nil && len(n.of(true).Networks) == 0 {
		return nil //nolint:nilerr // a kernel without IPv6, which nobody needs
	}
	type setting struct{ name, value string }
	list := []setting{
		{"conf/" + bridgeNIC + "/accept_ra", "0"}, {"conf/" + bridgeNIC + "/accept_redirects", "0"}, {"conf/" + bridgeNIC + "/accept_dad", "0"},
	}
	if len(n.of(true).Networks) > 0 {
		for _, i := range all {
			file := "conf/" + i.Name + "/accept_ra"
			have, err := os.ReadFile(sysctls + file)
			if err == nil && i.Name != bridgeNIC && strings.TrimSpace(string(have)) == "1" {
				list = append(list, setting{file, "2"})
			}
		}
		list = append(list, setting{"conf/all/forwarding", "1"})
	}
	for _, s := range list {
		if err := os.WriteFile(sysctls+s.name, []byte(s.value+"\n"), 0o644); err != nil {
			return fmt.Errorf("set net.ipv6.%s: %w", s.name, err)
		}
	}
	return nil
}

// addresses adds and removes the NIC's addresses, except link-local ones. Those of
// IPv6 are usable at once: nobody else has a gateway's (no duplicate detection).
func addresses(nic net.Interface, n NAT) error {
	want := append(n.of(false).Networks, n.of(true).Networks...)
	link, err := netlink.LinkByIndex(nic.Index)
	if err != nil {
		return fmt.Errorf("find network interface %s: %w", nic.Name, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("set %s up: %w", nic.Name, err)
	}
	have, err := netlink.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("addresses of %s: %w", nic.Name, err)
	}
	for _, a := range have {
		p := prefixOf(a)
		if p.IsValid() && !p.Addr().IsLinkLocalUnicast() && !slices.ContainsFunc(want, func(s Segment) bool { return s.Gateway == p }) {
			if err := netlink.AddrDel(link, &a); err != nil {
				return fmt.Errorf("take the address %s from %s: %w", p, nic.Name, err)
			}
		}
	}
	for _, s := range want {
		if slices.ContainsFunc(have, func(a netlink.Addr) bool { return prefixOf(a) == s.Gateway }) {
			continue
		}
		a := &netlink.Addr{IPNet: &net.IPNet{IP: s.Gateway.Addr().AsSlice(), Mask: net.CIDRMask(s.Gateway.Bits(), s.Gateway.Addr().BitLen())}}
		if s.Gateway.Addr().Is6() {
			a.Flags = unix.IFA_F_NODAD
		}
		if err := netlink.AddrReplace(link, a); err != nil {
			return fmt.Errorf("give %s the address %s: %w", nic.Name, s.Gateway, err)
		}
	}
	return nil
}

// prefixOf is not valid when the kernel tells no address.
func prefixOf(a netlink.Addr) netip.Prefix {
	ip, _ := netip.AddrFromSlice(a.IP)
	bits, _ := a.Mask.Size()
	return netip.PrefixFrom(ip.Unmap(), bits)
}

// replace makes our tables hold the rules of n, in one transaction. have is what
// they hold now, nil when that is not known.
func replace(bridgeNIC string, have *NAT, n NAT) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	changed := false
	for family, rules := range map[nftables.TableFamily]func(NAT) []Rule{nftables.TableFamilyIPv4: Rules, nftables.TableFamilyIPv6: Rules6} {
		if r := rules(n); have == nil || !slices.Equal(rules(*have), r) {
			fillTable(c, bridgeNIC, family, r)
			changed = true
		}
	}
	if !changed {
		return nil
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("replace the tables %s: %w", tableName, err)
	}
	return nil
}

func fillTable(c *nftables.Conn, bridgeNIC string, family nftables.TableFamily, rules []Rule) {
	table := &nftables.Table{Family: family, Name: tableName}
	// Adding it first makes deleting it always succeed.
	c.AddTable(table)
	c.DelTable(table)
	c.AddTable(table)
	byName := map[string]*nftables.Chain{}
	for _, ch := range chains() {
		byName[ch.name] = c.AddChain(nftChain(table, ch))
	}
	for _, r := range rules {
		c.AddRule(&nftables.Rule{Table: table, Chain: byName[r.chain], Exprs: compile(r, bridgeNIC)})
	}
}

func nftChain(t *nftables.Table, ch chain) *nftables.Chain {
	out := &nftables.Chain{Name: ch.name, Table: t}
	switch ch.name {
	case chainDNAT:
		out.Type, out.Hooknum, out.Priority = nftables.ChainTypeNAT, nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest
	case chainSNAT:
		out.Type, out.Hooknum, out.Priority = nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource
	case chainForward:
		out.Type, out.Hooknum, out.Priority = nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityFilter
	case chainInput:
		out.Type, out.Hooknum, out.Priority = nftables.ChainTypeFilter, nftables.ChainHookInput, nftables.ChainPriorityFilter
	}
	return out
}

// Offsets in headers of IPv4 (RFC 791) and IPv6 (RFC 8200), and of the destination
// port in TCP and UDP.
const (
	sourceOffset  = 12
	destOffset    = 16
	sourceOffset6 = 8
	destOffset6   = 24
	portOffset    = 2
)

// What a closed port is called: ICMP_PORT_UNREACH of linux/icmp.h, and
// ICMPV6_PORT_UNREACH of linux/icmpv6.h.
const (
	portUnreachable  = 3
	portUnreachable6 = 4
)

// dnatDone is IPS_DST_NAT of linux/netfilter/nf_conntrack_common.h.
const dnatDone = 1 << 5

// compile gives a rule as the kernel has it.
func compile(r Rule, bridgeNIC string) []expr.Any {
	out := append(iface(expr.MetaKeyIIFNAME, r.in, bridgeNIC), iface(expr.MetaKeyOIFNAME, r.out, bridgeNIC)...)
	out = append(out, prefix(sourceOffset, sourceOffset6, r.src)...)
	out = append(out, prefix(destOffset, destOffset6, r.dst)...)
	out = append(out, transport(r)...)
	out = append(out, tracked(r.ct)...)
	switch r.do {
	case accept:
		out = append(out, &expr.Verdict{Kind: expr.VerdictAccept})
	case drop:
		out = append(out, &expr.Verdict{Kind: expr.VerdictDrop})
	case jump:
		out = append(out, &expr.Verdict{Kind: expr.VerdictJump, Chain: r.chainTo})
	case reset:
		out = append(out, &expr.Reject{Type: unix.NFT_REJECT_TCP_RST})
	case unreachable:
		out = append(out, &expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: portUnreachable})
	case unreachable6:
		out = append(out, &expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: portUnreachable6})
	case masquerade:
		out = append(out, &expr.Masq{})
	case dnat:
		family := uint32(unix.NFPROTO_IPV4)
		if r.to.Addr().Is6() {
			family = unix.NFPROTO_IPV6
		}
		out = append(out,
			&expr.Immediate{Register: 1, Data: r.to.Addr().AsSlice()},
			&expr.Immediate{Register: 2, Data: binaryutil.BigEndian.PutUint16(r.to.Port())},
			&expr.NAT{Type: expr.NATTypeDestNAT, Family: family, RegAddrMin: 1, RegProtoMin: 2})
	}
	return out
}

func iface(key expr.MetaKey, s side, bridgeNIC string) []expr.Any {
	if s == anywhere {
		return nil
	}
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, bridgeNIC)
	op := expr.CmpOpEq
	if s == outside {
		op = expr.CmpOpNeq
	}
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: op, Register: 1, Data: name}}
}

func prefix(offset, offset6 uint32, p netip.Prefix) []expr.Any {
	if !p.IsValid() {
		return nil
	}
	bits := p.Addr().BitLen()
	if p.Addr().Is6() {
		offset = offset6
	}
	size := uint32(bits / 8)
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: size},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: size, Mask: net.CIDRMask(p.Bits(), bits), Xor: make([]byte, size)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: p.Masked().Addr().AsSlice()},
	}
}

func transport(r Rule) []expr.Any {
	if r.proto == "" {
		return nil
	}
	number := map[string]byte{"tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP, "icmp": unix.IPPROTO_ICMP, "ipv6-icmp": unix.IPPROTO_ICMPV6}[r.proto]
	out := []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{number}},
	}
	if r.port == 0 {
		return out
	}
	return append(out,
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: portOffset, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(r.port)})
}

func tracked(m ctMatch) []expr.Any {
	var key expr.CtKey
	var mask uint32
	switch m {
	case ctEstablished:
		key, mask = expr.CtKeySTATE, expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED
	case ctDNAT:
		key, mask = expr.CtKeySTATUS, dnatDone
	default:
		return nil
	}
	return []expr.Any{
		&expr.Ct{Key: key, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(mask), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
}
