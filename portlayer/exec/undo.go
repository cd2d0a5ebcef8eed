package exec

import (
	"context"
	"errors"
	"fmt"
)

// undoStack is what a create has done so far, and how to take it back.
type undoStack struct {
	steps []undoStep
}

type undoStep struct {
	name string
	undo func(context.Context) error
}

func (u *undoStack) push(name string, undo func(context.Context) error) {
	u.steps = append(u.steps, undoStep{name, undo})
}

// fail takes everything back, last first. It stops at the first step that
// cannot be taken back: those below it still describe what is left, and the
// next start of the engine cleans up by them.
func (u *undoStack) fail(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	for i := len(u.steps) - 1; i >= 0; i-- {
		s := u.steps[i]
		if err := s.undo(ctx); err != nil {
			return errors.Join(fmt.Errorf("take back %s: %w", s.name, err))
		}
	}
	return nil
}
