package system

import (
	"encoding/binary"
	"fmt"

	"github.com/cilium/ebpf/asm"
)

// Offsets in struct __sk_buff of linux/bpf.h, which a program is given.
const (
	skbLen         = 0
	skbVLANPresent = 20
	skbData        = 76
	skbDataEnd     = 80
)

// Verdicts of linux/pkt_cls.h. A frame that is accepted goes to the filters that
// others may have on the card.
const (
	actUnspec = -1
	actShot   = 2
)

// program gives the rules as a classifier, with the sets' maps by name. It lets pass
// what a rule accepts and has no VLAN tag; nothing else.
//
// Registers: R6 the frame's __sk_buff, R7 and R8 the beginning and the end of its
// linear part.
func (r Ruleset) program(maps map[string]int) asm.Instructions {
	const drop = "drop"
	rules, need := r.Rules, uint32(0)
	for _, rule := range rules {
		need = max(need, rule.end())
	}
	dropped := asm.Instructions{asm.Mov.Imm(asm.R0, actShot).WithSymbol(drop), asm.Return()}
	if len(rules) == 0 {
		return dropped
	}
	label := func(i int) string {
		if i == len(rules) {
			return drop
		}
		return fmt.Sprintf("rule%d", i)
	}
	pointers := asm.Instructions{
		asm.LoadMem(asm.R7, asm.R6, skbData, asm.Word),
		asm.LoadMem(asm.R8, asm.R6, skbDataEnd, asm.Word),
	}
	code := asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.LoadMem(asm.R0, asm.R6, skbVLANPresent, asm.Word),
		asm.JNE.Imm(asm.R0, 0, drop),
	}
	code = append(code, pointers...)
	// Headers that lie in fragments are pulled into the linear part; hardly ever so.
	code = append(code,
		asm.LoadMem(asm.R2, asm.R6, skbLen, asm.Word),
		asm.Mov.Reg(asm.R0, asm.R8),
		asm.Sub.Reg(asm.R0, asm.R7),
		asm.JGE.Imm(asm.R0, int32(need), label(0)),
		asm.JGE.Reg(asm.R0, asm.R2, label(0)),
		asm.JLE.Imm(asm.R2, int32(need), "pull"),
		asm.Mov.Imm(asm.R2, int32(need)),
		asm.Mov.Reg(asm.R1, asm.R6).WithSymbol("pull"),
		asm.FnSkbPullData.Call(),
		asm.JNE.Imm(asm.R0, 0, drop))
	code = append(code, pointers...)
	for i, rule := range rules {
		next := label(i + 1)
		one := asm.Instructions{
			asm.Mov.Reg(asm.R0, asm.R7).WithSymbol(label(i)),
			asm.Add.Imm(asm.R0, int32(rule.end())),
			asm.JGT.Reg(asm.R0, asm.R8, next),
		}
		for _, m := range rule.Head {
			for _, p := range pieces(0, m.Field.Len) {
				one = append(one,
					asm.LoadMem(asm.R1, asm.R7, int16(m.Field.Offset+p.at), p.size),
					asm.LoadImm(asm.R2, p.value(m.Value), asm.DWord),
					asm.JNE.Reg(asm.R1, asm.R2, next))
			}
		}
		for _, s := range rule.Sets {
			base, at := -int16((s.size()+7)&^7), uint32(0)
			for _, f := range s.Fields {
				for _, p := range pieces(at, f.Len) {
					one = append(one,
						asm.LoadMem(asm.R1, asm.R7, int16(f.Offset+p.at), p.size),
						asm.StoreMem(asm.RFP, base+int16(at+p.at), asm.R1, p.size))
				}
				at += f.Len
			}
			one = append(one,
				asm.LoadMapPtr(asm.R1, maps[s.Name]),
				asm.Mov.Reg(asm.R2, asm.RFP),
				asm.Add.Imm(asm.R2, int32(base)),
				asm.FnMapLookupElem.Call(),
				asm.JEq.Imm(asm.R0, 0, next))
		}
		code = append(append(code, one...), asm.Mov.Imm(asm.R0, actUnspec), asm.Return())
	}
	return append(code, dropped...)
}

// end is where the last field of a rule ends, from the beginning of the frame.
func (r FilterRule) end() (n uint32) {
	for _, m := range r.Head {
		n = max(n, m.Field.Offset+m.Field.Len)
	}
	for _, s := range r.Sets {
		for _, f := range s.Fields {
			n = max(n, f.Offset+f.Len)
		}
	}
	return n
}

// piece is a part of a field that one instruction loads.
type piece struct {
	at   uint32 // from the field's beginning
	size asm.Size
}

// pieces divides a field of n bytes so that what is stored at `to` and after it is
// aligned, as the kernel wants the stack to be.
func pieces(to, n uint32) []piece {
	var out []piece
	for at := uint32(0); at < n; {
		size := uint32(8)
		for size > n-at || (to+at)%size != 0 {
			size /= 2
		}
		out = append(out, piece{at, map[uint32]asm.Size{1: asm.Byte, 2: asm.Half, 4: asm.Word, 8: asm.DWord}[size]})
		at += size
	}
	return out
}

// value is the piece of a field's bytes as a register has it when it is loaded.
func (p piece) value(b []byte) int64 {
	var word [8]byte
	copy(word[:], b[p.at:int(p.at)+p.size.Sizeof()])
	return int64(binary.LittleEndian.Uint64(word[:])) // the guest is a PC
}
