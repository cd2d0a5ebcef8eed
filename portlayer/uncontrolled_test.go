package portlayer

import (
	"context"
	"time"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/pkg/tetherproto"
)

// uncontrolled is a guest whose processes nobody holds or measures.
type uncontrolled struct{}

var _ tetherproto.Controls = uncontrolled{}

func (uncontrolled) Pause(context.Context) error              { return errdefs.ErrNotImplemented }
func (uncontrolled) Resume(context.Context) error             { return errdefs.ErrNotImplemented }
func (uncontrolled) Limit(context.Context, spec.Limits) error { return errdefs.ErrNotImplemented }
func (uncontrolled) Enlarge(context.Context, spec.Size) error { return errdefs.ErrNotImplemented }
func (uncontrolled) Time(context.Context) (time.Time, error)  { return time.Now(), nil }
func (uncontrolled) Correct(context.Context, time.Duration, bool) error {
	return errdefs.ErrNotImplemented
}

func (uncontrolled) Stats(context.Context) (spec.Stats, error) {
	return spec.Stats{}, errdefs.ErrNotImplemented
}
func (uncontrolled) Processes(context.Context) (spec.ProcessTable, error) {
	return spec.ProcessTable{}, errdefs.ErrNotImplemented
}
