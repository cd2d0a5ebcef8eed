package builder

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	control "github.com/moby/buildkit/api/services/control"
)

// onceListener is a listener of one connection that is there already. Accept
// blocks after it until the listener or the connection is closed.
type onceListener struct {
	conn chan net.Conn
	addr net.Addr
	done chan struct{}
	once sync.Once
}

func listenOnce(c net.Conn) *onceListener {
	l := &onceListener{conn: make(chan net.Conn, 1), addr: c.LocalAddr(), done: make(chan struct{})}
	l.conn <- &watchedConn{Conn: c, closed: func() { _ = l.Close() }}
	return l
}

func (l *onceListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conn:
		return c, nil
	default:
	}
	<-l.done
	return nil, net.ErrClosed
}

func (l *onceListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *onceListener) Addr() net.Addr { return l.addr }

// watchedConn tells when it is closed.
type watchedConn struct {
	net.Conn
	closed func()
}

func (c *watchedConn) Close() error {
	defer c.closed()
	return c.Conn.Close()
}

// byteStream is either end of Control.Session.
type byteStream interface {
	SendMsg(m any) error
	RecvMsg(m any) error
}

// streamConn makes a connection of a stream of BytesMessage. Close ends the call
// that the stream is.
type streamConn struct {
	s   byteStream
	end context.CancelFunc

	read sync.Mutex // guards rest
	rest []byte
	send sync.Mutex // one SendMsg at a time
}

func (c *streamConn) Read(p []byte) (int, error) {
	c.read.Lock()
	defer c.read.Unlock()
	for len(c.rest) == 0 {
		var m control.BytesMessage
		if err := c.s.RecvMsg(&m); err != nil {
			if !errors.Is(err, io.EOF) {
				err = errors.Join(io.ErrUnexpectedEOF, err)
			}
			return 0, err
		}
		c.rest = m.Data
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// Write sends p in pieces as BuildKit's own clients do (32 KiB buffers).
func (c *streamConn) Write(p []byte) (int, error) {
	c.send.Lock()
	defer c.send.Unlock()
	n := 0
	for n < len(p) {
		piece := p[n:min(len(p), n+32<<10)]
		if err := c.s.SendMsg(&control.BytesMessage{Data: piece}); err != nil {
			return n, err
		}
		n += len(piece)
	}
	return n, nil
}

func (c *streamConn) Close() error { c.end(); return nil }

func (c *streamConn) LocalAddr() net.Addr              { return &net.UnixAddr{Name: "session", Net: "unix"} }
func (c *streamConn) RemoteAddr() net.Addr             { return &net.UnixAddr{Name: "session", Net: "unix"} }
func (c *streamConn) SetDeadline(time.Time) error      { return nil }
func (c *streamConn) SetReadDeadline(time.Time) error  { return nil }
func (c *streamConn) SetWriteDeadline(time.Time) error { return nil }
