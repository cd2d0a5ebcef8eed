package tetherproto

import "time"

// The bounds of the retransmission timer. A UART of 0.5 MB/s empties a window in
// about 130 ms; the first guess must not be shorter than that.
const (
	minRTO   = 200 * time.Millisecond
	firstRTO = time.Second
	maxRTO   = 5 * time.Second
	// A gap is reported once more after a round trip, within these bounds.
	minNakAgain = 10 * time.Millisecond
	maxNakAgain = 200 * time.Millisecond
)

// pace decides how much may be under way and when to send again. Its fields are
// guarded by the Link's mutex.
type pace struct {
	cwnd     int // bytes that may be under way
	rto      time.Duration
	rtoAt    time.Time // zero: nothing is under way
	srtt     time.Duration
	timedSeq uint32    // the round trip up to this position is being timed
	timedAt  time.Time // zero: none
	progress time.Time // when something was last acknowledged, or began to wait

	lastSent, lastHeard time.Time
}

func newPace() pace {
	return pace{cwnd: sendBuffer, rto: firstRTO}
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

// acked notes that n more bytes, up to position ack, have arrived.
func (p *pace) acked(n int, ack uint32, underway bool, now time.Time) {
	p.progress = now
	p.cwnd = min(p.cwnd+n, sendBuffer)
	if !p.timedAt.IsZero() && !after(p.timedSeq, ack) {
		p.measure(now.Sub(p.timedAt))
		p.timedAt = time.Time{}
	}
	p.rtoAt = time.Time{}
	if underway {
		p.rtoAt = now.Add(p.rto)
	}
}

func (p *pace) measure(rtt time.Duration) {
	if p.srtt == 0 {
		p.srtt = rtt
	} else {
		p.srtt += (rtt - p.srtt) / 8
	}
	p.rto = min(max(3*p.srtt, minRTO), maxRTO)
}

// lost notes that bytes must be sent again; a timeout backs off too.
func (p *pace) lost(timeout bool) {
	p.cwnd = max(p.cwnd/2, 2*maxPayload)
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
