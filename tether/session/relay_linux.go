package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/tetherproto"
)

// Relay carries each connection to l to the engine's socket of that name, until
// ctx is done. It closes l. Without an engine a connection waits for the next one.
func (m *Manager) Relay(ctx context.Context, l *net.UnixListener, socket string) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	busy := make(chan struct{}, tetherproto.MaxRelayed)
	for {
		conn, err := l.AcceptUnix()
		if err != nil {
			_ = l.Close()
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("socket %s: %w", socket, err)
		}
		select {
		case busy <- struct{}{}:
		default:
			wg.Go(func() {
				decline(conn, fmt.Errorf("%s has %d connections already, which is the most: %w", socket, tetherproto.MaxRelayed, errdefs.ErrResourceExhausted))
			})
			continue
		}
		wg.Go(func() {
			defer func() { <-busy }()
			far, err := m.dialEngine(ctx, socket)
			if err != nil {
				m.log.WithError(err).WithField("socket", socket).Warn("connection not relayed")
				decline(conn, err)
				return
			}
			carry(ctx, conn, far)
		})
	}
}

// dialEngine opens a connection to the engine that is connected, or is so soon.
func (m *Manager) dialEngine(ctx context.Context, socket string) (*tetherproto.RelayConn, error) {
	ctx, cancel := context.WithTimeout(ctx, m.cfg.RelayWait)
	defer cancel()
	for {
		m.mu.Lock()
		changed := m.changed
		var sc *tetherproto.ServerConn
		for c := range m.conns {
			if !isDone(c.sc.Done()) {
				sc = c.sc
			}
		}
		m.mu.Unlock()
		if sc != nil {
			far, err := sc.Dial(ctx, tetherproto.RelayRequest{Socket: socket})
			if err == nil || !errdefs.IsUnavailable(err) {
				return far, err
			}
			// It was just lost. Not before it is known to be gone is it asked again.
			select {
			case <-sc.Done():
				continue
			case <-ctx.Done():
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("%s: the engine of this VCH cannot be reached, try again: %w", socket, errdefs.ErrUnavailable)
		}
	}
}

// carry copies both ways, each until its end, and closes both when all is over.
func carry(ctx context.Context, near *net.UnixConn, far *tetherproto.RelayConn) {
	cut := func() { _ = far.Close(); _ = near.Close() }
	stop := context.AfterFunc(ctx, cut)
	defer stop()
	up := make(chan struct{})
	go func() {
		defer close(up)
		// Only Read and Write: no packets of another's size.
		_, err := io.Copy(struct{ io.Writer }{far}, struct{ io.Reader }{near})
		if err == nil {
			err = far.CloseWrite()
		}
		if err != nil {
			_ = far.Close()
		}
	}()
	_, err := io.Copy(struct{ io.Writer }{near}, struct{ io.Reader }{far})
	if err == nil && near.CloseWrite() == nil {
		select {
		case <-up:
		case <-far.Gone():
		}
	}
	cut()
	<-up
}

// declineTimeout bounds how long a client may take to ask and to read why it is
// refused.
const declineTimeout = 5 * time.Second

// decline tells a client why there is no engine for it, in the form of an answer
// of the Docker API: all sockets that are relayed speak that. Clients take an
// answer before their question for a broken server.
func decline(conn net.Conn, why error) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(declineTimeout)) // fails only where reading does
	if _, err := conn.Read(make([]byte, 4<<10)); err != nil {
		return
	}
	status := http.StatusServiceUnavailable
	if errors.Is(why, errdefs.ErrPermissionDenied) {
		status = http.StatusForbidden
	}
	body, err := json.Marshal(map[string]string{"message": why.Error()})
	if err != nil {
		return // a text can always be encoded
	}
	_, _ = fmt.Fprintf(conn, "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s",
		status, http.StatusText(status), len(body), body) // nobody else to tell
}
