package tetherproto

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/spec"
)

// Controls is the part of Handler that holds and measures the container's
// processes, execs included.
type Controls interface {
	// Pause freezes them and returns when all stand still; Resume lets them go
	// on. What is so already is no error.
	Pause(ctx context.Context) error
	Resume(ctx context.Context) error
	// Limit holds them to l: all of it, or nothing is changed.
	Limit(ctx context.Context, l spec.Limits) error
	// Enlarge uses the CPUs and the memory that the VM has got since its boot, and
	// returns when there are as many as s says; of zero it does not wait for any. Ahead
	// it does nothing; more than the guest could use is ErrResourceExhausted.
	Enlarge(ctx context.Context, s spec.Size) error
	// Time is the guest's clock. Correct adds by to it: at once, or else bit by bit. It
	// is ErrFailedPrecondition once a process runs that was given the clock itself.
	Time(ctx context.Context) (time.Time, error)
	Correct(ctx context.Context, by time.Duration, atOnce bool) error
	// Stats and Processes read what they use now.
	Stats(ctx context.Context) (spec.Stats, error)
	Processes(ctx context.Context) (spec.ProcessTable, error)
}

// The methods of chanCall for Controls. The answers of the last two are JSON on the
// channel, as they may be longer than a request may be.
const (
	callPause     = "pause"
	callResume    = "resume"
	callLimit     = "limit"   // Limits is set
	callEnlarge   = "enlarge" // Size is set
	callTime      = "time"    // answered with Time
	callCorrect   = "correct" // By is set, and AtOnce
	callStats     = "stats"
	callProcesses = "processes"
)

// maxAnswer bounds what the engine reads of an answer: the processes of a guest
// that has the most (32768) and long command lines come to less.
const maxAnswer = 64 << 20

// control serves the methods of Controls.
func (s *ServerConn) control(o *open, q callRequest) error {
	switch q.Method {
	case callPause:
		return s.h.Pause(o.ctx)
	case callResume:
		return s.h.Resume(o.ctx)
	case callLimit:
		if q.Limits == nil {
			return fmt.Errorf("limits are missing: %w", errdefs.ErrInvalidArgument)
		}
		return s.h.Limit(o.ctx, *q.Limits)
	case callEnlarge:
		if q.Size == nil || q.Size.CPUs < 0 || q.Size.MemoryMB < 0 {
			return fmt.Errorf("size is missing or negative: %w", errdefs.ErrInvalidArgument)
		}
		return s.h.Enlarge(o.ctx, *q.Size)
	case callCorrect:
		return s.h.Correct(o.ctx, q.By, q.AtOnce)
	case callStats:
		v, err := s.h.Stats(o.ctx)
		return errors.Join(err, answer(o, v, err))
	case callProcesses:
		v, err := s.h.Processes(o.ctx)
		return errors.Join(err, answer(o, v, err))
	default:
		return fmt.Errorf("unknown method %q: %w", q.Method, errdefs.ErrNotImplemented)
	}
}

// answer writes v where there was no error.
func answer(o *open, v any, err error) error {
	if err != nil {
		return nil
	}
	_, err = o.Write(encode(v))
	return err
}

// Pause freezes the container's processes, execs included.
func (c *Client) Pause(ctx context.Context) error {
	_, err := c.call(ctx, callRequest{Method: callPause})
	return err
}

// Resume lets them go on.
func (c *Client) Resume(ctx context.Context) error {
	_, err := c.call(ctx, callRequest{Method: callResume})
	return err
}

// Limit holds them to l.
func (c *Client) Limit(ctx context.Context, l spec.Limits) error {
	_, err := c.call(ctx, callRequest{Method: callLimit, Limits: &l})
	return err
}

// Enlarge uses what the VM has got since its boot.
func (c *Client) Enlarge(ctx context.Context, s spec.Size) error {
	_, err := c.call(ctx, callRequest{Method: callEnlarge, Size: &s})
	return err
}

// Time reads the guest's clock.
func (c *Client) Time(ctx context.Context) (time.Time, error) {
	r, err := c.call(ctx, callRequest{Method: callTime})
	return r.Time, err
}

// Correct corrects the guest's clock.
func (c *Client) Correct(ctx context.Context, by time.Duration, atOnce bool) error {
	_, err := c.call(ctx, callRequest{Method: callCorrect, By: by, AtOnce: atOnce})
	return err
}

// Stats reads what they use.
func (c *Client) Stats(ctx context.Context) (s spec.Stats, err error) {
	err = c.ask(ctx, callStats, &s)
	return s, err
}

// Processes lists them.
func (c *Client) Processes(ctx context.Context) (t spec.ProcessTable, err error) {
	err = c.ask(ctx, callProcesses, &t)
	return t, err
}

// ask is call for a method whose answer is on the channel.
func (c *Client) ask(ctx context.Context, method string, to any) error {
	o, err := c.open(ctx, chanCall, callRequest{Method: method})
	if err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	defer o.close()
	stop := context.AfterFunc(ctx, o.close)
	defer stop()
	b, err := io.ReadAll(io.LimitReader(o.ch, maxAnswer+1))
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("%s: %w: %w", method, err, errdefs.ErrUnavailable)
	}
	if len(b) > maxAnswer {
		return fmt.Errorf("%s: the guest's answer is longer than %d bytes: %w", method, maxAnswer, errdefs.ErrResourceExhausted)
	}
	r, err := o.wait(ctx)
	if err == nil {
		err = r.Error.err()
	}
	if err != nil {
		return err
	}
	return decodeAnswer(method, b, to)
}

// decodeAnswer reads what a guest, which may be anybody by now, says.
func decodeAnswer(method string, b []byte, to any) error {
	if err := json.Unmarshal(b, to); err != nil {
		return fmt.Errorf("%s: the guest's answer cannot be read: %w: %w", method, err, errdefs.ErrUnavailable)
	}
	return nil
}
