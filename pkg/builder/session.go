package builder

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/containerd/errdefs"
	control "github.com/moby/buildkit/api/services/control"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
)

// Headers with which a session is opened (session/session.go in moby/buildkit), in
// the lower case that gRPC has them in.
const (
	headerPrefix  = "x-docker-expose-session-"
	headerID      = headerPrefix + "uuid"
	headerMethods = headerPrefix + "grpc-method"
)

// methodFileSend is how buildkitd sends the result of a solve to the session.
const methodFileSend = "/moby.filesync.v1.FileSend/DiffCopy"

// SessionHeaders picks what opens a session out of a request's headers. Without an
// id it is ErrInvalidArgument.
func SessionHeaders(in map[string][]string) (map[string][]string, error) {
	md := map[string][]string{}
	for k, v := range in {
		if k = strings.ToLower(k); strings.HasPrefix(k, headerPrefix) {
			md[k] = append(md[k], v...)
		}
	}
	if len(md[headerID]) != 1 || md[headerID][0] == "" {
		return nil, fmt.Errorf("a session needs one header X-Docker-Expose-Session-Uuid: %w", errdefs.ErrInvalidArgument)
	}
	for k, vs := range md {
		for _, v := range vs {
			if strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r > '~' }) {
				return nil, fmt.Errorf("header %s: %q: not printable ASCII: %w", k, v, errdefs.ErrInvalidArgument)
			}
		}
	}
	return md, nil
}

// ServeSession joins a client's session to buildkitd until one of the two goes.
// headers are SessionHeaders. conn is closed.
func (u *Use) ServeSession(ctx context.Context, conn net.Conn, headers map[string][]string) error {
	return u.b.session(ctx, u.conn, conn, headers)
}

func (b *Builder) session(ctx context.Context, to *grpc.ClientConn, conn net.Conn, headers map[string][]string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer conn.Close() // a client that was closed before it began leaves it open
	client, err := oneConn(&watchedConn{Conn: conn, closed: cancel})
	if err != nil {
		return err
	}
	defer client.Close()
	id := headers[headerID][0]
	s := server(func(method string, s grpc.ServerStream) error {
		if method == methodFileSend {
			if e := b.exports.of(id, exporterID(s.Context())); e != nil {
				return e.receive(s)
			}
		}
		if isLocal(method, s) {
			return b.content(method, s)
		}
		return forward(s, client, method, nil)
	})
	return b.attach(ctx, to, s, headers)
}

// attach opens a session of buildkitd's that is served by s, until it ends.
func (b *Builder) attach(ctx context.Context, to *grpc.ClientConn, s *grpc.Server, headers map[string][]string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	md := metadata.MD{}
	for k, v := range headers {
		md[k] = v
	}
	// Results that are ours are received, and images of the store given, whether or not
	// the client does such.
	md[headerMethods] = append(append([]string{}, md[headerMethods]...), methodFileSend, methodContentInfo, methodContentRead)
	stream, err := control.NewControlClient(to).Session(metadata.NewOutgoingContext(ctx, md))
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { s.Stop() })
	defer stop()
	err = s.Serve(listenOnce(&streamConn{s: stream, end: cancel}))
	s.Stop()
	if errors.Is(err, net.ErrClosed) || errors.Is(err, grpc.ErrServerStopped) {
		return nil
	}
	return err
}

// oneConn is a gRPC client over a connection that is there; it is not dialled again.
func oneConn(c net.Conn) (*grpc.ClientConn, error) {
	once := make(chan net.Conn, 1)
	once <- c
	cc, err := grpc.NewClient("passthrough:///session",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
			select {
			case c := <-once:
				return c, nil
			default:
				return nil, fmt.Errorf("the client's session is gone: %w", errdefs.ErrUnavailable)
			}
		}),
		grpc.WithIdleTimeout(0),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)))
	if err != nil {
		return nil, err
	}
	cc.Connect()
	return cc, nil
}
