package nfstest

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/go-git/go-billy/v5"
	"github.com/go-git/go-billy/v5/osfs"
	gonfs "github.com/willscott/go-nfs"
	"github.com/willscott/go-nfs/helpers"
)

// Server serves one folder until it is closed.
type Server struct {
	Dir  string
	l    net.Listener
	done chan struct{}

	mu     sync.Mutex // guards all below
	conns  map[net.Conn]bool
	closed bool
}

// quiet keeps the library from logging what clients get wrong, which tests try.
var quiet = sync.OnceFunc(func() { gonfs.Log.SetLevel(gonfs.PanicLevel) })

// handles is how many files' handles the server keeps; it forgets the eldest.
const handles = 1 << 16

// Serve gives out dir on address ("127.0.0.1:0"): NFS and mount service on one port.
func Serve(dir, address string) (*Server, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	s := &Server{Dir: dir, l: l, done: make(chan struct{}), conns: map[net.Conn]bool{}}
	quiet()
	handler := helpers.NewCachingHandler(exports{dir: dir}, handles)
	go func() {
		defer close(s.done)
		_ = gonfs.Serve(tracked{l, s}, handler) // ends with the listener
	}()
	return s, nil
}

// Port of both services.
func (s *Server) Port() int { return s.l.Addr().(*net.TCPAddr).Port }

// Close ends the server and its connections.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	err := s.l.Close()
	for c := range s.conns {
		err = errors.Join(err, ignoreClosed(c.Close()))
	}
	s.mu.Unlock()
	<-s.done
	return err
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// tracked notes connections, so that they end with the server.
type tracked struct {
	net.Listener
	s *Server
}

func (t tracked) Accept() (net.Conn, error) {
	c, err := t.Listener.Accept()
	if err != nil {
		return nil, err
	}
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	if t.s.closed {
		return nil, errors.Join(net.ErrClosed, c.Close())
	}
	t.s.conns[c] = true
	return c, nil
}

// exports is one export, Export, and every folder of it.
type exports struct {
	gonfs.Handler // never used: what is not below is the caching handler's
	dir           string
}

// Export is the path of what a server gives out.
const Export = "/export"

func (e exports) Mount(_ context.Context, _ net.Conn, q gonfs.MountRequest) (gonfs.MountStatus, billy.Filesystem, []gonfs.AuthFlavor) {
	rel, ok := strings.CutPrefix(path.Clean(string(q.Dirpath))+"/", Export+"/")
	at := filepath.Join(e.dir, rel)
	if st, err := os.Stat(at); !ok || err != nil || !st.IsDir() {
		return gonfs.MountStatusErrNoEnt, changes{osfs.New(e.dir)}, nil // the library asks for its handle all the same
	}
	return gonfs.MountStatusOk, changes{osfs.New(at)}, []gonfs.AuthFlavor{gonfs.AuthFlavorUnix}
}

func (e exports) Change(fs billy.Filesystem) billy.Change { return fs.(changes) }

// FSStat says that there is room.
func (e exports) FSStat(_ context.Context, _ billy.Filesystem, s *gonfs.FSStat) error {
	s.TotalSize, s.FreeSize, s.AvailableSize = 2<<40, 1<<40, 1<<40
	return nil
}

// changes are a folder's files with owners, modes and times that can be set.
type changes struct{ billy.Filesystem }

func (c changes) at(name string) string { return filepath.Join(c.Root(), name) }

func (c changes) Chmod(name string, mode os.FileMode) error { return os.Chmod(c.at(name), mode) }
func (c changes) Lchown(name string, uid, gid int) error    { return os.Lchown(c.at(name), uid, gid) }
func (c changes) Chown(name string, uid, gid int) error     { return os.Chown(c.at(name), uid, gid) }
func (c changes) Chtimes(name string, a, m time.Time) error { return os.Chtimes(c.at(name), a, m) }

// Silent accepts connections and never answers, as a server that hangs.
func Silent(ctx context.Context) (port int, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	context.AfterFunc(ctx, func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			context.AfterFunc(ctx, func() { _ = c.Close() })
			go func() { _, _ = io.Copy(io.Discard, c) }()
		}
	}()
	return l.Addr().(*net.TCPAddr).Port, nil
}
