package network

import (
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
)

// tableName is the nftables table that belongs to the port layer alone.
const tableName = "vic-bridge"

// Setup gives the appliance's NIC on the bridge its gateway address, and lets
// containers reach what the appliance reaches, under the appliance's address.
// Doing it again changes nothing; a table from before is replaced at once, so
// that connections go on.
func Setup(n NAT) error {
	all, err := net.Interfaces()
	if err != nil {
		return fmt.Errorf("list network interfaces: %w", err)
	}
	nic, err := interfaceByMAC(all, n.MAC)
	if err != nil {
		return err
	}
	if err := address(nic, n.Gateway); err != nil {
		return err
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1\n"), 0o644); err != nil {
		return fmt.Errorf("switch on forwarding: %w", err)
	}
	return masquerade(nic.Name, n.Gateway.Masked())
}

func address(nic net.Interface, p netip.Prefix) error {
	link, err := netlink.LinkByIndex(nic.Index)
	if err != nil {
		return fmt.Errorf("find network interface %s: %w", nic.Name, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("set %s up: %w", nic.Name, err)
	}
	a := &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}}
	if err := netlink.AddrReplace(link, a); err != nil {
		return fmt.Errorf("give %s the address %s: %w", nic.Name, p, err)
	}
	return nil
}

func masquerade(bridge string, subnet netip.Prefix) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	table := &nftables.Table{Family: nftables.TableFamilyIPv4, Name: tableName}
	// All in one transaction. Adding it first makes deleting it always succeed.
	c.AddTable(table)
	c.DelTable(table)
	c.AddTable(table)
	chain := c.AddChain(&nftables.Chain{
		Name: "postrouting", Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
	})
	c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: rule(bridge, subnet)})
	if err := c.Flush(); err != nil {
		return fmt.Errorf("set up masquerading of %s: %w", subnet, err)
	}
	return nil
}

// rule is: ip saddr <subnet> oifname != <bridge> masquerade.
func rule(bridge string, subnet netip.Prefix) []expr.Any {
	const sourceOffset = 12  // of the source address in an IPv4 header, RFC 791
	name := make([]byte, 16) // IFNAMSIZ
	copy(name, bridge)
	mask := net.CIDRMask(subnet.Bits(), 32)
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: sourceOffset, Len: 4},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: mask, Xor: binaryutil.NativeEndian.PutUint32(0)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: subnet.Addr().AsSlice()},
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: name},
		&expr.Masq{},
	}
}
