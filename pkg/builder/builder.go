package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	control "github.com/moby/buildkit/api/services/control"
	"github.com/sirupsen/logrus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
)

// maxMessage bounds one gRPC message, in bytes. BuildKit's default is 16 MiB
// (util/defaults in moby/buildkit).
const maxMessage = 16 << 20

// Config of a Builder. All must be set.
type Config struct {
	// Start makes buildkitd run and keeps it from being stopped until done is
	// called.
	Start func(ctx context.Context) (done func(), err error)
	// Dial opens a stream to the buildkitd that runs; it fails, or the stream ends,
	// while that does not listen yet. Whoever waits for an answer gives up when it
	// fails and Exists tells that buildkitd runs no more.
	Dial func(ctx context.Context) (net.Conn, error)
	// Exists tells whether buildkitd was ever started, and whether it runs.
	Exists func() (made, running bool)
	// Load brings a docker archive into the image store and gives the image's id
	// ("sha256:…"). It reads to the end or fails.
	Load func(ctx context.Context, archive io.Reader) (id string, err error)
	// Tag names an image of the store.
	Tag func(ctx context.Context, id, name string) error
	// Local gives the names in full that only the image store knows, with the digests
	// of the images' manifests; Blob reads what those name, from offset on, and tells
	// the size of the whole.
	Local func() map[string]string
	Blob  func(ctx context.Context, digest string, offset int64) (r io.ReadCloser, size int64, err error)
	Log   *logrus.Entry
}

// Builder is the engine's side of one buildkitd.
type Builder struct {
	cfg     Config
	log     *logrus.Entry
	exports exports

	mu    sync.Mutex // guards all below
	conn  *grpc.ClientConn
	users int
	// waiting are those who wait for buildkitd's first answer.
	waiting map[*Use]context.CancelCauseFunc
	named   map[string]context.CancelFunc // classic builds by their clients' ids
}

// New makes a Builder; nothing is dialled before it is used.
func New(cfg Config) (*Builder, error) {
	if cfg.Start == nil || cfg.Exists == nil || cfg.Dial == nil || cfg.Load == nil || cfg.Tag == nil || cfg.Local == nil || cfg.Blob == nil || cfg.Log == nil {
		return nil, errors.New("builder: Start, Dial, Exists, Load, Tag, Local, Blob and Log are needed")
	}
	return &Builder{cfg: cfg, log: cfg.Log, exports: exports{bySession: map[string]map[string]*export{}},
		waiting: map[*Use]context.CancelCauseFunc{}, named: map[string]context.CancelFunc{}}, nil
}

// answerTimeout is how long a buildkitd that was started may take until it answers:
// it checks its cache first.
const answerTimeout = 2 * time.Minute

// Use is a user's hold on buildkitd: it runs, and answers, until Close.
type Use struct {
	b    *Builder
	conn *grpc.ClientConn
	end  func()
}

// Close may be called more than once.
func (u *Use) Close() { u.end() }

// Use starts buildkitd if need be.
func (b *Builder) Use(ctx context.Context) (*Use, error) {
	done, err := b.cfg.Start(ctx)
	if err != nil {
		return nil, err
	}
	conn, err := b.connect()
	if err != nil {
		done()
		return nil, err
	}
	u := &Use{b: b, conn: conn, end: sync.OnceFunc(func() { b.leave(); done() })}
	if err := u.answers(ctx); err != nil {
		u.Close()
		return nil, err
	}
	return u, nil
}

// errEnded is what those who wait are told when buildkitd has ended.
var errEnded = fmt.Errorf("the builder ended before it answered; what it says is in its logs: %w", errdefs.ErrUnavailable)

// answers waits for buildkitd's first answer.
func (u *Use) answers(ctx context.Context) error {
	limited, stop := context.WithTimeout(ctx, answerTimeout)
	defer stop()
	wait, cancel := context.WithCancelCause(limited)
	defer cancel(nil)
	u.b.mu.Lock()
	u.b.waiting[u] = cancel
	u.b.mu.Unlock()
	defer func() {
		u.b.mu.Lock()
		defer u.b.mu.Unlock()
		delete(u.b.waiting, u)
	}()
	_, err := control.NewControlClient(u.conn).Info(wait, &control.InfoRequest{}, grpc.WaitForReady(true))
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(context.Cause(wait), errEnded):
		return errEnded
	}
	return fmt.Errorf("the builder does not answer; what it says is in its logs: %w: %w", err, errdefs.ErrUnavailable)
}

// dial is the connection's dialler.
func (b *Builder) dial(ctx context.Context, _ string) (net.Conn, error) {
	c, err := b.cfg.Dial(ctx)
	if err == nil {
		return c, nil
	}
	// Asked after it failed: whoever waits now has started it before.
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, running := b.cfg.Exists(); !running {
		for _, end := range b.waiting {
			end(errEnded)
		}
	}
	return nil, err
}

// Exists tells whether there is a buildkitd, and whether it runs: what only looks
// at it should not start it.
func (b *Builder) Exists() (made, running bool) { return b.cfg.Exists() }

// connect gives the connection to buildkitd, which all users share and the last one
// closes.
func (b *Builder) connect() (_ *grpc.ClientConn, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.conn == nil {
		retry := backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.5, Jitter: 0.2, MaxDelay: 2 * time.Second}
		b.conn, err = grpc.NewClient("passthrough:///buildkitd",
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(b.dial),
			grpc.WithConnectParams(grpc.ConnectParams{Backoff: retry, MinConnectTimeout: 20 * time.Second}),
			grpc.WithIdleTimeout(0), // its end is when nobody uses it
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
		)
		if err != nil {
			return nil, fmt.Errorf("connection to buildkitd: %w", err)
		}
	}
	b.users++
	return b.conn, nil
}

func (b *Builder) leave() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.users--; b.users > 0 {
		return
	}
	if err := b.conn.Close(); err != nil {
		b.log.WithError(err).Debug("close the connection to buildkitd")
	}
	b.conn = nil
}

// Track makes a classic build that its client has named stoppable by Cancel, until
// forget is called. A name is one build's at a time.
func (b *Builder) Track(id string, cancel context.CancelFunc) (forget func(), err error) {
	if id == "" {
		return func() {}, nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.named[id] != nil {
		return nil, fmt.Errorf("a build with the id %q is under way: %w", id, errdefs.ErrConflict)
	}
	b.named[id] = cancel
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.named, id)
	}, nil
}

// Cancel stops a build that Track knows. One that is over, or never was, is no
// error, as with Docker.
func (b *Builder) Cancel(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if cancel := b.named[id]; cancel != nil {
		cancel()
	}
}
