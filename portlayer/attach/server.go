package attach

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/sirupsen/logrus"
	"golang.org/x/crypto/ssh"

	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/pkg/tetherproto"
)

// Defaults of Config.
const (
	// DefaultKeepAlive is rare, since each costs every guest a wake-up; a line
	// whose host died is dialled anew by the next host long before.
	DefaultKeepAlive = time.Minute
	// DefaultHandshake is generous: the guest's UART may be slow and its
	// processor emulated.
	DefaultHandshake = 30 * time.Second
)

// Config of a Server.
type Config struct {
	Signer ssh.Signer // the engine's key
	// HostKey gives the key that the guest of a container reported at this boot.
	// An error refuses the line; the host dials again.
	HostKey func(ctx context.Context, id string) (ssh.PublicKey, error)
	// Report takes what guests tell, in order for each container; it must not
	// block for long. May be nil.
	Report func(id string, r tetherproto.Report)
	// Relay is asked for each connection that a guest wants to a socket of the
	// engine, see tetherproto.ClientConfig. Nil: all are refused.
	Relay func(id string, r tetherproto.RelayRequest) (serve func(*tetherproto.RelayConn), err error)
	// Up is told of each new session, once Session gives it; it must not block.
	// May be nil.
	Up func(id string)
	// Again is told of each session that goes on over a new connection; it must not
	// block. May be nil.
	Again func(id string)
	// KeepAlive is how long a line may be idle before it is tested; zero:
	// DefaultKeepAlive.
	KeepAlive time.Duration
	// Handshake bounds key lookup and SSH handshake; zero: DefaultHandshake.
	Handshake time.Duration
	Log       *logrus.Entry
}

// Server is the concentrator.
type Server struct {
	cfg Config

	mu    sync.Mutex // guards lines and their fields
	lines map[string]*line
}

// line is what is known of one container's serial line.
type line struct {
	session *Session      // nil while it is not up
	up      chan struct{} // closed when session is set, replaced when it ends
}

// New makes a Server. It starts nothing.
func New(cfg Config) *Server {
	if cfg.KeepAlive == 0 {
		cfg.KeepAlive = DefaultKeepAlive
	}
	if cfg.Handshake == 0 {
		cfg.Handshake = DefaultHandshake
	}
	return &Server{cfg: cfg, lines: map[string]*line{}}
}

// Serve accepts serial ports on l until ctx is done, and closes l. Sessions end
// with it.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	defer s.dropAll()
	for {
		conn, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("serial concentrator: %w", err)
		}
		wg.Go(func() {
			log := s.cfg.Log.WithField(spec.FieldRemote, conn.RemoteAddr().String())
			if err := s.serveConn(ctx, conn, log); err != nil && ctx.Err() == nil {
				log.WithError(err).Debug("serial port went away")
			}
		})
	}
}

// serveConn carries one serial port's stream until it breaks.
func (s *Server) serveConn(ctx context.Context, conn net.Conn, log *logrus.Entry) error {
	stream := tetherproto.NewStream(newWire(conn, log))
	defer stream.Close()
	hello, err := tetherproto.Greet(ctx, stream)
	if err != nil {
		return err
	}
	for {
		err := s.serveHello(ctx, stream, hello)
		var changed *tetherproto.PeerChanged
		if !errors.As(err, &changed) {
			return err
		}
		hello = changed.Hello // the guest began anew on the same stream
	}
}

