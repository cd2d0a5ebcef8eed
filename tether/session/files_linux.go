package session

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/pkg/tetherproto"
)

var (
	_ tetherproto.FileHandler  = handler{}
	_ tetherproto.PowerHandler = handler{}
)

// Files does an operation on the container's files.
func (h handler) Files(ctx context.Context, q spec.FileRequest, s tetherproto.IO) error {
	if h.cfg.Files == nil {
		return fmt.Errorf("files of a container: %w", errdefs.ErrNotImplemented)
	}
	return h.cfg.Files(ctx, q, s)
}

// PowerOff ends a guest that runs no process.
func (h handler) PowerOff(context.Context) error {
	if h.cfg.PowerOff == nil {
		return fmt.Errorf("container %s runs its process, which must be stopped: %w", h.id, errdefs.ErrConflict)
	}
	h.cfg.PowerOff()
	return nil
}
