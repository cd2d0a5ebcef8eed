package vsphere

import (
	"context"
	"fmt"
	"time"

	"github.com/vmware/govmomi/vim25/methods"
)

// clockAsks is how often the server's time is asked for: the quickest answer is the
// one that says most.
const clockAsks = 5

// ClockOffset compares the clock of vCenter, or of the ESXi host, with this
// computer's: offset is what has to be added to this one, within how wrong that can
// be, which is half of what the quickest of a few answers took.
func (s *Session) ClockOffset(ctx context.Context) (offset, within time.Duration, err error) {
	for i := range clockAsks {
		before := time.Now()
		t, err := methods.GetCurrentTime(ctx, s.vim)
		took := time.Since(before)
		if err != nil {
			return 0, 0, Classify(fmt.Errorf("time of %s: %w", s.target, err))
		}
		if half := took / 2; i == 0 || half < within {
			// Round drops the monotonic reading: a wall clock is compared with another.
			offset, within = t.Sub(before.Round(0).Add(half)), half
		}
	}
	return offset, within, nil
}
