package system

import (
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
)

// reg32 is the first of nftables' registers of four bytes (NFT_REG32_00 of
// linux/netfilter/nf_tables.h).
const reg32 = 8

// setChunk is how many elements go into one netlink message, whose lists are at
// most 64 KiB.
const setChunk = 500

// filterBuffer holds one transaction: about 60 bytes for each element.
const filterBuffer = 4 << 20

// outFilter is what a card may send, in nftables: their hook is passed by raw
// sockets that pass by the queueing disciplines, too (packet_direct_xmit of
// net/packet/af_packet.c).
type outFilter struct{ have *Ruleset }

// set makes r, which has rules of one chain only, what may be sent, in one
// transaction: of what was before, all or nothing stays.
func (f *outFilter) set(r Ruleset) error {
	changed := false
	if f.have != nil && r.same(*f.have) {
		// An error: somebody with the rights to do so has changed it. All anew then.
		changed = commit(func(c *nftables.Conn) error { return changeSets(c, *f.have, r) }) == nil
	}
	if !changed {
		if err := commit(func(c *nftables.Conn) error { return install(c, r) }); err != nil {
			return err
		}
	}
	f.have = &r
	return nil
}

func (f *outFilter) remove() error {
	if f.have == nil {
		return nil
	}
	err := commit(func(c *nftables.Conn) error {
		t := table(*f.have)
		c.AddTable(t) // so that it is there to be deleted
		c.DelTable(t)
		return nil
	})
	if err == nil {
		f.have = nil
	}
	return err
}

func commit(change func(*nftables.Conn) error) error {
	c, err := nftables.New(nftables.WithSockOptions(func(conn *netlink.Conn) error {
		return conn.SetWriteBuffer(filterBuffer)
	}))
	if err != nil {
		return err
	}
	if err := change(c); err != nil {
		return err
	}
	return c.Flush()
}

func table(r Ruleset) *nftables.Table {
	return &nftables.Table{Family: nftables.TableFamilyNetdev, Name: "vic_" + r.Link}
}

// install replaces the whole table.
func install(c *nftables.Conn, r Ruleset) error {
	t := table(r)
	c.AddTable(t) // so that it is there to be deleted
	c.DelTable(t)
	c.AddTable(t)
	sets := map[string]*nftables.Set{}
	for _, s := range r.Sets {
		set, err := kernelSet(t, s)
		if err != nil {
			return err
		}
		if err := c.AddSet(set, nil); err != nil {
			return fmt.Errorf("set %s: %w", s.Name, err)
		}
		if err := addElements(c, set, s); err != nil {
			return err
		}
		sets[s.Name] = set
	}
	drop, priority := nftables.ChainPolicyDrop, nftables.ChainPriority(0)
	chain := c.AddChain(&nftables.Chain{Name: chainOut, Table: t, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookEgress,
		Priority: &priority, Policy: &drop, Device: r.Link})
	for _, rule := range r.Rules {
		c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: compile(rule, sets)})
	}
	return nil
}

// changeSets gives the sets of old the elements of r.
func changeSets(c *nftables.Conn, old, r Ruleset) error {
	t := table(r)
	for i, s := range r.Sets {
		if slices.EqualFunc(old.Sets[i].Elements, s.Elements, slices.Equal) {
			continue
		}
		set, err := kernelSet(t, s)
		if err != nil {
			return err
		}
		c.FlushSet(set)
		if err := addElements(c, set, s); err != nil {
			return err
		}
	}
	return nil
}

func kernelSet(t *nftables.Table, s FilterSet) (*nftables.Set, error) {
	types := map[string]nftables.SetDatatype{
		"ether_addr": nftables.TypeEtherAddr, "ipv4_addr": nftables.TypeIPAddr, "ipv6_addr": nftables.TypeIP6Addr,
		"inet_proto": nftables.TypeInetProto, "icmpv6_type": nftables.TypeICMP6Type,
	}
	set := &nftables.Set{Table: t, Name: s.Name, KeyType: types[s.Fields[0].Kind]}
	if len(s.Fields) == 1 {
		return set, nil
	}
	var parts []nftables.SetDatatype
	for _, f := range s.Fields {
		parts = append(parts, types[f.Kind])
	}
	key, err := nftables.ConcatSetType(parts...)
	if err != nil {
		return nil, fmt.Errorf("set %s: %w", s.Name, err)
	}
	set.KeyType, set.Concatenation = key, true
	return set, nil
}

func addElements(c *nftables.Conn, set *nftables.Set, s FilterSet) error {
	for chunk := range slices.Chunk(s.Elements, setChunk) {
		var list []nftables.SetElement
		for _, e := range chunk {
			key := e
			if len(s.Fields) > 1 {
				key = s.key(e)
			}
			list = append(list, nftables.SetElement{Key: key})
		}
		if err := c.SetAddElements(set, list); err != nil {
			return fmt.Errorf("set %s: %w", s.Name, err)
		}
	}
	return nil
}

// compile gives the expressions of one rule.
func compile(rule FilterRule, sets map[string]*nftables.Set) []expr.Any {
	load := func(f Field, register uint32) expr.Any {
		return &expr.Payload{DestRegister: register, Base: expr.PayloadBaseLLHeader, Offset: f.Offset, Len: f.Len}
	}
	var list []expr.Any
	for _, m := range rule.Head {
		list = append(list, load(m.Field, reg32), &expr.Cmp{Op: expr.CmpOpEq, Register: reg32, Data: m.Value})
	}
	for _, s := range rule.Sets {
		register := uint32(reg32)
		for _, f := range s.Fields {
			list = append(list, load(f, register))
			register += (f.Len + 3) / 4
		}
		set := sets[s.Name]
		list = append(list, &expr.Lookup{SourceRegister: reg32, SetName: set.Name, SetID: set.ID})
	}
	return append(list, &expr.Verdict{Kind: expr.VerdictAccept})
}
