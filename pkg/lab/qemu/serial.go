package qemu

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/vic-engine/vic/pkg/lab/machine"
)

// backoff waits between attempts: 100 ms, doubled up to 2 s.
type backoff struct{ next time.Duration }

const (
	backoffFirst = 100 * time.Millisecond
	backoffMost  = 2 * time.Second
)

// wait reports whether ctx is still alive after it.
func (b *backoff) wait(ctx context.Context) bool {
	d := max(b.next, backoffFirst)
	b.next = min(2*d, backoffMost)
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// relay joins network serial port n with its far end, again and again until the
// VM ends. QEMU's end is connected only while the far end is: a UART without a
// peer drops what the guest writes and does not hold it up.
func (i *instance) relay(ctx context.Context, n int, s machine.Serial) {
	log := i.log.WithField("serial", n)
	addr, err := serialAddr(s.URI) // checked at start
	if err != nil {
		return
	}
	far := func(ctx context.Context) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, dialLimit)
		defer cancel()
		return i.h.cfg.Dial(ctx, "tcp", addr)
	}
	if s.Server {
		l, err := listenLoopback(addr)
		if err != nil {
			log.WithError(err).Error("serial port can't listen")
			return
		}
		defer l.Close()
		defer context.AfterFunc(ctx, func() { _ = l.Close() })()
		far = func(context.Context) (net.Conn, error) { return l.Accept() }
	}
	retry, away := backoff{}, false
	for {
		conn, err := far(ctx)
		if err == nil {
			if away {
				log.Info("far end of serial port is back")
			}
			away = false
			began := time.Now()
			err = i.join(ctx, conn, i.p.Serial(n))
			log.WithError(err).Debug("serial port disconnected")
			if time.Since(began) > backoffMost {
				retry = backoff{}
			}
		} else if !away && ctx.Err() == nil {
			away = true
			log.WithError(err).Info("far end of serial port is away")
		}
		if !retry.wait(ctx) {
			return
		}
	}
}

// join carries bytes between far and QEMU's socket until one of them ends. What
// was read from one side is written to the other before that is closed.
func (i *instance) join(ctx context.Context, far net.Conn, path string) error {
	defer far.Close()
	near, err := dialUnix(ctx, path)
	if err != nil {
		return err
	}
	defer near.Close()
	// At the VM's end what it said last has still a moment to be taken.
	defer context.AfterFunc(ctx, func() {
		_ = near.SetReadDeadline(time.Now().Add(lastWords))
		_ = far.SetDeadline(time.Now().Add(lastWords))
	})()
	var g errgroup.Group
	copyTo := func(dst, src net.Conn, carry func(io.Writer, io.Reader) error, halt func()) func() error {
		return func() error {
			err := carry(dst, src)
			halt()
			return err
		}
	}
	// The end of one direction ends the reads of the other, not its writes: a
	// far end may close right after its last byte, and so may a guest.
	g.Go(copyTo(near, far, carryAll, func() { _ = near.SetReadDeadline(time.Now()) }))
	g.Go(copyTo(far, near, carryGathered, func() { _ = far.SetReadDeadline(time.Now().Add(lastWords)) }))
	return g.Wait()
}

func carryAll(dst io.Writer, src io.Reader) error {
	_, err := io.Copy(dst, src)
	return err
}

// dialLimit bounds one attempt to reach the far end: a peer that comes up is
// found by the next one sooner than by a retransmission.
const dialLimit = 3 * time.Second

// lastWords is how long either end has for what is under way when the other one
// has gone.
const lastWords = 250 * time.Millisecond

// listenLoopback serves a port whose other end comes to us. Whatever address the
// URI names, only this computer can reach it.
func listenLoopback(addr string) (net.Listener, error) {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", port))
	if err != nil {
		return nil, fmt.Errorf("serial port: %w", err)
	}
	return l, nil
}
