package nfs_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"

	"github.com/vic-engine/vic/pkg/nfs"
	"github.com/vic-engine/vic/pkg/nfs/nfstest"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]nfs.Share{
		"nfs://host/a/b":                              {Host: "host", Path: "/a/b"},
		"NFS://10.0.0.1/a/?uid=1000&gid=50":           {Host: "10.0.0.1", Path: "/a", UID: 1000, GID: 50},
		"nfs://host:2049/":                            {Host: "host", Path: "/", Port: 2049, MountPort: 2049},
		"nfs://[fd00::1]/x?port=1&mountport=2":        {Host: "fd00::1", Path: "/x", Port: 1, MountPort: 2},
		"nfs://host/a%20b?proto=tcp&port=12049&uid=0": {Host: "host", Path: "/a b", Port: 12049, MountPort: 12049},
	} {
		got, err := nfs.Parse(text)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
			continue
		}
		if again, err := nfs.Parse(got.String()); err != nil || again != got {
			t.Errorf("%s is written %s, and read back %+v, %v", text, got, again, err)
		}
		host, dir, err := nfs.SplitSource(got.Source("v/data"))
		if err != nil || host != want.Host || dir != filepath.Join(want.Path, "v/data") {
			t.Errorf("%s: %s, %s, %v", got.Source("v/data"), host, dir, err)
		}
	}
	for text, says := range map[string]string{
		"nfs:///a": "no host", "nfs://host": "path", "nfs://host/a?uid=x": "uid=x", "nfs://host/a?gid=-1": "gid", "nfs://host/a?port=0": "port",
		"nfs://host/a?proto=udp": "only tcp", "nfs://host/a?vers=4": "mountport", "nfs://u@host/a": "users", "nfs://h,x/a": "no host",
		"nfs://host/a?uid=x&port=y": "port=y", "nfs://host/a,b": "cannot be used", "ds://x/y": "want nfs://",
	} {
		if s, err := nfs.Parse(text); !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %+v, %v", text, s, err)
		}
	}
}

func TestMountData(t *testing.T) {
	s, err := nfs.Parse("nfs://host/a?port=12049&mountport=20048")
	if err != nil {
		t.Fatal(err)
	}
	const want = "vers=3,mountvers=3,proto=tcp,mountproto=tcp,nolock,lookupcache=positive,hard,timeo=600,retrans=2,rsize=131072,wsize=131072,sec=sys," +
		"addr=10.1.2.3,mountaddr=10.1.2.3,port=12049,mountport=20048"
	if d := cmp.Diff(want, nfs.MountData(netip.MustParseAddr("10.1.2.3"), s.Options())); d != "" {
		t.Error(d)
	}
	if got := nfs.MountData(netip.MustParseAddr("fd00::1"), ""); !strings.Contains(got, "proto=tcp6,mountproto=tcp6") || !strings.HasSuffix(got, "mountaddr=fd00::1") {
		t.Error(got)
	}
	if nfs.OptionPort(s.Options()) != 12049 || nfs.OptionPort("mountport=1") != 0 {
		t.Error("the port of options")
	}
}

