package proc

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/sys/signal"
	"golang.org/x/sys/unix"

	"github.com/vic-engine/vic/pkg/spec"
)

// Process is a running or ended process.
type Process struct {
	reaper  *Reaper
	pid     int
	tty     bool
	io      *stdio
	started time.Time

	done   chan struct{}
	status spec.ExitStatus // set before done is closed
}

// Pid is the process id.
func (p *Process) Pid() int { return p.pid }

// Started is when it was started, UTC.
func (p *Process) Started() time.Time { return p.started }

// Done is closed when the process has ended and was reaped.
func (p *Process) Done() <-chan struct{} { return p.done }

// Status tells how it ended; it waits for that.
func (p *Process) Status() spec.ExitStatus {
	<-p.done
	return p.status
}

// Stdin writes to the process. Close ends its input, which a terminal has not.
func (p *Process) Stdin() io.WriteCloser { return p.io.stdin }

// Stdout gives the output (with a terminal: all of it). It ends when nobody
// writes to it any more, or shortly after the process's end when a descendant
// keeps it open. It must be read, or the process blocks.
func (p *Process) Stdout() io.Reader { return p.io.stdout }

// Stderr is at its end at once with a terminal.
func (p *Process) Stderr() io.Reader { return p.io.stderr }

// Signal sends a signal by name ("SIGTERM", "TERM") or number. A process that has
// ended is ErrConflict, an unknown signal ErrInvalidArgument.
func (p *Process) Signal(name string) error {
	sig, err := signal.ParseSignal(name)
	if err != nil {
		return fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	}
	select {
	case <-p.done:
		return fmt.Errorf("process %d has ended: %w", p.pid, errdefs.ErrConflict)
	default:
	}
	return p.reaper.kill(p.pid, sig)
}

// Resize sets the size of the terminal; without one it does nothing.
func (p *Process) Resize(rows, cols int) error {
	if !p.tty {
		return nil
	}
	raw, err := p.io.master.SyscallConn()
	if err != nil {
		return fmt.Errorf("resize terminal: %w", err)
	}
	cerr := raw.Control(func(fd uintptr) { err = setSize(int(fd), rows, cols) })
	if cerr != nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("resize terminal: %w", err)
	}
	return nil
}

// Release closes what the process's streams hold. Called when they were read.
func (p *Process) Release() { p.io.closeParent() }

func (p *Process) watch(end <-chan unix.WaitStatus, oom func() bool) {
	ws := <-end
	st := spec.ExitStatus{Started: p.started, Stopped: time.Now().UTC(), Code: ws.ExitStatus()}
	if ws.Signaled() {
		st.Signal = int(ws.Signal())
		st.Code = 128 + st.Signal
		st.OOM = ws.Signal() == unix.SIGKILL && oom()
	}
	p.status = st
	close(p.done)
	p.io.settle()
}

// oomKills counts the processes that the kernel killed for want of memory since
// its boot. In a VM for one container that is precise enough.
func oomKills() int {
	data, err := os.ReadFile("/proc/vmstat")
	if err != nil {
		return 0
	}
	_, rest, ok := bytes.Cut(data, []byte("\noom_kill "))
	if !ok {
		return 0
	}
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	n, err := strconv.Atoi(string(line))
	if err != nil {
		return 0
	}
	return n
}

// once closes a set of files once.
type once struct {
	sync.Once
	files []*os.File
}

func (o *once) close() {
	o.Do(func() {
		for _, f := range o.files {
			_ = f.Close()
		}
	})
}
