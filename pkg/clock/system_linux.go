package clock

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// System is the kernel's clock, see adjtimex(2). It wants CAP_SYS_TIME.
func System() Clock { return kernelClock{} }

type kernelClock struct{}

func (kernelClock) Step(by time.Duration) error {
	t := setOffset(by)
	if _, err := unix.Adjtimex(&t); err != nil {
		return fmt.Errorf("step the clock by %s: %w", by, err)
	}
	return nil
}

// setOffset adds to the clock in one go; the fraction is never negative.
func setOffset(by time.Duration) unix.Timex {
	sec := by / time.Second
	rest := by % time.Second
	if rest < 0 {
		sec, rest = sec-1, rest+time.Second
	}
	t := unix.Timex{Modes: unix.ADJ_SETOFFSET | unix.ADJ_NANO}
	t.Time.Sec, t.Time.Usec = int64(sec), int64(rest)
	return t
}

func (kernelClock) Slew(by time.Duration) error {
	t := unix.Timex{Modes: unix.ADJ_OFFSET_SINGLESHOT, Offset: by.Microseconds()}
	if _, err := unix.Adjtimex(&t); err != nil {
		return fmt.Errorf("slew the clock by %s: %w", by, err)
	}
	return nil
}
