package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Freeze stops every process of the group, and returns when all stand still. When
// ctx ends before, the group is as it was.
func (g *Group) Freeze(ctx context.Context) error { return g.freeze(ctx, 1) }

// Thaw lets them go on.
func (g *Group) Thaw(ctx context.Context) error { return g.freeze(ctx, 0) }

func (g *Group) freeze(ctx context.Context, to int) error {
	freezer := filepath.Join(g.Dir(), "cgroup.freeze")
	what := map[int]string{1: "freeze", 0: "thaw"}[to]
	err := watch(ctx, filepath.Join(g.Dir(), "cgroup.events"), func() error {
		return write(freezer, fmt.Sprint(to))
	}, func() (bool, error) {
		n, err := flat(filepath.Join(g.Dir(), "cgroup.events"), "frozen")
		return n == to, err
	})
	if err == nil {
		return nil
	}
	if to == 1 {
		err = errors.Join(err, write(freezer, "0"))
	}
	return fmt.Errorf("%s the container's processes: %w", what, err)
}

// WatchOOM calls killed with the count of OOMKills whenever it has grown, until
// ctx is done, which is no error.
func (g *Group) WatchOOM(ctx context.Context, killed func(int)) error {
	seen := 0
	err := watch(ctx, filepath.Join(g.Dir(), "memory.events"), nil, func() (bool, error) {
		n, err := g.OOMKills()
		if n > seen {
			seen = n
			killed(n)
		}
		return false, err
	})
	if ctx.Err() != nil || errors.Is(err, unix.ENOENT) {
		return nil // over; or no memory controller
	}
	return fmt.Errorf("watch for a want of memory: %w", err)
}

// watch does begin, then waits until done says so, which is asked at the start and
// after each change of file.
func watch(ctx context.Context, file string, begin func() error, done func() (bool, error)) error {
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		return fmt.Errorf("inotify: %w", err)
	}
	f := os.NewFile(uintptr(fd), "inotify")
	defer f.Close()
	if _, err := unix.InotifyAddWatch(fd, file, unix.IN_MODIFY); err != nil {
		return fmt.Errorf("watch %s: %w", file, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = f.Close() })
	defer stop()
	if begin != nil {
		if err := begin(); err != nil {
			return err
		}
	}
	buf := make([]byte, 4096)
	for {
		over, err := done()
		if err != nil || over {
			return err
		}
		if _, err := f.Read(buf); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("watch %s: %w", file, err)
		}
	}
}
