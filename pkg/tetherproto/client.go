package tetherproto

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/containerd/errdefs"
	"golang.org/x/crypto/ssh"

	"github.com/vic-engine/vic/pkg/logframe"
	"github.com/vic-engine/vic/pkg/spec"
)

// ClientConfig is the engine's side of SSH.
type ClientConfig struct {
	Signer  ssh.Signer    // the engine's key
	HostKey ssh.PublicKey // the guest's key of this boot; no other is accepted
	// Report is called for each report of the guest, one at a time, in order.
	// The guest's exit waits for it, so it must not block for long.
	Report func(Report)
	// Relay is asked for each connection that the guest wants to a socket of the
	// engine: it refuses with an error, whose class and text the guest gets, or
	// gives who serves the connection, and closes it. Nil: all are refused.
	Relay func(RelayRequest) (serve func(*RelayConn), err error)
}

// Client is the engine's connection to one guest. Its methods may be called at
// once from several goroutines.
type Client struct {
	conn ssh.Conn
	wg   sync.WaitGroup
	done chan struct{}
}

// NewClient does the handshake on conn, which it owns from then on.
func NewClient(ctx context.Context, conn net.Conn, cfg ClientConfig) (*Client, error) {
	cc := &ssh.ClientConfig{
		ClientVersion:     "SSH-2.0-vic",
		User:              "engine",
		Auth:              []ssh.AuthMethod{ssh.PublicKeys(cfg.Signer)},
		HostKeyCallback:   ssh.FixedHostKey(cfg.HostKey),
		HostKeyAlgorithms: []string{cfg.HostKey.Type()},
	}
	algorithms(&cc.Config)
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	c, channels, requests, err := ssh.NewClientConn(conn, "vic-line", cc)
	if err != nil {
		_ = conn.Close()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("ssh handshake with the guest: %w", err)
	}
	client := &Client{conn: c, done: make(chan struct{})}
	client.wg.Go(func() { relay(channels, cfg.Relay) })
	client.wg.Go(func() { reports(requests, cfg.Report) })
	go func() {
		defer close(client.done)
		_ = c.Wait() // why it ended is the link's to tell
		client.wg.Wait()
	}()
	return client, nil
}

func reports(requests <-chan *ssh.Request, report func(Report)) {
	for r := range requests {
		var what Report
		ok := r.Type == reqReport && decode(r.Payload, &what) == nil
		if ok && report != nil {
			report(what)
		}
		if r.WantReply {
			_ = r.Reply(ok, nil) // fails only with the connection
		}
	}
}

// Done is closed when the connection has ended.
func (c *Client) Done() <-chan struct{} { return c.done }

// Close ends the connection; operations under way fail with ErrUnavailable.
func (c *Client) Close() error {
	err := c.conn.Close()
	<-c.done
	return err
}

// Release lets a process that waits for the line start, and gives its pid when it
// runs. A program that cannot be run is a *spec.StartError.
func (c *Client) Release(ctx context.Context) (int, error) {
	r, err := c.call(ctx, callRequest{Method: callRelease})
	return r.PID, err
}

// Signal sends a signal by name or number to an exec, or to the container's
// process when exec is empty.
func (c *Client) Signal(ctx context.Context, exec, name string) error {
	_, err := c.call(ctx, callRequest{Method: callSignal, Exec: exec, Signal: name})
	return err
}

// Resize sets the size of a terminal.
func (c *Client) Resize(ctx context.Context, exec string, rows, cols int) error {
	_, err := c.call(ctx, callRequest{Method: callResize, Exec: exec, Rows: rows, Cols: cols})
	return err
}

// CloseStdin closes a process's stdin.
func (c *Client) CloseStdin(ctx context.Context, exec string) error {
	_, err := c.call(ctx, callRequest{Method: callCloseStdin, Exec: exec})
	return err
}

// Network makes what may change on a running guest's networks as u says.
func (c *Client) Network(ctx context.Context, u spec.NetworkUpdate) error {
	_, err := c.call(ctx, callRequest{Method: callNetwork, Network: &u})
	return err
}

