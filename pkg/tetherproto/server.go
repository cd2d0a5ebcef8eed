package tetherproto

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/sirupsen/logrus"
	"golang.org/x/crypto/ssh"

	"github.com/vic-engine/vic/pkg/spec"
)

// ErrCut ends the stdin of a client that is gone without having said that its
// stdin has ended: the line was lost, or the engine died.
var ErrCut = errors.New("the client's stdin was cut")

// IO is the client's side of an attach or exec, as the guest sees it. Stdin is nil
// when the client gives none; Stdout and Stderr are nil when it wants none. Writes
// block while the client does not read.
type IO struct {
	Stdin          io.Reader // ends with io.EOF, or ErrCut
	Stdout, Stderr io.Writer
}

// Handler is what the guest does for the engine. Every method gets a context that
// is done when the client goes, and may be called from several goroutines at once.
// Errors keep their class (containerd/errdefs) and *spec.StartError on the way.
type Handler interface {
	// Release lets a process with Attach set start, and waits until it runs.
	Release(ctx context.Context) (pid int, err error)
	// Attach joins a client and returns when the process's output has ended
	// and was written to it. join is called once, when nothing written from then
	// on can be missed.
	Attach(ctx context.Context, r AttachRequest, join func() (IO, error)) error
	// Exec runs a process and returns when it ended and its output was written.
	Exec(ctx context.Context, r ExecRequest, streams IO, started func(pid int)) (spec.ExitStatus, error)
	// Signal, Resize and CloseStdin act on an exec, or on the container's process
	// when exec is empty.
	Signal(ctx context.Context, exec, name string) error
	Resize(ctx context.Context, exec string, rows, cols int) error
	CloseStdin(ctx context.Context, exec string) error
	// Network makes the guest's networks as u says, and returns when they are.
	Network(ctx context.Context, u spec.NetworkUpdate) error
	// Grow lets the filesystem of the disk scsi0:unit fill its disk.
	Grow(ctx context.Context, unit int) error
	Controls
	// Follow writes log frames as they are made until the run has ended.
	Follow(ctx context.Context, r LogRequest, w io.Writer) error
}

// ServerConfig is the guest's side of SSH.
type ServerConfig struct {
	HostKey    ssh.Signer
	Authorized ssh.PublicKey // the engine's key; no other gets in
	Log        *logrus.Entry
	// Connected is called after the handshake, before anything that the engine
	// asks for is done; may be nil.
	Connected func(*ServerConn)
}

// ServerConn is one engine's connection.
type ServerConn struct {
	conn *ssh.ServerConn
	h    Handler
	log  *logrus.Entry
	wg   sync.WaitGroup
	done chan struct{}
}

// ServeConn does the handshake on conn and serves h until the connection ends or
// ctx is done. It returns after the handshake; Wait waits for the end.
func ServeConn(ctx context.Context, conn net.Conn, cfg ServerConfig, h Handler) (*ServerConn, error) {
	sc := &ssh.ServerConfig{
		ServerVersion: "SSH-2.0-vic",
		PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			if subtle.ConstantTimeCompare(key.Marshal(), cfg.Authorized.Marshal()) == 1 {
				return nil, nil
			}
			return nil, fmt.Errorf("key %s is not the engine's: %w", ssh.FingerprintSHA256(key), errdefs.ErrPermissionDenied)
		},
	}
	algorithms(&sc.Config)
	sc.AddHostKey(cfg.HostKey)
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	ssc, channels, requests, err := ssh.NewServerConn(conn, sc)
	if err != nil {
		stop()
		_ = conn.Close()
		return nil, fmt.Errorf("ssh handshake with the engine: %w", err)
	}
	s := &ServerConn{conn: ssc, h: h, log: cfg.Log, done: make(chan struct{})}
	if cfg.Connected != nil {
		cfg.Connected(s)
	}
	go func() {
		defer close(s.done)
		defer stop()
		s.serve(ctx, channels, requests)
	}()
	return s, nil
}

// Done is closed when the connection has ended and all its channels are done.
func (s *ServerConn) Done() <-chan struct{} { return s.done }

// Close ends the connection.
func (s *ServerConn) Close() error { return s.conn.Close() }

// Report tells the engine something and returns when it has taken note.
func (s *ServerConn) Report(ctx context.Context, r Report) error {
	answer := make(chan error, 1)
	go func() {
		ok, _, err := s.conn.SendRequest(reqReport, true, encode(r))
		if err == nil && !ok {
			err = fmt.Errorf("report %s was refused: %w", r.Kind, errdefs.ErrNotImplemented)
		}
		answer <- err
	}()
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return ctx.Err() // the goroutine ends with the connection
	}
}

func (s *ServerConn) serve(ctx context.Context, channels <-chan ssh.NewChannel, requests <-chan *ssh.Request) {
	ctx, cancel := context.WithCancel(ctx)
	s.wg.Go(func() { ssh.DiscardRequests(requests) }) // none are known: all are refused
	for c := range channels {
		s.wg.Go(func() { s.channel(ctx, c) })
	}
	cancel()
	s.wg.Wait()
}

