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
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const (
	methodSolve   = "/moby.buildkit.v1.Control/Solve"
	methodSession = "/moby.buildkit.v1.Control/Session"
)

// ServeControl serves BuildKit's API on a client's connection until one of the two
// goes. conn is closed. The first call starts buildkitd, and why that cannot be is
// each call's error: buildx opens a connection to see whether there is this API, and
// where it is refused makes a builder of its own, whose results do not get here
// (driver/docker in docker/buildx).
func (b *Builder) ServeControl(ctx context.Context, conn net.Conn) error {
	first := newFirstUse(b.Use)
	defer first.close()
	s := server(func(method string, s grpc.ServerStream) error {
		u, err := first.get(s.Context())
		if err != nil {
			return asStatus(err)
		}
		to := u.conn
		switch method {
		case methodSolve:
			return b.solve(s, to)
		case methodSession:
			return b.joinSession(s, to)
		case methodFrontendSolve:
			return b.frontendSolve(s, to)
		}
		return lost(s.Context(), forward(s, to, method, nil))
	})
	stop := context.AfterFunc(ctx, func() {
		_ = conn.Close() // a client that has not said a word yet would hold up Stop
		s.Stop()
	})
	defer stop()
	defer conn.Close() // a server that was stopped before it began leaves it open
	err := s.Serve(listenOnce(conn))
	s.Stop() // ends what the client had under way
	if errors.Is(err, net.ErrClosed) || errors.Is(err, grpc.ErrServerStopped) {
		return nil
	}
	return err
}

// solve passes a solve on; an image that it is to leave with the engine arrives
// meanwhile on its session.
func (b *Builder) solve(s grpc.ServerStream, to *grpc.ClientConn) error {
	var r control.SolveRequest
	if err := s.RecvMsg(&r); err != nil {
		return err
	}
	ctx := metadata.NewOutgoingContext(s.Context(), outgoing(s.Context()))
	resp, err := b.run(ctx, to, &r)
	if err != nil {
		return asStatus(err)
	}
	return s.SendMsg(resp)
}

// run solves. The images of exporters "moby" are in the store with their names when
// it returns without an error.
func (b *Builder) run(ctx context.Context, to *grpc.ClientConn, r *control.SolveRequest) (*control.SolveResponse, error) {
	names, err := redirect(r)
	if err != nil {
		return nil, err
	}
	list := map[int]*export{}
	for i := range names {
		list[i] = &export{load: b.cfg.Load, names: names[i]}
	}
	if len(list) > 0 {
		remove, err := b.exports.add(r.Session, list)
		if err != nil {
			return nil, err
		}
		defer remove()
	}
	resp := &control.SolveResponse{}
	if err := to.Invoke(ctx, methodSolve, r, resp, grpc.ForceCodecV2(frames{})); err != nil {
		for _, e := range list { // the store's own words say more than those buildkitd makes of them
			if _, lerr := e.result(); lerr != nil && !errdefs.IsUnknown(lerr) {
				return nil, lerr
			}
		}
		return nil, lost(ctx, err)
	}
	if resp.ExporterResponse == nil {
		resp.ExporterResponse = map[string]string{}
	}
	for _, e := range list {
		id, err := e.result()
		if err != nil {
			return nil, err
		}
		for _, n := range e.names {
			if err := b.cfg.Tag(ctx, id, n); err != nil {
				return nil, err
			}
		}
		resp.ExporterResponse["containerimage.config.digest"] = id
		if len(e.names) > 0 {
			resp.ExporterResponse["image.name"] = strings.Join(e.names, ",")
		}
	}
	return resp, nil
}

// lost says of a call that ended with the connection to buildkitd what was lost:
// gRPC's own words tell nobody what to look at.
func lost(ctx context.Context, err error) error {
	if st, ok := status.FromError(err); ok && st.Code() == codes.Unavailable && ctx.Err() == nil {
		return status.Errorf(codes.Unavailable, "the builder was lost during the build: %s", st.Message())
	}
	return err
}

// joinSession is a session that came on the API's own connection.
func (b *Builder) joinSession(s grpc.ServerStream, to *grpc.ClientConn) error {
	md, _ := metadata.FromIncomingContext(s.Context())
	headers, err := SessionHeaders(md)
	if err != nil {
		return asStatus(err)
	}
	ctx, cancel := context.WithCancel(s.Context())
	defer cancel()
	return b.session(ctx, to, &streamConn{s: s, end: cancel}, headers)
}

// asStatus gives an error of ours the class that gRPC has for it.
func asStatus(err error) error {
	if _, ok := status.FromError(err); ok {
		return err
	}
	switch {
	case errdefs.IsInvalidArgument(err):
		return status.Error(codes.InvalidArgument, err.Error())
	case errdefs.IsNotFound(err):
		return status.Error(codes.NotFound, err.Error())
	case errdefs.IsConflict(err):
		return status.Error(codes.FailedPrecondition, err.Error())
	case errors.Is(err, context.Canceled):
		return status.Error(codes.Canceled, err.Error())
	}
	return status.Error(codes.Unknown, err.Error())
}

// fromStatus gives an error of gRPC's its class and its words alone.
func fromStatus(err error) error {
	st, ok := status.FromError(err)
	if !ok || err == nil {
		return err
	}
	var class error = errdefs.ErrUnknown
	switch st.Code() {
	case codes.InvalidArgument:
		class = errdefs.ErrInvalidArgument
	case codes.NotFound:
		class = errdefs.ErrNotFound
	case codes.Unavailable:
		class = errdefs.ErrUnavailable
	case codes.Canceled:
		return fmt.Errorf("the build was cancelled: %w", context.Canceled)
	case codes.Unimplemented:
		class = errdefs.ErrNotImplemented
	case codes.PermissionDenied:
		class = errdefs.ErrPermissionDenied
	}
	return &failure{st.Message(), class}
}

// failure is what buildkitd says went wrong, and its class.
type failure struct {
	text  string
	class error
}

func (f *failure) Error() string { return f.text }
func (f *failure) Unwrap() error { return f.class }
