package attach

import (
	"bytes"
	"crypto/rand"
)

// Telnet as a virtual serial port proxy sees it: RFC 854 and 856, and VMware's
// extension, option 232, as in "Using a Proxy with vSphere Virtual Serial
// Ports" (VMware technical note, developer documentation).
const (
	iac  = 255
	dont = 254
	do   = 253
	wont = 252
	will = 251
	sb   = 250
	se   = 240

	optBinary = 0
	optEcho   = 1
	optSGA    = 3
	optVMware = 232
)

// Suboptions of option 232.
const (
	subKnown1       = 0
	subKnown2       = 1
	subUnknown1     = 2
	subVMotionBegin = 40
	subGoAhead      = 41
	subNotNow       = 43
	subPeer         = 44
	subPeerOK       = 45
	subComplete     = 46
	subAbort        = 48
	subDoProxy      = 70
	subWillProxy    = 71
	subVCUUID       = 80
	subGetVCUUID    = 81
	subName         = 82
	subGetName      = 83
	subBIOSUUID     = 84
	subGetBIOSUUID  = 85
	subLocationUUID = 86
	subGetLocation  = 87
)

// known are the suboptions that this side understands.
func known() []byte {
	return []byte{subKnown1, subKnown2, subVMotionBegin, subGoAhead, subPeer, subPeerOK, subComplete, subAbort,
		subDoProxy, subWillProxy, subVCUUID, subName, subBIOSUUID, subLocationUUID}
}

// maxSub bounds a suboption; what is longer is passed over.
const maxSub = 4096

// telnetReader takes telnet apart, byte by byte, so that a command may be cut
// anywhere between two reads.
type telnetReader struct {
	state state
	verb  byte
	sub   []byte
	over  bool // the suboption is too long
}

type state int

const (
	inData state = iota
	afterIAC
	afterVerb
	inSub
	inSubIAC
)

// feed gives the serial bytes in b, and what is to be answered.
func (t *telnetReader) feed(b []byte) (data, answer []byte) {
	for _, c := range b {
		switch t.state {
		case inData:
			if c == iac {
				t.state = afterIAC
			} else {
				data = append(data, c)
			}
		case afterIAC:
			t.state = inData
			switch c {
			case iac:
				data = append(data, iac)
			case will, wont, do, dont:
				t.verb, t.state = c, afterVerb
			case sb:
				t.sub, t.over, t.state = t.sub[:0], false, inSub
			}
		case afterVerb:
			t.state = inData
			answer = append(answer, negotiate(t.verb, c)...)
		case inSub:
			if c == iac {
				t.state = inSubIAC
			} else {
				t.keep(c)
			}
		case inSubIAC:
			switch c {
			case se:
				t.state = inData
				if !t.over {
					answer = append(answer, suboption(t.sub)...)
				}
			default: // IAC IAC is one; anything else breaks the rules and is kept
				t.state = inSub
				t.keep(c)
			}
		}
	}
	return data, answer
}

func (t *telnetReader) keep(c byte) {
	if len(t.sub) >= maxSub {
		t.over = true
		return
	}
	t.sub = append(t.sub, c)
}

// negotiate answers an option: binary both ways, no echo, VMware's extension.
func negotiate(verb, opt byte) []byte {
	switch verb {
	case will:
		if opt == optBinary || opt == optSGA || opt == optEcho || opt == optVMware {
			return []byte{iac, do, opt}
		}
		return []byte{iac, dont, opt}
	case do:
		if opt == optBinary || opt == optSGA {
			return []byte{iac, will, opt}
		}
		return []byte{iac, wont, opt}
	}
	return nil // WONT and DONT need no answer
}

// suboption answers one suboption of the extension; nil for none.
func suboption(b []byte) []byte {
	if len(b) < 2 || b[0] != optVMware {
		return nil
	}
	cmd, arg := b[1], b[2:]
	switch cmd {
	case subKnown1:
		out := reply(subKnown2, known())
		if bytes.IndexByte(arg, subGetName) >= 0 {
			out = append(out, reply(subGetName, nil)...)
		}
		return out
	case subDoProxy:
		return reply(subWillProxy, nil)
	case subVMotionBegin:
		// The link layer continues on whatever stream the new host opens: the
		// secret is only what the protocol asks for.
		secret := make([]byte, 8)
		_, _ = rand.Read(secret) // never fails (crypto/rand)
		return reply(subGoAhead, append(bytes.Clone(arg), secret...))
	case subPeer:
		return reply(subPeerOK, arg[:min(4, len(arg))])
	case subKnown2, subUnknown1, subComplete, subAbort, subVCUUID, subName, subBIOSUUID, subLocationUUID:
		return nil
	}
	return reply(subUnknown1, []byte{cmd})
}

func reply(cmd byte, arg []byte) []byte {
	out := []byte{iac, sb, optVMware, cmd}
	out = append(out, escape(arg)...)
	return append(out, iac, se)
}

// escape doubles IAC.
func escape(b []byte) []byte {
	return bytes.ReplaceAll(b, []byte{iac}, []byte{iac, iac})
}
