package tether

import (
	"context"
	"fmt"
	"strings"
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

// run takes the steps in order and stops at the first that fails. The error
// names the step. How long each took is one line of the log: a line for each
// would be a part of what it measures.
func run[T any](ctx context.Context, on T, steps []Step[T], log *logrus.Entry) error {
	var took []string
	defer func() { log.WithField(spec.FieldStep, strings.Join(took, ", ")).Info("steps done") }()
	for _, s := range steps {
		begin := time.Now()
		err := ctx.Err()
		if err == nil {
			err = s.Run(ctx, on)
		}
		d := time.Since(begin).Round(100 * time.Microsecond)
		switch {
		case err == nil:
			took = append(took, fmt.Sprintf("%s %s", s.Name, d))
		case s.Optional && ctx.Err() == nil:
			log.WithError(err).WithField(spec.FieldStep, s.Name).WithField(spec.FieldDuration, d).Warn("step failed, going on")
		default:
			return fmt.Errorf("%s: %w", s.Name, err)
		}
	}
	return nil
}
