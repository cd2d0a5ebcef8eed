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

// Config of a Server. Signer, HostKey and Log must be set.
type Config struct {
	// Signer is the engine's SSH key, whose public half every guest knows.
	Signer ssh.Signer
	// HostKey gives the key that a guest reported at this boot. It is asked
	// after the guest's Hello, so the key is there to be read; an answer from
	// before that boot makes the handshake fail, and it is asked again.
	HostKey func(ctx context.Context, id string) (ssh.PublicKey, error)
	// Report gets what guests report, one at a time per container, in order. It
	// must not block for long: a guest's power-off waits for it. A guest repeats
	// its state to each new engine. May be nil.
	Report func(id string, r tetherproto.Report)
	Log    *logrus.Entry
	// KeepAlive is how long a line may be idle before it is tested; default 30 s.
	KeepAlive time.Duration
	// RetryDelay is the first wait after a failed handshake; it doubles up to
	// 32 times that. Default 1 s.
	RetryDelay time.Duration
}

// maxWaiting bounds connections that have not said Hello: anybody in the
// management network can open one.
const maxWaiting = 4096

// handshakeTimeout bounds the SSH handshake and the search for the host key.
const handshakeTimeout = time.Minute

// Server is the concentrator.
type Server struct {
	cfg Config

	mu       sync.Mutex // guards what follows
	lines    map[string]*Session
	links    map[string]*tetherproto.Link // of lines, also those without a session yet
	waiting  int
	changed  chan struct{} // closed and replaced when lines changes
	vmotions vmotions
}

// New makes a Server. It starts nothing.
func New(cfg Config) (*Server, error) {
	if cfg.Signer == nil || cfg.HostKey == nil || cfg.Log == nil {
		return nil, fmt.Errorf("concentrator without signer, host keys or log: %w", errdefs.ErrInvalidArgument)
	}
	if cfg.KeepAlive == 0 {
		cfg.KeepAlive = 30 * time.Second
	}
	if cfg.RetryDelay == 0 {
		cfg.RetryDelay = time.Second
	}
	return &Server{
		cfg: cfg, lines: map[string]*Session{}, links: map[string]*tetherproto.Link{},
		changed: make(chan struct{}),
	}, nil
}

// Serve accepts serial ports from l until ctx is done or accepting fails. It
// closes l, ends all sessions and waits for its goroutines.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer s.dropAll()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			if err == nil {
				_ = conn.Close()
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept serial port: %w", err)
		}
		wg.Go(func() {
			log := s.cfg.Log.WithField(spec.FieldRemote, conn.RemoteAddr().String())
			if err := s.serveConn(ctx, conn, log); err != nil && ctx.Err() == nil {
				log.WithError(err).Debug("serial port gone")
			}
		})
	}
}

// Session blocks until the container's line is up.
func (s *Server) Session(ctx context.Context, id string) (*Session, error) {
	for {
		s.mu.Lock()
		sess, changed := s.lines[id], s.changed
		s.mu.Unlock()
		if sess != nil {
			return sess, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for the line of container %s: %w", id, ctx.Err())
		}
	}
}

// Drop ends the session of a container that is off and forgets its line.
func (s *Server) Drop(id string) {
	s.mu.Lock()
	sess, link := s.lines[id], s.links[id]
	delete(s.lines, id)
	delete(s.links, id)
	s.mu.Unlock()
	if link != nil {
		_ = link.Close()
	}
	if sess != nil {
		_ = sess.client.Close()
	}
}

func (s *Server) dropAll() {
	s.mu.Lock()
	ids := make([]string, 0, len(s.links))
	for id := range s.links {
		ids = append(ids, id)
	}
	s.mu.Unlock()
	var wg sync.WaitGroup
	for _, id := range ids {
		wg.Go(func() { s.Drop(id) })
	}
	wg.Wait()
}

// serveConn serves one serial port from its first byte to its end.
func (s *Server) serveConn(ctx context.Context, conn net.Conn, log *logrus.Entry) error {
	if !s.admit() {
		_ = conn.Close()
		return fmt.Errorf("%d connections wait to be known: %w", maxWaiting, errdefs.ErrResourceExhausted)
	}
	stream := tetherproto.NewStream(s.newPort(conn, log))
	defer stream.Close()
	hello, err := tetherproto.Greet(ctx, stream)
	s.known()
	for retry := s.cfg.RetryDelay; err == nil; {
		log = log.WithField(spec.FieldContainer, hello.ContainerID)
		var again *tetherproto.Hello
		if link := s.link(hello); link != nil {
			log.Info("line resumed")
			again, err = after(link.Run(ctx, stream, &hello))
		} else {
			var good bool
			again, good, err = s.begin(ctx, stream, hello, log)
			if good {
				retry = s.cfg.RetryDelay
			}
		}
		if again != nil {
			hello = *again
			continue
		}
		if err != nil {
			break
		}
		// The link ended and the stream is good: the handshake failed, or the
		// container was dropped. Ask again who is there, later and later.
		wait := time.NewTimer(retry)
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return ctx.Err()
		}
		retry = min(2*retry, 32*s.cfg.RetryDelay)
		hello, err = tetherproto.Greet(ctx, stream)
	}
	return err
}

