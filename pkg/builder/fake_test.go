package builder

import (
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
	control "github.com/moby/buildkit/api/services/control"
	bktypes "github.com/moby/buildkit/api/types"
	"github.com/sirupsen/logrus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
)

// buildkitd is a fake with BuildKit's real protocol: a solve reads the context by the
// session when it comes from there, and sends its exporters' results to the session.
type buildkitd struct {
	control.UnimplementedControlServer

	mu       sync.Mutex // guards all below
	sessions map[string]*grpc.ClientConn
	methods  map[string][]string
	changed  chan struct{}
	solves   []*control.SolveRequest
	contexts []string
	fail     error
	gate     chan struct{} // when set, a solve waits for it or its end
	begun    chan struct{} // when set, closed by a solve that waits
	// registry is whose credentials a solve asks its session for, if it is set; asked
	// are the answers, user and secret.
	registry string
	asked    [][2]string
	// frontendSolves are the requests to the frontend, each of whose Dockerfiles has
	// the stage "one".
	frontendSolves [][]byte
}

func newBuildkitd() *buildkitd {
	return &buildkitd{sessions: map[string]*grpc.ClientConn{}, methods: map[string][]string{}, changed: make(chan struct{})}
}

func (f *buildkitd) Info(context.Context, *control.InfoRequest) (*control.InfoResponse, error) {
	return &control.InfoResponse{BuildkitVersion: &bktypes.BuildkitVersion{Version: "v1-fake"}}, nil
}

func (f *buildkitd) Session(s control.Control_SessionServer) error {
	md, _ := metadata.FromIncomingContext(s.Context())
	ctx, cancel := context.WithCancel(s.Context())
	defer cancel()
	cc, err := oneConn(&streamConn{s: s, end: cancel})
	if err != nil {
		return err
	}
	defer cc.Close()
	id := md.Get(headerID)[0]
	f.mu.Lock()
	f.sessions[id], f.methods[id] = cc, md.Get(headerMethods)
	close(f.changed)
	f.changed = make(chan struct{})
	f.mu.Unlock()
	<-ctx.Done()
	f.mu.Lock()
	delete(f.sessions, id)
	f.mu.Unlock()
	return nil
}

