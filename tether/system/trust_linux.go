package system

import (
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// A TrustFilter is TrustTable in the kernel. Its methods must not be called at the
// same time. The zero value lets everything in.
type TrustFilter struct {
	have []TrustRule
	set  bool // there is a table
}

// Set makes rules the table, in one transaction: of what was before, all or
// nothing stays. Without rules there is no table.
func (f *TrustFilter) Set(rules []TrustRule) error {
	if !f.set && len(rules) == 0 || f.set && slices.Equal(f.have, rules) {
		return nil
	}
	err := commit(func(c *nftables.Conn) error {
		t := &nftables.Table{Family: nftables.TableFamilyINet, Name: TrustTable}
		c.AddTable(t) // so that it is there to be deleted
		c.DelTable(t)
		if len(rules) == 0 {
			return nil
		}
		c.AddTable(t)
		policy, priority := nftables.ChainPolicyAccept, nftables.ChainPriority(trustPriority)
		chain := c.AddChain(&nftables.Chain{Name: trustChain, Table: t, Type: nftables.ChainTypeFilter,
			Hooknum: nftables.ChainHookPrerouting, Priority: &priority, Policy: &policy})
		for _, r := range rules {
			c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: trustExprs(r)})
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("table %s: %w", TrustTable, err)
	}
	f.have, f.set = slices.Clone(rules), len(rules) > 0
	return nil
}

// trustExprs gives the expressions of one rule.
func trustExprs(r TrustRule) []expr.Any {
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, r.Link)
	equal := func(b ...byte) expr.Any { return &expr.Cmp{Op: expr.CmpOpEq, Register: reg32, Data: b} }
	list := []expr.Any{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: name}}
	if r.Reply {
		list = append(list,
			&expr.Ct{Key: expr.CtKeySTATE, Register: reg32},
			&expr.Bitwise{SourceRegister: reg32, DestRegister: reg32, Len: 4, Xor: make([]byte, 4),
				Mask: binaryutil.NativeEndian.PutUint32(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED)},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: reg32, Data: make([]byte, 4)})
	}
	if r.From.From.IsValid() {
		source := etherToNetwork(ipSource())
		list = append(list,
			&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: reg32}, equal(unix.NFPROTO_IPV4),
			&expr.Payload{DestRegister: reg32, Base: expr.PayloadBaseNetworkHeader, Offset: source.Offset, Len: source.Len},
			&expr.Cmp{Op: expr.CmpOpGte, Register: reg32, Data: r.From.From.AsSlice()},
			&expr.Cmp{Op: expr.CmpOpLte, Register: reg32, Data: r.From.To.AsSlice()})
	}
	if r.Proto != "" {
		number := map[string]byte{"tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP}[r.Proto]
		list = append(list,
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg32}, equal(number),
			// The destination port, in TCP (RFC 9293) and UDP (RFC 768).
			&expr.Payload{DestRegister: reg32, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
			equal(binaryutil.BigEndian.PutUint16(r.Port)...))
	}
	if r.Accept {
		return append(list, &expr.Verdict{Kind: expr.VerdictAccept})
	}
	return append(list, &expr.Verdict{Kind: expr.VerdictDrop})
}

// etherToNetwork counts a field's offset from the network header.
func etherToNetwork(f Field) Field {
	f.Offset -= 14
	return f
}
