package tether

import (
	"context"
	"fmt"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vic-engine/vic/pkg/spec"
)

// A Step is one part of the boot of a T.
type Step[T any] struct {
	Name string
	Run  func(context.Context, T) error
	// Optional steps may fail: that is logged, and the boot goes on.
	Optional bool
}

// run takes the steps in order, logs how long each took, and stops at the first
// that fails. The error names the step.
func run[T any](ctx context.Context, on T, steps []Step[T], log *logrus.Entry) error {
	for _, s := range steps {
		begin := time.Now()
		err := ctx.Err()
		if err == nil {
			err = s.Run(ctx, on)
		}
		l := log.WithField(spec.FieldStep, s.Name).WithField(spec.FieldDuration, time.Since(begin).Round(100*time.Microsecond))
		if err == nil {
			l.Info("done")
			continue
		}
		if s.Optional && ctx.Err() == nil {
			l.WithError(err).Warn("step failed, going on")
			continue
		}
		return fmt.Errorf("%s: %w", s.Name, err)
	}
	return nil
}
