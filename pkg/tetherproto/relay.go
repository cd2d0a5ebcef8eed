package tetherproto

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/crypto/ssh"
)

// MaxRelayed is how many connections of one guest the engine serves at once. A
// Docker client has one or two; each costs the engine a few goroutines.
const MaxRelayed = 64

// relay serves the channels that the guest opens until the connection ends, and
// waits for those who serve them.
func relay(channels <-chan ssh.NewChannel, ask func(RelayRequest) (func(*RelayConn), error)) {
	var wg sync.WaitGroup
	defer wg.Wait()
	free := make(chan struct{}, MaxRelayed)
	for c := range channels {
		serve, err := relayed(c, ask)
		if serve == nil {
			_ = c.Reject(reasonOf(c), string(encode(toWire(err)))) // fails only with the connection
			continue
		}
		select {
		case free <- struct{}{}:
		default:
			err := fmt.Errorf("the container has %d connections to the engine already, which is the most: %w", MaxRelayed, errdefs.ErrResourceExhausted)
			_ = c.Reject(ssh.ResourceShortage, string(encode(toWire(err))))
			continue
		}
		wg.Go(func() {
			defer func() { <-free }()
			conn, err := acceptRelay(c)
			if err != nil {
				return // the connection is gone
			}
			serve(conn)
			<-conn.gone // however serve goes about it: it counts until it is closed
		})
	}
}

func reasonOf(c ssh.NewChannel) ssh.RejectionReason {
	if c.ChannelType() != chanRelay {
		return ssh.UnknownChannelType
	}
	return ssh.Prohibited
}

// relayed gives who serves a channel, or why nobody does.
func relayed(c ssh.NewChannel, ask func(RelayRequest) (func(*RelayConn), error)) (func(*RelayConn), error) {
	if c.ChannelType() != chanRelay || ask == nil {
		return nil, fmt.Errorf("channel %s is not known to this engine: %w", c.ChannelType(), errdefs.ErrNotImplemented)
	}
	var q RelayRequest
	if err := decode(c.ExtraData(), &q); err != nil {
		return nil, err
	}
	return ask(q)
}

// Dial opens a connection to a socket of the engine. What the engine refuses is an
// error with its class and text; ErrUnavailable without a line.
func (s *ServerConn) Dial(ctx context.Context, q RelayRequest) (*RelayConn, error) {
	type opened struct {
		conn *RelayConn
		err  error
	}
	result := make(chan opened, 1)
	go func() {
		ch, reqs, err := s.conn.OpenChannel(chanRelay, encode(q))
		if err != nil {
			result <- opened{err: openError(err)}
			return
		}
		result <- opened{conn: newRelayConn(ch, reqs)}
	}()
	select {
	case r := <-result:
		return r.conn, r.err
	case <-ctx.Done():
		go func() { // the answer may still come, or the connection end
			if r := <-result; r.conn != nil {
				_ = r.conn.Close()
			}
		}()
		return nil, ctx.Err()
	}
}

func acceptRelay(c ssh.NewChannel) (*RelayConn, error) {
	ch, reqs, err := c.Accept()
	if err != nil {
		return nil, fmt.Errorf("accept channel: %w", err)
	}
	return newRelayConn(ch, reqs), nil
}

// RelayConn is one connection over the control line, as either side has it: a
// net.Conn whose two directions end on their own. Write deadlines have no effect.
type RelayConn struct {
	ch ssh.Channel
	// in is what pump fills: a pipe, since an SSH channel knows no deadlines.
	in, fill net.Conn
	ended    chan struct{} // closed when the other side said that it sends no more
	gone     chan struct{} // closed when the channel is
	writing  sync.Mutex    // CloseWrite follows what is being written
	once     sync.Once
}

var _ net.Conn = (*RelayConn)(nil)

func newRelayConn(ch ssh.Channel, reqs <-chan *ssh.Request) *RelayConn {
	c := &RelayConn{ch: ch, ended: make(chan struct{}), gone: make(chan struct{})}
	c.in, c.fill = net.Pipe()
	go c.requests(reqs)
	go c.pump()
	return c
}

func (c *RelayConn) requests(reqs <-chan *ssh.Request) {
	for r := range reqs {
		known := r.Type == reqEOF && !isClosed(c.ended)
		if known {
			close(c.ended)
		}
		if r.WantReply {
			_ = r.Reply(known, nil) // fails only with the connection
		}
	}
	close(c.gone) // what has arrived can still be read
}

func (c *RelayConn) pump() {
	_, _ = io.CopyBuffer(struct{ io.Writer }{c.fill}, struct{ io.Reader }{c.ch}, make([]byte, packet))
	_ = c.fill.Close()
}

// Read gives io.EOF where the other side has ended what it sends, and
// io.ErrUnexpectedEOF where the connection was cut.
func (c *RelayConn) Read(b []byte) (int, error) {
	n, err := c.in.Read(b)
	if errors.Is(err, io.EOF) && !isClosed(c.ended) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// Write sends in small packets: others wait for each on the line.
func (c *RelayConn) Write(b []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	sent := 0
	for len(b) > 0 {
		n, err := c.ch.Write(b[:min(len(b), packet)])
		sent += n
		if err != nil {
			return sent, fmt.Errorf("write to the line: %w", net.ErrClosed)
		}
		b = b[n:]
	}
	return sent, nil
}

// CloseWrite ends what this side sends.
func (c *RelayConn) CloseWrite() error {
	c.writing.Lock()
	defer c.writing.Unlock()
	if _, err := c.ch.SendRequest(reqEOF, true, nil); err != nil {
		return fmt.Errorf("end of a relayed connection: %w", net.ErrClosed)
	}
	return c.ch.CloseWrite()
}

// Close ends both directions.
func (c *RelayConn) Close() error {
	c.once.Do(func() {
		_ = c.in.Close() // frees pump
		_ = c.ch.Close() // fails only with the connection
	})
	return nil
}

// Gone is closed when the connection is closed, by either side or with the line.
func (c *RelayConn) Gone() <-chan struct{} { return c.gone }

// relayAddr is the address of either end.
type relayAddr struct{}

func (relayAddr) Network() string { return "vic-relay" }
func (relayAddr) String() string  { return "control line" }

// LocalAddr says that the connection is on a control line.
func (c *RelayConn) LocalAddr() net.Addr { return relayAddr{} }

// RemoteAddr likewise.
func (c *RelayConn) RemoteAddr() net.Addr { return relayAddr{} }

// SetDeadline sets the deadline of reads.
func (c *RelayConn) SetDeadline(t time.Time) error { return c.in.SetReadDeadline(t) }

// SetReadDeadline is net.Conn's.
func (c *RelayConn) SetReadDeadline(t time.Time) error { return c.in.SetReadDeadline(t) }

// SetWriteDeadline has no effect: what the line does not take is bounded by the
// life of the line.
func (c *RelayConn) SetWriteDeadline(time.Time) error { return nil }
