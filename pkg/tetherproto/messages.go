package tetherproto

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/crypto/ssh"

	"github.com/vic-engine/vic/pkg/logframe"
	"github.com/vic-engine/vic/pkg/spec"
)

// Names on the wire. A change that an older side would misread gets a new number.
const (
	chanCall   = "vic-call@1"   // one question, one answer
	chanAttach = "vic-attach@1" // streams of the container's process
	chanExec   = "vic-exec@1"   // a process beside it, with its streams
	chanLog    = "vic-log@1"    // frames of the log, live
	chanRelay  = "vic-relay@1"  // opened by the guest: a connection to a relayed socket

	reqEOF     = "vic-eof@1"     // on attach, exec (engine) and relay (both): what was sent ends here (not: was cut)
	reqStarted = "vic-started@1" // guest, on exec: it runs
	reqEnded   = "vic-ended@1"   // guest, on attach, exec and log: how it ended
	reqReport  = "vic-report@1"  // guest, global: a Report
)

// ReportKind is what a Report tells.
type ReportKind string

// The kinds of report.
const (
	ReportStarted   ReportKind = "started"   // PID and Started are set
	ReportExited    ReportKind = "exited"    // Exit is set
	ReportAddresses ReportKind = "addresses" // Addresses is set
	ReportOOM       ReportKind = "oom"
	ReportPaused    ReportKind = "paused" // Paused says whether it is
)

// Report is what the guest tells of its own accord. The same is in guestinfo,
// which is the truth to re-read; a report is only sooner.
type Report struct {
	Kind      ReportKind        `json:"kind"`
	PID       int               `json:"pid,omitempty"`
	Started   time.Time         `json:"started,omitzero"` // by the guest's clock, as the times of its output
	Exit      spec.ExitStatus   `json:"exit,omitzero"`
	Addresses map[string]string `json:"addresses,omitempty"` // by network, CIDR form
	Paused    bool              `json:"paused,omitempty"`
}

// AttachRequest says which streams a client wants.
type AttachRequest struct {
	Stdin  bool `json:"stdin,omitempty"`
	Stdout bool `json:"stdout,omitempty"`
	Stderr bool `json:"stderr,omitempty"`
	// StdinOnce closes the process's stdin when this client's stdin ends.
	StdinOnce bool `json:"stdinOnce,omitempty"`
}

// ExecRequest is a process to run beside the container's own.
type ExecRequest struct {
	AttachRequest
	ID      string       `json:"id"`
	Process spec.Process `json:"process"`
}

// LogRequest asks for the frames after a position.
type LogRequest struct {
	After logframe.Position `json:"after"`
	// FromStart asks for all that the guest still holds.
	FromStart bool `json:"fromStart,omitempty"`
}

// RelayRequest asks the engine for a connection to one of its sockets.
type RelayRequest struct {
	// Socket is what the container was made with, "/var/run/docker.sock".
	Socket string `json:"socket"`
}

// The methods of chanCall.
const (
	callRelease    = "release"
	callSignal     = "signal"
	callResize     = "resize"
	callCloseStdin = "close-stdin"
	callNetwork    = "network" // Network is set
	callGrow       = "grow"    // the filesystem of scsi0:Unit fills its disk
)

type callRequest struct {
	Method string `json:"method"`
	Exec   string `json:"exec,omitempty"`
	Signal string `json:"signal,omitempty"`
	Rows   int    `json:"rows,omitempty"`
	Cols   int    `json:"cols,omitempty"`
	Unit   int    `json:"unit,omitempty"`

	By     time.Duration `json:"by,omitempty"` // nanoseconds
	AtOnce bool          `json:"atOnce,omitempty"`

	Network *spec.NetworkUpdate `json:"network,omitempty"`
	Limits  *spec.Limits        `json:"limits,omitempty"`
	Size    *spec.Size          `json:"size,omitempty"`
}

type reply struct {
	PID   int              `json:"pid,omitempty"`
	Time  time.Time        `json:"time,omitzero"`
	Exit  *spec.ExitStatus `json:"exit,omitempty"`
	Error *wireError       `json:"error,omitempty"`
}

// wireError keeps an error's class across the line.
type wireError struct {
	Class string `json:"class"`
	Code  int    `json:"code,omitempty"` // of a spec.StartError
	Msg   string `json:"msg"`
}

const classStart = "start"

// classes that cross the line by name, in the order they are tried.
func classes() []struct {
	name  string
	class error
} {
	return []struct {
		name  string
		class error
	}{
		{"not-found", errdefs.ErrNotFound},
		{"invalid", errdefs.ErrInvalidArgument},
		{"conflict", errdefs.ErrConflict},
		{"precondition", errdefs.ErrFailedPrecondition},
		{"unimplemented", errdefs.ErrNotImplemented},
		{"unavailable", errdefs.ErrUnavailable},
		{"exists", errdefs.ErrAlreadyExists},
		{"denied", errdefs.ErrPermissionDenied},
		{"exhausted", errdefs.ErrResourceExhausted},
	}
}

func toWire(err error) *wireError {
	if err == nil {
		return nil
	}
	var start *spec.StartError
	if errors.As(err, &start) {
		return &wireError{Class: classStart, Code: start.Code, Msg: start.Msg}
	}
	for _, c := range classes() {
		if errors.Is(err, c.class) {
			return &wireError{Class: c.name, Msg: err.Error()}
		}
	}
	return &wireError{Class: "internal", Msg: err.Error()}
}

func (w *wireError) err() error {
	if w == nil {
		return nil
	}
	if w.Class == classStart {
		return &spec.StartError{Code: w.Code, Msg: w.Msg}
	}
	for _, c := range classes() {
		if w.Class == c.name {
			return &remoteError{msg: w.Msg, class: c.class}
		}
	}
	return &remoteError{msg: w.Msg, class: errdefs.ErrInternal}
}

// remoteError is an error of the guest with its class.
type remoteError struct {
	msg   string
	class error
}

func (e *remoteError) Error() string { return e.msg }
func (e *remoteError) Unwrap() error { return e.class }

// decode reads a JSON payload of the other side.
func decode(payload []byte, to any) error {
	if err := json.Unmarshal(payload, to); err != nil {
		return fmt.Errorf("malformed message: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	return nil
}

// encode cannot fail for our own messages: they hold no channels or functions.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	return b
}

// algorithms are those of both sides: one key exchange and the cheapest ciphers
// on a virtual CPU without AES instructions; the line is slow, so small packets
// of the handshake count.
func algorithms(c *ssh.Config) {
	c.KeyExchanges = []string{"curve25519-sha256"}
	c.Ciphers = []string{ssh.CipherChaCha20Poly1305, ssh.CipherAES128GCM}
}
