package tetherproto

import "time"

// The bounds of the retransmission timer.
const (
	minRTO   = 300 * time.Millisecond
	firstRTO = time.Second
	maxRTO   = 5 * time.Second
	// A gap is reported once more after a round trip, within these bounds.
	minNakAgain = 10 * time.Millisecond
	maxNakAgain = 200 * time.Millisecond
)

// What is under way stands in a queue before the UART, and a key, a signal or an
// acknowledgement of the other direction waits behind it. So no more is sent
// ahead than keeps the line busy: the window grows while the round trip is near
// the shortest one seen, and shrinks when queueDelay is added to that. (Between
// 0.03 and 0.5 MB/s were seen of emulated UARTs, the slow end on a busy computer.)
const (
	queueDelay  = 80 * time.Millisecond
	minWindow   = 4 * maxPayload
	firstWindow = 8 * maxPayload
)

// pace decides how much may be under way and when to send again. Its fields are
// guarded by the Link's mutex.
type pace struct {
	cwnd     int  // bytes that may be under way
	steady   bool // the line's speed was found once: grow slowly
	rto      time.Duration
	rtoAt    time.Time // zero: nothing is under way
	srtt     time.Duration
	least    time.Duration // shortest round trip of late; 0: none yet
	timedSeq uint32        // the round trip up to this position is being timed
	timedAt  time.Time     // zero: none
	progress time.Time     // when something was last acknowledged, or began to wait

	lastSent, lastHeard time.Time
}

func newPace() pace {
	return pace{cwnd: firstWindow, rto: firstRTO}
}

// renew begins anew on another stream, whose speed is not known.
func (p *pace) renew() {
	p.cwnd, p.steady, p.least, p.srtt, p.rto = firstWindow, false, 0, 0, firstRTO
	p.timedAt, p.rtoAt = time.Time{}, time.Time{}
}

// sentUpTo notes that everything before position end is under way.
func (p *pace) sentUpTo(end uint32, now time.Time) {
	if p.timedAt.IsZero() {
		p.timedAt, p.timedSeq = now, end
	}
	if p.rtoAt.IsZero() {
		p.rtoAt = now.Add(p.rto)
	}
}

// acked notes that n more bytes, up to position ack, have arrived, and that
// underway bytes have not.
func (p *pace) acked(n int, ack uint32, underway int, now time.Time) {
	p.progress = now
	full := underway+n >= p.cwnd/2 // a window that is not used tells nothing
	if full && !p.steady {
		p.grow(n)
	}
	if !p.timedAt.IsZero() && !after(p.timedSeq, ack) {
		p.measure(now.Sub(p.timedAt), full)
		p.timedAt = time.Time{}
	}
	p.rtoAt = time.Time{}
	if underway > 0 {
		p.rtoAt = now.Add(p.rto)
	}
}

func (p *pace) grow(n int) { p.cwnd = min(p.cwnd+n, sendBuffer) }

func (p *pace) measure(rtt time.Duration, full bool) {
	if p.srtt == 0 {
		p.srtt = rtt
	} else {
		p.srtt += (rtt - p.srtt) / 8
	}
	p.rto = min(max(3*p.srtt, minRTO), maxRTO)
	if p.least == 0 || rtt < p.least {
		p.least = rtt
	}
	p.least += (rtt - p.least) / 512 // a path that became longer is learnt in the end
	switch {
	case rtt > p.least+queueDelay:
		p.steady = true
		p.cwnd = max(p.cwnd*3/4, minWindow)
	case full && p.steady:
		p.grow(maxPayload)
	}
}

// lost notes that bytes must be sent again; a timeout backs off too.
func (p *pace) lost(timeout bool) {
	p.steady = true
	p.cwnd = max(p.cwnd/2, minWindow)
	p.timedAt = time.Time{} // a repeated position cannot be timed
	p.rtoAt = time.Time{}
	if timeout {
		p.rto = min(2*p.rto, maxRTO)
	}
}

// nakAgain is how soon a gap may be reported once more: not while what was under
// way before the first report still comes in.
func (p *pace) nakAgain() time.Duration {
	if p.srtt == 0 {
		return maxNakAgain / 2
	}
	return min(max(p.srtt, minNakAgain), maxNakAgain)
}
