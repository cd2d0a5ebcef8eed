package system

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"github.com/cilium/ebpf/asm"
)

// Where the machine below has what a program reads and writes.
const (
	atContext = 0x1000
	atFrame   = 0x2000
	atStack   = 0x4000 // downwards
)

// machine is as much of a BPF machine as a program of ours takes. Its frame lies in
// one piece.
type machine struct {
	frame, stack []byte
	tagged       bool
	sets         map[int]FilterSet // by map
	reg          [11]uint64
	looked       int // how often a map was
}

func (m *machine) run(code asm.Instructions) (verdict int32, err error) {
	labels := map[string]int{}
	for i, in := range code {
		if s := in.Symbol(); s != "" {
			labels[s] = i
		}
	}
	m.stack = make([]byte, 512)
	m.reg[asm.R1], m.reg[asm.RFP] = atContext, atStack
	for pc, steps := 0, 0; ; pc++ {
		if steps++; pc >= len(code) || steps > 4096 {
			return 0, fmt.Errorf("no end at instruction %d", pc)
		}
		in := code[pc]
		operand := uint64(in.Constant)
		if in.OpCode.Class().IsALU() || in.OpCode.Class().IsJump() {
			if in.OpCode.Source() == asm.RegSource {
				operand = m.reg[in.Src]
			}
		}
		switch in.OpCode.Class() {
		case asm.ALU64Class:
			switch in.OpCode.ALUOp() {
			case asm.Mov:
				m.reg[in.Dst] = operand
			case asm.Add:
				m.reg[in.Dst] += operand
			case asm.Sub:
				m.reg[in.Dst] -= operand
			default:
				return 0, fmt.Errorf("%v", in)
			}
		case asm.LdClass:
			m.reg[in.Dst] = operand
		case asm.LdXClass:
			m.reg[in.Dst], err = m.load(m.reg[in.Src]+uint64(int64(in.Offset)), in.OpCode.Size().Sizeof())
		case asm.StXClass:
			err = m.store(m.reg[in.Dst]+uint64(int64(in.Offset)), in.OpCode.Size().Sizeof(), m.reg[in.Src])
		case asm.JumpClass:
			a := m.reg[in.Dst]
			jumps := false
			switch in.OpCode.JumpOp() {
			case asm.Exit:
				return int32(m.reg[asm.R0]), nil
			case asm.Call:
				if in.Constant != int64(asm.FnMapLookupElem)&0xffff {
					return 0, fmt.Errorf("call of %v: the frame is in one piece", in)
				}
				err = m.lookup()
			case asm.JEq:
				jumps = a == operand
			case asm.JNE:
				jumps = a != operand
			case asm.JGT:
				jumps = a > operand
			case asm.JGE:
				jumps = a >= operand
			case asm.JLE:
				jumps = a <= operand
			default:
				return 0, fmt.Errorf("%v", in)
			}
			if jumps {
				to, ok := labels[in.Reference()]
				if !ok || to <= pc {
					return 0, fmt.Errorf("%v: jump to nowhere, or back", in)
				}
				pc = to - 1
			}
		default:
			return 0, fmt.Errorf("%v", in)
		}
		if err != nil {
			return 0, fmt.Errorf("instruction %d, %v: %w", pc, in, err)
		}
	}
}

func (m *machine) load(at uint64, n int) (uint64, error) {
	var from []byte
	switch {
	case at == atContext+skbLen && n == 4:
		return uint64(len(m.frame)), nil
	case at == atContext+skbVLANPresent && n == 4:
		return map[bool]uint64{true: 1}[m.tagged], nil
	case at == atContext+skbData && n == 4:
		return atFrame, nil
	case at == atContext+skbDataEnd && n == 4:
		return atFrame + uint64(len(m.frame)), nil
	case at >= atFrame && at+uint64(n) <= atFrame+uint64(len(m.frame)):
		from = m.frame[at-atFrame:]
	default:
		return 0, fmt.Errorf("load of %d bytes at %#x, the frame has %d", n, at, len(m.frame))
	}
	var b [8]byte
	copy(b[:n], from)
	return binary.LittleEndian.Uint64(b[:]), nil
}

