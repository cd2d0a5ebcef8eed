package api

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"

	"github.com/vic-engine/vic/pkg/builder"
)

// builder is the VCH's; an API without one says so.
func (s *server) builder() (*builder.Builder, error) {
	if s.Builder == nil {
		return nil, missing("building images (build): this engine has no builder")
	}
	return s.Builder, nil
}

func (s *server) buildRoutes() []route {
	return []route{
		{http.MethodPost, "/grpc", s.postGRPC},
		{http.MethodPost, "/session", s.postSession},
		{http.MethodPost, "/build", s.postBuild},
		{http.MethodPost, "/build/prune", s.postBuildPrune},
		{http.MethodPost, "/build/cancel", s.postBuildCancel},
	}
}

// postGRPC hands the connection to BuildKit's API, as HTTP/2. The builder is started by
// what is called there.
func (s *server) postGRPC(_ context.Context, w http.ResponseWriter, r *http.Request, _ map[string]string) error {
	b, err := s.builder()
	if err != nil {
		return err
	}
	if err := wantH2C(r); err != nil {
		return err
	}
	return s.handOver(w, r, b.ServeControl)
}

// postSession hands the connection to buildkitd as a client's session: it asks on
// it for files, secrets and credentials.
func (s *server) postSession(ctx context.Context, w http.ResponseWriter, r *http.Request, _ map[string]string) error {
	b, err := s.builder()
	if err != nil {
		return err
	}
	headers, err := builder.SessionHeaders(r.Header)
	if err != nil {
		return err
	}
	if err := wantH2C(r); err != nil {
		return err
	}
	u, err := b.Use(ctx)
	if err != nil {
		return err
	}
	defer u.Close()
	return s.handOver(w, r, func(ctx context.Context, conn net.Conn) error { return u.ServeSession(ctx, conn, headers) })
}

// handOver takes the request's connection over and has it served until it ends.
func (s *server) handOver(w http.ResponseWriter, r *http.Request, serve func(context.Context, net.Conn) error) error {
	conn, err := upgrade(w)
	if err != nil {
		return err
	}
	// A hijacked connection has no request's context: it ends with the server.
	if err := serve(s.Context, conn); err != nil {
		s.Log.WithError(err).WithField("path", r.URL.Path).Debug("a client's connection to the builder ended")
	}
	return nil
}

func wantH2C(r *http.Request) error {
	switch proto := r.Header.Get("Upgrade"); proto {
	case "h2c":
		return nil
	case "":
		return badRequest("no upgrade proto in request")
	default:
		return badRequest("protocol %s not supported", proto)
	}
}

// upgrade takes the connection over and tells the client so.
func upgrade(w http.ResponseWriter) (net.Conn, error) {
	h, ok := w.(http.Hijacker)
	if !ok {
		return nil, errors.New("the connection cannot be taken over")
	}
	conn, rw, err := h.Hijack()
	if err != nil {
		return nil, err
	}
	if _, err := conn.Write([]byte("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &bufferedConn{Conn: conn, r: rw.Reader}, nil
}

// bufferedConn reads first what the HTTP server has read ahead.
type bufferedConn struct {
	net.Conn
	r *bufio.Reader
}

func (c *bufferedConn) Read(p []byte) (int, error) { return c.r.Read(p) }
