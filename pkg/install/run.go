package install

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vic-engine/vic/pkg/spec"
)

// undoTimeout bounds the undoing of a failed create.
const undoTimeout = 2 * time.Minute

// undo takes back one change. It must cope with the change not being there.
type undo struct {
	what string
	do   func(ctx context.Context) error
}

// undoStack takes back changes, the last one first.
type undoStack struct {
	log   *logrus.Entry
	items []undo
}

func (u *undoStack) push(what string, do func(ctx context.Context) error) {
	u.items = append(u.items, undo{what, do})
}

// fail undoes everything. It goes on after errors, and returns them joined with
// what is left behind named. It works after ctx has ended: half-made is worse
// than late.
func (u *undoStack) fail(ctx context.Context) error {
	if len(u.items) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	var errs []error
	for i := len(u.items) - 1; i >= 0; i-- {
		it := u.items[i]
		u.log.Debugf("undo: %s", it.what)
		if err := it.do(ctx); err != nil {
			errs = append(errs, fmt.Errorf("%s is left behind: %w", it.what, err))
		}
	}
	u.items = nil
	return errors.Join(errs...)
}

// unless undoes everything when *err is set and not *keep; to be deferred. What
// could not be undone is added to *err.
func (u *undoStack) unless(ctx context.Context, keep *bool, err *error) {
	if *err == nil || *keep {
		return
	}
	if uerr := u.fail(ctx); uerr != nil {
		*err = fmt.Errorf("%w\n%w", *err, uerr)
	}
}

// runSteps runs steps in order, each preceded by its lines.
func runSteps(ctx context.Context, log *logrus.Entry, steps []Step, do func(context.Context, Step) error) error {
	for _, s := range steps {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("%s %s: %w", s.Action, s.Object, err)
		}
		for _, line := range s.Log {
			log.Info(line)
		}
		begin := time.Now()
		err := do(ctx, s)
		log.WithField(spec.FieldStep, s.Action).WithField(spec.FieldDuration, time.Since(begin).Round(time.Millisecond)).Debug("step ended")
		if err != nil {
			return fmt.Errorf("%s %s: %w", s.Action, s.Object, err)
		}
	}
	return nil
}
