package qemu

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/sirupsen/logrus"

	"github.com/vic-engine/vic/pkg/lab/machine"
)

// Network takes a NIC's stream (frames with a 4-byte big-endian length) into a
// port group until the stream or ctx ends.
type Network interface {
	Connect(ctx context.Context, portGroup, mac string, conn net.Conn) error
}

// Config of a Hypervisor.
type Config struct {
	// Binary is QEMU; default "qemu-system-x86_64" from PATH.
	Binary string
	// RunDir keeps sockets and process ids; required. At most 80 bytes long,
	// since a unix socket's path has 108. It is made if missing.
	RunDir string
	// Accel is "tcg", "kvm" or "" to find out: KVM is then used when ProbeISO
	// has reached user space under it once, which is remembered in RunDir for
	// this kernel and QEMU. A usable /dev/kvm proves nothing: under some nested
	// hypervisors small code runs and stock kernels hang.
	Accel string
	// ProbeISO is a bootable image whose guest opens vic.rpci; the
	// bootstrap.iso will do. Without one nothing is proven and TCG is used.
	ProbeISO string
	// TBSizeMB is TCG's code buffer for each VM; 0: by the VM's memory, see
	// codeBuffer.
	TBSizeMB int
	// Network receives the NICs; nil leaves them without a link.
	Network Network
	// Dial reaches the far end of network serial ports; default a net.Dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	Log  *logrus.Entry // required
}

// Hypervisor starts VMs as QEMU processes.
type Hypervisor struct {
	cfg    Config
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // every goroutine of every instance

	accelMu sync.Mutex // held while probing
	accel   string     // the verdict, "" before it

	straysMu sync.Mutex // guards strays
	strays   []string   // folders of RunDir that were there before us, and are nobody's yet
}

var _ machine.Hypervisor = (*Hypervisor)(nil)

// longest name below a VM's folder: "/" + key + "/" + "ser3", with the 108 bytes
// of sockaddr_un.sun_path and its final NUL.
const maxRunDir = 108 - 1 - 1 - keyLen - 5

// New makes RunDir and starts nothing.
func New(cfg Config) (*Hypervisor, error) {
	if cfg.Log == nil {
		return nil, fmt.Errorf("qemu: no log: %w", errdefs.ErrInvalidArgument)
	}
	if cfg.Binary == "" {
		cfg.Binary = "qemu-system-x86_64"
	}
	if _, err := exec.LookPath(cfg.Binary); err != nil {
		return nil, fmt.Errorf("qemu: %w; install Debian's qemu-system-x86 or name the program", err)
	}
	switch cfg.Accel {
	case "", "tcg", "kvm":
	default:
		return nil, fmt.Errorf("qemu: accelerator %q: only tcg and kvm: %w", cfg.Accel, errdefs.ErrInvalidArgument)
	}
	if cfg.Dial == nil {
		cfg.Dial = new(net.Dialer).DialContext
	}
	if cfg.RunDir == "" {
		return nil, fmt.Errorf("qemu: no run folder: %w", errdefs.ErrInvalidArgument)
	}
	dir, err := filepath.Abs(cfg.RunDir)
	if err != nil {
		return nil, fmt.Errorf("qemu: run folder: %w", err)
	}
	if len(dir) > maxRunDir {
		return nil, fmt.Errorf("qemu: run folder %s is %d bytes long, at most %d: %w", dir, len(dir), maxRunDir, errdefs.ErrInvalidArgument)
	}
	cfg.RunDir = dir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("qemu: run folder: %w", err)
	}
	// The lifetime of what serves the VMs is Close's to end, not a caller's.
	ctx, cancel := context.WithCancel(context.Background())
	h := &Hypervisor{cfg: cfg, ctx: ctx, cancel: cancel, accel: cfg.Accel}
	h.findStrays()
	return h, nil
}

// Close lets go of all VMs and waits until nothing serves them any more. They
// stay up: Adopt of a later process takes them over.
func (h *Hypervisor) Close() {
	h.cancel()
	h.wg.Wait()
}

const keyLen = 12

// paths of m: named for its folder, which neither a rename nor a restart of the
// lab changes.
func (h *Hypervisor) paths(m machine.Machine) Paths {
	dir, err := filepath.Abs(m.Dir)
	if err != nil {
		dir = m.Dir
	}
	sum := sha256.Sum256([]byte(dir))
	return Paths{Run: filepath.Join(h.cfg.RunDir, hex.EncodeToString(sum[:])[:keyLen])}
}

func dialUnix(ctx context.Context, path string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("connect to VM: %w", err)
	}
	return c, nil
}

// closed tells whether err only says that a stream ended.
func closed(err error) bool {
	return err == nil || errors.Is(err, net.ErrClosed) || errors.Is(err, context.Canceled)
}
