package engine

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/vic-engine/vic/pkg/spec"
)

// ExecOptions describe an exec to create.
type ExecOptions struct {
	Cmd                   []string
	Env                   []string
	User, WorkingDir      string
	Tty, Privileged       bool
	Stdin, Stdout, Stderr bool // which streams an attached start joins
	DetachKeys            string
	Rows, Cols            int
}

// ExecInfo is what is known of an exec.
type ExecInfo struct {
	ID, Container string
	Options       ExecOptions
	DetachKeys    []byte // what is looked for; empty when none were given
	User          string
	Running       bool
	// ExitCode is nil before the end.
	ExitCode *int
	Pid      int
}

// execution is one exec. Its fields below options are guarded by Engine.mu.
type execution struct {
	id, container string
	options       ExecOptions
	keys          []byte

	created  time.Time
	started  chan struct{} // closed when it runs or is over
	once     sync.Once
	running  bool
	exitCode *int
	pid      int
	ended    time.Time
}

func (x *execution) markStarted() { x.once.Do(func() { close(x.started) }) }

// execKept is how long a finished exec can be inspected, execWaits how long one that
// was made can be started: nobody says that it will not be, and each is kept in memory.
const (
	execKept  = 5 * time.Minute
	execWaits = time.Hour
)

// over tells whether an exec need not be known any more. Call with mu held.
func (x *execution) over(now time.Time) bool {
	if x.ended.IsZero() {
		return !x.running && now.Sub(x.created) > execWaits
	}
	return now.Sub(x.ended) > execKept
}

// ExecCreate prepares an exec in a running container and returns its id.
func (e *Engine) ExecCreate(ref string, o ExecOptions) (string, error) {
	v, err := e.find(ref)
	if err != nil {
		return "", err
	}
	id := v.Container.ID
	if !isRunning(v) {
		if e.stillRestarting(id) {
			return "", conflict("Container %s is restarting, wait until the container is running", id)
		}
		return "", notRunning(id)
	}
	if isPaused(v) {
		return "", errPausedExec(ref)
	}
	if len(o.Cmd) == 0 {
		return "", invalid("No exec command specified")
	}
	keys, err := detachKeys(o.DetachKeys)
	if err != nil {
		return "", err
	}
	x := &execution{container: id, options: o, keys: keys, started: make(chan struct{})}
	if x.id, err = newID(); err != nil {
		return "", err
	}
	e.mu.Lock()
	x.created = e.clock.Now()
	for k, old := range e.execs {
		if old.over(x.created) {
			delete(e.execs, k)
		}
	}
	e.execs[x.id] = x
	e.mu.Unlock()
	e.containerEvent(v, execAction("exec_create", o.Cmd[0], o.Cmd[1:]), map[string]string{"execID": x.id})
	return x.id, nil
}

func (e *Engine) exec(id string) (*execution, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	x := e.execs[id]
	if x == nil {
		return nil, noSuchExec(id)
	}
	return x, nil
}

func noSuchExec(id string) error { return notFound("No such exec instance: %s", id) }

// ExecExists tells whether an exec can be started: it is known and its
// container runs.
func (e *Engine) ExecExists(id string) error {
	x, err := e.exec(id)
	if err != nil {
		return err
	}
	v, err := e.pl.Container(x.container)
	if err != nil {
		return noSuchContainer(id)
	}
	if !isRunning(v) {
		return notRunning(x.container)
	}
	if isPaused(v) {
		return errPausedExec(x.container)
	}
	return nil
}

// errPausedExec names the container as the client did, like dockerd.
func errPausedExec(ref string) error {
	return conflict("Container %s is paused, unpause the container before exec", ref)
}

