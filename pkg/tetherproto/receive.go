package tetherproto

import (
	"time"

	"github.com/containerd/errdefs"
)

// PeerChanged is given by Run when the stream turns out to lead to another life
// of the peer: the guest rebooted, or vic-engine is a new process. The stream is
// still good; Hello is what was heard on it.
type PeerChanged struct{ Hello Hello }

func (e *PeerChanged) Error() string { return "the stream leads to a new peer" }

// handle takes one frame. An error ends the stream, not the link (PeerChanged
// leaves the stream open too).
func (l *Link) handle(f frame, damaged bool) error {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return l.err
	}
	switch f.typ {
	case frameProbe:
		l.hello, l.answer = true, false
		l.signal()
		return nil
	case frameHello:
		h, err := parseHello(f.payload)
		if errdefs.IsNotImplemented(err) {
			return err
		}
		if err != nil {
			return nil // noise with a good checksum; the Hello is repeated
		}
		return l.handleHello(h, now)
	}
	if l.remote == 0 || f.tag != l.tag {
		l.stranger(now)
		return nil
	}
	if !l.synced {
		return nil // from before this stream: positions are not agreed yet
	}
	l.lastHeard = now
	l.handleAck(f, now)
	if damaged {
		l.reportGap(now)
	}
	switch f.typ {
	case frameData:
		l.handleData(f, now)
	case frameNak:
		if l.next != l.base {
			l.lost(false)
			l.next = l.base
		}
	case framePing:
		l.ack = true
	case frameClose:
		if f.seq == l.recvNext {
			l.eof = true
			l.broadcast()
		}
	}
	l.signal()
	return nil
}

// handleHello decides what a Hello means for this link:
//
//	from the known peer, for us     the stream continues this link: agree on positions
//	from the known peer, not for us it does not know us yet: tell it
//	from a new peer, we knew none   adopt it, unless it means another epoch of ours
//	from a new peer, we knew one    PeerChanged
func (l *Link) handleHello(h Hello, now time.Time) error {
	switch {
	case l.remote == 0:
		if h.To == 0 || h.To == l.local {
			l.remote, l.tag = h.From, linkTag(h.From, l.local)
		}
	case h.From != l.remote:
		return &PeerChanged{Hello: h}
	}
	if h.From == l.remote && h.To == l.local {
		if err := l.agree(h, now); err != nil {
			return err
		}
		if h.Answer {
			l.signal()
			return nil
		}
	}
	l.hello, l.answer = true, l.synced
	l.signal()
	return nil
}

// agree brings both sides to the positions of h: what the peer has is dropped,
// the rest is sent again.
func (l *Link) agree(h Hello, now time.Time) error {
	acked := int(int32(h.Next - l.base))
	if acked < 0 || acked > len(l.sent) {
		// It wants what was never sent, or is no longer kept: positions have no
		// meaning any more, and only a new link can help.
		return &PeerChanged{Hello: h}
	}
	l.synced = true
	l.helloDelay = 0
	l.lastHeard = now
	l.renew()
	l.next = l.base
	l.limit = h.Next + min(h.Window, receiveBuffer)
	l.drop(acked, h.Next, now)
	l.next = l.base
	l.ack = true
	select {
	case <-l.ready:
	default:
		close(l.ready)
	}
	l.broadcast()
	return nil
}

// handleAck takes acknowledgement and window from any frame of this link.
func (l *Link) handleAck(f frame, now time.Time) {
	acked := int(int32(f.ack - l.base))
	if acked < 0 || acked > len(l.sent) {
		return
	}
	if limit := f.ack + min(f.window, receiveBuffer); after(limit, l.limit) || acked > 0 {
		l.limit = limit
	}
	if acked > 0 {
		l.drop(acked, f.ack, now)
	}
}

// drop forgets n acknowledged bytes.
func (l *Link) drop(n int, ack uint32, now time.Time) {
	if n == 0 {
		return
	}
	l.sent = l.sent[n:]
	if len(l.sent) == 0 {
		l.sent = nil // let the grown buffer go
	}
	l.base = ack
	if after(l.base, l.next) {
		l.next = l.base
	}
	l.acked(n, ack, int(l.next-l.base), now)
	l.broadcast()
}

func (l *Link) handleData(f frame, now time.Time) {
	if after(f.seq, l.recvNext) {
		l.reportGap(now)
		return
	}
	l.ack = true
	already := int(l.recvNext - f.seq)
	if already >= len(f.payload) {
		return // all of it is here already: the ack was lost or is on its way
	}
	fresh := f.payload[already:]
	fresh = fresh[:min(len(fresh), int(l.window()))]
	if len(fresh) == 0 || l.eof {
		return
	}
	l.recv = append(l.recv, fresh...)
	l.recvNext += uint32(len(fresh))
	l.broadcast()
}

// reportGap asks for the wanted position again, not too often.
func (l *Link) reportGap(now time.Time) {
	if l.nakFor == l.recvNext && now.Sub(l.nakAt) < l.nakAgain() {
		return
	}
	l.nak = true
	l.nakFor, l.nakAt = l.recvNext, now
}

// stranger answers a frame of another link with a Hello, at most once a second:
// the peer learns that it talks to a new life of us.
func (l *Link) stranger(now time.Time) {
	if now.Sub(l.strangerAt) < time.Second {
		return
	}
	l.strangerAt = now
	l.hello, l.answer = true, false
	l.signal()
}
