package attach

import (
	"context"

	"github.com/vic-engine/vic/pkg/logframe"
	"github.com/vic-engine/vic/pkg/tetherproto"
)

// Session is one boot's control line: what tetherproto.Client offers, on a link
// that goes on over the host's connections. Its methods fail with
// ErrUnavailable once Done is closed.
type Session struct {
	*tetherproto.Client
	link *tetherproto.Link
	boot string
}

// BootID names the boot of the guest that this session is with.
func (s *Session) BootID() string { return s.boot }

// Follow gives the frames of output after a position, live, until the output has
// ended. The zero position asks for all that the guest still holds.
func (s *Session) Follow(ctx context.Context, after logframe.Position, each func(logframe.Frame) error) error {
	return s.Client.Follow(ctx, tetherproto.LogRequest{After: after, FromStart: after == logframe.Position{}}, each)
}

// end cuts the session without a goodbye: the guest is off, or has another one.
func (s *Session) end() {
	_ = s.link.Close()
	_ = s.Client.Close()
}
