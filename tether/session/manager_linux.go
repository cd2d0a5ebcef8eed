package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"
	"github.com/sirupsen/logrus"
	"golang.org/x/crypto/ssh"

	"github.com/vic-engine/vic/pkg/clock"
	"github.com/vic-engine/vic/pkg/logframe"
	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/pkg/tetherproto"
	"github.com/vic-engine/vic/tether/cgroup"
	"github.com/vic-engine/vic/tether/proc"
)

// Reporter keeps what the engine re-reads when it has missed a report.
type Reporter interface {
	Started(id string, pid int, at time.Time) error
	Exited(id string, exit spec.ExitStatus) error
	// Paused tells that the processes stand still, or go on again.
	Paused(id string, paused bool) error
	// OOM tells that the kernel has killed one for want of memory.
	OOM(id string) error
}

// Config of a Manager. Zero times mean the defaults given.
type Config struct {
	Container spec.Container
	// BootID is this boot's id, as reported in guestinfo.
	BootID string
	// HostKey is tether's SSH key; the engine must find its public half in
	// guestinfo before it hears of the line.
	HostKey ssh.Signer
	// Reaper may be nil: then each process is waited for alone.
	Reaper *proc.Reaper
	// Log gets the output as frames of pkg/logframe. A write that blocks holds
	// the process back; one that fails loses this output but not the process.
	Log io.Writer
	// RunID numbers this run in the log; 0: the time in nanoseconds.
	RunID    uint64
	Reporter Reporter
	Logger   *logrus.Entry

	// Network makes the guest's networks as the engine says. It may be called
	// before the boot is over, and by several goroutines. Nil: not offered.
	Network func(context.Context, spec.NetworkUpdate) error
	// Grow lets the mounted filesystem of the disk scsi0:unit fill its disk.
	// Nil: not offered.
	Grow func(ctx context.Context, unit int) error
	// Enlarge uses the CPUs and the memory that the VM has got, see
	// tetherproto.Controls. Nil: not offered.
	Enlarge func(context.Context, spec.Size) error
	// Clock is this computer's, corrected as the engine says. Nil: not offered.
	Clock clock.Clock
	// Files does an operation on the container's files, see tetherproto.FileHandler.
	// It may be called before the boot is over. Nil: not offered.
	Files func(context.Context, spec.FileRequest, tetherproto.IO) error
	// PowerOff ends the guest soon after it has returned. Nil: not offered, as
	// there is a process.
	PowerOff func()

	// ReleaseWait bounds the wait of a process with Attach for the engine, so
	// that a power-on without a VCH works. Default 30 s.
	ReleaseWait time.Duration
	// ClockWait bounds the wait of any other process for the first correction of the
	// clock. Default 1 s.
	ClockWait time.Duration
	// ClientStall is how long a client that takes nothing may hold the process
	// back while its line is good (a pager that waits for its user): default
	// 5 min. LineStall is the same while the line takes nothing: default 30 s.
	ClientStall, LineStall time.Duration
	// RelayWait bounds how long a connection to a relayed socket waits for an
	// engine, which may be about to restart: default 30 s.
	RelayWait time.Duration
	// EndWait bounds the wait at the end for a line that takes nothing: default 5 s.
	EndWait time.Duration
}

// Manager is one container's session. It serves the line from ServeLine's call
// on, and runs the process once.
type Manager struct {
	cfg      Config
	id       string
	key      ssh.PublicKey
	listener *tetherproto.Listener
	log      *logrus.Entry
	writer   *logframe.Writer
	recent   *recent
	fan      *fan

	released chan struct{} // closed by the first Release
	timed    chan struct{} // closed when an engine has corrected the clock
	started  chan struct{} // closed when the process runs or cannot
	stopping chan struct{} // closed by Stop before the start
	freezing chan struct{} // of one: held while processes are frozen or thawed

	mu        sync.Mutex    // guards what follows
	root      string        // set when processes may run
	group     *cgroup.Group // likewise; nil: there is none
	rows      int           // terminal size asked for before the start
	cols      int
	process   *proc.Process
	startErr  error
	stopAsked bool
	isFree    bool // released is closed
	isTimed   bool // timed is closed
	frozen    bool // no exec may start
	execs     map[string]*proc.Process
	execWG    sync.WaitGroup
	state     state
	changed   chan struct{}        // closed and replaced when state changes or an engine connects
	conns     map[*connection]bool // engines' connections, normally one

	oomTold atomic.Int64 // kills for want of memory that an engine was told of
}

