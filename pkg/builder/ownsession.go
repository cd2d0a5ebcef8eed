package builder

import (
	"errors"
	"io"
	"slices"
	"strings"
	"sync"

	control "github.com/moby/buildkit/api/services/control"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
)

// contextURL is where buildkitd gets the context of a classic build: it asks the
// session for URLs of that host (source/http in moby/buildkit).
const (
	contextURL  = "http://buildkit-session" + contextPath
	contextPath = "/context"
)

// Calls that buildkitd makes to a session of ours.
const (
	methodUpload      = "/moby.upload.v1.Upload/Pull"
	methodCredentials = "/moby.filesync.v1.Auth/Credentials"
	methodHealth      = "/grpc.health.v1.Health/Check"
)

// Credential for one registry. A Token stands for both others.
type Credential struct{ Username, Password, Token string }

// hubKeys are the names that clients have for Docker Hub's credentials.
func hubKeys() []string {
	return []string{"https://index.docker.io/v1/", "docker.io", "index.docker.io", "registry-1.docker.io"}
}

// ownSession is the session of a client that has none: a classic build's.
type ownSession struct {
	b           *Builder
	id          string
	credentials map[string]Credential

	mu      sync.Mutex // guards context
	context io.Reader  // nil once it was taken
}

func newOwnSession(b *Builder, id string, o Options) *ownSession {
	return &ownSession{b: b, id: id, credentials: o.Credentials, context: o.Context}
}

func (s *ownSession) headers() map[string][]string {
	return map[string][]string{
		headerID: {s.id}, headerPrefix + "name": {"vic"},
		headerMethods: {methodUpload, methodCredentials, methodHealth},
	}
}

func (s *ownSession) server() *grpc.Server {
	return server(func(method string, c grpc.ServerStream) error {
		if isLocal(method, c) {
			return s.b.content(method, c)
		}
		switch method {
		case methodFileSend:
			if e := s.b.exports.of(s.id, exporterID(c.Context())); e != nil {
				return e.receive(c)
			}
			return status.Error(codes.NotFound, "nobody takes this output")
		case methodUpload:
			return s.upload(c)
		case methodCredentials:
			return s.answer(c, s.credential)
		case methodHealth:
			// grpc.health.v1.HealthCheckResponse{status: SERVING}
			return s.answer(c, func([]byte) ([]byte, error) {
				return protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 1), nil
			})
		}
		return status.Errorf(codes.Unimplemented, "%s: a build without a client's session has none", method)
	})
}

// answer serves a call of one message.
func (s *ownSession) answer(c grpc.ServerStream, f func(in []byte) ([]byte, error)) error {
	var in frame
	if err := c.RecvMsg(&in); err != nil {
		return err
	}
	out, err := f(in.data)
	if err != nil {
		return err
	}
	return c.SendMsg(&frame{out})
}

// upload sends the context. It can be read once.
func (s *ownSession) upload(c grpc.ServerStream) error {
	md, _ := metadata.FromIncomingContext(c.Context())
	if p := md.Get("urlpath"); len(p) != 1 || p[0] != contextPath {
		return status.Errorf(codes.NotFound, "there is no %q to upload", p)
	}
	s.mu.Lock()
	r := s.context
	s.context = nil
	s.mu.Unlock()
	if r == nil {
		return status.Error(codes.NotFound, "the context was read already")
	}
	buf := make([]byte, 64<<10)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if err := c.SendMsg(&control.BytesMessage{Data: buf[:n]}); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return status.Errorf(codes.Aborted, "read the context: %v", err)
		}
	}
}

// credential answers CredentialsRequest{Host} with CredentialsResponse{Username,
// Secret} (session/auth/auth.proto in moby/buildkit); none is an empty answer.
func (s *ownSession) credential(in []byte) ([]byte, error) {
	host, err := stringField(in, 1)
	if err != nil {
		return nil, asStatus(err)
	}
	c, ok := findCredential(s.credentials, host)
	if !ok {
		return nil, nil
	}
	if c.Token != "" {
		c.Username, c.Password = "", c.Token
	}
	var out []byte
	if c.Username != "" {
		out = protowire.AppendString(protowire.AppendTag(out, 1, protowire.BytesType), c.Username)
	}
	return protowire.AppendString(protowire.AppendTag(out, 2, protowire.BytesType), c.Password), nil
}

// findCredential looks for a registry's credential as Docker does: by its host, or
// under a URL of that host ("https://reg.example/v2/"), which clients that logged in
// long ago still send.
func findCredential(all map[string]Credential, host string) (Credential, bool) {
	keys := []string{host}
	if host == "registry-1.docker.io" || host == "docker.io" {
		keys = hubKeys()
	}
	for _, k := range keys {
		if c, ok := all[k]; ok {
			return c, true
		}
	}
	for _, k := range sortedKeys(all) {
		if slices.Contains(keys, hostOf(k)) {
			return all[k], true
		}
	}
	return Credential{}, false
}

// hostOf is the host of a registry that may be written as a URL.
func hostOf(key string) string {
	key = strings.TrimPrefix(strings.TrimPrefix(key, "https://"), "http://")
	host, _, _ := strings.Cut(key, "/")
	return host
}