func (f *buildkitd) session(ctx context.Context, id string) (*grpc.ClientConn, error) {
	for {
		f.mu.Lock()
		cc, changed := f.sessions[id], f.changed
		f.mu.Unlock()
		if cc != nil {
			return cc, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (f *buildkitd) Solve(ctx context.Context, r *control.SolveRequest) (*control.SolveResponse, error) {
	f.mu.Lock()
	f.solves = append(f.solves, r)
	fail, gate, registry := f.fail, f.gate, f.registry
	f.mu.Unlock()
	if gate != nil {
		if f.begun != nil {
			close(f.begun)
		}
		select {
		case <-gate:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if fail != nil {
		return nil, fail
	}
	var cc *grpc.ClientConn
	if r.Session != "" {
		var err error
		if cc, err = f.session(ctx, r.Session); err != nil {
			return nil, err
		}
	}
	if registry != "" {
		got, err := credential(ctx, cc, registry)
		if err != nil {
			return nil, err
		}
		f.mu.Lock()
		f.asked = append(f.asked, got)
		f.mu.Unlock()
	}
	if strings.HasPrefix(r.FrontendAttrs["context"], "http://buildkit-session/") {
		text, err := f.pull(ctx, cc)
		if err != nil {
			return nil, err
		}
		f.mu.Lock()
		f.contexts = append(f.contexts, text)
		f.mu.Unlock()
	}
	for i, e := range r.Exporters {
		if e.Type != exporterDocker && e.Type != "tar" {
			continue
		}
		if err := send(ctx, cc, i, e.Type+" of "+r.FrontendAttrs["context"]); err != nil {
			return nil, err
		}
	}
	return &control.SolveResponse{ExporterResponse: map[string]string{"containerimage.digest": "sha256:ab"}}, nil
}

func (f *buildkitd) frontendSolve(_ any, s grpc.ServerStream) error {
	var in frame
	if err := s.RecvMsg(&in); err != nil {
		return err
	}
	f.mu.Lock()
	f.frontendSolves = append(f.frontendSolves, in.data)
	f.mu.Unlock()
	attrs, err := mapField(in.data, fieldFrontendOpt)
	if err != nil {
		return err
	}
	if attrs[attrRequest] == requestTargets {
		return s.SendMsg(&frame{stagesResponse("one")})
	}
	return s.SendMsg(&frame{})
}

func (f *buildkitd) pull(ctx context.Context, cc *grpc.ClientConn) (string, error) {
	ctx = metadata.AppendToOutgoingContext(ctx, "urlpath", "/context", "urlhost", "buildkit-session")
	s, err := cc.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, methodUpload)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for {
		var m control.BytesMessage
		if err := s.RecvMsg(&m); errors.Is(err, io.EOF) {
			return b.String(), nil
		} else if err != nil {
			return "", err
		}
		b.Write(m.Data)
	}
}

// credential asks a session for the credential of a registry.
func credential(ctx context.Context, cc *grpc.ClientConn, host string) (got [2]string, err error) {
	var out frame
	in := &frame{protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), host)}
	if err := cc.Invoke(ctx, methodCredentials, in, &out, grpc.ForceCodecV2(frames{})); err != nil {
		return got, err
	}
	if got[0], err = stringField(out.data, 1); err == nil {
		got[1], err = stringField(out.data, 2)
	}
	return got, err
}

func send(ctx context.Context, cc *grpc.ClientConn, exporter int, text string) error {
	ctx = metadata.AppendToOutgoingContext(ctx, keyExporter, strconv.Itoa(exporter))
	s, err := cc.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, methodFileSend)
	if err != nil {
		return err
	}
	for _, piece := range strings.SplitAfter(text, " ") {
		if err := s.SendMsg(&control.BytesMessage{Data: []byte(piece)}); err != nil {
			break // what the other side says is in RecvMsg
		}
	}
	if err := s.CloseSend(); err != nil {
		return err
	}
	if err := s.RecvMsg(&control.BytesMessage{}); !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

func (f *buildkitd) Status(r *control.StatusRequest, s control.Control_StatusServer) error {
	if err := s.Send(&control.StatusResponse{Vertexes: []*control.Vertex{{Digest: "a", Name: "step of a build", Cached: true}}}); err != nil {
		return err
	}
	if r.Ref == "endless" {
		<-s.Context().Done()
	}
	return nil
}

func (f *buildkitd) Prune(r *control.PruneRequest, s control.Control_PruneServer) error {
	return errors.Join(s.Send(&control.UsageRecord{ID: "one", Size: 3}), s.Send(&control.UsageRecord{ID: "two", Size: 4}))
}

// fixture is a Builder in front of a fake.
type fixture struct {
	*Builder
	d   *buildkitd
	end func() // of buildkitd

	mu      sync.Mutex // guards all below
	loaded  []string
	tags    []string
	started int
	running int
	loadErr error
	local   map[string]string
	blobs   map[string]string // by digest
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{d: newBuildkitd()}
	s := grpc.NewServer(grpc.UnknownServiceHandler(f.d.frontendSolve), grpc.ForceServerCodecV2(frames{}))
	control.RegisterControlServer(s, f.d)
	dialled := make(chan net.Conn)
	ln := &chanListener{conns: dialled, done: make(chan struct{})}
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	f.end = s.Stop
	t.Cleanup(func() { s.Stop(); <-served })
	log := logrus.New()
	log.SetOutput(io.Discard)
	b, err := New(Config{
		Start: func(context.Context) (func(), error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.started++
			f.running++
			return func() {
				f.mu.Lock()
				defer f.mu.Unlock()
				f.running--
			}, nil
		},
		Dial: func(ctx context.Context) (net.Conn, error) {
			ours, theirs := net.Pipe()
			select {
			case dialled <- theirs:
				return ours, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		},
		Exists: func() (bool, bool) { return true, true },
		Load: func(_ context.Context, r io.Reader) (string, error) {
			b, err := io.ReadAll(r)
			f.mu.Lock()
			defer f.mu.Unlock()
			if err == nil {
				err = f.loadErr
			}
			if err != nil {
				return "", err
			}
			f.loaded = append(f.loaded, string(b))
			return "sha256:" + strconv.Itoa(len(f.loaded)), nil
		},
		Tag: func(_ context.Context, id, name string) error {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.tags = append(f.tags, id+" "+name)
			return nil
		},
		Local: func() map[string]string { return f.local },
		Blob: func(_ context.Context, digest string, offset int64) (io.ReadCloser, int64, error) {
			b, ok := f.blobs[digest]
			if !ok {
				return nil, 0, errdefs.ErrNotFound
			}
			return io.NopCloser(strings.NewReader(b[min(offset, int64(len(b))):])), int64(len(b)), nil
		},
		Log: logrus.NewEntry(log),
	})
	if err != nil {
		t.Fatal(err)
	}
	f.Builder = b
	t.Cleanup(func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.running != 0 {
			t.Errorf("%d users are left", f.running)
		}
	})
	return f
}

func (f *fixture) use(t *testing.T) *Use {
	t.Helper()
	u, err := f.Use(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(u.Close)
	return u
}

// chanListener accepts what is sent to it.
type chanListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (l *chanListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *chanListener) Close() error   { l.once.Do(func() { close(l.done) }); return nil }
func (l *chanListener) Addr() net.Addr { return &net.UnixAddr{Name: "fake", Net: "unix"} }

// client is a docker client with buildx: a control connection and a session.
type client struct {
	control.ControlClient
	cc   *grpc.ClientConn
	sent map[string]string // what its session was sent, by exporter
	mu   sync.Mutex        // guards both
}

// newControl is a client without a session.
func newControl(t *testing.T, u *Use) *grpc.ClientConn {
	t.Helper()
	ours, theirs := net.Pipe()
	var wait sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	wait.Go(func() {
		if err := u.b.ServeControl(ctx, theirs); err != nil {
			t.Errorf("control: %v", err)
		}
	})
	cc, err := grpc.NewClient("passthrough:///x", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return ours, nil }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cc.Close(); cancel(); wait.Wait() })
	return cc
}

func newClient(t *testing.T, u *Use, session string) *client {
	t.Helper()
	c := &client{sent: map[string]string{}, cc: newControl(t, u)}
	c.ControlClient = control.NewControlClient(c.cc)
	var wait sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	own, far := net.Pipe()
	s := server(func(method string, s grpc.ServerStream) error {
		switch method {
		case methodFileSend:
			md, _ := metadata.FromIncomingContext(s.Context())
			b, err := io.ReadAll(&sentBytes{s: s})
			c.mu.Lock()
			defer c.mu.Unlock()
			c.sent[strings.Join(md.Get(keyExporter), ",")] = string(b)
			return err
		case methodCredentials:
			var in frame
			if err := s.RecvMsg(&in); err != nil {
				return err
			}
			host, err := stringField(in.data, 1)
			if err != nil {
				return err
			}
			out := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "user of "+host)
			return s.SendMsg(&frame{protowire.AppendString(protowire.AppendTag(out, 2, protowire.BytesType), "hush")})
		}
		return status.Error(codes.Unimplemented, method)
	})
	wait.Go(func() { _ = s.Serve(listenOnce(own)) })
	wait.Go(func() {
		h := map[string][]string{headerID: {session}, headerMethods: {"/x/y"}}
		if err := u.ServeSession(ctx, far, h); err != nil && ctx.Err() == nil {
			t.Errorf("session: %v", err)
		}
	})
	t.Cleanup(func() { s.Stop(); cancel(); wait.Wait() })
	return c
}