// serveHello carries the link that hello speaks of: the one there is, or a new
// one whose session replaces the old once it has proven itself.
func (s *Server) serveHello(ctx context.Context, stream *tetherproto.Stream, hello tetherproto.Hello) error {
	id := hello.ContainerID
	if id == "" {
		return fmt.Errorf("hello without a container id: %w", errdefs.ErrInvalidArgument)
	}
	if old := s.current(id); old != nil && old.link.Matches(hello) {
		if s.cfg.Again != nil {
			s.cfg.Again(id)
		}
		return old.link.Run(ctx, stream, &hello)
	}
	link := tetherproto.NewLink(tetherproto.LinkConfig{KeepAlive: s.cfg.KeepAlive})
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.begin(ctx, id, hello.BootID, link); err != nil {
			s.cfg.Log.WithError(err).WithField(spec.FieldContainer, id).Warn("serial line refused")
			_ = link.Close()
			cancel()
		}
	}()
	err := link.Run(ctx, stream, &hello)
	if s.owner(id) != link {
		cancel() // the handshake cannot end any more
		_ = link.Close()
	}
	<-done
	cancel()
	return err
}

// begin does the handshake on a new link and makes its session the container's.
func (s *Server) begin(ctx context.Context, id, boot string, link *tetherproto.Link) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Handshake)
	defer cancel()
	key, err := s.cfg.HostKey(ctx, id)
	if err != nil {
		return fmt.Errorf("host key of container %s: %w", id, err)
	}
	cc := tetherproto.ClientConfig{
		Signer: s.cfg.Signer, HostKey: key,
		Report: func(r tetherproto.Report) {
			if s.cfg.Report != nil {
				s.cfg.Report(id, r)
			}
		},
	}
	if s.cfg.Relay != nil {
		cc.Relay = func(r tetherproto.RelayRequest) (func(*tetherproto.RelayConn), error) { return s.cfg.Relay(id, r) }
	}
	client, err := tetherproto.NewClient(ctx, link, cc)
	if err != nil {
		return err
	}
	sess := &Session{Client: client, link: link, boot: boot}
	old := s.install(id, sess)
	if old != nil {
		old.end()
	}
	go func() {
		<-client.Done()
		s.remove(id, sess)
	}()
	s.cfg.Log.WithField(spec.FieldContainer, id).Debug("serial line is up")
	if s.cfg.Up != nil {
		s.cfg.Up(id)
	}
	return nil
}

// lineOf gives the entry of a container, made if missing. mu is held.
func (s *Server) lineOf(id string) *line {
	l := s.lines[id]
	if l == nil {
		l = &line{up: make(chan struct{})}
		s.lines[id] = l
	}
	return l
}

func (s *Server) current(id string) *Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.lines[id]; l != nil {
		return l.session
	}
	return nil
}

func (s *Server) owner(id string) *tetherproto.Link {
	if sess := s.current(id); sess != nil {
		return sess.link
	}
	return nil
}

func (s *Server) install(id string, sess *Session) (old *Session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lineOf(id)
	old = l.session
	l.session = sess
	if old == nil {
		close(l.up)
	}
	return old
}

// remove forgets a session that has ended.
func (s *Server) remove(id string, sess *Session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.lines[id]; l != nil && l.session == sess {
		l.session, l.up = nil, make(chan struct{})
	}
}

// Session blocks until the container's line is up, or ctx is done.
func (s *Server) Session(ctx context.Context, id string) (*Session, error) {
	for {
		s.mu.Lock()
		l := s.lineOf(id)
		sess, up := l.session, l.up
		s.mu.Unlock()
		if sess != nil {
			return sess, nil
		}
		select {
		case <-up:
		case <-ctx.Done():
			return nil, fmt.Errorf("serial line of container %s: %w", id, context.Cause(ctx))
		}
	}
}

// Drop ends the line of a container that is off. A guest that is there after all
// has to begin anew.
func (s *Server) Drop(id string) {
	s.mu.Lock()
	var sess *Session
	if l := s.lines[id]; l != nil {
		sess = l.session
		if sess != nil {
			delete(s.lines, id)
		}
	}
	s.mu.Unlock()
	if sess != nil {
		sess.end()
	}
}

func (s *Server) dropAll() {
	s.mu.Lock()
	ids := make([]string, 0, len(s.lines))
	for id := range s.lines {
		ids = append(ids, id)
	}
	s.mu.Unlock()
	for _, id := range ids {
		s.Drop(id)
	}
}
