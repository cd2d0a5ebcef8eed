package tether

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/tether/system"
)

// socketsDir holds the unix sockets that are relayed to the engine. The container
// sees each bound to its place, so that nothing is left on its disk.
const socketsDir = "/run/vic/sockets"

// socketMode lets root and its group connect, as Docker's own socket does with the
// group docker, which no image has.
const socketMode = 0o660

// socket gives the container a socket whose connections the engine serves. It
// listens before the process starts; without an engine connections wait for one.
func (c *Container) socket(ctx context.Context, m spec.Mount) error {
	if err := os.MkdirAll(socketsDir, 0o755); err != nil {
		return err
	}
	c.sockets++
	at := filepath.Join(socketsDir, fmt.Sprint(c.sockets))
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: at, Net: "unix"})
	if err != nil {
		return fmt.Errorf("socket for %s: %w", m.Path, err)
	}
	if err := os.Chmod(at, socketMode); err != nil {
		_ = l.Close()
		return fmt.Errorf("socket for %s: %w", m.Path, err)
	}
	if err := system.BindInRoot(at, rootDir, filepath.Dir(m.Path), filepath.Base(m.Path)); err != nil {
		_ = l.Close()
		return err
	}
	c.goes(func() {
		if err := c.session.Relay(ctx, l, m.Source); err != nil {
			c.log.WithError(err).Error("socket is not relayed any more")
		}
	})
	return nil
}
