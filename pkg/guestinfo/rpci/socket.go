package rpci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
)

// socket is RPCI over the unix socket that tether serves.
type socket struct {
	path string

	mu     sync.Mutex // one request at a time; guards what follows
	conn   net.Conn
	closed bool
}

func (s *socket) roundTrip(msg []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, os.ErrClosed
	}
	fresh := s.conn == nil
	reply, err := s.try(msg)
	if err != nil && !fresh {
		// The server may have gone since the last request; once more on a new
		// connection. RPCI commands may safely be repeated.
		reply, err = s.try(msg)
	}
	return reply, err
}

func (s *socket) try(msg []byte) ([]byte, error) {
	if s.conn == nil {
		conn, err := net.DialTimeout("unix", s.path, requestTimeout)
		if err != nil {
			return nil, err
		}
		s.conn = conn
	}
	err := s.conn.SetDeadline(time.Now().Add(requestTimeout))
	if err == nil {
		err = WriteFrame(s.conn, msg)
	}
	var reply []byte
	if err == nil {
		reply, err = ReadFrame(s.conn)
	}
	if err != nil {
		_ = s.conn.Close()
		s.conn = nil
		return nil, err
	}
	return reply, nil
}

func (s *socket) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.conn == nil {
		return nil
	}
	err := s.conn.Close()
	s.conn = nil
	return err
}

// Serve passes the requests of other processes to c until ctx is done or the
// listener fails. It closes l and waits for its connections. Who may connect is
// the socket file's permissions' matter.
func Serve(ctx context.Context, l net.Listener, c *Client, log *logrus.Entry) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept on the rpci socket: %w", err)
		}
		wg.Go(func() {
			stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
			defer stop()
			defer conn.Close()
			if err := serveConn(conn, c); err != nil && ctx.Err() == nil {
				log.WithError(err).Debug("rpci client ended")
			}
		})
	}
}

func serveConn(conn net.Conn, c *Client) error {
	for {
		msg, err := ReadFrame(conn)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		reply, err := c.t.roundTrip(msg)
		if err != nil {
			return err
		}
		if err := WriteFrame(conn, reply); err != nil {
			return err
		}
	}
}
