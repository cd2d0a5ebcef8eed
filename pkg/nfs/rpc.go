package nfs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
)

// The programs (RFC 1833, RFC 1813) and what of them is called.
const (
	progPortmap, versPortmap = 100000, 2
	progNFS, versNFS         = 100003, 3
	progMount, versMount     = 100005, 3

	portmapPort  = 111
	procGetPort  = 3
	procMountMNT = 1
	protoTCP     = 6
)

// Limits of what a server may send.
const (
	maxReply  = 4 << 20
	maxHandle = 64
	maxName   = 255
)

// callTimeout bounds a call whose context has no end of its own.
const callTimeout = 30 * time.Second

// Dialer connects to a server. net.Dialer has it.
type Dialer func(ctx context.Context, network, address string) (net.Conn, error)

// lowPorts are tried as the client's own: servers take requests of "insecure"
// ports only where told to (exports(5)). Below 665 are ports of known services.
const (
	lowPortFirst = 665
	lowPortLast  = 1023
)

// DialLow connects from a privileged port, or from any where that is not allowed
// to this process.
func DialLow(ctx context.Context, network, address string) (net.Conn, error) {
	first := lowPortFirst + int(time.Now().UnixNano()%(lowPortLast-lowPortFirst+1))
	for i := range lowPortLast - lowPortFirst + 1 {
		port := first + i
		if port > lowPortLast {
			port -= lowPortLast - lowPortFirst + 1
		}
		d := net.Dialer{LocalAddr: &net.TCPAddr{Port: port}}
		c, err := d.DialContext(ctx, network, address)
		switch {
		case errors.Is(err, syscall.EADDRINUSE), errors.Is(err, syscall.EADDRNOTAVAIL):
			continue
		case errors.Is(err, os.ErrPermission):
			return new(net.Dialer).DialContext(ctx, network, address)
		}
		return c, err
	}
	return new(net.Dialer).DialContext(ctx, network, address)
}

// wire is one connection to a server's program. Calls follow each other.
type wire struct {
	conn net.Conn
	xid  uint32
	cred []byte
}

func newWire(c net.Conn, uid, gid uint32) *wire {
	return &wire{conn: c, xid: uint32(time.Now().UnixNano()), cred: credentials(uid, gid)}
}

// credentials are AUTH_SYS (RFC 5531, appendix A): stamp, machine, uid, gid, and
// no further groups.
func credentials(uid, gid uint32) []byte {
	var body encoder
	body.u32(0).text("vic").u32(uid).u32(gid).u32(0)
	var e encoder
	e.u32(1).opaque(body.b) // AUTH_SYS
	return e.b
}

// call sends a request and gives the results of its reply. Any error means that
// the connection is of no more use.
func (w *wire) call(ctx context.Context, prog, vers, proc uint32, args []byte) (*decoder, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = w.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	w.xid++
	var e encoder
	e.u32(0) // the record's mark, below
	e.u32(w.xid).u32(0).u32(2).u32(prog).u32(vers).u32(proc)
	e.b = append(e.b, w.cred...)
	e.u32(0).u32(0) // no verifier
	e.b = append(e.b, args...)
	binary.BigEndian.PutUint32(e.b, 1<<31|uint32(len(e.b)-4))
	_, err := w.conn.Write(e.b)
	var raw []byte
	if err == nil {
		raw, err = readRecord(w.conn)
	}
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("NFS server %s: %w: %w", w.conn.RemoteAddr(), err, errdefs.ErrUnavailable)
	}
	d, err := parseReply(raw, w.xid)
	if err != nil {
		return nil, fmt.Errorf("NFS server %s: %w: %w", w.conn.RemoteAddr(), err, errdefs.ErrUnavailable)
	}
	return d, nil
}

// readRecord reads one record, which may come in fragments (RFC 5531, 11).
func readRecord(r io.Reader) ([]byte, error) {
	var out []byte
	for {
		var head [4]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return nil, err
		}
		mark := binary.BigEndian.Uint32(head[:])
		n := int(mark &^ (1 << 31))
		if n > maxReply-len(out) {
			return nil, fmt.Errorf("a reply of more than %d bytes", maxReply)
		}
		at := len(out)
		out = append(out, make([]byte, n)...)
		if _, err := io.ReadFull(r, out[at:]); err != nil {
			return nil, err
		}
		if mark>>31 == 1 {
			return out, nil
		}
		if n == 0 {
			return nil, errShort // or it could go on for ever
		}
	}
}

// parseReply gives the results of a reply that says success.
func parseReply(raw []byte, xid uint32) (*decoder, error) {
	d := &decoder{b: raw}
	if d.u32() != xid || d.u32() != 1 {
		return nil, errors.New("the reply is to another request")
	}
	if d.u32() != 0 {
		return nil, errors.New("the request was denied: the server does not take AUTH_SYS")
	}
	d.u32() // verifier
	d.opaque(400)
	stat := d.u32()
	if d.err != nil {
		return nil, d.err
	}
	if stat != 0 {
		return nil, fmt.Errorf("the server does not do this (RPC status %d)", stat)
	}
	return d, nil
}

// portOf asks the port mapper of a host for a program.
func portOf(ctx context.Context, dial Dialer, host string, prog, vers uint32) (int, error) {
	c, err := dial(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(portmapPort)))
	if err != nil {
		return 0, fmt.Errorf("port mapper: %w: %w", err, errdefs.ErrUnavailable)
	}
	defer c.Close()
	var args encoder
	args.u32(prog).u32(vers).u32(protoTCP).u32(0)
	d, err := newWire(c, 0, 0).call(ctx, progPortmap, versPortmap, procGetPort, args.b)
	if err != nil {
		return 0, err
	}
	port := d.u32()
	if d.err != nil || port == 0 || port > 65535 {
		return 0, fmt.Errorf("the port mapper of %s knows no program %d over TCP: %w", host, prog, errdefs.ErrUnavailable)
	}
	return int(port), nil
}
