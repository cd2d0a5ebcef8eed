package attach

import (
	"bytes"
	"crypto/rand"
	"crypto/subtle"
	"net"
	"sync"

	"github.com/sirupsen/logrus"
)

// Telnet (RFC 854) and VMware's extension of it for serial port concentrators.
const (
	iac  = 255
	dont = 254
	do   = 253
	wont = 252
	will = 251
	sb   = 250
	se   = 240

	optBinary = 0
	optSGA    = 3
	optVMware = 232
)

// Suboptions of option 232.
const (
	knownSuboptions1 = 0 // the host's list
	knownSuboptions2 = 1 // ours
	unknownReceived1 = 2
	unknownReceived2 = 3
	vmotionBegin     = 40 // + sequence of the move
	vmotionGoAhead   = 41 // + sequence + our secret
	vmotionNotNow    = 43
	vmotionPeer      = 44 // + sequence + secret, on the new connection
	vmotionPeerOK    = 45
	vmotionComplete  = 46
	vmotionAbort     = 48
	doProxy          = 70 // + direction + URI
	willProxy        = 71
	wontProxy        = 73
	vmVCUUID         = 80 // the host tells; 81 asks
	getVMVCUUID      = 81
)

// maxSub bounds one subnegotiation in bytes.
const maxSub = 4096

// port is a serial port's connection: raw, or telnet when its first bytes say so.
// Until then only the link's probe is written, which is the same in both.
type port struct {
	net.Conn
	srv *Server
	log *logrus.Entry

	// Of the one reader.
	in    []byte // read and not yet looked at
	state telnetState
	verb  byte
	sub   []byte

	mu      sync.Mutex // guards what follows, and is held during a write
	known   bool
	telnet  bool
	agreed  map[[2]byte]bool // answers given, so that no exchange goes on for ever
	escaped []byte
}

type telnetState int

const (
	stateData   telnetState = iota
	stateIAC                // after IAC
	stateOption             // after WILL, WONT, DO, DONT
	stateSub                // within a subnegotiation
	stateSubIAC             // after IAC in one
)

func (s *Server) newPort(conn net.Conn, log *logrus.Entry) *port {
	return &port{Conn: conn, srv: s, log: log, agreed: map[[2]byte]bool{}}
}

