// Package clock corrects clocks: that of the computer it runs on, and those of others
// that follow it.
//
// A virtual machine's kernel reads the time from the hardware at boot, in whole
// seconds, and nothing corrects it afterwards. But programs and clients compare times
// of different computers: those of events, of output, of certificates.
package clock

import "time"

const (
	// Every is how often a clock is compared: a computer's drifts by some tens of
	// microseconds a second.
	Every = 10 * time.Minute
	// Jump is the difference from which a clock is set and no longer bent: that of NTP
	// (STEPT in RFC 5905, section 11.3).
	Jump = 128 * time.Millisecond
	// Fine is a difference that does not matter.
	Fine = 10 * time.Millisecond
)

// Clock can be corrected.
type Clock interface {
	// Step sets it at once.
	Step(by time.Duration) error
	// Slew lets it run faster or slower until the difference is made up.
	Slew(by time.Duration) error
}

// Negligible tells that a clock may stay as it is: the offset does not matter, or may
// be nothing, as it is known only to within so much.
func Negligible(offset, within time.Duration) bool { return offset.Abs() <= max(within, Fine) }

// Correct adds offset, which is known to within so much, to a clock: at once where it
// is more than jump, bit by bit where it is less, and not at all where it is
// negligible. how is "step", "slew" or empty.
func Correct(c Clock, offset, within, jump time.Duration) (how string, err error) {
	switch {
	case Negligible(offset, within):
		return "", nil
	case offset.Abs() > jump:
		return "step", c.Step(offset)
	default:
		return "slew", c.Slew(offset)
	}
}

// Compare asks another computer for its time, a few times, and tells how far it is
// ahead of this one's, which now gives: within half of what the quickest answer took.
func Compare(asks int, now func() time.Time, ask func() (time.Time, error)) (ahead, within time.Duration, err error) {
	for i := range asks {
		before := now()
		t, err := ask()
		took := now().Sub(before)
		if err != nil {
			return 0, 0, err
		}
		if half := took / 2; i == 0 || half < within {
			// Round drops the monotonic reading: a wall clock is compared with another.
			ahead, within = t.Sub(before.Round(0).Add(half)), half
		}
	}
	return ahead, within, nil
}
