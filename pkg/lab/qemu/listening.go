package qemu

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"syscall"
)

// dialListening connects to a socket of QEMU's. It makes those of network cards in a
// thread of their own (qio_channel_socket_listen_async in its net/stream.c), so they
// may not be there yet, or not listen, when it answers already: it tries until ctx
// ends. Any other error ends it at once.
func dialListening(ctx context.Context, path string) (net.Conn, error) {
	return untilListening(ctx, func() (net.Conn, error) { return dialUnix(ctx, path) })
}

func untilListening(ctx context.Context, dial func() (net.Conn, error)) (net.Conn, error) {
	for retry := (backoff{}); ; {
		c, err := dial()
		if err == nil || !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ECONNREFUSED) {
			return c, err
		}
		if !retry.wait(ctx) {
			return nil, err
		}
	}
}