// Read gives the bytes of the guest.
func (p *port) Read(b []byte) (int, error) {
	for {
		n, err := p.Conn.Read(b)
		if n == 0 {
			return 0, err
		}
		if !p.known {
			p.decide(b[0])
		}
		if !p.telnet {
			return n, err
		}
		n, perr := p.filter(b[:n])
		if perr != nil {
			return n, perr
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// decide tells telnet by its first byte: a concentrator's client negotiates at
// once, and a frame or a boot message never begins with IAC.
func (p *port) decide(first byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known, p.telnet = true, first == iac
	if p.telnet {
		p.log.Debug("serial port speaks telnet")
	}
}

// filter takes telnet's commands out of b, in place, and answers them.
func (p *port) filter(b []byte) (int, error) {
	out := 0
	for _, c := range b {
		switch p.state {
		case stateData:
			if c == iac {
				p.state = stateIAC
				continue
			}
			b[out] = c
			out++
		case stateIAC:
			p.state = stateData
			switch c {
			case iac:
				b[out] = c
				out++
			case will, wont, do, dont:
				p.verb, p.state = c, stateOption
			case sb:
				p.sub, p.state = p.sub[:0], stateSub
			}
		case stateOption:
			p.state = stateData
			if err := p.option(p.verb, c); err != nil {
				return out, err
			}
		case stateSub:
			if c == iac {
				p.state = stateSubIAC
			} else if len(p.sub) < maxSub {
				p.sub = append(p.sub, c)
			}
		case stateSubIAC:
			p.state = stateSub
			if c == iac && len(p.sub) < maxSub {
				p.sub = append(p.sub, c)
			}
			if c == se {
				p.state = stateData
				if err := p.subnegotiation(p.sub); err != nil {
					return out, err
				}
			}
		}
	}
	return out, nil
}

// option agrees to binary, to no go-ahead and to VMware's extension, and to
// nothing else.
func (p *port) option(verb, opt byte) error {
	good := opt == optBinary || opt == optSGA
	var answer byte
	switch verb {
	case will:
		answer = dont
		if good || opt == optVMware {
			answer = do
		}
	case do:
		answer = wont
		if good || opt == optVMware {
			answer = will
		}
	case wont:
		answer = dont
	case dont:
		answer = wont
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.agreed[[2]byte{answer, opt}] {
		return nil
	}
	p.agreed[[2]byte{answer, opt}] = true
	delete(p.agreed, [2]byte{opposite(answer), opt})
	_, err := p.Conn.Write([]byte{iac, answer, opt})
	return err
}

func opposite(verb byte) byte {
	switch verb {
	case will:
		return wont
	case wont:
		return will
	case do:
		return dont
	}
	return do
}

// subnegotiation answers VMware's extension.
func (p *port) subnegotiation(b []byte) error {
	if len(b) < 2 || b[0] != optVMware {
		return nil
	}
	sub, data := b[1], b[2:]
	switch sub {
	case knownSuboptions1:
		if err := p.say(knownSuboptions2, ours()); err != nil {
			return err
		}
		if bytes.IndexByte(data, getVMVCUUID) >= 0 {
			return p.say(getVMVCUUID, nil)
		}
		return nil
	case doProxy: // direction and URI are the VM's own configuration: we are meant
		return p.say(willProxy, nil)
	case vmVCUUID:
		p.log.WithField("uuid", printable(data)).Debug("serial port of a VM")
		return nil
	case vmotionBegin:
		secret := p.srv.vmotions.begin(data)
		return p.say(vmotionGoAhead, append(bytes.Clone(data), secret...))
	case vmotionPeer:
		if !p.srv.vmotions.peer(data) {
			p.log.Warn("serial port of a vMotion that was not announced")
			return p.say(unknownReceived2, []byte{sub})
		}
		sequence := data[:len(data)-secretSize]
		return p.say(vmotionPeerOK, sequence)
	case vmotionComplete, vmotionAbort:
		p.srv.vmotions.end(data)
		return nil
	case knownSuboptions2, unknownReceived1, unknownReceived2:
		return nil
	}
	return p.say(unknownReceived2, []byte{sub})
}

// ours are the suboptions that we know.
func ours() []byte {
	return []byte{
		vmotionBegin, vmotionGoAhead, vmotionNotNow, vmotionPeer, vmotionPeerOK, vmotionComplete, vmotionAbort,
		doProxy, willProxy, wontProxy, vmVCUUID, getVMVCUUID,
	}
}

func (p *port) say(sub byte, data []byte) error {
	msg := []byte{iac, sb, optVMware, sub}
	msg = append(msg, bytes.ReplaceAll(data, []byte{iac}, []byte{iac, iac})...)
	msg = append(msg, iac, se)
	p.mu.Lock()
	defer p.mu.Unlock()
	_, err := p.Conn.Write(msg)
	return err
}

// Write sends bytes to the guest.
func (p *port) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.telnet || bytes.IndexByte(b, iac) < 0 {
		return p.Conn.Write(b)
	}
	p.escaped = p.escaped[:0]
	for _, c := range b {
		if c == iac {
			p.escaped = append(p.escaped, iac)
		}
		p.escaped = append(p.escaped, c)
	}
	if _, err := p.Conn.Write(p.escaped); err != nil {
		return 0, err
	}
	return len(b), nil
}

// printable keeps foreign bytes out of the log.
func printable(b []byte) string {
	return string(bytes.Map(func(r rune) rune {
		if r < 0x20 || r > 0x7e {
			return -1
		}
		return r
	}, b[:min(len(b), 80)]))
}

// secretSize is the length of the secret of a vMotion in bytes.
const secretSize = 16

// maxMoves bounds vMotions under way.
const maxMoves = 256

// vmotions are the moves under way, by the host's sequence. Bytes under way are
// the link's matter: it resumes on the new connection, so nothing is kept back.
type vmotions struct {
	mu    sync.Mutex // guards moves
	moves map[string][]byte
}

func (v *vmotions) begin(sequence []byte) []byte {
	secret := make([]byte, secretSize)
	_, _ = rand.Read(secret) // never fails
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.moves == nil || len(v.moves) >= maxMoves {
		v.moves = map[string][]byte{}
	}
	v.moves[string(sequence)] = secret
	return secret
}

// peer checks sequence and secret of the move's other end.
func (v *vmotions) peer(data []byte) bool {
	if len(data) < secretSize {
		return false
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	at := len(data) - secretSize
	want, ok := v.moves[string(data[:at])]
	return ok && subtle.ConstantTimeCompare(want, data[at:]) == 1
}

func (v *vmotions) end(sequence []byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.moves, string(sequence))
}
