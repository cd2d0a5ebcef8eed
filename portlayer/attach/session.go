package attach

import (
	"context"

	"github.com/vic-engine/vic/pkg/logframe"
	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/pkg/tetherproto"
)

// Session is the engine's hold on one boot of one container. Its methods may be
// called at once from several goroutines. While the network is cut they wait; when
// the session ends they fail with ErrUnavailable.
type Session struct {
	id, boot string
	client   *tetherproto.Client
}

// Boot is the id of the guest's boot.
func (s *Session) Boot() string { return s.boot }

// Done is closed when the session is over: the guest began anew, or Drop.
func (s *Session) Done() <-chan struct{} { return s.client.Done() }

// Release lets a process that waits for the line start and returns its pid when
// it runs. A program that cannot be run is a *spec.StartError.
func (s *Session) Release(ctx context.Context) (int, error) { return s.client.Release(ctx) }

// Attach joins streams to the container's process; see tetherproto.Client.Attach.
func (s *Session) Attach(ctx context.Context, streams spec.Streams) error {
	return s.client.Attach(ctx, streams)
}

// Exec runs p beside the container's process and gives its status when it ended
// and its output was written to streams.
func (s *Session) Exec(ctx context.Context, execID string, p spec.Process, streams spec.Streams, started func(pid int)) (spec.ExitStatus, error) {
	return s.client.Exec(ctx, execID, p, streams, started)
}

// Signal sends a signal by name or number to an exec, or to the container's
// process when execID is empty.
func (s *Session) Signal(ctx context.Context, execID, name string) error {
	return s.client.Signal(ctx, execID, name)
}

// Resize sets the size of a terminal.
func (s *Session) Resize(ctx context.Context, execID string, rows, cols int) error {
	return s.client.Resize(ctx, execID, rows, cols)
}

// CloseStdin closes a process's stdin.
func (s *Session) CloseStdin(ctx context.Context, execID string) error {
	return s.client.CloseStdin(ctx, execID)
}

// Follow gives the log frames after a position as the guest makes them, without a
// gap, and returns nil when the run has ended. ErrUnavailable means that frames
// between are only in the file: read it on, and follow from its end.
func (s *Session) Follow(ctx context.Context, after logframe.Position, each func(logframe.Frame) error) error {
	return s.client.Follow(ctx, tetherproto.LogRequest{After: after}, each)
}
