package builder

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"

	"github.com/sirupsen/logrus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// maxMessage bounds one gRPC message, in bytes. BuildKit's default is 16 MiB
// (util/defaults in moby/buildkit).
const maxMessage = 16 << 20

// Config of a Builder. All must be set.
type Config struct {
	// Dial opens a stream to buildkitd, started if need be. The connection counts
	// as use of it until it is closed.
	Dial func(ctx context.Context) (net.Conn, error)
	// Load brings a docker archive into the image store and gives the image's id
	// ("sha256:…"). It reads to the end or fails.
	Load func(ctx context.Context, archive io.Reader) (id string, err error)
	// Tag names an image of the store.
	Tag func(ctx context.Context, id, name string) error
	Log *logrus.Entry
}

// Builder is the engine's side of one buildkitd.
type Builder struct {
	cfg     Config
	log     *logrus.Entry
	exports exports

	mu    sync.Mutex // guards all below
	conn  *grpc.ClientConn
	users int
}

// New makes a Builder; nothing is dialled before it is used.
func New(cfg Config) (*Builder, error) {
	if cfg.Dial == nil || cfg.Load == nil || cfg.Tag == nil || cfg.Log == nil {
		return nil, errors.New("builder: Dial, Load, Tag and Log are needed")
	}
	return &Builder{cfg: cfg, log: cfg.Log, exports: exports{bySession: map[string]map[string]*export{}}}, nil
}

// use gives the connection to buildkitd, which all users share and the last one
// closes.
func (b *Builder) use() (conn *grpc.ClientConn, done func(), err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.conn == nil {
		b.conn, err = grpc.NewClient("passthrough:///buildkitd",
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return b.cfg.Dial(ctx) }),
			grpc.WithIdleTimeout(0), // its end is when nobody uses it
			grpc.WithDefaultCallOptions(grpc.WaitForReady(true), grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
		)
		if err != nil {
			return nil, nil, err
		}
	}
	b.users++
	conn = b.conn
	return conn, sync.OnceFunc(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.users--; b.users == 0 {
			if err := b.conn.Close(); err != nil {
				b.log.WithError(err).Debug("close the connection to buildkitd")
			}
			b.conn = nil
		}
	}), nil
}
