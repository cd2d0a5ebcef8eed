package firewall

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	// elementChunk is how many addresses go into one netlink message, whose lists
	// are at most 64 KiB.
	elementChunk = 500
	// buffer holds one transaction.
	buffer = 4 << 20
)

// Directions of connections, 0 and 1 of enum ip_conntrack_dir
// (linux/netfilter/nf_conntrack_tuple_common.h). The kernel reads one byte
// (NFTA_CT_DIRECTION is NLA_U8 in nft_ct.c) of the four that this version of the
// nftables package sends, the highest first.
const (
	original = 0 << 24
	reply    = 1 << 24
)

// A Firewall is the table in the kernel. Its methods must not be called at the same
// time. The zero value is no table.
type Firewall struct{ have string }

// Set makes r the table, in one transaction: no packet meets anything but the old
// table or the new one, and of what fails the old one stays. Before the first table
// of a guest nothing passes for a moment.
func (f *Firewall) Set(r Ruleset) error {
	if f.have == r.String() {
		return nil
	}
	first := f.have == "" && r.Hooks == Guest && !r.Closed
	if first {
		// Connections are followed from when the kernel reads the first rule that asks
		// for it, which is before the rules work. What it sees of them meanwhile is
		// forgotten when it does not get through.
		if err := f.set(Ruleset{Hooks: Guest, Closed: true}); err != nil {
			return err
		}
	}
	if err := f.set(r); err != nil {
		if first {
			err = errors.Join(err, f.Remove())
		}
		return err
	}
	return nil
}

func (f *Firewall) set(r Ruleset) error {
	if err := commit(func(c *nftables.Conn) error { return install(c, r) }); err != nil {
		return fmt.Errorf("policy rules: %w", err)
	}
	f.have = r.String()
	return nil
}

// Remove takes the table away, if this Firewall has made one.
func (f *Firewall) Remove() error {
	if f.have == "" {
		return nil
	}
	return f.Clear()
}

// Clear takes the table away, whoever has made it.
func (f *Firewall) Clear() error {
	err := commit(func(c *nftables.Conn) error {
		c.AddTable(table()) // so that it is there to be deleted
		c.DelTable(table())
		return nil
	})
	if err != nil {
		return fmt.Errorf("remove policy rules: %w", err)
	}
	f.have = ""
	return nil
}

func table() *nftables.Table {
	return &nftables.Table{Family: nftables.TableFamilyINet, Name: Table}
}

func commit(change func(*nftables.Conn) error) error {
	c, err := nftables.New(nftables.WithSockOptions(func(conn *netlink.Conn) error { return conn.SetWriteBuffer(buffer) }))
	if err != nil {
		return err
	}
	if err := change(c); err != nil {
		return err
	}
	return c.Flush()
}

func install(c *nftables.Conn, r Ruleset) error {
	t := table()
	c.AddTable(t) // so that it is there to be deleted
	c.DelTable(t)
	c.AddTable(t)
	sets, err := addSets(c, t, r.Sets)
	if err != nil {
		return err
	}
	chain := func(name string) *nftables.Chain { return &nftables.Chain{Name: name, Table: t} }
	refuse, judge, back := chain("refuse"), chain("judge"), chain("back")
	add := func(to *nftables.Chain, parts ...[]expr.Any) {
		c.AddRule(&nftables.Rule{Table: t, Chain: to, Exprs: slices.Concat(parts...)})
	}
	if !r.Closed {
		for _, ch := range []*nftables.Chain{refuse, back, judge} {
			c.AddChain(ch)
		}
		add(refuse, protocol(protoTCP), []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}})
		add(refuse, []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_ADMIN_PROHIBITED}})
		for _, rule := range r.Rules {
			add(back, compile(rule, sets, reply))
		}
		for _, parts := range preamble() {
			add(judge, parts)
		}
		for _, rule := range r.Rules {
			add(judge, compile(rule, sets, original))
		}
	}
	hooks := map[string]*nftables.ChainHook{"input": nftables.ChainHookInput, "output": nftables.ChainHookOutput, "forward": nftables.ChainHookForward}
	policy := nftables.ChainPolicyAccept
	if r.Closed {
		policy = nftables.ChainPolicyDrop
	}
	for _, h := range r.hooked() {
		base := c.AddChain(&nftables.Chain{Name: h.name, Table: t, Type: nftables.ChainTypeFilter, Hooknum: hooks[h.name],
			Priority: nftables.ChainPriorityFilter, Policy: &policy})
		switch h.loopback {
		case "iifname":
			add(base, loopback(expr.MetaKeyIIFNAME))
		case "oifname":
			add(base, loopback(expr.MetaKeyOIFNAME))
		}
		if !r.Closed {
			add(base, []expr.Any{&expr.Verdict{Kind: expr.VerdictJump, Chain: judge.Name}})
		}
	}
	return nil
}

