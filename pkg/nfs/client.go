package nfs

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"sync"

	"github.com/containerd/errdefs"
)

// Client works on a share, one request after the other. It connects when it must.
type Client struct {
	share Share
	dial  Dialer

	turn chan struct{} // holds the one turn; taking it guards all below
	mu   sync.Mutex    // guards closing
	w    *wire
	root []byte
}

// New makes a client of a share; dial nil is DialLow.
func New(s Share, dial Dialer) *Client {
	if dial == nil {
		dial = DialLow
	}
	c := &Client{share: s, dial: dial, turn: make(chan struct{}, 1)}
	c.turn <- struct{}{}
	return c
}

// Share is the client's.
func (c *Client) Share() Share { return c.share }

// Close ends the connection; the next request makes another.
func (c *Client) Close() {
	<-c.turn
	c.drop()
	c.turn <- struct{}{}
}

func (c *Client) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.w != nil {
		_ = c.w.conn.Close()
	}
	c.w, c.root = nil, nil
}

// do runs fn with a connection. A connection that was lost meanwhile, or a server
// that has forgotten the handles it gave, is tried anew once.
func (c *Client) do(ctx context.Context, what, name string, fn func(s *session) error) error {
	select {
	case <-c.turn:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { c.turn <- struct{}{} }()
	for again := false; ; again = true {
		fresh := c.w == nil
		err := c.connect(ctx)
		if err == nil {
			err = fn(&session{ctx: ctx, w: c.w, root: c.root})
		}
		if err == nil {
			return nil
		}
		var st status
		isStatus := errors.As(err, &st)
		stale := isStatus && (st == statStale || st == statBadHandle)
		if !isStatus || stale {
			c.drop()
		}
		if ctx.Err() != nil || fresh || again || isStatus && !stale {
			return fmt.Errorf("%s %s: %w", what, c.share.Source(name), err)
		}
	}
}

// connect finds the root of the share, unless that is known.
func (c *Client) connect(ctx context.Context) error {
	if c.w != nil {
		return nil
	}
	s := c.share
	var err error
	if s.MountPort == 0 {
		if s.MountPort, err = portOf(ctx, c.dial, s.Host, progMount, versMount); err != nil {
			return err
		}
	}
	if s.Port == 0 {
		if s.Port, err = portOf(ctx, c.dial, s.Host, progNFS, versNFS); err != nil {
			return err
		}
	}
	root, err := c.mount(ctx, s)
	if err != nil {
		return err
	}
	conn, err := c.dial(ctx, "tcp", s.hostPort(s.Port))
	if err != nil {
		return fmt.Errorf("NFS service: %w: %w", err, errdefs.ErrUnavailable)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.w, c.root = newWire(conn, s.UID, s.GID), root
	return nil
}

// mount asks the mount service for the share's root.
func (c *Client) mount(ctx context.Context, s Share) ([]byte, error) {
	conn, err := c.dial(ctx, "tcp", s.hostPort(s.MountPort))
	if err != nil {
		return nil, fmt.Errorf("mount service: %w: %w", err, errdefs.ErrUnavailable)
	}
	defer conn.Close()
	var args encoder
	d, err := newWire(conn, s.UID, s.GID).call(ctx, progMount, versMount, procMountMNT, args.text(s.Path).b)
	if err != nil {
		return nil, err
	}
	if st := status(d.u32()); st != 0 { // the numbers of mountstat3 are those of nfsstat3
		// Not with the status' class: an export that is missing is not a volume that is.
		return nil, fmt.Errorf("the server does not give out %s: %v: %w", s.Path, st, errdefs.ErrUnavailable)
	}
	root := append([]byte(nil), d.opaque(maxHandle)...)
	if d.err != nil || len(root) == 0 {
		return nil, fmt.Errorf("mount %s: %w: %w", s.Path, errShort, errdefs.ErrUnavailable)
	}
	return root, nil
}

// split gives the names of a path of the share.
func split(name string) []string {
	var out []string
	for _, e := range strings.Split(path.Clean("/"+name), "/") {
		if e != "" {
			out = append(out, e)
		}
	}
	return out
}

// Entry is a file or folder.
type Entry struct {
	Name string
	Dir  bool
	Size int64
}

// Stat gives a file or folder; ErrNotFound when it is not there.
func (c *Client) Stat(ctx context.Context, name string) (e Entry, err error) {
	err = c.do(ctx, "look at", name, func(s *session) error {
		_, a, err := s.walk(split(name))
		e = a.entry(path.Base(name))
		return err
	})
	return e, err
}

// ReadDir gives what is in a folder, at most limit entries.
func (c *Client) ReadDir(ctx context.Context, name string, limit int) (list []Entry, err error) {
	err = c.do(ctx, "list", name, func(s *session) error {
		fh, _, err := s.walk(split(name))
		if err != nil {
			return err
		}
		list, err = s.readDir(fh, limit)
		return err
	})
	return list, err
}

// ReadFile gives the contents of a file of at most limit bytes.
func (c *Client) ReadFile(ctx context.Context, name string, limit int64) (data []byte, err error) {
	err = c.do(ctx, "read", name, func(s *session) error {
		fh, a, err := s.walk(split(name))
		if err != nil {
			return err
		}
		if a.size > uint64(limit) {
			return fmt.Errorf("it has %d bytes, %d are allowed: %w", a.size, limit, statTooBig)
		}
		data, err = s.read(fh, limit)
		return err
	})
	return data, err
}

// WriteFile writes a file, replacing one that is there. It is on the server's
// disk when it returns.
func (c *Client) WriteFile(ctx context.Context, name string, data []byte) error {
	return c.do(ctx, "write", name, func(s *session) error {
		dir, base, err := s.parent(name)
		if err != nil {
			return err
		}
		fh, err := s.create(dir, base)
		if err != nil {
			return err
		}
		return s.write(fh, data)
	})
}

// Mkdir makes a folder and those missing above it. That it is there is no error.
func (c *Client) Mkdir(ctx context.Context, name string) error {
	return c.do(ctx, "make folder", name, func(s *session) error {
		at := s.root
		for _, n := range split(name) {
			next, a, err := s.lookup(at, n)
			if errdefs.IsNotFound(err) {
				if err = s.mkdir(at, n); err != nil && !errors.Is(err, statExist) {
					return err
				}
				next, a, err = s.lookup(at, n)
			}
			if err != nil {
				return err
			}
			if !a.dir() {
				return fmt.Errorf("%s: %w", n, statNotDir)
			}
			at = next
		}
		return nil
	})
}

// Rename moves a file, replacing one that is there.
func (c *Client) Rename(ctx context.Context, from, to string) error {
	return c.do(ctx, "rename", from, func(s *session) error {
		fromDir, fromName, err := s.parent(from)
		if err != nil {
			return err
		}
		toDir, toName, err := s.parent(to)
		if err != nil {
			return err
		}
		return s.rename(fromDir, fromName, toDir, toName)
	})
}

// RemoveAll removes a file, or a folder with all that is in it. That it is not
// there is no error. Links are removed and not followed.
func (c *Client) RemoveAll(ctx context.Context, name string) error {
	err := c.do(ctx, "remove", name, func(s *session) error {
		dir, base, err := s.parent(name)
		if err != nil {
			return err
		}
		_, a, err := s.lookup(dir, base)
		if err != nil {
			return err
		}
		return s.removeTree(dir, Entry{Name: base, Dir: a.dir()})
	})
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}

// Space gives the size of the server's filesystem and what of it is free to the
// share's user, in bytes.
func (c *Client) Space(ctx context.Context) (size, free int64, err error) {
	err = c.do(ctx, "ask for the space of", "", func(s *session) error {
		size, free, err = s.space()
		return err
	})
	return size, free, err
}
