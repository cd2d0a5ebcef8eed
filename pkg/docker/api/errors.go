package api

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/server/httpstatus"
)

var errPageNotFound = fmt.Errorf("page not found%w", hidden{errdefs.ErrNotFound})

// hidden gives an error its class without its text.
type hidden struct{ class error }

func (hidden) Error() string   { return "" }
func (h hidden) Unwrap() error { return h.class }

func badRequest(format string, a ...any) error {
	return fmt.Errorf("%w%w", fmt.Errorf(format, a...), hidden{errdefs.ErrInvalidArgument})
}

func missing(what string) error {
	return fmt.Errorf("not supported: %s%w", what, hidden{errdefs.ErrNotImplemented})
}

// statusOf is the one mapping from error classes to HTTP statuses. docker's own
// covers the classes that dockerd uses; ours adds those that vSphere brings.
func statusOf(err error) int {
	switch {
	case errdefs.IsNotModified(err):
		return http.StatusNotModified
	case errdefs.IsAlreadyExists(err), errdefs.IsFailedPrecondition(err):
		return http.StatusConflict
	}
	if number := (*strconv.NumError)(nil); errors.As(err, &number) {
		return http.StatusBadRequest // docker's routers leave what they read of a query as it is
	}
	return httpstatus.FromError(err)
}
