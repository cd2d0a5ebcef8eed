package proc

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vic-engine/vic/pkg/spec"
)

// Options say what to start and where.
type Options struct {
	// Root is the directory that the process sees as "/"; empty or "/" is ours.
	Root    string
	Process spec.Process
	// OwnMounts gives the process a mount namespace of its own.
	OwnMounts bool
	Group     Group
	// NeedDir refuses a working directory that is missing, as Docker does for an
	// exec; for a container's first process it is made.
	NeedDir bool
}

// Group is the control group that a process starts in. Zero: ours.
type Group struct {
	// Dir is the group's folder.
	Dir string
	// Beside is a process whose cgroup namespace is shared; 0: the new process
	// begins one, whose topmost group is Dir.
	Beside int
	// OOMKills counts the kernel's kills in the group for want of memory; nil:
	// those in the whole system.
	OOMKills func() int
}

// Start runs a process. A nil reaper waits for this one process alone. An error
// is a *spec.StartError with the exit code and words that Docker has for it.
//
// Without TTY and OpenStdin the process reads from /dev/null.
func Start(reaper *Reaper, o Options) (*Process, error) {
	root := o.Root
	if root == "" {
		root = "/"
	}
	who, err := lookupUser(root, o.Process)
	if err != nil {
		return nil, err
	}
	dir, err := workingDir(root, o.Process.Dir, o.NeedDir)
	if err != nil {
		return nil, err
	}
	env := environ(o.Process, who.home)
	program, err := findProgram(root, o.Process.Path, dir, lookupEnv(env, "PATH"), who.identity)
	if err != nil {
		return nil, err
	}
	set, all, err := capabilitySet(o.Process)
	if err != nil {
		return nil, err
	}
	limits, err := rlimits(o.Process.Rlimits)
	if err != nil {
		return nil, err
	}
	io, err := openStdio(root, o.Process, who)
	if err != nil {
		return nil, guestFailed(err)
	}
	defer io.closeChild()

	attr := &syscall.ProcAttr{
		Dir: dir, Env: env, Files: io.files(),
		Sys: &syscall.SysProcAttr{Setsid: true, Setctty: o.Process.TTY, Ptrace: len(limits) > 0},
	}
	if root != "/" {
		attr.Sys.Chroot = root
	}
	if o.OwnMounts {
		attr.Sys.Unshareflags = syscall.CLONE_NEWNS
	}
	// Without privileges nobody else can be run, and ourselves needs no change.
	if euid := os.Geteuid(); euid == 0 || o.Process.User != "" && who.uid != uint32(euid) {
		attr.Sys.Credential = &syscall.Credential{Uid: who.uid, Gid: who.gid, Groups: who.groups}
	}
	kills := o.Group.OOMKills
	if kills == nil {
		kills = oomKills
	}
	if o.Group.Dir != "" {
		fd, err := unix.Open(o.Group.Dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			io.closeParent()
			return nil, guestFailed(fmt.Errorf("control group %s: %w", o.Group.Dir, err))
		}
		defer unix.Close(fd)
		attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = true, fd
		if o.Group.Beside == 0 {
			attr.Sys.Unshareflags |= unix.CLONE_NEWCGROUP
		}
	}
	oomBefore := kills()
	p := &Process{reaper: reaper, io: io, tty: o.Process.TTY, done: make(chan struct{})}
	argv := append([]string{o.Process.Path}, o.Process.Args...)
	var end <-chan unix.WaitStatus
	p.pid, end, err = reaper.fork(func() (int, error) {
		p.started = time.Now().UTC()
		return forkLimited(program, argv, attr, o.Group.Beside, set, all || os.Geteuid() != 0, limits, o.Process.NoNewPrivileges)
	})
	if err != nil {
		io.closeParent()
		return nil, execError(o.Process.Path, program, err)
	}
	go p.watch(end, func() bool { return kills() > oomBefore })
	return p, nil
}

// forkLimited forks from a thread of its own, which carries the capabilities
// that the child may have and is in the cgroup namespace of the process beside (0:
// in ours), and sets the child's limits before its first instruction. The thread
// ends afterwards.
func forkLimited(program string, argv []string, attr *syscall.ProcAttr, beside int, set uint64, all bool, limits []limit, noNew bool) (int, error) {
	type result struct {
		pid int
		err error
	}
	done := make(chan result, 1)
	go func() {
		// Never unlocked: the thread must not run anything else.
		runtime.LockOSThread()
		if err := enterNamespace(beside); err != nil {
			done <- result{0, err}
			return
		}
		if !all {
			if err := limitThread(set); err != nil {
				done <- result{0, err}
				return
			}
		}
		if noNew {
			// Of the thread alone, which the child inherits.
			if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
				done <- result{0, fmt.Errorf("no new privileges: %w", err)}
				return
			}
		}
		pid, err := syscall.ForkExec(program, argv, attr)
		if err == nil && len(limits) > 0 {
			err = setLimits(pid, limits)
		}
		done <- result{pid, err}
	}()
	r := <-done
	return r.pid, r.err
}

// enterNamespace takes the calling thread into the cgroup namespace of a process.
func enterNamespace(of int) error {
	if of == 0 {
		return nil
	}
	fd, err := unix.Open(fmt.Sprintf("/proc/%d/ns/cgroup", of), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		defer unix.Close(fd)
		err = unix.Setns(fd, unix.CLONE_NEWCGROUP)
	}
	if err != nil {
		return fmt.Errorf("cgroup namespace of process %d: %w", of, err)
	}
	return nil
}

// execError gives Docker's words for a program that was found and yet did not run.
func execError(name, program string, err error) error {
	code := spec.ExitGuestFailed
	switch {
	case errors.Is(err, unix.ENOENT): // the interpreter of a script or ELF file
		code = spec.ExitNotFound
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.ENOEXEC), errors.Is(err, unix.EPERM),
		errors.Is(err, unix.EISDIR), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELIBBAD):
		code = spec.ExitNotExecutable
	}
	if errors.Is(err, unix.EACCES) {
		return &spec.StartError{Code: code, Msg: fmt.Sprintf("exec: %q: permission denied", name)}
	}
	return &spec.StartError{Code: code, Msg: fmt.Sprintf("exec %s: %v", program, err)}
}

func guestFailed(err error) error {
	return &spec.StartError{Code: spec.ExitGuestFailed, Msg: err.Error()}
}
