package image_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/distribution/reference"
	"github.com/sirupsen/logrus"

	. "github.com/vic-engine/vic/pkg/image"
	"github.com/vic-engine/vic/pkg/spec"
)

func quiet() *logrus.Entry {
	l := logrus.New()
	l.SetOutput(io.Discard)
	return logrus.NewEntry(l)
}

func newClient(t testing.TB, cfg ClientConfig) *Client {
	t.Helper()
	cfg.Log = quiet()
	cfg.Backoff = func(int) time.Duration { return 0 }
	c, err := NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// dialTo leads every name in hosts ("registry-1.docker.io:443") to an address;
// what is not in it is refused.
func dialTo(hosts map[string]string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		to, ok := hosts[addr]
		if !ok {
			return nil, &net.OpError{Op: "dial", Net: network, Err: fmt.Errorf("lookup %s: no such host", addr)}
		}
		return (&net.Dialer{}).DialContext(ctx, network, to)
	}
}

func parse(t testing.TB, s string) reference.Named {
	t.Helper()
	n, err := ParseReference(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// fetch resolves and downloads, and gives the files' folder and the progress.
func fetch(t testing.TB, c *Client, ref string) (*Remote, string, []spec.Progress, error) {
	t.Helper()
	r, err := c.Resolve(context.Background(), parse(t, ref), "", Auth{})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var said []spec.Progress
	err = r.Download(context.Background(), r.Layers, func(l Layer) string { return filepath.Join(dir, l.Digest.Encoded()) },
		func(p spec.Progress) { said = append(said, p) }, nil)
	return r, dir, said, err
}
