package vnet

import (
	"encoding/binary"
	"sync"
)

// A frame is an Ethernet frame behind its length as four big-endian bytes: the
// form of QEMU's streams, so that it is passed on as it came. It is shared between
// ports and never written to once it has been forwarded.
type frame []byte

const (
	lengthLen   = 4
	ethernetLen = 14
	// longest frame taken: QEMU's own limit is 68 KiB with a big MTU.
	maxFrame = 1 << 16
)

type mac [6]byte

func (m mac) group() bool { return m[0]&1 != 0 } // broadcast and multicast

func newFrame(size int) frame {
	f := make(frame, lengthLen+size)
	binary.BigEndian.PutUint32(f, uint32(size))
	return f
}

func (f frame) ethernet() []byte { return f[lengthLen:] }
func (f frame) dst() mac         { return mac(f[lengthLen:]) }
func (f frame) src() mac         { return mac(f[lengthLen+6:]) }
func (f frame) kind() uint16     { return binary.BigEndian.Uint16(f[lengthLen+12:]) }

// member of a switch. Send must not block, nor keep the frame from others.
type member interface {
	send(f frame)
	hears(f frame) bool // is a frame for it, as far as it knows?
	snoops() bool       // does it want the frames for others too?
}

// layer2 is a learning switch.
type layer2 struct {
	mu      sync.RWMutex // guards what follows; not held while sending
	members []member     // replaced, never changed in place
	where   map[mac]member
}

// maxLearnt bounds the table: a guest may invent addresses. The limit is far
// above what a lab has; beyond it frames are flooded.
const maxLearnt = 8192

func newLayer2() *layer2 { return &layer2{where: map[mac]member{}} }

func (s *layer2) join(m member) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.members = append(append([]member(nil), s.members...), m)
}

func (s *layer2) leave(m member) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var rest []member
	for _, other := range s.members {
		if other != m {
			rest = append(rest, other)
		}
	}
	s.members = rest
	for a, at := range s.where {
		if at == m {
			delete(s.where, a)
		}
	}
}

// forward takes a frame of at least ethernetLen bytes from a member.
func (s *layer2) forward(from member, f frame) {
	src, dst := f.src(), f.dst()
	s.mu.RLock()
	known := src.group() || s.where[src] == from
	to := s.where[dst]
	members := s.members
	s.mu.RUnlock()
	if !known {
		s.learn(src, from)
	}
	if to != nil && !dst.group() {
		if to != from {
			to.send(f)
		}
		for _, m := range members {
			if m != from && m != to && m.snoops() {
				m.send(f)
			}
		}
		return
	}
	for _, m := range members {
		if m != from && m.hears(f) {
			m.send(f)
		}
	}
}

func (s *layer2) learn(a mac, at member) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.where[a]; !known && len(s.where) >= maxLearnt {
		return
	}
	for _, m := range s.members { // not one that has just left
		if m == at {
			s.where[a] = at
			return
		}
	}
}
