package proc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// Reaper collects every child of this process: those that Start made, and the
// orphans that PID 1 inherits. It is the only caller of wait4(-1); a program that
// has one must not use os/exec, whose waits it would take away.
type Reaper struct {
	log *logrus.Entry

	mu      sync.Mutex // guards waiting, and is held from fork to registration and while reaping
	waiting map[int]chan<- unix.WaitStatus
}

// NewReaper starts nothing.
func NewReaper(log *logrus.Entry) *Reaper {
	return &Reaper{log: log, waiting: map[int]chan<- unix.WaitStatus{}}
}

// Run reaps until ctx is done.
func (r *Reaper) Run(ctx context.Context) {
	// Level, not edge: one pending SIGCHLD stands for any number, as each makes
	// us collect all there are.
	died := make(chan os.Signal, 1)
	signal.Notify(died, unix.SIGCHLD)
	defer signal.Stop(died)
	for {
		r.reap()
		select {
		case <-died:
		case <-ctx.Done():
			return
		}
	}
}

func (r *Reaper) reap() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, unix.WNOHANG, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return // ECHILD: no children at all
		}
		to, ours := r.waiting[pid]
		if !ours {
			r.log.WithField("pid", pid).Debug("orphan reaped")
			continue
		}
		delete(r.waiting, pid)
		to <- ws // has room for it
	}
}

// fork runs start, which makes a child, and gives the channel on which the
// child's end will be told.
func (r *Reaper) fork(start func() (int, error)) (int, <-chan unix.WaitStatus, error) {
	end := make(chan unix.WaitStatus, 1)
	if r == nil {
		pid, err := start()
		if err == nil {
			go waitAlone(pid, end)
		}
		return pid, end, err
	}
	// A child that ends at once must not be reaped before it is known.
	r.mu.Lock()
	defer r.mu.Unlock()
	pid, err := start()
	if err == nil {
		r.waiting[pid] = end
	}
	return pid, end, err
}

func waitAlone(pid int, end chan<- unix.WaitStatus) {
	for {
		var ws unix.WaitStatus
		_, err := unix.Wait4(pid, &ws, 0, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		end <- ws
		return
	}
}

// kill sends a signal to a child that has not been reaped: its pid cannot belong
// to another process yet.
func (r *Reaper) kill(pid int, sig unix.Signal) error {
	if r != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		if _, ours := r.waiting[pid]; !ours {
			return fmt.Errorf("process %d has ended: %w", pid, errdefs.ErrConflict)
		}
	}
	if err := unix.Kill(pid, sig); err != nil {
		return fmt.Errorf("signal process %d: %w", pid, err)
	}
	return nil
}