func addSets(c *nftables.Conn, t *nftables.Table, list []Set) (map[string]*nftables.Set, error) {
	sets := map[string]*nftables.Set{}
	for _, s := range list {
		set := &nftables.Set{Table: t, Name: s.Name, KeyType: nftables.TypeIPAddr}
		if s.V6 {
			set.KeyType = nftables.TypeIP6Addr
		}
		if err := c.AddSet(set, nil); err != nil {
			return nil, fmt.Errorf("set %s: %w", s.Name, err)
		}
		for chunk := range slices.Chunk(s.Addresses, elementChunk) {
			if err := c.SetAddElements(set, elements(chunk)); err != nil {
				return nil, fmt.Errorf("set %s: %w", s.Name, err)
			}
		}
		sets[s.Name] = set
	}
	return sets, nil
}

func elements(list []netip.Addr) []nftables.SetElement {
	var out []nftables.SetElement
	for _, a := range list {
		out = append(out, nftables.SetElement{Key: a.AsSlice()})
	}
	return out
}

func verdict(k expr.VerdictKind, chain string) expr.Any { return &expr.Verdict{Kind: k, Chain: chain} }

func loopback(key expr.MetaKey) []expr.Any {
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, "lo")
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: name}, verdict(expr.VerdictAccept, "")}
}

func protocol(n byte) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{n}}}
}

// tcpFlag compares one of TCP's flags (RFC 9293, 3.1), which are at offset 13.
func tcpFlag(bit byte, op expr.CmpOp) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{bit}, Xor: []byte{0}},
		&expr.Cmp{Op: op, Register: 1, Data: []byte{0}},
	}
}

// portIs compares TCP's source port (offset 0) or destination port (2).
func portIs(offset uint32, op expr.CmpOp, port uint16) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: 2},
		&expr.Cmp{Op: op, Register: 1, Data: binaryutil.BigEndian.PutUint16(port)},
	}
}

// icmp matches a type of ICMP (RFC 792) or ICMPv6 (RFC 4443).
func icmp(proto, kind byte) []expr.Any {
	return append(protocol(proto),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{kind}})
}

func state(bits uint32) []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(bits), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
}

// TCP's flags.
const (
	flagSYN = 0x02
	flagRST = 0x04
)

// preamble is what comes before the rules, see Ruleset.String. Refusals pass: the
// kernel's own would be judged by the connection that they end. Neighbour discovery
// is not tracked, and what is not matches no rule.
func preamble() [][]expr.Any {
	accept := []expr.Any{verdict(expr.VerdictAccept, "")}
	mark := binaryutil.NativeEndian.PutUint32(backMark)
	return [][]expr.Any{
		slices.Concat(protocol(protoTCP), tcpFlag(flagRST, expr.CmpOpNeq), accept),
		slices.Concat(icmp(protoICMP, 3), accept),
		slices.Concat(icmp(protoICMPv6, 1), accept),
		slices.Concat(icmp(protoICMPv6, 2), accept),
		append(state(expr.CtStateBitINVALID), verdict(expr.VerdictDrop, "")),
		slices.Concat(state(expr.CtStateBitNEW), protocol(protoTCP), tcpFlag(flagSYN, expr.CmpOpEq),
			portIs(0, expr.CmpOpLt, dynamicPorts), portIs(2, expr.CmpOpGte, dynamicPorts),
			[]expr.Any{&expr.Immediate{Register: 1, Data: mark}, &expr.Ct{Key: expr.CtKeyMARK, Register: 1, SourceRegister: true}}),
		{&expr.Ct{Key: expr.CtKeyMARK, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: mark}, verdict(expr.VerdictGoto, "back")},
	}
}

// compile gives one rule, for connections that go in direction there. In a table of
// family inet a connection's address fills the register's first bytes; the sets of
// a rule's family look at as many.
func compile(r Rule, sets map[string]*nftables.Set, there uint32) []expr.Any {
	back := uint32(original)
	if there == original {
		back = reply
	}
	var out []expr.Any
	if r.Family != Both {
		n := byte(unix.NFPROTO_IPV4)
		if r.Family == V6 {
			n = unix.NFPROTO_IPV6
		}
		out = append(out, &expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{n}})
	}
	if r.Proto != 0 {
		out = append(out, &expr.Ct{Key: expr.CtKeyPROTOCOL, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{r.Proto}})
	}
	for _, s := range []struct {
		name      string
		direction uint32
	}{{r.From, there}, {r.To, back}} {
		if set := sets[s.name]; set != nil {
			out = append(out, &expr.Ct{Key: expr.CtKeySRC, Register: 1, Direction: s.direction},
				&expr.Lookup{SourceRegister: 1, SetName: set.Name, SetID: set.ID})
		}
	}
	if r.Ports.First != 0 {
		port := &expr.Ct{Key: expr.CtKeyPROTOSRC, Register: 1, Direction: back}
		first, last := binaryutil.BigEndian.PutUint16(r.Ports.First), binaryutil.BigEndian.PutUint16(r.Ports.Last)
		out = append(out, port, &expr.Range{Op: expr.CmpOpEq, Register: 1, FromData: first, ToData: last})
	}
	if r.Deny {
		return append(out, verdict(expr.VerdictGoto, "refuse"))
	}
	return append(out, verdict(expr.VerdictAccept, ""))
}