func (m *machine) store(at uint64, n int, v uint64) error {
	if at < atStack-512 || at+uint64(n) > atStack || at%uint64(n) != 0 {
		return fmt.Errorf("store of %d bytes at %#x", n, at)
	}
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], v)
	copy(m.stack[at-(atStack-512):], b[:n])
	return nil
}

func (m *machine) lookup() error {
	s, ok := m.sets[int(m.reg[asm.R1])]
	at := m.reg[asm.R2] - (atStack - 512)
	if !ok || at+uint64(s.size()) > 512 {
		return fmt.Errorf("lookup in map %d at %#x", m.reg[asm.R1], m.reg[asm.R2])
	}
	m.looked++
	_, found := slices.BinarySearchFunc(s.Elements, m.stack[at:at+uint64(s.size())], bytes.Compare)
	m.reg[asm.R0] = map[bool]uint64{true: 0x5000}[found]
	return nil
}

// judge runs the program of rules for a frame.
func judge(r Ruleset, frame []byte, tagged bool) (bool, error) {
	m, fds := &machine{frame: frame, tagged: tagged, sets: map[int]FilterSet{}}, map[string]int{}
	for i, s := range r.Sets {
		m.sets[i+3], fds[s.Name] = s, i+3
	}
	v, err := m.run(r.program(fds))
	if err == nil && v != actUnspec && v != actShot {
		err = fmt.Errorf("verdict %d", v)
	}
	return v == actUnspec, err
}

// accepts is what a ruleset means, said once more.
func (r Ruleset) accepts(frame []byte) bool {
	sets := map[string]FilterSet{}
	for _, s := range r.Sets {
		sets[s.Name] = s
	}
	part := func(f Field) []byte { return frame[f.Offset : f.Offset+f.Len] }
	return slices.ContainsFunc(r.Rules, func(rule FilterRule) bool {
		return int(rule.end()) <= len(frame) && !slices.ContainsFunc(rule.Head, func(m Match) bool { return !bytes.Equal(part(m.Field), m.Value) }) &&
			!slices.ContainsFunc(rule.Sets, func(s FilterSet) bool {
				var key []byte
				for _, f := range s.Fields {
					key = append(key, part(f)...)
				}
				return !slices.ContainsFunc(sets[s.Name].Elements, func(e []byte) bool { return bytes.Equal(e, key) })
			})
	})
}

