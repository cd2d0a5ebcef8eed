package guestrpc

import (
	"context"
	"io"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/vic-engine/vic/pkg/lab/machine"
)

// Config of a Host.
type Config struct {
	Guest machine.Guest // required
	Log   *logrus.Entry // required
	// PingEvery is how often the tools are asked whether they live, and
	// PingTimeout when they are held for gone. Defaults 15 s and 60 s: a guest
	// under emulation can be slow.
	PingEvery, PingTimeout time.Duration
}

// Host is the VMX's end of one VM's guest RPC. Its methods may be called from
// any goroutine; the streams may come and go.
type Host struct {
	guest       machine.Guest
	log         *logrus.Entry
	every, wait time.Duration

	mu      sync.Mutex // guards what follows; not held across calls of guest
	tools   bool
	caps    map[string]string // tools.capability.* and tools.set.* as last told
	tclo    *tclo             // the live stream, nil without one
	changes map[int]chan bool // waiting for tools.os.statechange.status, by state

	// told orders the calls of guest.Tools, so that the last call is the truth.
	told sync.Mutex
}

// New makes the host's side for one VM.
func New(cfg Config) *Host {
	h := &Host{guest: cfg.Guest, log: cfg.Log, every: cfg.PingEvery, wait: cfg.PingTimeout,
		caps: map[string]string{}, changes: map[int]chan bool{}}
	if h.every <= 0 {
		h.every = 15 * time.Second
	}
	if h.wait <= 0 {
		h.wait = time.Minute
	}
	return h
}

// ToolsRunning tells whether the guest's tools answer.
func (h *Host) ToolsRunning() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.tools
}

// Capability is what the tools last said of themselves under name, such as
// "tools.set.version".
func (h *Host) Capability(name string) (string, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	v, ok := h.caps[name]
	return v, ok
}

// setTools records and reports a change of the tools' state.
func (h *Host) setTools(running bool) {
	h.told.Lock()
	defer h.told.Unlock()
	h.mu.Lock()
	changed := h.tools != running
	h.tools = running
	h.mu.Unlock()
	if changed {
		h.log.WithField("running", running).Info("guest tools changed")
		h.guest.Tools(running)
	}
}

// closeWith closes c when ctx ends, so that a read on it returns. The returned
// function ends the watch.
func closeWith(ctx context.Context, c io.Closer) (stop func() bool) {
	return context.AfterFunc(ctx, func() { _ = c.Close() })
}
