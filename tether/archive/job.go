package archive

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/spec"
)

// Verb is the first argument of a tether that is to be such a process.
const Verb = "archive"

// Job is one operation and where it is done.
type Job struct {
	spec.FileRequest
	// Root is where the container's root is mounted, joined from Lower, the
	// image's files, and Upper, what differs from them.
	Root  string `json:"root"`
	Lower string `json:"lower"`
	Upper string `json:"upper"`
	// UID and GID own what is put with CopyUIDGID.
	UID int `json:"uid"`
	GID int `json:"gid"`
	// Sync writes what was put to the disk before the end.
	Sync bool `json:"sync,omitempty"`
}

// failure is how the process tells an error: one JSON value on its stderr.
type failure struct {
	Class string `json:"class,omitempty"`
	Msg   string `json:"msg"`
}

const (
	classNotFound = "not-found"
	classInvalid  = "invalid"
)

func failureOf(err error) failure {
	f := failure{Msg: err.Error()}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f.Class = classNotFound
	case errors.Is(err, errdefs.ErrInvalidArgument):
		f.Class = classInvalid
	}
	return f
}

// refused is an error that is the request's fault, in the words that a Docker
// user reads.
type refused struct{ msg string }

func (r *refused) Error() string { return r.msg }
func (r *refused) Unwrap() error { return errdefs.ErrInvalidArgument }

func invalid(format string, a ...any) error { return &refused{fmt.Sprintf(format, a...)} }

func (f failure) err() error {
	switch f.Class {
	case classNotFound:
		return &told{f.Msg, errdefs.ErrNotFound}
	case classInvalid:
		return &told{f.Msg, errdefs.ErrInvalidArgument}
	}
	return &told{f.Msg, errdefs.ErrInternal}
}

// told is an error of the process with its class.
type told struct {
	msg   string
	class error
}

func (e *told) Error() string { return e.msg }
func (e *told) Unwrap() error { return e.class }