func serve(t *testing.T, dir, address string) *nfstest.Server {
	t.Helper()
	s, err := nfstest.Serve(dir, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
	return s
}

func client(t *testing.T, port int) *nfs.Client {
	t.Helper()
	c := nfs.New(nfs.Share{Host: "127.0.0.1", Path: "/export", Port: port, MountPort: port, UID: uint32(os.Getuid()), GID: uint32(os.Getgid())}, nil)
	t.Cleanup(c.Close)
	return c
}

func TestFiles(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	s := serve(t, dir, "127.0.0.1:0")
	c := client(t, s.Port())
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(c.Mkdir(ctx, "a/b/c"))
	check(c.Mkdir(ctx, "a/b/c"))
	big := bytes.Repeat([]byte("0123456789"), 10_000)
	check(c.WriteFile(ctx, "a/b/new", big))
	check(c.WriteFile(ctx, "a/b/old", []byte("longer than what comes")))
	check(c.WriteFile(ctx, "a/b/old", []byte("short")))
	check(c.Rename(ctx, "a/b/new", "a/b/old"))
	got, err := c.ReadFile(ctx, "a/b/old", 1<<20)
	if err != nil || !bytes.Equal(got, big) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
	if on, err := os.ReadFile(filepath.Join(dir, "a/b/old")); err != nil || !bytes.Equal(on, big) {
		t.Errorf("on the server's disk: %d bytes, %v", len(on), err)
	}
	if _, err := c.ReadFile(ctx, "a/b/old", 10); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("more than allowed: %v", err)
	}
	if e, err := c.Stat(ctx, "a/b/old"); err != nil || e != (nfs.Entry{Name: "old", Size: int64(len(big))}) {
		t.Errorf("%+v, %v", e, err)
	}
	for _, name := range []string{"a/x", "x/y"} {
		if _, err := c.Stat(ctx, name); !errdefs.IsNotFound(err) || !strings.Contains(err.Error(), "127.0.0.1:/export/"+name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := c.Mkdir(ctx, "a/b/old/d"); err == nil {
		t.Error("a folder was made in a file")
	}
	check(c.RemoveAll(ctx, "a/nothing"))
	// A link out of the folder is removed, and what it leads to stays.
	outside := filepath.Join(t.TempDir(), "kept")
	check(os.WriteFile(outside, nil, 0o600))
	check(os.Symlink(filepath.Dir(outside), filepath.Join(dir, "a/b/link")))
	check(os.MkdirAll(filepath.Join(dir, "a/many"), 0o755))
	for i := range 2500 {
		check(os.WriteFile(filepath.Join(dir, "a/many", fmt.Sprintf("a file with rather a long name %d", i)), nil, 0o600))
	}
	if list, err := c.ReadDir(ctx, "a/many", 1<<20); err != nil || len(list) != 2500 {
		t.Errorf("%d entries, %v", len(list), err)
	}
	check(c.RemoveAll(ctx, "a"))
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	if _, err := os.Stat(outside); err != nil {
		t.Error(err)
	}
	if size, free, err := c.Space(ctx); err != nil || size != 2<<40 || free != 1<<40 {
		t.Errorf("space %d, %d, %v", size, free, err)
	}
	// An export that is missing is a server's trouble, and no folder that is.
	none := nfs.New(nfs.Share{Host: "127.0.0.1", Path: "/other", Port: s.Port(), MountPort: s.Port()}, nil)
	if _, err := none.Stat(ctx, "f"); !errdefs.IsUnavailable(err) || errdefs.IsNotFound(err) || !strings.Contains(err.Error(), "/other") {
		t.Errorf("no such export: %v", err)
	}
	if err := c.RemoveAll(ctx, "/"); !errdefs.IsInvalidArgument(err) {
		t.Errorf("the share itself: %v", err)
	}
}

// A server that was restarted has forgotten its handles, and its connections are gone.
func TestServerRestarts(t *testing.T) {
	dir := t.TempDir()
	s := serve(t, dir, "127.0.0.1:0")
	c := client(t, s.Port())
	if err := c.WriteFile(t.Context(), "f", []byte("x")); err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", s.Port())
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Stat(t.Context(), "f"); !errdefs.IsUnavailable(err) {
		t.Errorf("nobody there: %v", err)
	}
	serve(t, dir, address)
	if e, err := c.Stat(t.Context(), "f"); err != nil || e.Size != 1 {
		t.Errorf("back again: %+v, %v", e, err)
	}
}

func TestSilentServer(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	port, err := nfstest.Silent(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client(t, port).Stat(ctx, "f"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

// TestPortMapper: without ports in the URL, the server's port mapper is asked for both.
func TestPortMapper(t *testing.T) {
	s := serve(t, t.TempDir(), "127.0.0.1:0")
	asked := make(chan uint32, 4)
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		if _, port, _ := net.SplitHostPort(address); port != "111" {
			return new(net.Dialer).DialContext(ctx, network, address)
		}
		here, there := net.Pipe()
		go func() {
			defer there.Close()
			q := make([]byte, 4096)
			n, err := there.Read(q)
			if err != nil || n < 20 {
				return
			}
			// What is asked for is the last but three words; the answer is a port.
			asked <- binary.BigEndian.Uint32(q[n-16:])
			reply := binary.BigEndian.AppendUint32([]byte{0x80, 0, 0, 28}, binary.BigEndian.Uint32(q[4:]))
			reply = append(reply, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
			_, _ = there.Write(binary.BigEndian.AppendUint32(reply, uint32(s.Port())))
		}()
		return here, nil
	}
	c := nfs.New(nfs.Share{Host: "127.0.0.1", Path: "/export"}, dial)
	defer c.Close()
	if err := c.Mkdir(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	if a, b := <-asked, <-asked; a != 100005 || b != 100003 {
		t.Errorf("asked for programs %d and %d", a, b)
	}
}
