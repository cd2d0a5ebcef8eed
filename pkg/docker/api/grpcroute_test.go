package api_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	control "github.com/moby/buildkit/api/services/control"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// TestGRPCIsTakenOver: buildx takes a refused /grpc for an engine without BuildKit, and
// makes a builder of its own. So a builder that cannot be started is told of by calls.
func TestGRPCIsTakenOver(t *testing.T) {
	h := serveAll(t, false, nil, withBuilder(t))
	conn, err := net.Dial("tcp", strings.TrimPrefix(h.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "POST /v1.51/grpc HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%+v %v", resp, err)
	}
	cc, err := grpc.NewClient("passthrough:///x", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return readAhead{conn, in}, nil }))
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	if _, err := control.NewControlClient(cc).Info(t.Context(), &control.InfoRequest{}); err == nil || !strings.Contains(err.Error(), "moby/buildkit:v1: no route") {
		t.Errorf("%v", err)
	}
}

// readAhead is a connection of which something was read already.
type readAhead struct {
	net.Conn
	in *bufio.Reader
}

func (c readAhead) Read(p []byte) (int, error) { return c.in.Read(p) }
