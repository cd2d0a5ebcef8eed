package clock

import (
	"testing"
	"time"
)

func TestSetOffset(t *testing.T) {
	for by, want := range map[time.Duration][2]int64{
		0:                                {0, 0},
		1500 * time.Millisecond:          {1, 500_000_000},
		-440 * time.Millisecond:          {-1, 560_000_000},
		-2 * time.Second:                 {-2, 0},
		-2*time.Second - time.Nanosecond: {-3, 999_999_999},
		time.Hour + 250*time.Microsecond: {3600, 250_000},
	} {
		if x := setOffset(by); x.Time.Sec != want[0] || x.Time.Usec != want[1] {
			t.Errorf("%s: %d s %d ns, want %v", by, x.Time.Sec, x.Time.Usec, want)
		}
	}
}
