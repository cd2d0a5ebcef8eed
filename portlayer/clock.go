package portlayer

import (
	"context"
	"time"

	"github.com/sirupsen/logrus"
)

const (
	// clockEvery is how often the clock is compared: a computer's drifts by some
	// tens of microseconds a second.
	clockEvery = 10 * time.Minute
	// clockJump is the difference from which a clock is set and no longer bent:
	// that of NTP (STEPT in RFC 5905, section 11.3).
	clockJump = 128 * time.Millisecond
	// clockFine is a difference that does not matter.
	clockFine = 10 * time.Millisecond
)

// Clock is the clock of the computer that the port layer runs on.
type Clock interface {
	// Step sets it at once.
	Step(by time.Duration) error
	// Slew lets it run faster or slower until the difference is made up.
	Slew(by time.Duration) error
}

// follower keeps the appliance's clock with vSphere's. A kernel reads the time from
// the hardware at boot, in whole seconds, and nothing corrects it afterwards; but
// clients compare the times of events and of output with their own.
type follower struct {
	clock Clock
	// ask gives what has to be added to the clock, and how wrong that can be.
	ask func(context.Context) (offset, within time.Duration, err error)
	log *logrus.Entry
}

// set sets the clock, before anything has got a time by it.
func (f follower) set(ctx context.Context) { f.follow(ctx, 0) }

// run corrects it until ctx is done.
func (f follower) run(ctx context.Context) {
	t := time.NewTicker(clockEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			f.follow(ctx, clockJump)
		case <-ctx.Done():
			return
		}
	}
}

// follow corrects the clock: a difference above jump at once.
func (f follower) follow(ctx context.Context, jump time.Duration) {
	offset, within, err := f.ask(ctx)
	switch {
	case ctx.Err() != nil:
		return
	case err != nil:
		f.log.WithError(err).Warn("clock could not be compared with that of vSphere")
		return
	case offset.Abs() <= max(within, clockFine):
		return
	}
	correct, how := f.clock.Slew, "slew"
	if offset.Abs() > jump {
		correct, how = f.clock.Step, "step"
	}
	log := f.log.WithField("offset", offset.Round(time.Millisecond).String())
	if err := correct(offset); err != nil {
		log.WithError(err).Warn("clock could not be set by that of vSphere")
		return
	}
	log.WithField("how", how).Info("clock follows that of vSphere")
}