// twoPeers is a filter with IPv6, as testdata/filter-six.nft.
func twoPeers(t testing.TB) Ruleset {
	r, err := Filter{Link: "eth0", MAC: "00:50:56:00:00:01", Addresses: []string{"172.17.0.2/16", "fd00:17::2/64"}, GatewayMAC: "00:50:56:00:00:fe", Peers: []Peer{
		{"00:50:56:00:00:02", []string{"172.17.0.3", "fd00:17::3"}}, {"00:50:56:00:00:03", []string{"172.17.0.4"}}}}.Ruleset()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestProgram(t *testing.T) {
	const self, one, two, gateway = "\x00\x50\x56\x00\x00\x01", "\x00\x50\x56\x00\x00\x02", "\x00\x50\x56\x00\x00\x03", "\x00\x50\x56\x00\x00\xfe"
	ip := func(from string, a ...byte) []byte {
		return slices.Concat([]byte(self+from+"\x08\x00\x45"), make([]byte, 11), a, make([]byte, 4))
	}
	arp := func(from, hw string, a ...byte) []byte {
		return slices.Concat([]byte(self+from+"\x08\x06\x00\x01\x08\x00\x06\x04\x00\x01"+hw), a, make([]byte, 10))
	}
	r := twoPeers(t)
	in, out := r.of(chainIn), r.of(chainOut)
	closed := TrustedLink{Link: "eth0", DHCP: true}.Closed().of(chainIn)
	lease := slices.Concat([]byte(self+gateway+"\x08\x00\x45"), make([]byte, 8), []byte{17, 0, 0, 10, 0, 0, 1, 255, 255, 255, 255, 0, 67, 0, 68})
	for name, c := range map[string]struct {
		rules  Ruleset
		frame  []byte
		tagged bool
		want   bool
	}{
		"a peer":                         {in, ip(one, 172, 17, 0, 3), false, true},
		"a peer, tagged":                 {in, ip(one, 172, 17, 0, 3), true, false},
		"another's address":              {in, ip(one, 172, 17, 0, 4), false, false},
		"another's card":                 {in, ip(two, 172, 17, 0, 3), false, false},
		"the gateway, any address":       {in, ip(gateway, 9, 9, 9, 9), false, true},
		"its own":                        {in, ip(self, 172, 17, 0, 2), false, false},
		"its own, out":                   {out, ip(self, 172, 17, 0, 2), false, true},
		"too short for an address":       {in, ip(one, 172, 17, 0, 3)[:29], false, false},
		"as long as the address":         {in, ip(one, 172, 17, 0, 3)[:30], false, true},
		"nothing":                        {in, nil, false, false},
		"who has":                        {in, arp(one, one, 172, 17, 0, 3), false, true},
		"who has, as another":            {in, arp(one, two, 172, 17, 0, 4), false, false},
		"who has, the gateway's":         {in, arp(gateway, gateway, 9, 9, 9, 9), false, true},
		"who has, one for the gateway's": {in, arp(gateway, one, 9, 9, 9, 9), false, false},
		"a lease":                        {closed, lease, false, true},
		"a lease that has options":       {closed, bytes.Replace(lease, []byte{0x45}, []byte{0x46}, 1), false, false},
		"no rules":                       {TrustedLink{Link: "eth0"}.Closed(), lease, false, false},
	} {
		got, err := judge(c.rules, c.frame, c.tagged)
		if err != nil || got != c.want {
			t.Errorf("%s: %v, want %v; %v", name, got, c.want, err)
		}
	}
}

// TestProgramFits: jumps are 16 bits wide, and a stack has 512 bytes.
func TestProgramFits(t *testing.T) {
	r := twoPeers(t).of(chainIn)
	fds := map[string]int{}
	for i, s := range r.Sets {
		fds[s.Name] = i + 3
		if s.size() > 64 {
			t.Errorf("%s: %d bytes", s.Name, s.size())
		}
	}
	if err := r.program(fds).Marshal(new(bytes.Buffer), binary.LittleEndian); err != nil {
		t.Fatal(err)
	}
}

func TestPieces(t *testing.T) {
	for _, c := range []struct {
		to, n uint32
		want  string // sizes
	}{{0, 6, "42"}, {6, 4, "22"}, {12, 4, "4"}, {0, 16, "88"}, {6, 16, "2842"}, {0, 1, "1"}} {
		got, at := "", uint32(0)
		for _, p := range pieces(c.to, c.n) {
			if p.at != at {
				t.Errorf("%d bytes at %d: a piece at %d, want %d", c.n, c.to, p.at, at)
			}
			got += fmt.Sprint(p.size.Sizeof())
			at += uint32(p.size.Sizeof())
		}
		if got != c.want {
			t.Errorf("%d bytes at %d: %s, want %s", c.n, c.to, got, c.want)
		}
	}
}

// FuzzProgram: the program says of every frame what the rules mean.
func FuzzProgram(f *testing.F) {
	r := twoPeers(f)
	for _, rule := range r.Rules { // a frame that each rule accepts
		frame := make([]byte, rule.end())
		for _, m := range rule.Head {
			copy(frame[m.Field.Offset:], m.Value)
		}
		for _, s := range rule.Sets {
			for _, full := range r.Sets {
				if full.Name != s.Name {
					continue
				}
				e := full.Elements[0]
				for _, field := range s.Fields {
					copy(frame[field.Offset:field.Offset+field.Len], e)
					e = e[field.Len:]
				}
			}
		}
		f.Add(frame)
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		for _, chain := range []string{chainIn, chainOut} {
			rules := r.of(chain)
			got, err := judge(rules, frame, false)
			if want := rules.accepts(frame); err != nil || got != want {
				t.Errorf("%s: %v, want %v; %v", chain, got, want, err)
			}
		}
	})
}