func (s *ServerConn) channel(ctx context.Context, c ssh.NewChannel) {
	log := s.log.WithField("channel", c.ChannelType())
	var err error
	switch c.ChannelType() {
	case chanCall:
		err = s.call(ctx, c)
	case chanAttach:
		err = s.attach(ctx, c)
	case chanExec:
		err = s.exec(ctx, c)
	case chanLog:
		err = s.follow(ctx, c)
	case chanFiles:
		err = s.files(ctx, c)
	default:
		err = c.Reject(ssh.UnknownChannelType, "unknown channel type "+c.ChannelType())
	}
	if err != nil && ctx.Err() == nil {
		log.WithError(err).Debug("channel ended with an error")
	}
}

// open is an accepted channel of the guest's side.
type open struct {
	ssh.Channel
	ctx    context.Context // done when the client closed the channel
	cancel context.CancelFunc
	eof    chan struct{} // closed when the client said that its stdin has ended
	reqs   chan struct{} // closed when no more requests come
}

func accept(ctx context.Context, c ssh.NewChannel) (*open, error) {
	ch, requests, err := c.Accept()
	if err != nil {
		return nil, fmt.Errorf("accept channel: %w", err)
	}
	o := &open{Channel: ch, eof: make(chan struct{}), reqs: make(chan struct{})}
	o.ctx, o.cancel = context.WithCancel(ctx)
	go o.requests(requests)
	return o, nil
}

func (o *open) requests(requests <-chan *ssh.Request) {
	defer close(o.reqs)
	defer o.cancel()
	said := false
	for r := range requests {
		known := r.Type == reqEOF
		if known && !said {
			said = true
			close(o.eof)
		}
		if r.WantReply {
			_ = r.Reply(known, nil) // fails only with the connection
		}
	}
}

// end says how it ended, and closes the channel, which ends its output too: an end of
// file before that would be one packet more.
func (o *open) end(r reply) {
	_, _ = o.SendRequest(reqEnded, false, encode(r)) // these fail only with the connection
	_ = o.Close()
	<-o.reqs
}

// streams gives the channel as the handler sees it.
func (o *open) streams(r AttachRequest) IO {
	var s IO
	if r.Stdin {
		s.Stdin = &stdin{o}
	}
	if r.Stdout {
		s.Stdout = o.Channel
	}
	if r.Stderr {
		s.Stderr = o.Stderr()
	}
	return s
}

// stdin tells the end of the client's stdin from the end of the client.
type stdin struct{ o *open }

func (s *stdin) Read(b []byte) (int, error) {
	n, err := s.o.Read(b)
	if !errors.Is(err, io.EOF) {
		return n, err
	}
	if isClosed(s.o.eof) {
		return n, io.EOF
	}
	return n, ErrCut
}

func (s *ServerConn) call(ctx context.Context, c ssh.NewChannel) error {
	var q callRequest
	if err := decode(c.ExtraData(), &q); err != nil {
		return c.Reject(ssh.ConnectionFailed, err.Error())
	}
	o, err := accept(ctx, c)
	if err != nil {
		return err
	}
	var r reply
	switch q.Method {
	case callRelease:
		r.PID, err = s.h.Release(o.ctx)
	case callSignal:
		err = s.h.Signal(o.ctx, q.Exec, q.Signal)
	case callResize:
		err = s.h.Resize(o.ctx, q.Exec, q.Rows, q.Cols)
	case callCloseStdin:
		err = s.h.CloseStdin(o.ctx, q.Exec)
	case callNetwork:
		if q.Network == nil {
			err = fmt.Errorf("network update without its contents: %w", errdefs.ErrInvalidArgument)
			break
		}
		err = s.h.Network(o.ctx, *q.Network)
	case callGrow:
		err = s.h.Grow(o.ctx, q.Unit)
	case callTime:
		r.Time, err = s.h.Time(o.ctx)
	case callPowerOff:
		err = s.powerOff(o.ctx)
	default:
		err = s.control(o, q)
	}
	r.Error = toWire(err)
	o.end(r)
	return err
}

func (s *ServerConn) attach(ctx context.Context, c ssh.NewChannel) error {
	var q AttachRequest
	if err := decode(c.ExtraData(), &q); err != nil {
		return c.Reject(ssh.ConnectionFailed, err.Error())
	}
	var o *open
	err := s.h.Attach(ctx, q, func() (IO, error) {
		var err error
		if o, err = accept(ctx, c); err != nil {
			return IO{}, err
		}
		return o.streams(q), nil
	})
	if o == nil {
		return errors.Join(err, c.Reject(ssh.ConnectionFailed, string(encode(toWire(err)))))
	}
	o.end(reply{Error: toWire(err)})
	return err
}

func (s *ServerConn) exec(ctx context.Context, c ssh.NewChannel) error {
	var q ExecRequest
	if err := decode(c.ExtraData(), &q); err != nil {
		return c.Reject(ssh.ConnectionFailed, err.Error())
	}
	o, err := accept(ctx, c)
	if err != nil {
		return err
	}
	exit, err := s.h.Exec(o.ctx, q, o.streams(q.AttachRequest), func(pid int) {
		_, _ = o.SendRequest(reqStarted, false, encode(reply{PID: pid})) // fails only with the connection
	})
	o.end(reply{Exit: &exit, Error: toWire(err)})
	return err
}

func (s *ServerConn) follow(ctx context.Context, c ssh.NewChannel) error {
	var q LogRequest
	if err := decode(c.ExtraData(), &q); err != nil {
		return c.Reject(ssh.ConnectionFailed, err.Error())
	}
	o, err := accept(ctx, c)
	if err != nil {
		return err
	}
	err = s.h.Follow(o.ctx, q, o.Channel)
	o.end(reply{Error: toWire(err)})
	return err
}
