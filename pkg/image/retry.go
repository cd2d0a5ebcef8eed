package image

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// maxLater is the longest that a registry may let us wait for one thing. One that
// wants more is not waited for: the user is told.
const maxLater = 30 * time.Second

// later is a refusal of a registry that tells when it may be asked again.
type later struct {
	err   error
	after time.Duration
}

func (l *later) Error() string { return l.err.Error() }
func (l *later) Unwrap() error { return l.err }

// checked gives the error of an answer that has none of these statuses, whose body
// it closes then: a *transport.Error, in a *later if the registry says so.
func checked(resp *http.Response, statuses ...int) error {
	err := transport.CheckError(resp, statuses...)
	if err == nil {
		return nil
	}
	resp.Body.Close() // the error is what counts
	if d := retryAfter(resp.Header.Get("Retry-After"), time.Now()); d > 0 {
		return &later{err, d}
	}
	return err
}

// retryAfter reads the header of that name, seconds or a date (RFC 9110, 10.2.3);
// 0: it tells nothing.
func retryAfter(header string, now time.Time) time.Duration {
	header = strings.TrimSpace(header)
	if n, err := strconv.Atoi(header); err == nil {
		return min(time.Duration(max(n, 0)), 365*24*3600) * time.Second
	}
	at, err := http.ParseTime(header)
	if err != nil {
		return 0
	}
	return max(at.Sub(now).Round(time.Second), 0)
}

// waitFor is the pause before a request that failed is made again, having waited
// already. ok is false when the registry wants to be left alone for longer.
func (c *Client) waitFor(err error, failed int, waited time.Duration) (d time.Duration, ok bool) {
	d = c.cfg.Backoff(failed)
	var l *later
	if !errors.As(err, &l) {
		return d, true
	}
	d = max(d, l.after)
	return d, waited+d <= maxLater
}

// retrying is what Docker's clients show during a pause; nothing of a short one.
func retrying(wait time.Duration) string {
	switch n := int(wait.Round(time.Second) / time.Second); {
	case n == 1:
		return "Retrying in 1 second"
	case n > 1:
		return fmt.Sprintf("Retrying in %d seconds", n)
	}
	return ""
}

// errFinal stands for an error that asking again does not mend.
var errFinal = &classified{errdefs.ErrUnavailable, "not to be tried again", nil}

// connect is the endpoint's connect, again when a registry answers that it has too
// much to do. One that cannot be reached is not asked again, and a mirror neither:
// there is somebody else to ask.
func (c *Client) connect(ctx context.Context, e *endpoint) error {
	var last error
	err := c.retry(ctx, func() (bool, error) {
		last = e.connect(ctx)
		var te *transport.Error
		if last != nil && (e.mirror || !errors.As(last, &te)) {
			return false, errFinal
		}
		return false, last
	})
	if errors.Is(err, errFinal) {
		return last
	}
	return err
}
