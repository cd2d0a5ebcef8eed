package portlayer

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"

	"github.com/vic-engine/vic/pkg/clock"
)

// recordedClock remembers how it was corrected.
type recordedClock struct{ calls []string }

func (c *recordedClock) Step(by time.Duration) error {
	c.calls = append(c.calls, fmt.Sprint("step ", by))
	return nil
}

func (c *recordedClock) Slew(by time.Duration) error {
	c.calls = append(c.calls, fmt.Sprint("slew ", by))
	return nil
}

// TestClockFollows: at first the clock is set, whatever the difference, later it is
// bent; what cannot be told from no difference is left alone, and what fails is tried
// again.
func TestClockFollows(t *testing.T) {
	type answer struct {
		offset, within time.Duration
		err            error
	}
	answers := []answer{
		{offset: -440 * time.Millisecond, within: time.Millisecond},
		{offset: 9 * time.Millisecond},
		{offset: 60 * time.Millisecond, within: 70 * time.Millisecond},
		{err: errors.New("vSphere is away")},
		{offset: 60 * time.Millisecond, within: time.Millisecond},
		{offset: -129 * time.Millisecond, within: time.Millisecond},
		{offset: time.Hour, within: time.Second},
	}
	synctest.Test(t, func(t *testing.T) {
		c := &recordedClock{}
		asked := 0
		var at []time.Duration
		began := time.Now()
		f := follower{clock: c, log: logrus.NewEntry(logrus.New()), ask: func(context.Context) (time.Duration, time.Duration, error) {
			a := answers[asked]
			asked++
			at = append(at, time.Since(began))
			return a.offset, a.within, a.err
		}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(len(answers)-1)*clock.Every+time.Second)
		defer cancel()
		f.set(ctx)
		f.run(ctx)
		if d := cmp.Diff([]string{"step -440ms", "slew 60ms", "step -129ms", "step 1h0m0s"}, c.calls); d != "" {
			t.Error(d)
		}
		for i, d := range at {
			if d != time.Duration(i)*clock.Every {
				t.Errorf("asked %d after %s", i, d)
			}
		}
	})
}

// TestClockSmallAtBoot: before anything has a time by it, a clock is set even by little.
func TestClockSmallAtBoot(t *testing.T) {
	c := &recordedClock{}
	f := follower{clock: c, log: logrus.NewEntry(logrus.New()), ask: func(context.Context) (time.Duration, time.Duration, error) {
		return 20 * time.Millisecond, time.Millisecond, nil
	}}
	f.set(t.Context())
	if d := cmp.Diff([]string{"step 20ms"}, c.calls); d != "" {
		t.Error(d)
	}
}
