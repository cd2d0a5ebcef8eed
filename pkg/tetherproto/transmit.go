package tetherproto

import (
	"time"
)

// batch is how many data frames are built at once: few, so that an
// acknowledgement or a Hello never waits behind more than that.
const batch = 4

// collect gives the bytes to write now, and when to look again (zero: when woken).
func (l *Link) collect(buf []byte, now time.Time) ([]byte, time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return buf, time.Time{}
	}
	buf = l.collectHello(buf, now)
	if !l.synced {
		return buf, l.helloAt
	}
	if !l.rtoAt.IsZero() && !now.Before(l.rtoAt) {
		l.lost(true)
		l.next = l.base
		if len(l.sent) == 0 || !after(l.limit, l.base) {
			l.ping = true // nothing may be sent: ask for the window
		}
	}
	before := len(buf)
	buf = l.collectControl(buf, now)
	buf = l.collectData(buf, now)
	if len(buf) > before {
		l.lastSent = now
	}
	return buf, l.nextTimer(now)
}

func (l *Link) collectHello(buf []byte, now time.Time) []byte {
	due := !l.synced && !now.Before(l.helloAt)
	if !l.hello && !due {
		return buf
	}
	h := Hello{
		Version: Version, ContainerID: l.cfg.ContainerID, BootID: l.cfg.BootID,
		From: l.local, To: l.remote, Next: l.recvNext, Window: l.window(),
		Answer: l.hello && l.answer && l.synced,
	}
	l.hello = false
	if !l.synced {
		l.helloDelay = min(max(2*l.helloDelay, firstDelay), lastDelay)
		l.helloAt = now.Add(l.helloDelay)
	}
	f := h.frame()
	return f.append(buf)
}

func (l *Link) collectControl(buf []byte, now time.Time) []byte {
	if l.nak {
		l.nak, l.ack = false, false
		l.nakFor, l.nakAt = l.recvNext, now
		buf = l.frame(frameNak, nil).append(buf)
	}
	if l.ping {
		l.ping = false
		buf = l.frame(framePing, nil).append(buf)
	}
	if l.ackedEnd {
		l.ackedEnd = false
		buf = l.frame(frameClose, nil).append(buf)
		l.broadcast()
	}
	return buf
}

func (l *Link) collectData(buf []byte, now time.Time) []byte {
	more := false
	for range batch {
		f, ok := l.nextData()
		if !ok {
			more = false
			break
		}
		buf = f.append(buf)
		l.next += uint32(len(f.payload))
		l.sentUpTo(l.next, now)
		l.ack = false
		more = true
	}
	if more {
		l.signal() // there may be more after this batch
	}
	if l.ack {
		l.ack = false
		buf = l.frame(frameAck, nil).append(buf)
	}
	return buf
}

// nextData gives the next data frame if anything may be sent.
func (l *Link) nextData() (*frame, bool) {
	underway := int(l.next - l.base)
	may := min(l.cwnd, int(int32(l.limit-l.base))) - underway
	n := min(len(l.sent)-underway, may, maxPayload)
	if n <= 0 {
		return nil, false
	}
	return l.frame(frameData, l.sent[underway:underway+n]), true
}

func (l *Link) frame(t frameType, payload []byte) *frame {
	w := l.window()
	l.advertised = l.recvNext + w
	return &frame{typ: t, tag: l.tag, seq: l.next, ack: l.recvNext, window: w, payload: payload}
}

// nextTimer is when the writer must look again without being woken.
func (l *Link) nextTimer(now time.Time) time.Time {
	if l.rtoAt.IsZero() && len(l.sent) > 0 {
		l.rtoAt = now.Add(l.rto) // the peer's window is shut
	}
	at := l.rtoAt
	if l.cfg.KeepAlive > 0 {
		idle := l.lastHeard.Add(l.cfg.KeepAlive)
		if last := l.lastSent.Add(l.cfg.KeepAlive); last.After(idle) {
			idle = last
		}
		if at.IsZero() || idle.Before(at) {
			at = idle
		}
	}
	return at
}

// keepAlive tests an idle line; it reports whether the stream must be given up.
func (l *Link) keepAlive(now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cfg.KeepAlive <= 0 || !l.synced {
		return nil
	}
	quiet := now.Sub(l.lastHeard)
	if quiet >= 3*l.cfg.KeepAlive {
		return ErrSilent
	}
	if quiet >= l.cfg.KeepAlive && now.Sub(l.lastSent) >= l.cfg.KeepAlive {
		l.ping = true
	}
	return nil
}

// window is how much can be taken from recvNext on.
func (l *Link) window() uint32 { return uint32(receiveBuffer - len(l.recv)) }

// offerWindow tells the peer of room when a reader made a good part free.
func (l *Link) offerWindow() {
	if int(l.recvNext+l.window()-l.advertised) >= receiveBuffer/2 {
		l.ack = true
		l.signal()
	}
}