// Grow lets the filesystem of the disk scsi0:unit fill the disk.
func (c *Client) Grow(ctx context.Context, unit int) error {
	_, err := c.call(ctx, callRequest{Method: callGrow, Unit: unit})
	return err
}

func (c *Client) call(ctx context.Context, q callRequest) (reply, error) {
	o, err := c.open(ctx, chanCall, q)
	if err != nil {
		return reply{}, fmt.Errorf("%s: %w", q.Method, err)
	}
	defer o.close()
	r, err := o.wait(ctx)
	if err == nil {
		err = r.Error.err()
	}
	return r, err
}

// Attach joins s to the container's process and returns when its output has
// ended, when writing to s fails, or when ctx is done. s.Joined is called when
// nothing can be missed any more. A Read of s.Stdin that is under way at the end
// is the caller's to end; nothing is read from it after that.
func (c *Client) Attach(ctx context.Context, s spec.Streams) error {
	o, err := c.open(ctx, chanAttach, attachRequest(s))
	if err != nil {
		return fmt.Errorf("attach: %w", err)
	}
	defer o.close()
	if s.Joined != nil {
		s.Joined()
	}
	r, err := o.stream(ctx, s)
	if err == nil {
		err = r.Error.err()
	}
	return err
}

// Exec runs p beside the container's process, joined to s, and gives its status
// when it ended and its output was written. started is called once it runs.
func (c *Client) Exec(ctx context.Context, id string, p spec.Process, s spec.Streams, started func(pid int)) (spec.ExitStatus, error) {
	o, err := c.open(ctx, chanExec, ExecRequest{AttachRequest: attachRequest(s), ID: id, Process: p})
	if err != nil {
		return spec.ExitStatus{}, fmt.Errorf("exec: %w", err)
	}
	defer o.close()
	o.onStarted(started)
	if s.Joined != nil {
		s.Joined()
	}
	r, err := o.stream(ctx, s)
	if err == nil {
		err = r.Error.err()
	}
	if r.Exit == nil {
		return spec.ExitStatus{}, err
	}
	return *r.Exit, err
}

// Follow gives log frames as the guest makes them, those that it still holds
// after the position first. It returns nil when the run has ended. ErrUnavailable
// when the guest dropped a reader that was too slow: go on after the last frame.
func (c *Client) Follow(ctx context.Context, q LogRequest, each func(logframe.Frame) error) error {
	o, err := c.open(ctx, chanLog, q)
	if err != nil {
		return fmt.Errorf("follow log: %w", err)
	}
	defer o.close()
	stop := context.AfterFunc(ctx, o.close)
	defer stop()
	in := logframe.NewReader(o.ch)
	for {
		f, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if err := each(f); err != nil {
			return err
		}
	}
	r, err := o.wait(ctx)
	if err == nil {
		err = r.Error.err()
	}
	return err
}

func attachRequest(s spec.Streams) AttachRequest {
	return AttachRequest{Stdin: s.Stdin != nil, Stdout: s.Stdout != nil, Stderr: s.Stderr != nil, StdinOnce: s.StdinOnce}
}

// operation is an open channel of the engine's side.
type operation struct {
	ch      ssh.Channel
	once    sync.Once
	over    chan struct{} // closed when no more requests come
	mu      sync.Mutex    // guards what follows
	started func(int)
	pid     int
	ended   *reply
}

func (c *Client) open(ctx context.Context, kind string, payload any) (*operation, error) {
	type opened struct {
		ch   ssh.Channel
		reqs <-chan *ssh.Request
		err  error
	}
	result := make(chan opened, 1)
	go func() {
		ch, reqs, err := c.conn.OpenChannel(kind, encode(payload))
		result <- opened{ch, reqs, err}
	}()
	select {
	case r := <-result:
		if r.err != nil {
			return nil, openError(r.err)
		}
		o := &operation{ch: r.ch, over: make(chan struct{})}
		go o.requests(r.reqs)
		return o, nil
	case <-ctx.Done():
		go func() { // the answer may still come, or the connection end
			if r := <-result; r.err == nil {
				go ssh.DiscardRequests(r.reqs)
				_ = r.ch.Close()
			}
		}()
		return nil, ctx.Err()
	}
}

