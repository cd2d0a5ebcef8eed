package portlayer

import (
	"context"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vic-engine/vic/pkg/clock"
)

// follower keeps the appliance's clock with vSphere's.
type follower struct {
	clock clock.Clock // nil: it is left alone
	// ask gives what has to be added to the clock, and how wrong that can be.
	ask func(context.Context) (offset, within time.Duration, err error)
	log *logrus.Entry
}

// set sets the clock, before anything has got a time by it.
func (f follower) set(ctx context.Context) { f.follow(ctx, 0) }

// run corrects it until ctx is done.
func (f follower) run(ctx context.Context) {
	t := time.NewTicker(clock.Every)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			f.follow(ctx, clock.Jump)
		case <-ctx.Done():
			return
		}
	}
}

// follow corrects the clock: a difference above jump at once.
func (f follower) follow(ctx context.Context, jump time.Duration) {
	if f.clock == nil {
		return
	}
	offset, within, err := f.ask(ctx)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		f.log.WithError(err).Warn("clock could not be compared with that of vSphere")
		return
	}
	log := f.log.WithField("offset", offset.Round(time.Millisecond).String())
	how, err := clock.Correct(f.clock, offset, within, jump)
	switch {
	case err != nil:
		log.WithError(err).Warn("clock could not be set by that of vSphere")
	case how != "":
		log.WithField("how", how).Info("clock follows that of vSphere")
	}
}
