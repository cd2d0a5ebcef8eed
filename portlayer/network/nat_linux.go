package network

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// tableName is the nftables table that belongs to the port layer alone.
const tableName = "vic-bridge"

// Setup makes the appliance's place on the bridge what is wanted: its NIC has
// the gateway addresses and no others, and our table has the rules. Doing it
// again changes nothing; the table is replaced at once, so that connections go
// on, but those of ports that are published no more, or elsewhere.
func Setup(n NAT) error {
	all, err := net.Interfaces()
	if err != nil {
		return fmt.Errorf("list network interfaces: %w", err)
	}
	nic, err := interfaceByMAC(all, n.MAC)
	if err != nil {
		return err
	}
	if err := addresses(nic, n.Networks); err != nil {
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
	if err := replace(nic.Name, Rules(n)); err != nil {
		return err
	}
	return forgetStale(n)
}

// addresses adds and removes the NIC's IPv4 addresses.
func addresses(nic net.Interface, want []Segment) error {
	link, err := netlink.LinkByIndex(nic.Index)
	if err != nil {
		return fmt.Errorf("find network interface %s: %w", nic.Name, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("set %s up: %w", nic.Name, err)
	}
	have, err := netlink.AddrList(link, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("addresses of %s: %w", nic.Name, err)
	}
	for _, a := range have {
		ip, ok := netip.AddrFromSlice(a.IP.To4())
		bits, _ := a.Mask.Size()
		p := netip.PrefixFrom(ip, bits)
		if ok && !slices.ContainsFunc(want, func(s Segment) bool { return s.Gateway == p }) {
			if err := netlink.AddrDel(link, &a); err != nil {
				return fmt.Errorf("take the address %s from %s: %w", p, nic.Name, err)
			}
		}
	}
	for _, s := range want {
		a := &netlink.Addr{IPNet: &net.IPNet{IP: s.Gateway.Addr().AsSlice(), Mask: net.CIDRMask(s.Gateway.Bits(), 32)}}
		if err := netlink.AddrReplace(link, a); err != nil {
			return fmt.Errorf("give %s the address %s: %w", nic.Name, s.Gateway, err)
		}
	}
	return nil
}

// replace makes our table hold these rules, in one transaction.
func replace(bridgeNIC string, rules []Rule) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	fillTable(c, bridgeNIC, rules)
	if err := c.Flush(); err != nil {
		return fmt.Errorf("replace the table %s: %w", tableName, err)
	}
	return nil
}

func fillTable(c *nftables.Conn, bridgeNIC string, rules []Rule) {
	table := &nftables.Table{Family: nftables.TableFamilyIPv4, Name: tableName}
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

// Offsets in an IPv4 header, RFC 791, and of the destination port in TCP and UDP.
const (
	sourceOffset = 12
	destOffset   = 16
	portOffset   = 2
)

// portUnreachable is ICMP_PORT_UNREACH of linux/icmp.h.
const portUnreachable = 3

// dnatDone is IPS_DST_NAT of linux/netfilter/nf_conntrack_common.h.
const dnatDone = 1 << 5

// compile gives a rule as the kernel has it.
func compile(r Rule, bridgeNIC string) []expr.Any {
	out := append(iface(expr.MetaKeyIIFNAME, r.in, bridgeNIC), iface(expr.MetaKeyOIFNAME, r.out, bridgeNIC)...)
	out = append(out, prefix(sourceOffset, r.src)...)
	out = append(out, prefix(destOffset, r.dst)...)
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
	case masquerade:
		out = append(out, &expr.Masq{})
	case dnat:
		out = append(out,
			&expr.Immediate{Register: 1, Data: r.to.Addr().AsSlice()},
			&expr.Immediate{Register: 2, Data: binaryutil.BigEndian.PutUint16(r.to.Port())},
			&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1, RegProtoMin: 2})
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

func prefix(offset uint32, p netip.Prefix) []expr.Any {
	if !p.IsValid() {
		return nil
	}
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: net.CIDRMask(p.Bits(), 32), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: p.Masked().Addr().AsSlice()},
	}
}

func transport(r Rule) []expr.Any {
	if r.proto == "" {
		return nil
	}
	number := map[string]byte{"tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP, "icmp": unix.IPPROTO_ICMP}[r.proto]
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
