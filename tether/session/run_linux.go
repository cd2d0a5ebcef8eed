package session

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/sys/signal"
	"golang.org/x/sys/unix"

	"github.com/vic-engine/vic/pkg/logframe"
	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/tether/cgroup"
	"github.com/vic-engine/vic/tether/proc"
)

// Run starts the container's process in root and in group (nil: in ours), and
// returns how it ended, when its output is in the log and with the clients and its end was reported. The waits
// for a line that is gone are bounded. Only ctx's end is an error: a process that
// could not be started has an exit status too.
func (m *Manager) Run(ctx context.Context, root string, group *cgroup.Group) (spec.ExitStatus, error) {
	m.raiseFiles()
	m.mark(logframe.KindStart)
	if err := m.awaitRelease(ctx); err != nil {
		return spec.ExitStatus{}, err
	}
	if err := m.awaitClock(ctx); err != nil {
		return spec.ExitStatus{}, err
	}
	p, err := m.start(root, group)
	if err != nil {
		exit := exitOf(startError(err))
		m.log.WithError(err).Warn("process not started")
		m.finish(exit)
		return exit, nil
	}
	m.log.WithField("pid", p.Pid()).Info("process started")
	m.setStarted(p)
	reported := make(chan struct{})
	go func() {
		defer close(reported)
		if err := m.cfg.Reporter.Started(m.id, p.Pid(), p.Started()); err != nil {
			m.log.WithError(err).Warn("start not reported")
		}
	}()

	var output sync.WaitGroup
	output.Go(func() { m.copyOutput(spec.Stdout, p.Stdout()) })
	output.Go(func() { m.copyOutput(spec.Stderr, p.Stderr()) })
	watching, watched := context.WithCancel(ctx)
	defer watched()
	if group != nil {
		output.Go(func() { m.watchOOM(watching, group) })
	}
	select {
	case <-p.Done():
	case <-ctx.Done():
		_ = p.Signal("SIGKILL") // one that has just ended needs none
		<-p.Done()
	}
	killRest()
	m.setEnding()
	watched()
	output.Wait()
	<-reported
	exit := p.Status()
	if group != nil {
		exit.OOM = m.oomKills() > 0
	}
	m.finish(exit)
	p.Release()
	return exit, ctx.Err()
}

func exitOf(e *spec.StartError) spec.ExitStatus {
	return spec.ExitStatus{Code: e.Code, Error: e.Msg, Stopped: time.Now().UTC()}
}

// awaitRelease waits for the engine when the process wants that.
func (m *Manager) awaitRelease(ctx context.Context) error {
	if !m.cfg.Container.Process.Attach {
		return nil
	}
	return m.await(ctx, m.released, m.cfg.ReleaseWait, "nobody released the process, starting it")
}

// awaitClock waits, not for long, until an engine has set the clock, so that no process
// sees it jump. One that was released is past it.
func (m *Manager) awaitClock(ctx context.Context) error {
	if m.cfg.Clock == nil || m.cfg.Container.Process.Attach {
		return nil
	}
	return m.await(ctx, m.timed, m.cfg.ClockWait, "nobody set the clock, the process starts by the hardware's")
}

