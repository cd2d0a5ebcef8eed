package image

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// classified is an error whose text is exactly as Docker has it, with the
// class that the text does not show.
type classified struct {
	class error
	text  string
	cause error // may be nil
}

func (e *classified) Error() string { return e.text }

func (e *classified) Unwrap() []error {
	if e.cause == nil {
		return []error{e.class}
	}
	return []error{e.class, e.cause}
}

// reason is what a registry said in Docker's form: "manifest unknown: …".
func reason(d transport.Diagnostic) string {
	code := strings.ToLower(strings.ReplaceAll(string(d.Code), "_", " "))
	if d.Message == "" {
		return code
	}
	return code + ": " + d.Message
}

// translate makes what went wrong at a registry an error for the user. asked
// is the image; authed tells whether credentials were sent.
func translate(err error, asked reference.Named, e *endpoint) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	var te *transport.Error
	if errors.As(err, &te) {
		var l *later
		if errors.As(err, &l) {
			return translateStatus(te, l.after, asked, e)
		}
		return translateStatus(te, 0, asked, e)
	}
	var ce *classified
	if errors.As(err, &ce) {
		return err
	}
	var ue *url.Error
	var ne net.Error
	if errors.As(err, &ue) || errors.As(err, &ne) {
		return &classified{errdefs.ErrUnavailable, e.naming(err.Error()), err}
	}
	return fmt.Errorf("%s: %w", e.host, err)
}

// naming puts the registry in front of a text that does not have it.
func (e *endpoint) naming(text string) string {
	if strings.Contains(text, e.host) {
		return text
	}
	return e.host + ": " + text
}

// translateStatus is translate for an answer of the registry; after is when it may be
// asked again, if it told.
func translateStatus(te *transport.Error, after time.Duration, asked reference.Named, e *endpoint) error {
	d := transport.Diagnostic{}
	if len(te.Errors) > 0 {
		d = te.Errors[0]
	}
	say := func(class error, format string, args ...any) error {
		return &classified{class, fmt.Sprintf(format, args...), te}
	}
	again := ""
	if after > 0 {
		again = fmt.Sprintf(" (it wants to be asked again in %s)", after)
	}
	denied := "denied: requested access to the resource is denied"
	if d.Code == transport.DeniedErrorCode {
		denied = reason(d)
	}
	noAccess := func() error {
		return say(errdefs.ErrNotFound, "pull access denied for %s, repository does not exist or may require 'docker login': %s", reference.FamiliarName(asked), denied)
	}
	switch {
	case d.Code == transport.ManifestUnknownErrorCode:
		return say(errdefs.ErrNotFound, "manifest for %s not found: %s", reference.FamiliarString(asked), reason(d))
	case d.Code == transport.NameUnknownErrorCode && reference.Domain(asked) != dockerHub:
		return say(errdefs.ErrNotFound, "repository %s not found: %s", reference.FamiliarName(asked), reason(d))
	case d.Code == transport.NameUnknownErrorCode, d.Code == transport.DeniedErrorCode,
		te.StatusCode == http.StatusForbidden:
		return noAccess()
	case te.StatusCode == http.StatusUnauthorized && !e.authed:
		return noAccess()
	case te.StatusCode == http.StatusUnauthorized:
		why := "incorrect username or password"
		if d.Message != "" {
			why = d.Message
		}
		return say(errdefs.ErrUnauthenticated, "Get %q: unauthorized: %s", e.url("").String(), why)
	case te.StatusCode == http.StatusTooManyRequests:
		if d.Code == "" {
			d.Code = transport.TooManyRequestsErrorCode
		}
		return say(errdefs.ErrResourceExhausted, "registry %s: %s%s", e.host, reason(d), again)
	case te.StatusCode == http.StatusNotFound:
		return say(errdefs.ErrNotFound, "manifest for %s not found: manifest unknown: %s has none", reference.FamiliarString(asked), e.host)
	case te.StatusCode >= 500:
		text := fmt.Sprintf("received unexpected HTTP status: %d %s", te.StatusCode, http.StatusText(te.StatusCode))
		return say(errdefs.ErrUnavailable, "registry %s: %s%s", e.host, text, again)
	}
	if d.Code != "" {
		return say(errdefs.ErrUnknown, "registry %s: %s", e.host, reason(d))
	}
	return say(errdefs.ErrUnknown, "registry %s: received unexpected HTTP status: %d %s", e.host, te.StatusCode, http.StatusText(te.StatusCode))
}
