package guestrpc

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sync/errgroup"
)

// Op is a soft power operation; the values are open-vm-tools' GuestOsState.
type Op int

const (
	Halt   Op = 1
	Reboot Op = 2
)

// String is the TCLO command of the operation.
func (o Op) String() string {
	switch o {
	case Halt:
		return "OS_Halt"
	case Reboot:
		return "OS_Reboot"
	}
	return fmt.Sprintf("Op(%d)", int(o))
}

// errGone ends requests whose stream ended.
var errGone = fmt.Errorf("guest tools went away: %w", errdefs.ErrUnavailable)

// tclo is one stream to the guest's tools. The guest answers in order, so
// replies are matched by their place.
type tclo struct {
	conn io.ReadWriteCloser
	done chan struct{} // closed when the stream has ended

	mu      sync.Mutex // guards waiting, and that it has the order of the writes
	waiting []chan []byte
}

// maxWaiting is how many requests a guest may leave unanswered before its stream
// is given up.
const maxWaiting = 16

// ServeTCLO asks the guest's tools to introduce themselves and then, every
// PingEvery, whether they live, until conn or ctx ends; it closes conn. When it
// returns the tools are held for gone. A later stream replaces an earlier one.
func (h *Host) ServeTCLO(ctx context.Context, conn io.ReadWriteCloser) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer conn.Close()
	defer closeWith(ctx, conn)()
	t := &tclo{conn: conn, done: make(chan struct{})}
	h.mu.Lock()
	h.tclo = t
	h.mu.Unlock()

	var g errgroup.Group
	g.Go(func() error {
		defer cancel()
		defer close(t.done)
		return t.read()
	})
	g.Go(func() error {
		defer cancel()
		return h.tend(ctx, t)
	})
	err := g.Wait()

	h.mu.Lock()
	mine := h.tclo == t
	if mine {
		h.tclo = nil
	}
	h.mu.Unlock()
	if mine {
		h.setTools(false)
	}
	return err
}

// read hands out replies. Empty messages are a guest's polls, as vmtoolsd makes
// them, and answer nothing.
func (t *tclo) read() error {
	r := bufio.NewReader(t.conn)
	for {
		msg, err := ReadFrame(r)
		switch {
		case errors.Is(err, ErrTooLong):
			return fmt.Errorf("read reply of guest tools: %w", err)
		case err != nil:
			return nil // the stream ended, by whichever side
		case len(msg) == 0:
			continue
		}
		t.mu.Lock()
		if len(t.waiting) > 0 {
			t.waiting[0] <- msg // has room for it
			t.waiting = t.waiting[1:]
		}
		t.mu.Unlock()
	}
}

// ask sends one request and waits for its reply: the text after "OK ".
func (t *tclo) ask(ctx context.Context, request string) (string, error) {
	reply := make(chan []byte, 1)
	t.mu.Lock()
	if len(t.waiting) >= maxWaiting {
		t.mu.Unlock()
		_ = t.conn.Close()
		return "", errGone
	}
	t.waiting = append(t.waiting, reply)
	err := WriteFrame(t.conn, []byte(request))
	t.mu.Unlock()
	if err != nil {
		return "", fmt.Errorf("ask guest tools %s: %w", request, errGone)
	}
	select {
	case msg := <-reply:
		msg = bytes.TrimRight(msg, " \x00")
		if rest, ok := bytes.CutPrefix(msg, []byte("OK")); ok {
			return string(bytes.TrimLeft(rest, " ")), nil
		}
		return "", fmt.Errorf("guest tools refuse %s: %q: %w", request, printable(msg), errdefs.ErrFailedPrecondition)
	case <-t.done:
		return "", fmt.Errorf("ask guest tools %s: %w", request, errGone)
	case <-ctx.Done():
		return "", fmt.Errorf("ask guest tools %s: %w", request, ctx.Err())
	}
}

// tend introduces the host to the tools, once they answer, and pings them.
func (h *Host) tend(ctx context.Context, t *tclo) error {
	for _, request := range []string{"reset", "Capabilities_Register", "Set_Option broadcastIP 1"} {
		// No limit of time: the tools may start long after the port exists.
		if _, err := t.ask(ctx, request); err != nil && !errdefs.IsFailedPrecondition(err) {
			return nil
		}
		h.setTools(true)
	}
	tick := time.NewTicker(h.every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.done:
			return nil
		case <-tick.C:
		}
		pctx, cancel := context.WithTimeout(ctx, h.wait)
		_, err := t.ask(pctx, "ping")
		cancel()
		switch {
		case err == nil || errdefs.IsFailedPrecondition(err):
			h.setTools(true)
		case errdefs.IsUnavailable(err) || ctx.Err() != nil:
			return nil
		default:
			h.setTools(false) // still there, perhaps: the next answer brings them back
		}
	}
}

// Power asks the guest's tools for op and returns once they have begun it.
// Unavailable: no tools run or they went away first; FailedPrecondition: they
// refuse. A guest that powers off at once may end the stream: the caller knows
// better than this package whether that was the wish.
func (h *Host) Power(ctx context.Context, op Op) error {
	h.mu.Lock()
	t, running := h.tclo, h.tools
	if t == nil || !running {
		h.mu.Unlock()
		return fmt.Errorf("%s: guest tools are not running: %w", op, errdefs.ErrUnavailable)
	}
	if h.changes[int(op)] != nil {
		h.mu.Unlock()
		return fmt.Errorf("%s: already asked for: %w", op, errdefs.ErrConflict)
	}
	begun := make(chan bool, 1)
	h.changes[int(op)] = begun
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		delete(h.changes, int(op))
		h.mu.Unlock()
	}()

	// The tools may tell that they began long before they answer: toolbox
	// answers when its handler is through, which for OS_Halt may be never.
	answered := make(chan error, 1)
	actx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, err := t.ask(actx, op.String())
		answered <- err
	}()
	select {
	case ok := <-begun:
		if !ok {
			return fmt.Errorf("%s: guest tools can't do it: %w", op, errdefs.ErrFailedPrecondition)
		}
		return nil
	case err := <-answered:
		select {
		case ok := <-begun:
			if !ok {
				return fmt.Errorf("%s: guest tools can't do it: %w", op, errdefs.ErrFailedPrecondition)
			}
			return nil
		default:
		}
		return err
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", op, ctx.Err())
	}
}
