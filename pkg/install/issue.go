package install

import (
	"errors"
	"fmt"
	"sort"
	"strings"

	"github.com/containerd/errdefs"
)

// Issue is one thing that stands in create's way, in words for the
// administrator: what is wrong with which input, and what would do.
type Issue struct {
	// Flag is the option to change, empty when it is about the target.
	Flag string
	Text string
	// Choices are values that would be accepted instead.
	Choices []string
	// Class is one of containerd/errdefs; nil means invalid argument.
	Class error
}

// Error renders the issue on one line.
func (i Issue) Error() string {
	s := i.Text
	if i.Flag != "" {
		s = i.Flag + " " + s
	}
	if len(i.Choices) > 0 {
		c := append([]string(nil), i.Choices...)
		sort.Strings(c)
		s += " - suggested values: " + strings.Join(c, ", ")
	}
	return s
}

func (i Issue) Unwrap() error {
	if i.Class != nil {
		return i.Class
	}
	return errdefs.ErrInvalidArgument
}

// InvalidError is why a configuration was refused: all the reasons at once.
type InvalidError struct{ Issues []Issue }

func (e *InvalidError) Error() string {
	if len(e.Issues) == 1 {
		return e.Issues[0].Error()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d problems with the configuration:", len(e.Issues))
	for _, i := range e.Issues {
		b.WriteString("\n  " + i.Error())
	}
	return b.String()
}

// Unwrap gives the issues, so that errors.Is sees their classes.
func (e *InvalidError) Unwrap() []error {
	out := make([]error, len(e.Issues))
	for i := range e.Issues {
		out[i] = e.Issues[i]
	}
	return out
}

// issues gathers problems.
type issues struct{ list []Issue }

func issuef(flag, format string, args ...any) error {
	return Issue{Flag: flag, Text: fmt.Sprintf(format, args...)}
}

func (s *issues) addf(flag, format string, args ...any) {
	s.list = append(s.list, Issue{Flag: flag, Text: fmt.Sprintf(format, args...)})
}

func (s *issues) choose(choices []string, flag, format string, args ...any) {
	s.list = append(s.list, Issue{Flag: flag, Text: fmt.Sprintf(format, args...), Choices: choices})
}

func (s *issues) add(err error) {
	if err == nil {
		return
	}
	var i Issue
	if !errors.As(err, &i) {
		i = Issue{Text: err.Error(), Class: err}
	}
	s.list = append(s.list, i)
}

// Plain is the text of err for an administrator: without the names of error
// classes, which programs go by.
func Plain(err error) string {
	lines := []string{}
	for _, l := range strings.Split(err.Error(), "\n") {
		for _, class := range classes() {
			l = strings.ReplaceAll(l, ": "+class.Error(), "")
		}
		lines = append(lines, l)
	}
	return strings.Join(lines, "\n")
}

func classes() []error {
	return []error{
		errdefs.ErrInvalidArgument, errdefs.ErrNotFound, errdefs.ErrAlreadyExists, errdefs.ErrConflict,
		errdefs.ErrUnauthenticated, errdefs.ErrPermissionDenied, errdefs.ErrFailedPrecondition,
		errdefs.ErrUnavailable, errdefs.ErrAborted, errdefs.ErrInternal, errdefs.ErrDataLoss,
	}
}