// await waits until done is closed, at most as long as limit says, or the container is
// stopped. Only ctx's end is an error.
func (m *Manager) await(ctx context.Context, done <-chan struct{}, limit time.Duration, otherwise string) error {
	wait := time.NewTimer(limit)
	defer wait.Stop()
	select {
	case <-done:
	case <-m.stopping:
	case <-wait.C:
		m.log.WithField(spec.FieldDuration, limit).Warn(otherwise)
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

func (m *Manager) start(root string, group *cgroup.Group) (*proc.Process, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer close(m.started)
	m.root, m.group = root, group
	if m.stopAsked {
		m.startErr = stoppedBefore(m.cfg.Container.Process.StopSignal)
		return nil, m.startErr
	}
	p := m.withHostname(m.cfg.Container.Process)
	if m.rows > 0 && m.cols > 0 {
		p.Rows, p.Cols = m.rows, m.cols
	}
	m.process, m.startErr = proc.Start(m.cfg.Reaper, proc.Options{Root: root, Process: p, Group: m.mainGroup()})
	return m.process, m.startErr
}

// stoppedBefore is how a process ends that was stopped before it started.
func stoppedBefore(name string) error {
	sig := unix.SIGTERM
	if s, err := signal.ParseSignal(name); err == nil && name != "" {
		sig = s
	}
	return &spec.StartError{Code: 128 + int(sig), Msg: "stopped before it started"}
}

// withHostname adds Docker's HOSTNAME to the environment.
func (m *Manager) withHostname(p spec.Process) spec.Process {
	if host, err := os.Hostname(); err == nil {
		p.Env = append([]string{"HOSTNAME=" + host}, p.Env...) // a later entry wins
	}
	return p
}

// readSize is how much output is passed on at once: 20 ms of a busy line, so that
// others get their turn.
const readSize = 8 << 10

// copyOutput gives the output to the clients and the log until it ends.
func (m *Manager) copyOutput(stream spec.Stream, from io.Reader) {
	buf := make([]byte, readSize)
	logging := true
	for {
		n, err := from.Read(buf)
		if n > 0 {
			m.fan.give(stream, buf[:n])
			if err := m.writer.Write(stream, buf[:n], m.recent.add); err != nil && logging {
				logging = false
				m.log.WithError(err).Error("output is not kept")
			}
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				m.log.WithError(err).Warn("output ended early")
			}
			return
		}
	}
}

func (m *Manager) mark(kind logframe.Kind) {
	if err := m.writer.Mark(kind, m.recent.add); err != nil {
		m.log.WithError(err).Error("output is not kept")
	}
}

// finish tells everybody the end, in the order that lets the VM power off after.
func (m *Manager) finish(exit spec.ExitStatus) {
	m.setEnding()
	m.mark(logframe.KindEnd)
	m.fan.finish()
	var kept sync.WaitGroup
	kept.Go(func() {
		if err := m.cfg.Reporter.Exited(m.id, exit); err != nil {
			m.log.WithError(err).Error("exit not reported")
		}
	})
	m.awaitClients()
	m.setExited(exit)
	m.awaitReported()
	kept.Wait()
}

// awaitClients waits until the clients have their output; each is dropped when it
// stalls too long.
func (m *Manager) awaitClients() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.fan.wait()
		m.execWG.Wait()
	}()
	check := time.NewTicker(time.Second)
	defer check.Stop()
	for {
		select {
		case <-done:
			return
		case <-check.C:
			m.fan.dropStalled()
			if !m.lineGood() {
				if d, up := m.lineStalled(); !up || d > m.cfg.EndWait {
					m.fan.dropAll()
					return
				}
			}
		}
	}
}

// openFiles is how many files a process may open when it asks for no limit of its
// own: what a Docker daemon usually gives its containers. An init has 4096.
const openFiles = 1 << 20

// raiseFiles sets our own limit, which every process inherits. Only an init's is
// ours to change.
func (m *Manager) raiseFiles() {
	if os.Getpid() != 1 {
		return
	}
	// syscall's, not unix's: the former also stops Go from giving children the
	// limit that it found at its start.
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: openFiles, Max: openFiles}); err != nil {
		m.log.WithError(err).Warn("limit of open files not raised")
	}
}

// killRest ends what the container's process has left behind, so that its output
// ends and the VM can power off. Only an init may do that.
func killRest() {
	if os.Getpid() == 1 {
		_ = unix.Kill(-1, unix.SIGKILL) // ESRCH: there is nothing else
	}
}

// Stop delivers the container's stop signal: the soft power-off. A process that
// still waits for its release is not started at all.
func (m *Manager) Stop(ctx context.Context) error {
	m.mu.Lock()
	p := m.process
	if p == nil && !m.stopAsked {
		m.stopAsked = true
		close(m.stopping)
	}
	m.mu.Unlock()
	if p == nil {
		return nil
	}
	name := m.cfg.Container.Process.StopSignal
	if name == "" {
		name = "SIGTERM"
	}
	if err := m.signalMain(ctx, p, name); !errdefs.IsConflict(err) {
		return err
	}
	return nil // it has ended
}

// Fail reports that the boot failed before the process could start: an exit with
// code 125 and the reason. It is the end of the session.
func (m *Manager) Fail(err error) {
	m.mu.Lock()
	over := m.process != nil || m.startErr != nil
	if !over {
		m.startErr = startError(err)
		close(m.started)
	}
	m.mu.Unlock()
	if !over {
		m.finish(exitOf(startError(err)))
	}
}