// openError gives the class of a refusal.
func openError(err error) error {
	var refused *ssh.OpenChannelError
	if !errors.As(err, &refused) {
		return fmt.Errorf("%w: %w", err, errdefs.ErrUnavailable)
	}
	if refused.Reason == ssh.UnknownChannelType {
		return fmt.Errorf("%w: %w", err, errdefs.ErrNotImplemented)
	}
	var w wireError
	if bytes.HasPrefix([]byte(refused.Message), []byte("{")) && decode([]byte(refused.Message), &w) == nil {
		return w.err()
	}
	return err
}

func (o *operation) requests(requests <-chan *ssh.Request) {
	defer close(o.over)
	for r := range requests {
		var what reply
		known := (r.Type == reqStarted || r.Type == reqEnded) && decode(r.Payload, &what) == nil
		if known {
			o.note(r.Type, what)
		}
		if r.WantReply {
			_ = r.Reply(known, nil) // fails only with the connection
		}
	}
}

func (o *operation) note(kind string, what reply) {
	o.mu.Lock()
	var call func(int)
	if kind == reqEnded {
		o.ended = &what
	} else {
		o.pid, call = what.PID, o.started
	}
	o.mu.Unlock()
	if call != nil {
		call(what.PID)
	}
}

// onStarted calls f when the process runs, which may be already.
func (o *operation) onStarted(f func(int)) {
	if f == nil {
		return
	}
	o.mu.Lock()
	pid := o.pid
	o.started = f
	o.mu.Unlock()
	if pid != 0 {
		f(pid)
	}
}

// wait gives how it ended; without that the line was lost.
func (o *operation) wait(ctx context.Context) (reply, error) {
	select {
	case <-o.over:
	case <-ctx.Done():
		return reply{}, ctx.Err()
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended == nil {
		return reply{}, fmt.Errorf("the line to the guest was lost: %w", errdefs.ErrUnavailable)
	}
	return *o.ended, nil
}

func (o *operation) close() {
	o.once.Do(func() { _ = o.ch.Close() })
}

// stream copies until the output has ended.
func (o *operation) stream(ctx context.Context, s spec.Streams) (reply, error) {
	stop := context.AfterFunc(ctx, o.close)
	defer stop()
	if s.Stdin != nil {
		go o.feed(s.Stdin)
	}
	failed := make(chan error, 2)
	var wg sync.WaitGroup
	drain := func(to io.Writer, from io.Reader) {
		if to == nil {
			to = io.Discard
		}
		wg.Go(func() {
			if _, err := io.Copy(to, from); err != nil {
				failed <- err
				o.close() // the client is gone
			}
		})
	}
	drain(s.Stdout, o.ch)
	drain(s.Stderr, o.ch.Stderr())
	wg.Wait()
	if ctx.Err() != nil {
		return reply{}, ctx.Err()
	}
	select {
	case err := <-failed:
		return reply{}, fmt.Errorf("write to the client: %w", err)
	default:
	}
	return o.wait(ctx)
}

// packet is how much is sent at once: others wait for it on the line.
const packet = 8 << 10

// feed copies stdin, and says so when it has ended: the guest closes the
// process's stdin for that, and not for a cut.
func (o *operation) feed(stdin io.Reader) {
	// Only Read and Write are used: a ReadFrom would make packets of its own size.
	_, err := io.CopyBuffer(struct{ io.Writer }{o.ch}, struct{ io.Reader }{stdin}, make([]byte, packet))
	if err != nil && isClosed(o.over) {
		return
	}
	if _, err := o.ch.SendRequest(reqEOF, true, nil); err != nil {
		return
	}
	_ = o.ch.CloseWrite() // fails only with the connection
}
