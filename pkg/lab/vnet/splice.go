package vnet

import (
	"io"
	"net"
	"sync"
)

// half is a stream whose directions end apart.
type half interface {
	net.Conn
	CloseWrite() error
}

// splice carries bytes both ways until both directions have ended, each end of
// stream passed on as such; then it closes both. A broken stream ends the other.
func splice(a, b half) {
	var wg sync.WaitGroup
	one := func(dst, src half) {
		_, err := copyStream(dst, src)
		if err == nil {
			err = dst.CloseWrite()
		}
		if err != nil {
			reset(dst)
			reset(src)
		}
	}
	wg.Go(func() { one(a, b) })
	wg.Go(func() { one(b, a) })
	wg.Wait()
	_ = a.Close()
	_ = b.Close()
}

// reset ends a stream so that the far end does not take it for complete.
func reset(c half) {
	switch c := c.(type) {
	case *conn:
		c.abort()
	case *net.TCPConn:
		_ = c.SetLinger(0)
		_ = c.Close()
	default:
		_ = c.Close()
	}
}

// copyStream is io.Copy with a buffer of a few dozen segments.
func copyStream(dst io.Writer, src io.Reader) (int64, error) {
	// Hidden: ReadFrom and WriteTo, which bring a small buffer of their own.
	return io.CopyBuffer(struct{ io.Writer }{dst}, struct{ io.Reader }{src}, make([]byte, 64<<10))
}