// ExecInspect tells what is known of an exec.
func (e *Engine) ExecInspect(id string) (ExecInfo, error) {
	x, err := e.exec(id)
	if err != nil {
		return ExecInfo{}, err
	}
	v, err := e.pl.Container(x.container)
	if err != nil {
		return ExecInfo{}, noSuchExec(id)
	}
	keys := []byte{}
	if x.options.DetachKeys != "" {
		keys = x.keys
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return ExecInfo{
		ID: x.id, Container: x.container, Options: x.options, DetachKeys: keys, User: execUser(x.options, v), Running: x.running,
		ExitCode: x.exitCode, Pid: x.pid,
	}, nil
}

func execUser(o ExecOptions, v spec.View) string {
	if o.User == "" {
		return v.Container.Process.User
	}
	return o.User
}

// ExecStart runs an exec. Without streams it returns as soon as the process
// runs; else when the process ended and its output is written, or the client
// detached. The process does not end with the caller.
func (e *Engine) ExecStart(ctx context.Context, id string, s Streams, rows, cols int) error {
	if err := e.ExecExists(id); err != nil {
		return err
	}
	x, err := e.exec(id)
	if err != nil {
		return err
	}
	v, err := e.pl.Container(x.container)
	if err != nil {
		return noSuchContainer(x.container)
	}
	e.mu.Lock()
	switch {
	case x.exitCode != nil:
		e.mu.Unlock()
		return conflict("exec command %s has already run", id)
	case x.running:
		e.mu.Unlock()
		return conflict("exec command %s is already running", id)
	}
	x.running = true
	e.mu.Unlock()
	o := x.options
	e.containerEvent(v, execAction("exec_start", o.Cmd[0], o.Cmd[1:]), map[string]string{"execID": id})

	p := e.execProcess(v, o)
	if rows > 0 && cols > 0 {
		p.Rows, p.Cols = rows, cols
	}
	attached := (s.Stdin != nil && o.Stdin) || (s.Stdout != nil && o.Stdout) || (s.Stderr != nil && o.Stderr)
	j := newJoint(o, x.keys, s)
	result := make(chan error, 1)
	c, cancel := e.detach(ctx)
	go func() {
		defer cancel()
		st, err := e.pl.Exec(c, x.container, id, p, j.streams, func(pid int) {
			e.mu.Lock()
			x.pid = pid
			e.mu.Unlock()
			x.markStarted()
		})
		result <- e.execEnded(v, x, st, err)
		x.markStarted() // after the result is there for a start that waits for this
		j.close()
	}()
	if !attached {
		select {
		case <-x.started:
		case <-ctx.Done():
			return ctx.Err()
		}
		select {
		case err := <-result: // it could not be started, or is over already
			return err
		default:
			return nil
		}
	}
	select {
	case err := <-result:
		return err
	case <-j.left:
		if j.detached.Load() {
			e.containerEvent(v, "exec_detach", map[string]string{"execID": id})
		}
		return nil
	}
}

// execEnded records the end of an exec and words its error.
func (e *Engine) execEnded(v spec.View, x *execution, st spec.ExitStatus, err error) error {
	code := st.Code
	var se *spec.StartError
	switch {
	case errors.As(err, &se):
		if code = se.Code; code == spec.ExitRefused {
			code = spec.ExitNotExecutable // of an exec, as below
		}
		err = startError("OCI runtime exec failed: exec failed: unable to start container process: ", se)
	case err != nil:
		code = 128 + 9
		if now, gone := e.pl.Container(x.container); gone == nil && isRunning(now) {
			code = spec.ExitNotExecutable // Docker's code for "could not be started"
		}
	}
	e.mu.Lock()
	x.running, x.pid, x.ended = false, 0, e.clock.Now()
	x.exitCode = &code
	e.mu.Unlock()
	e.containerEvent(v, "exec_die", map[string]string{"execID": x.id, "exitCode": strconv.Itoa(code)})
	return err
}

// endExecs forgets the execs that never ran of a container that stopped, as Docker
// does: there is no starting them any more.
func (e *Engine) endExecs(container string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for id, x := range e.execs {
		if x.container == container && x.ended.IsZero() && !x.running {
			delete(e.execs, id)
		}
	}
}

// execProcess is the container's process with the exec's own settings.
func (e *Engine) execProcess(v spec.View, o ExecOptions) spec.Process {
	base := v.Container.Process
	env := processEnv(e.storedOf(v).Config.Env, v.Container.Hostname, o.Tty)
	p := spec.Process{
		Path: o.Cmd[0], Args: o.Cmd[1:], Env: replaceEnv(env, o.Env), Dir: o.WorkingDir, User: execUser(o, v), TTY: o.Tty,
		OpenStdin: o.Stdin, StdinOnce: true, Rows: o.Rows, Cols: o.Cols, Privileged: o.Privileged || base.Privileged,
		CapAdd: base.CapAdd, CapDrop: base.CapDrop, Rlimits: base.Rlimits, NoNewPrivileges: base.NoNewPrivileges,
	}
	if p.Dir == "" {
		p.Dir = base.Dir
	}
	if o.User == "" {
		p.Groups = base.Groups
	}
	return p
}

// ExecResize sets the terminal size of an exec; it waits for one that is just
// being started.
func (e *Engine) ExecResize(ctx context.Context, id string, rows, cols int) error {
	x, err := e.exec(id)
	if err != nil {
		return err
	}
	select {
	case <-x.started:
	case <-ctx.Done():
		return ctx.Err()
	case <-e.clock.After(10 * time.Second): // Docker's patience
		return internal("timeout waiting for exec session ready")
	}
	e.mu.Lock()
	running := x.running
	e.mu.Unlock()
	if !running {
		return invalid("exec process is not started")
	}
	return e.pl.Resize(ctx, x.container, id, rows, cols)
}
