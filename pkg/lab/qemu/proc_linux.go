package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/vic-engine/vic/pkg/lab/machine"
)

// process is a QEMU process, child or not, held by a pidfd: signals can't hit
// another one that got its number.
type process struct {
	pid int
	fd  *os.File
}

// openProcess holds pid. started must be what startedAt gave for it earlier, or
// empty.
func openProcess(pid int, started string) (*process, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("process %d: %w", pid, err)
	}
	p := &process{pid: pid, fd: os.NewFile(uintptr(fd), "pidfd")}
	if started != "" {
		now, err := startedAt(pid)
		if err == nil && now != started {
			err = errors.New("another process has the number now")
		}
		if err != nil {
			p.close()
			return nil, fmt.Errorf("process %d: %w", pid, err)
		}
	}
	return p, nil
}

func (p *process) close() { _ = p.fd.Close() }

// wait returns nil when the process has ended, or ctx's error.
func (p *process) wait(ctx context.Context) error {
	c, err := p.fd.SyscallConn()
	if err != nil {
		return fmt.Errorf("process %d: %w", p.pid, err)
	}
	defer context.AfterFunc(ctx, p.close)()
	err = c.Read(func(fd uintptr) bool {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		return err == nil && n > 0
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("process %d: %w", p.pid, err)
	}
	return nil
}

// signal reports whether the process was there to be told.
func (p *process) signal(s syscall.Signal) error {
	c, err := p.fd.SyscallConn()
	if err != nil {
		return fmt.Errorf("process %d: %w", p.pid, err)
	}
	var serr error
	if err := c.Control(func(fd uintptr) { serr = unix.PidfdSendSignal(int(fd), s, nil, 0) }); err != nil {
		serr = err
	}
	if serr != nil {
		return fmt.Errorf("signal process %d: %w", p.pid, serr)
	}
	return nil
}

// ownGroup keeps a terminal's signals to the lab away from VMs.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// startedAt is the start time in /proc/PID/stat, in ticks since boot.
func startedAt(pid int) (string, error) {
	f, err := statFields(pid)
	if err != nil {
		return "", err
	}
	return f[19], nil
}

// statFields are the fields of /proc/PID/stat from the third ("state") on; the
// second may hold blanks and parentheses.
func statFields(pid int) ([]string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 22 {
		return nil, fmt.Errorf("process %d: stat has %d fields", pid, len(f))
	}
	return f, nil
}

// clockTicks is USER_HZ, which Linux fixes at 100 for user space.
const clockTicks = 100

func (p *process) usage() (machine.Usage, error) {
	f, err := statFields(p.pid)
	if err != nil {
		return machine.Usage{}, fmt.Errorf("usage of process %d: %w", p.pid, err)
	}
	var v [3]int64
	for i, at := range []int{11, 12, 21} { // utime, stime, rss in pages
		if v[i], err = strconv.ParseInt(f[at], 10, 64); err != nil {
			return machine.Usage{}, fmt.Errorf("usage of process %d: %w", p.pid, err)
		}
	}
	return machine.Usage{
		CPUSeconds:  float64(v[0]+v[1]) / clockTicks,
		MemoryBytes: v[2] * int64(os.Getpagesize()),
	}, nil
}
