package vnet

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// port is a NIC's place on a switch: a stream of frames.
type port struct {
	conn  net.Conn
	mac   string // the NIC's own
	hw    mac    // the same
	out   chan frame
	lost  atomic.Int64 // frames that the NIC did not take in time
	watch func(frame)  // sees what the NIC sends; nil: nobody
	// policy of the port group; nil allows everything.
	policy *policy
	forged atomic.Int64 // frames that the policy did not let pass
}

// queueLen is how many frames wait for a NIC: 1.5 MB of full ones, more than a
// TCP window of the stack behind the gateway.
const queueLen = 1024

func newPort(conn net.Conn, mac string) *port {
	return &port{conn: conn, mac: mac, out: make(chan frame, queueLen)}
}

func (p *port) send(f frame) {
	select {
	case p.out <- f:
	default:
		p.lost.Add(1)
	}
}

// errFrame ends a stream that is out of step.
var errFrame = errors.New("bad frame")

// run carries frames until the stream or ctx ends, and closes the stream. The end
// of either is no error.
func (p *port) run(ctx context.Context, s *layer2) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = p.conn.Close() })()
	s.join(p)
	defer s.leave(p)
	var g errgroup.Group
	g.Go(func() error {
		defer cancel()
		return p.read(s)
	})
	g.Go(func() error {
		defer cancel()
		return p.write(ctx)
	})
	return g.Wait()
}

func (p *port) read(s *layer2) error {
	r := bufio.NewReaderSize(p.conn, 64<<10)
	for {
		f, err := readFrame(r)
		switch {
		case errors.Is(err, errFrame):
			return err
		case err != nil:
			return nil // ended, by whichever side
		case len(f) < lengthLen+ethernetLen:
			continue // no guest's kernel sends this
		}
		if !p.maySend(f) {
			p.forged.Add(1)
			continue
		}
		if p.watch != nil {
			p.watch(f)
		}
		s.forward(p, f)
	}
}

func readFrame(r io.Reader) (frame, error) {
	var head [lengthLen]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxFrame {
		return nil, fmt.Errorf("frame of %d bytes: %w", n, errFrame)
	}
	f := newFrame(int(n))
	_, err := io.ReadFull(r, f[lengthLen:])
	return f, err
}

// write passes on what waits, many frames with one system call.
func (p *port) write(ctx context.Context) error {
	batch := make(net.Buffers, 0, 64)
	for {
		select {
		case f := <-p.out:
			batch = append(batch[:0:cap(batch)], f)
		case <-ctx.Done():
			return nil
		}
	more:
		for len(batch) < cap(batch) {
			select {
			case f := <-p.out:
				batch = append(batch, f)
			default:
				break more
			}
		}
		whole := batch // WriteTo consumes its receiver
		if _, err := whole.WriteTo(p.conn); err != nil {
			return nil // ended, by whichever side
		}
	}
}
