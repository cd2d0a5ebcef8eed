package vsphere

import (
	"context"
	"fmt"
	"time"

	"github.com/vmware/govmomi/vim25/methods"

	"github.com/vic-engine/vic/pkg/clock"
)

// clockAsks is how often the server's time is asked for: the quickest answer is the
// one that says most.
const clockAsks = 5

// ClockOffset compares the clock of vCenter, or of the ESXi host, with this
// computer's: offset is what has to be added to this one, within how wrong that can
// be, which is half of what the quickest of a few answers took.
func (s *Session) ClockOffset(ctx context.Context) (offset, within time.Duration, err error) {
	offset, within, err = clock.Compare(clockAsks, time.Now, func() (time.Time, error) {
		t, err := methods.GetCurrentTime(ctx, s.vim)
		if err != nil {
			return time.Time{}, err
		}
		return *t, nil
	})
	if err != nil {
		return 0, 0, Classify(fmt.Errorf("time of %s: %w", s.target, err))
	}
	return offset, within, nil
}
