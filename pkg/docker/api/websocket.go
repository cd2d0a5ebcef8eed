package api

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/vic-engine/vic/pkg/docker/engine"

	"github.com/docker/docker/api/server/httputils"
	"github.com/docker/docker/api/types/versions"
	"golang.org/x/net/websocket"
)

// attachWebsocket joins a browser, or whoever else speaks websockets, to a
// container's process. Both outputs come as they are, never multiplexed: in binary
// frames, and in text frames for clients older than API 1.28. It is ours because
// docker's route leaves a goroutine and its request waiting for ever when the
// handshake fails, and does not notice that a client without stdin is gone.
func (s *server) attachWebsocket(ctx context.Context, w http.ResponseWriter, r *http.Request, vars map[string]string) error {
	if err := parseForm(r); err != nil {
		return err
	}
	version := httputils.VersionFromContext(ctx)
	o := engine.AttachOptions{
		Stdin: true, Stdout: true, Stderr: true, Logs: httputils.BoolValue(r, "logs"), Stream: httputils.BoolValue(r, "stream"),
		DetachKeys: r.Form.Get("detachKeys"),
	}
	if versions.GreaterThanOrEqualTo(version, "1.42") {
		o.Stdin, o.Stdout, o.Stderr = httputils.BoolValue(r, "stdin"), httputils.BoolValue(r, "stdout"), httputils.BoolValue(r, "stderr")
	}
	ctx, cancel := context.WithCancel(s.Context) // the request's own ends with the handshake
	defer cancel()
	h := &handshake{ResponseWriter: w, request: r, text: versions.LessThan(version, "1.28"), over: make(chan struct{})}
	defer h.end()
	err := s.e.Attach(ctx, vars["name"], o, func(bool) (engine.Streams, error) {
		conn, err := h.upgrade()
		if err != nil {
			return engine.Streams{}, err
		}
		i, err := s.e.Inspect(vars["name"])
		feeds := err == nil && o.Stdin && i.Container.Process.OpenStdin
		return engine.Streams{Stdin: websocketInput{conn, feeds}, Stdout: conn, Stderr: conn}, nil
	})
	if err != nil && h.taken {
		s.Log.WithField("container", vars["name"]).WithError(err).Debug("attach over a websocket")
		return nil // who asked has had the answer
	}
	return err
}

// handshake is the one of a request, made only when its container is ready.
type handshake struct {
	http.ResponseWriter
	request *http.Request
	text    bool // frames of text, not of bytes
	taken   bool // the connection is no longer HTTP's
	served  chan struct{}
	over    chan struct{} // closed when the websocket is to end
}

// Hijack implements http.Hijacker.
func (h *handshake) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	h.taken = err == nil
	return conn, rw, err
}

// upgrade answers the client. An error is the client's fault and its HTTP answer,
// unless the connection is taken: then the client has been told already.
func (h *handshake) upgrade() (*websocket.Conn, error) {
	if !strings.EqualFold(h.request.Header.Get("Upgrade"), "websocket") {
		return nil, badRequest("attach/ws is for websockets: the request has no header Upgrade: websocket")
	}
	conns := make(chan *websocket.Conn, 1)
	h.served = make(chan struct{})
	go func() {
		defer close(h.served)
		websocket.Server{Handler: func(c *websocket.Conn) {
			if !h.text {
				c.PayloadType = websocket.BinaryFrame
			}
			conns <- c
			<-h.over
			_ = c.Close() // says goodbye, if anyone still listens
		}}.ServeHTTP(h, h.request)
	}()
	select {
	case c := <-conns:
		return c, nil
	case <-h.served:
		return nil, badRequest("attach/ws: the websocket's handshake is not valid")
	}
}

// end closes the websocket, if there is one, and waits until that is done.
func (h *handshake) end() {
	close(h.over)
	if h.served != nil {
		<-h.served
	}
}

// websocketInput is what a client sends. A websocket is never closed by halves: a
// client that feeds no stdin and has closed is gone.
type websocketInput struct {
	io.Reader
	feeds bool
}

func (i websocketInput) Read(p []byte) (int, error) {
	n, err := i.Reader.Read(p)
	if errors.Is(err, io.EOF) && !i.feeds {
		err = io.ErrClosedPipe
	}
	return n, err
}
