package storage

import (
	"context"
	"errors"
	"time"
)

// undo is what takes back the steps of something that is not finished, the
// last one first.
type undo struct{ steps []func(context.Context) error }

func (u *undo) add(step func(context.Context) error) { u.steps = append(u.steps, step) }

// success keeps what was done.
func (u *undo) success() { u.steps = nil }

// fail takes everything back. It goes on after an error, and is not stopped by
// ctx: leaving half of it behind is worse than being late.
func (u *undo) fail(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
	defer cancel()
	var errs []error
	for i := len(u.steps) - 1; i >= 0; i-- {
		errs = append(errs, u.steps[i](ctx))
	}
	u.steps = nil
	return errors.Join(errs...)
}
