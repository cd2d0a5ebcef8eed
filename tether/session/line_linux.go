package session

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vic-engine/vic/pkg/tetherproto"
)

// reopenDelay is how long to wait before a line that broke is opened again. A
// UART does not break; this is for what stands in for one.
const reopenDelay = time.Second

// handshakeTimeout bounds the SSH handshake with an engine.
const handshakeTimeout = time.Minute

// ServeLine serves engines on the line until ctx is done. open is called at once,
// and again whenever the stream broke.
func (m *Manager) ServeLine(ctx context.Context, open func() (io.ReadWriteCloser, error)) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wg.Go(func() { m.acceptEngines(ctx) })
	for {
		rw, err := open()
		if err == nil {
			err = m.listener.Serve(ctx, tetherproto.NewStream(rw))
		}
		if ctx.Err() != nil {
			return nil
		}
		m.log.WithError(err).Debug("control line broke, opening it again")
		wait := time.NewTimer(reopenDelay)
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return nil
		}
	}
}

func (m *Manager) acceptEngines(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		link, err := m.listener.Accept(ctx)
		if err != nil {
			return // ctx is done
		}
		wg.Go(func() {
			if err := m.serveEngine(ctx, link); err != nil && ctx.Err() == nil {
				m.log.WithError(err).Warn("engine refused or lost")
			}
		})
	}
}

// serveEngine serves one engine from its handshake to its end.
func (m *Manager) serveEngine(ctx context.Context, link *tetherproto.Link) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	late := time.AfterFunc(handshakeTimeout, cancel)
	c := &connection{knows: make(chan struct{})}
	defer func() {
		m.mu.Lock()
		delete(m.conns, c)
		m.mu.Unlock()
	}()
	sc, err := tetherproto.ServeConn(ctx, link, tetherproto.ServerConfig{
		HostKey: m.cfg.HostKey, Authorized: m.key, Log: m.log,
		// An end that the engine's first request brings about waits for it too.
		Connected: func(sc *tetherproto.ServerConn) {
			m.mu.Lock()
			defer m.mu.Unlock()
			c.sc = sc
			m.conns[c] = true
			close(m.changed) // connections that are relayed wait for it
			m.changed = make(chan struct{})
		},
	}, handler{m})
	if !late.Stop() && err == nil {
		err = context.DeadlineExceeded
	}
	if err != nil {
		close(c.knows)
		return err
	}
	m.log.Info("engine connected")
	m.reportTo(ctx, c)
	<-sc.Done()
	return nil
}

// OpenLine gives ServeLine's open for a serial port: raw, 8 bits, with hardware
// flow control as the VM's port has it.
func OpenLine(path string) func() (io.ReadWriteCloser, error) {
	return func() (io.ReadWriteCloser, error) {
		fd, err := unix.Open(path, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return nil, fmt.Errorf("open line %s: %w", path, err)
		}
		if err := makeRaw(fd); err != nil {
			_ = unix.Close(fd)
			return nil, fmt.Errorf("set line %s raw: %w", path, err)
		}
		// An interrupt for 14 bytes of the UART's 16 instead of 8: nearly twice
		// the speed where an interrupt is what costs. Not every UART has it.
		trigger := filepath.Join("/sys/class/tty", filepath.Base(path), "rx_trig_bytes")
		_ = os.WriteFile(trigger, []byte("14"), 0)
		p, err := newPort(fd)
		if err != nil {
			_ = unix.Close(fd)
			return nil, fmt.Errorf("open line %s: %w", path, err)
		}
		return p, nil
	}
}

func makeRaw(fd int) error {
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return err
	}
	t.Iflag, t.Oflag, t.Lflag = unix.IGNBRK|unix.IGNPAR, 0, 0
	t.Cflag = unix.CS8 | unix.CREAD | unix.CLOCAL | unix.CRTSCTS | unix.B115200
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	return unix.IoctlSetTermios(fd, unix.TCSETS, t)
}