// after tells what a link's Run on a stream means for the stream: another Hello
// to serve, an error when it broke, or neither when only the link ended.
func after(err error) (*tetherproto.Hello, error) {
	var changed *tetherproto.PeerChanged
	if errors.As(err, &changed) {
		return &changed.Hello, nil
	}
	if errors.Is(err, net.ErrClosed) || errors.Is(err, tetherproto.ErrReset) {
		return nil, nil
	}
	return nil, err
}

func (s *Server) admit() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting >= maxWaiting {
		return false
	}
	s.waiting++
	return true
}

func (s *Server) known() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting--
}

// link gives the link that hello continues, or nil.
func (s *Server) link(hello tetherproto.Hello) *tetherproto.Link {
	s.mu.Lock()
	defer s.mu.Unlock()
	if link := s.links[hello.ContainerID]; link != nil && link.Matches(hello) {
		return link
	}
	return nil
}

// begin makes a new link on the stream and, when the guest has proved who it is,
// a new session. Until then an earlier session stays: a stranger who claims to be
// the container cannot end it. good tells that the handshake succeeded.
func (s *Server) begin(ctx context.Context, stream *tetherproto.Stream, hello tetherproto.Hello, log *logrus.Entry) (again *tetherproto.Hello, good bool, err error) {
	link := tetherproto.NewLink(tetherproto.LinkConfig{KeepAlive: s.cfg.KeepAlive})
	done := make(chan error, 1)
	go func() { done <- s.shake(ctx, link, hello, log) }()
	again, err = after(link.Run(ctx, stream, &hello))
	if s.link1(hello.ContainerID) != link || again != nil {
		_ = link.Close() // ends a handshake that is still under way
	}
	if err != nil && !isDone(link.Done()) {
		// The stream broke. A session goes on waiting for the next one; a
		// handshake does not, its stream will begin a new one.
		select {
		case failed := <-done:
			return nil, failed == nil, err
		default:
			_ = link.Close()
		}
	}
	failed := <-done
	if failed != nil && ctx.Err() == nil {
		log.WithError(failed).Warn("line not accepted")
	}
	return again, failed == nil, err
}

func (s *Server) link1(id string) *tetherproto.Link {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.links[id]
}

// shake does the SSH handshake on a new link and makes it the container's line.
func (s *Server) shake(ctx context.Context, link *tetherproto.Link, hello tetherproto.Hello, log *logrus.Entry) error {
	id := hello.ContainerID
	limited, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	fail := func(err error) error {
		_ = link.Close()
		return err
	}
	key, err := s.cfg.HostKey(limited, id)
	if err != nil {
		return fail(fmt.Errorf("host key of container %s: %w", id, err))
	}
	client, err := tetherproto.NewClient(limited, link, tetherproto.ClientConfig{
		Signer: s.cfg.Signer, HostKey: key,
		Report: func(r tetherproto.Report) {
			if s.cfg.Report != nil {
				s.cfg.Report(id, r)
			}
		},
	})
	if err != nil {
		return fail(err)
	}
	sess := &Session{id: id, boot: hello.BootID, client: client}
	s.mu.Lock()
	old, oldLink := s.lines[id], s.links[id]
	s.lines[id], s.links[id] = sess, link
	close(s.changed)
	s.changed = make(chan struct{})
	s.mu.Unlock()
	if oldLink != nil {
		_ = oldLink.Close()
	}
	if old != nil {
		_ = old.client.Close()
	}
	log.WithField("boot", hello.BootID).Info("line up")
	go s.watch(sess, link)
	return nil
}

// watch forgets a session when it is over. It ends with the session, which Drop
// and the end of Serve end.
func (s *Server) watch(sess *Session, link *tetherproto.Link) {
	<-sess.Done()
	_ = link.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lines[sess.id] == sess {
		delete(s.lines, sess.id)
		delete(s.links, sess.id)
	}
}

func isDone(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
