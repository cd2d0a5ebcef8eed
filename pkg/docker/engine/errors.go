package engine

import (
	"fmt"

	"github.com/containerd/errdefs"
)

// classified is an error whose text is exactly what a Docker user reads and
// whose class is one of containerd/errdefs.
type classified struct {
	class error
	text  string
}

func (e *classified) Error() string { return e.text }
func (e *classified) Unwrap() error { return e.class }

func notFound(format string, a ...any) error {
	return &classified{errdefs.ErrNotFound, fmt.Sprintf(format, a...)}
}

func conflict(format string, a ...any) error {
	return &classified{errdefs.ErrConflict, fmt.Sprintf(format, a...)}
}

func invalid(format string, a ...any) error {
	return &classified{errdefs.ErrInvalidArgument, fmt.Sprintf(format, a...)}
}

func notModified(format string, a ...any) error {
	return &classified{errdefs.ErrNotModified, fmt.Sprintf(format, a...)}
}

func notImplemented(format string, a ...any) error {
	return &classified{errdefs.ErrNotImplemented, fmt.Sprintf(format, a...)}
}

func forbidden(format string, a ...any) error {
	return &classified{errdefs.ErrPermissionDenied, fmt.Sprintf(format, a...)}
}

func internal(format string, a ...any) error {
	return &classified{errdefs.ErrInternal, fmt.Sprintf(format, a...)}
}

// noSuchContainer, notRunning and the like are Docker's words for the errors
// that clients show or look for.
func noSuchContainer(ref string) error { return notFound("No such container: %s", ref) }

func notRunning(id string) error { return conflict("container %s is not running", id) }

func noSuchImage(ref string) error { return notFound("No such image: %s", ref) }
