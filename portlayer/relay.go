package portlayer

import (
	"fmt"
	"net"
	"slices"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/pkg/tetherproto"
)

// relayed is a listener whose connections come from guests, over their lines.
type relayed struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newRelayed() *relayed {
	return &relayed{conns: make(chan net.Conn), closed: make(chan struct{})}
}

// Relayed gives the connections that containers make to the socket of the engine
// that they were made with. Their remote address names the container.
func (p *PortLayer) Relayed() net.Listener { return p.relayed }

// relay is asked by the concentrator about a connection that a guest wants. The
// guest is not trusted: what its container was made with decides.
func (p *PortLayer) relay(id string, q tetherproto.RelayRequest) (func(*tetherproto.RelayConn), error) {
	if !p.cfg.VCH.DockerSocket {
		return nil, fmt.Errorf("%s: this VCH does not let containers reach its Docker API: vic-machine create --docker-socket does: %w", q.Socket, errdefs.ErrPermissionDenied)
	}
	m, err := p.manage()
	if err != nil {
		return nil, err
	}
	v, err := m.Container(id)
	if err != nil {
		return nil, err
	}
	if !asksFor(v.Container, q.Socket) {
		return nil, fmt.Errorf("container %s was made without the socket %s: %w", v.Container.Name, q.Socket, errdefs.ErrPermissionDenied)
	}
	return func(c *tetherproto.RelayConn) { p.relayed.give(guestConn{c, id}) }, nil
}

func asksFor(c spec.Container, socket string) bool {
	return slices.ContainsFunc(c.Mounts, func(m spec.Mount) bool { return m.Type == spec.MountSocket && m.Source == socket })
}

// give hands a connection to whoever accepts; without one it is closed.
func (r *relayed) give(c guestConn) {
	select {
	case r.conns <- c:
	case <-c.Gone():
	case <-r.closed:
		_ = c.Close()
	}
}

// Accept waits for the next connection; after Close it is net.ErrClosed.
func (r *relayed) Accept() (net.Conn, error) {
	select {
	case c := <-r.conns:
		return c, nil
	case <-r.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept; connections that were accepted stay.
func (r *relayed) Close() error {
	r.once.Do(func() { close(r.closed) })
	return nil
}

// Addr is that of all control lines.
func (r *relayed) Addr() net.Addr { return guestAddr("containers") }

// guestConn is a connection from a container.
type guestConn struct {
	*tetherproto.RelayConn
	id string
}

func (c guestConn) RemoteAddr() net.Addr { return guestAddr(c.id) }

// guestAddr names a container as the end of a connection.
type guestAddr string

func (guestAddr) Network() string  { return "vic-relay" }
func (a guestAddr) String() string { return "container:" + string(a) }