// New makes the session of a container. It starts nothing.
func New(cfg Config) (*Manager, error) {
	if cfg.Log == nil || cfg.Reporter == nil || cfg.HostKey == nil || cfg.Logger == nil {
		return nil, fmt.Errorf("session without log, reporter, host key or logger: %w", errdefs.ErrInvalidArgument)
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(cfg.Container.AuthorizedKey))
	if err != nil {
		return nil, fmt.Errorf("engine's public key: %w", err)
	}
	setDefault := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	setDefault(&cfg.ReleaseWait, 30*time.Second)
	setDefault(&cfg.ClockWait, time.Second)
	setDefault(&cfg.ClientStall, 5*time.Minute)
	setDefault(&cfg.LineStall, 30*time.Second)
	setDefault(&cfg.EndWait, 5*time.Second)
	setDefault(&cfg.RelayWait, 30*time.Second)
	if cfg.RunID == 0 {
		cfg.RunID = uint64(time.Now().UnixNano())
	}
	m := &Manager{
		cfg: cfg, id: cfg.Container.ID, key: key, log: cfg.Logger.WithField(spec.FieldContainer, cfg.Container.ID),
		listener: tetherproto.NewListener(tetherproto.LinkConfig{ContainerID: cfg.Container.ID, BootID: cfg.BootID}),
		writer:   logframe.NewWriter(cfg.Log, cfg.RunID),
		recent:   newRecent(cfg.RunID),
		released: make(chan struct{}), timed: make(chan struct{}), started: make(chan struct{}), stopping: make(chan struct{}),
		freezing: make(chan struct{}, 1),
		execs:    map[string]*proc.Process{}, changed: make(chan struct{}), conns: map[*connection]bool{},
	}
	m.fan = newFan(m.stall)
	return m, nil
}

// main gives the container's process; ErrConflict while there is none.
func (m *Manager) main() (*proc.Process, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.process == nil {
		return nil, fmt.Errorf("container %s is not running: %w", m.id, errdefs.ErrConflict)
	}
	return m.process, nil
}

// find gives an exec's process, or the container's when exec is empty.
func (m *Manager) find(exec string) (*proc.Process, error) {
	if exec == "" {
		return m.main()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	p, ok := m.execs[exec]
	if !ok {
		return nil, fmt.Errorf("exec %s is not running: %w", exec, errdefs.ErrNotFound)
	}
	return p, nil
}

// Signal sends a signal to the container's process.
func (m *Manager) Signal(name string) error {
	p, err := m.main()
	if err != nil {
		return err
	}
	return m.signalMain(context.Background(), p, name) // it bounds itself
}

// lineStalled tells for how long the line took nothing of what waits; a line that
// is not there takes nothing.
func (m *Manager) lineStalled() (d time.Duration, up bool) {
	link := m.listener.Link()
	if link == nil || link.Err() != nil || !link.Synced() {
		return 0, false
	}
	return link.Stalled(), true
}

// lineGone is how long a line may take nothing and still count as good.
const lineGone = 5 * time.Second

// lineGood tells whether what is sent now has a chance to arrive.
func (m *Manager) lineGood() bool {
	d, up := m.lineStalled()
	return up && d < lineGone
}

// stall is how long a client may take nothing now.
func (m *Manager) stall() time.Duration {
	if m.lineGood() {
		return m.cfg.ClientStall
	}
	m.mu.Lock()
	over := m.state.exited
	m.mu.Unlock()
	if over {
		return m.cfg.EndWait
	}
	return m.cfg.LineStall
}

// startError gives the words and the code for any failure to start.
func startError(err error) *spec.StartError {
	var s *spec.StartError
	if errors.As(err, &s) {
		return s
	}
	return &spec.StartError{Code: spec.ExitGuestFailed, Msg: err.Error()}
}
