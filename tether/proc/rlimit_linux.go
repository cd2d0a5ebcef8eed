package proc

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vic-engine/vic/pkg/spec"
)

// limit is one resource limit of a process, by its number.
type limit struct {
	resource int
	value    unix.Rlimit
}

// rlimits translates Docker's names. -1 is unlimited.
func rlimits(m map[string]spec.Rlimit) ([]limit, error) {
	numbers := map[string]int{
		"as": unix.RLIMIT_AS, "core": unix.RLIMIT_CORE, "cpu": unix.RLIMIT_CPU, "data": unix.RLIMIT_DATA,
		"fsize": unix.RLIMIT_FSIZE, "locks": unix.RLIMIT_LOCKS, "memlock": unix.RLIMIT_MEMLOCK,
		"msgqueue": unix.RLIMIT_MSGQUEUE, "nice": unix.RLIMIT_NICE, "nofile": unix.RLIMIT_NOFILE,
		"nproc": unix.RLIMIT_NPROC, "rss": unix.RLIMIT_RSS, "rtprio": unix.RLIMIT_RTPRIO,
		"rttime": unix.RLIMIT_RTTIME, "sigpending": unix.RLIMIT_SIGPENDING, "stack": unix.RLIMIT_STACK,
	}
	var limits []limit
	for name, l := range m {
		n, ok := numbers[strings.TrimPrefix(strings.ToLower(name), "rlimit_")]
		if !ok {
			return nil, &spec.StartError{Code: spec.ExitRefused, Msg: fmt.Sprintf("invalid rlimit type %q", name)}
		}
		limits = append(limits, limit{n, unix.Rlimit{Cur: uint64(l.Soft), Max: uint64(l.Hard)}})
	}
	return limits, nil
}

// setLimits sets the limits of a child that is stopped at its exec (it was forked
// with Ptrace), and lets it go. Called on the thread that forked it, with the
// reaper held: nobody else may take the stop for an end.
func setLimits(pid int, limits []limit) error {
	for {
		var ws unix.WaitStatus
		_, err := unix.Wait4(pid, &ws, unix.WALL, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("wait for exec of %d: %w", pid, err)
		}
		break
	}
	var failed error
	for _, l := range limits {
		if err := unix.Prlimit(pid, l.resource, &l.value, nil); err != nil {
			failed = fmt.Errorf("set limit %d to %d:%d: %w", l.resource, l.value.Cur, l.value.Max, err)
			break
		}
	}
	if failed != nil {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
	if err := unix.PtraceDetach(pid); err != nil && failed == nil {
		failed = fmt.Errorf("let go of %d: %w", pid, err)
	}
	if failed != nil {
		var ws unix.WaitStatus
		_, _ = unix.Wait4(pid, &ws, unix.WALL, nil) // it was killed; nobody knows it
	}
	return failed
}
