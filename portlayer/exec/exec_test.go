package exec

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/guestinfo"
	viclab "github.com/vic-engine/vic/pkg/lab"
	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/portlayer/vmspec"
)

// both runs a test on the plain simulator and on our lab, as ESXi and vCenter.
func both(t *testing.T, f func(t *testing.T, l *lab)) {
	t.Helper()
	t.Run("esx", func(t *testing.T) { f(t, newLab(t, simulator.ESX())) })
	for _, mode := range []viclab.Mode{viclab.ModeESXi, viclab.ModeVCenter} {
		t.Run("lab-"+string(mode), func(t *testing.T) {
			t.Parallel() // plain simulators can't: their constructors write to package variables
			f(t, newOwnLab(t, mode))
		})
	}
}

func TestLife(t *testing.T) {
	both(t, func(t *testing.T, l *lab) {
		e := l.boot()
		before := l.files()
		c := container(1)
		v, err := e.Create(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		if ep := v.Container.Endpoints[0]; ep.IP != "172.16.0.2/16" || ep.Gateway != "172.16.0.1" || ep.PCISlot != 192 {
			t.Errorf("endpoint: %+v", ep)
		}
		if v.Status.Phase != spec.PhaseCreated || v.Status.VM == "" || v.Container.VCH != vch {
			t.Errorf("view: %+v", v)
		}
		if st, err := e.Wait(t.Context(), c.ID, false); err != nil || st.Code != 0 {
			t.Errorf("wait of one that never ran: %v, %v", st, err)
		}
		for run := range 2 {
			if err := e.Start(t.Context(), c.ID); err != nil {
				t.Fatal(err)
			}
			if p := e.phase(c.ID); p != spec.PhaseRunning {
				t.Errorf("run %d: %s after start", run, p)
			}
			if err := e.Start(t.Context(), c.ID); err != nil {
				t.Errorf("start of one that runs: %v", err)
			}
			if err := e.Remove(t.Context(), c.ID, false); !errdefs.IsConflict(err) {
				t.Errorf("remove of one that runs: %v", err)
			}
			if err := e.Stop(t.Context(), c.ID, "", patience); err != nil {
				t.Fatal(err)
			}
			st, err := e.Wait(t.Context(), c.ID, false)
			if err != nil || st.Code != 0 || st.Started.IsZero() || st.Stopped.IsZero() {
				t.Errorf("exit: %+v, %v", st, err)
			}
		}
		if err := e.Stop(t.Context(), c.ID, "", time.Second); err != nil {
			t.Errorf("stop of one that does not run: %v", err)
		}
		if err := e.Signal(t.Context(), c.ID, "HUP"); !errdefs.IsConflict(err) {
			t.Errorf("signal of one that does not run: %v", err)
		}
		removed := make(chan error, 1)
		go func() {
			_, err := e.WaitRemoved(context.Background(), c.ID)
			removed <- err
		}()
		if err := e.Remove(t.Context(), c.ID, false); err != nil {
			t.Fatal(err)
		}
		if err := wait(t, removed); err != nil && !errdefs.IsNotFound(err) {
			t.Error(err)
		}
		want := []string{
			"created c1", "started c1", "exited c1 0", "started c1", "exited c1 0", "removed c1",
		}
		if d := cmp.Diff(want, e.next(len(want))); d != "" {
			t.Errorf("events:\n%s", d)
		}
		if d := cmp.Diff(before, l.files()); d != "" {
			t.Errorf("left behind:\n%s", d)
		}
		if n := len(e.cfg.Leases.State().Scopes["bridge"].Leases); n != 0 {
			t.Errorf("%d leases left behind", n)
		}
		if _, err := e.Container(c.ID); !errdefs.IsNotFound(err) {
			t.Errorf("after remove: %v", err)
		}
	})
}

func TestCreateIsAllOrNothing(t *testing.T) {
	both(t, func(t *testing.T, l *lab) {
		e := l.boot()
		before := l.files()
		for i, s := range e.createSteps() {
			broken := errors.New("broken after " + s.name)
			e.afterStep = func(step string) error {
				if step == s.name {
					return broken
				}
				return nil
			}
			if _, err := e.Create(t.Context(), container(i)); !errors.Is(err, broken) {
				t.Errorf("after %s: %v", s.name, err)
			}
			if d := cmp.Diff(before, l.files()); d != "" {
				t.Errorf("left behind after %s:\n%s", s.name, d)
			}
			if n := len(e.cfg.Leases.State().Scopes["bridge"].Leases); n != 0 {
				t.Errorf("%d leases left behind after %s", n, s.name)
			}
			if n := len(e.Containers()); n != 0 {
				t.Errorf("%d containers after %s", n, s.name)
			}
			// The caller leaves at this point, and the step sees it.
			ctx, cancel := context.WithCancel(t.Context())
			e.afterStep = func(step string) error {
				if step == s.name {
					cancel()
				}
				return ctx.Err()
			}
			if _, err := e.Create(ctx, container(i)); !errors.Is(err, context.Canceled) {
				t.Errorf("cancelled after %s: %v", s.name, err)
			}
			cancel()
			if d := cmp.Diff(before, l.files()); d != "" {
				t.Errorf("left behind after cancelling after %s:\n%s", s.name, d)
			}
		}
		e.afterStep = nil
		l.images.fail = errdefs.ErrResourceExhausted
		if _, err := e.Create(t.Context(), container(50)); !errdefs.IsResourceExhausted(err) {
			t.Errorf("full datastore: %v", err)
		}
		l.images.fail = nil
		bad := container(51)
		bad.Endpoints[0].Network = "none"
		if _, err := e.Create(t.Context(), bad); !errdefs.IsNotFound(err) {
			t.Errorf("unknown network: %v", err)
		}
		bad = container(52)
		bad.Process.Path = ""
		if _, err := e.Create(t.Context(), bad); !errdefs.IsInvalidArgument(err) {
			t.Errorf("no command: %v", err)
		}
		if d := cmp.Diff(before, l.files()); d != "" {
			t.Errorf("left behind:\n%s", d)
		}
		// Whatever went wrong before, the same id can be made now.
		if _, err := e.Create(t.Context(), container(50)); err != nil {
			t.Error(err)
		}
		if _, err := e.Create(t.Context(), container(50)); !errdefs.IsAlreadyExists(err) {
			t.Errorf("the same id twice: %v", err)
		}
		if got := e.next(1); got[0] != "created c50" {
			t.Errorf("events: %v", got)
		}
	})
}

func TestInterruptedCreateIsCleanedUp(t *testing.T) {
	both(t, func(t *testing.T, l *lab) {
		e := l.boot()
		before := l.files()
		for i, s := range e.createSteps() {
			if s.name == "VM" {
				break
			}
			// The engine dies: nothing is undone.
			cr := &creation{c: container(i)}
			cr.c.VCH = vch
			for _, step := range e.createSteps()[:i+1] {
				if err := step.run(t.Context(), cr); err != nil {
					t.Fatal(err)
				}
			}
		}
		if _, err := e.Create(t.Context(), container(90)); err != nil {
			t.Fatal(err)
		}
		e.stop()
		again := l.boot()
		if err := again.Remove(t.Context(), container(90).ID, false); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(before, l.files()); d != "" {
			t.Errorf("left behind:\n%s", d)
		}
	})
}

func TestExitCodes(t *testing.T) {
	l := newLab(t, simulator.ESX())
	e := l.boot()
	c := container(1)
	if _, err := e.Create(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	e.next(1)
	for _, code := range []int{7, 0, 42} {
		l.guests.run(c.ID, job(code))
		got := make(chan int, 1)
		go func() {
			st, _ := e.Wait(context.Background(), c.ID, true)
			got <- st.Code
		}()
		if err := e.Start(t.Context(), c.ID); err != nil {
			t.Fatal(err)
		}
		if st, err := e.Wait(t.Context(), c.ID, false); err != nil || st.Code != code {
			t.Errorf("exit %d: %+v, %v", code, st, err)
		}
		e.next(2)
		if p := e.phase(c.ID); p != spec.PhaseExited {
			t.Errorf("phase %s", p)
		}
		select {
		case n := <-got:
			if n != code {
				t.Errorf("wait for the next exit: %d, want %d", n, code)
			}
		case <-time.After(5 * time.Second):
			// It may have begun to wait after the exit; then it waits for the next.
			t.Log("waiter came late")
			go func() { <-got }()
		}
	}
}

func TestProcessThatCannotStart(t *testing.T) {
	for _, attach := range []bool{true, false} {
		l := newLab(t, simulator.ESX())
		e := l.boot()
		c := container(1)
		c.Process.Attach = attach
		if _, err := e.Create(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		bad := &spec.StartError{Code: spec.ExitNotFound, Msg: `exec: "nope": executable file not found in $PATH`}
		l.guests.run(c.ID, func(g *line) {
			g.startErr = bad
			g.up()
			if attach {
				<-g.released
			}
			g.exit(spec.ExitStatus{Code: bad.Code, Error: bad.Msg})
		})
		err := e.Start(t.Context(), c.ID)
		var se *spec.StartError
		if !errors.As(err, &se) || se.Code != spec.ExitNotFound || se.Msg != bad.Msg {
			t.Fatalf("attach %v: %v", attach, err)
		}
		if v, _ := e.Container(c.ID); v.Status.Phase != spec.PhaseExited || v.Status.Exit.Code != spec.ExitNotFound {
			t.Errorf("attach %v: %+v", attach, v.Status)
		}
	}
}

func TestBootThatNeverEnds(t *testing.T) {
	both(t, func(t *testing.T, l *lab) {
		e := l.boot(func(c *Config) { c.BootTimeout = 300 * time.Millisecond })
		c := container(1)
		if _, err := e.Create(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		console := strings.Repeat("early line\n", 500) + "Kernel panic - not syncing\r\nReboot is not possible\n"
		p := vmspec.Path(l.ds.Name(), c.ID, vmspec.ConsoleLog)
		if err := l.ds.Put(t.Context(), p, strings.NewReader(console), int64(len(console))); err != nil {
			t.Fatal(err)
		}
		l.guests.run(c.ID, quiet)
		err := e.Start(t.Context(), c.ID)
		var se *spec.StartError
		if !errors.As(err, &se) || se.Code != spec.ExitGuestFailed {
			t.Fatalf("%v", err)
		}
		for _, want := range []string{"300ms", "Kernel panic - not syncing\nReboot is not possible"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("error does not say %q: %v", want, err)
			}
		}
		if n := strings.Count(err.Error(), "early line"); n > consoleLines {
			t.Errorf("error shows %d lines", n)
		}
		vm, err := l.admin.VM(t.Context(), types.ManagedObjectReference{Type: "VirtualMachine", Value: must(e.Container(c.ID)).Status.VM})
		if err != nil || vm.On() {
			t.Errorf("VM is %s, %v", vm.Power, err)
		}
		if v := must(e.Container(c.ID)); v.Status.Phase != spec.PhaseExited || v.Status.Exit.Code != spec.ExitGuestFailed {
			t.Errorf("%+v", v.Status)
		}
		// The next start is a new chance.
		l.guests.run(c.ID, nil)
		e.cfg.BootTimeout = defaultBootTimeout // no start is under way
		if err := e.Start(t.Context(), c.ID); err != nil {
			t.Error(err)
		}
	})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestVMThatTurnsItselfOffInBoot(t *testing.T) {
	l := newLab(t, simulator.ESX())
	e := l.boot()
	c := container(1)
	if _, err := e.Create(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	l.guests.run(c.ID, func(g *line) {
		g.set([]guestinfo.Pair{{Key: guestinfo.KeyTetherState, Value: "no image disk at scsi0:1"}})
		g.halt()
	})
	var se *spec.StartError
	if err := e.Start(t.Context(), c.ID); !errors.As(err, &se) || se.Code != spec.ExitGuestFailed || !strings.Contains(err.Error(), "no image disk") {
		t.Errorf("%v", err)
	}
}

func TestStopAndKill(t *testing.T) {
	l := newLab(t, simulator.ESX())
	e := l.boot()
	start := func(n int, p program) spec.Container {
		t.Helper()
		c := container(n)
		l.guests.run(c.ID, p)
		if _, err := e.Create(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if err := e.Start(t.Context(), c.ID); err != nil {
			t.Fatal(err)
		}
		return c
	}
	deaf := func(g *line) { g.up(); g.start(); <-g.off }

	c := start(1, deaf)
	if err := e.Stop(t.Context(), c.ID, "", 50*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if st := must(e.Wait(t.Context(), c.ID, false)); st.Code != 137 || st.Started.IsZero() {
		t.Errorf("stop of one that does not listen: %+v", st)
	}

	// One that only a kill ends: its guest turns itself off, and loses nothing.
	c = start(5, func(g *line) {
		g.up()
		at := g.start()
		for <-g.signals != "SIGKILL" {
		}
		g.exit(spec.ExitStatus{Started: at, Code: 99})
	})
	if err := e.Stop(t.Context(), c.ID, "", 0); err != nil {
		t.Fatal(err)
	}
	if st := must(e.Wait(t.Context(), c.ID, false)); st.Code != 99 {
		t.Errorf("stop at once: %+v, want what the guest told", st)
	}

	c = start(2, nil)
	if err := e.Signal(t.Context(), c.ID, "KILL"); err != nil {
		t.Fatal(err)
	}
	if st := must(e.Wait(t.Context(), c.ID, false)); st.Code != 137 || st.Signal != 9 {
		t.Errorf("kill: %+v", st)
	}

	c = start(3, nil)
	if err := e.Remove(t.Context(), c.ID, true); err != nil {
		t.Errorf("forced remove: %v", err)
	}
	if e.phase(c.ID) != phaseGone {
		t.Error("still there")
	}

	// A process that is over but whose VM stays on.
	c = start(4, func(g *line) {
		g.up()
		g.start()
		g.g.manager().OnExited(g.id, spec.ExitStatus{Code: 5, Started: time.Now(), Stopped: time.Now()})
		<-g.off
	})
	if st := must(e.Wait(t.Context(), c.ID, false)); st.Code != 5 {
		t.Errorf("process over, VM on: %+v", st)
	}
}

func TestStopDuringBoot(t *testing.T) {
	for name, stop := range map[string]func(*engine, string) error{
		"stop":   func(e *engine, id string) error { return e.Stop(context.Background(), id, "", patience) },
		"kill":   func(e *engine, id string) error { return e.Signal(context.Background(), id, "SIGKILL") },
		"remove": func(e *engine, id string) error { return e.Remove(context.Background(), id, true) },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, simulator.ESX())
			e := l.boot(func(c *Config) { c.BootTimeout = time.Minute })
			c := container(1)
			booting := make(chan struct{})
			l.guests.run(c.ID, func(g *line) { close(booting); <-g.off })
			if _, err := e.Create(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			started := make(chan error, 1)
			go func() { started <- e.Start(context.Background(), c.ID) }()
			wait(t, booting)
			if err := stop(e, c.ID); err != nil {
				t.Fatal(err)
			}
			if err := wait(t, started); !errdefs.IsConflict(err) {
				t.Errorf("start: %v", err)
			}
			if p := e.phase(c.ID); name == "remove" && p != phaseGone || name != "remove" && p != spec.PhaseExited {
				t.Errorf("phase %q", p)
			}
		})
	}
}

// TestAwaitStart: who waits for a start hears of its end, whatever that is, and is not
// kept where there is none.
func TestAwaitStart(t *testing.T) {
	for name, c := range map[string]struct {
		end   func(*engine, string) error // nil: the process comes up
		after spec.Phase
	}{
		"process": {after: spec.PhaseRunning},
		"stop":    {func(e *engine, id string) error { return e.Stop(context.Background(), id, "", patience) }, spec.PhaseExited},
		"remove":  {func(e *engine, id string) error { return e.Remove(context.Background(), id, true) }, phaseGone},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, simulator.ESX())
			e := l.boot(func(c *Config) { c.BootTimeout = time.Minute })
			sc := container(1)
			booting, up := make(chan struct{}), make(chan struct{})
			l.guests.run(sc.ID, func(g *line) {
				close(booting)
				select {
				case <-up:
					service(g)
				case <-g.off:
				}
			})
			if _, err := e.Create(t.Context(), sc); err != nil {
				t.Fatal(err)
			}
			if err := e.AwaitStart(t.Context(), sc.ID); err != nil {
				t.Errorf("before the start: %v", err)
			}
			go func() { _ = e.Start(context.Background(), sc.ID) }()
			wait(t, booting)
			left, leave := context.WithCancel(t.Context())
			leave()
			if err := e.AwaitStart(left, sc.ID); !errors.Is(err, context.Canceled) {
				t.Errorf("a caller who has left: %v", err)
			}
			over := make(chan error, 1)
			go func() { over <- e.AwaitStart(context.Background(), sc.ID) }()
			if c.end == nil {
				close(up)
			} else if err := c.end(e, sc.ID); err != nil {
				t.Fatal(err)
			}
			if err := wait(t, over); err != nil && c.after != phaseGone {
				t.Errorf("the end of the start: %v", err)
			}
			if p := e.phase(sc.ID); p != c.after {
				t.Errorf("phase %q, want %q", p, c.after)
			}
		})
	}
}

func TestAttachBeforeStart(t *testing.T) {
	l := newLab(t, simulator.ESX())
	e := l.boot()
	c := container(1)
	c.Process.Attach = true
	if _, err := e.Create(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	l.guests.run(c.ID, func(g *line) {
		g.up()
		<-g.released
		select {
		case s := <-g.joined:
			_, _ = s.Stdout.Write([]byte("hello"))
		default:
			t.Error("released before the client was joined")
		}
		at := g.start()
		g.exit(spec.ExitStatus{Started: at})
	})
	var out bytes.Buffer
	parked, over := make(chan struct{}), make(chan error, 1)
	go func() {
		over <- e.Attach(context.Background(), c.ID, spec.Streams{Stdout: &out, Joined: func() { close(parked) }})
	}()
	wait(t, parked)
	if err := e.Start(t.Context(), c.ID); err != nil {
		t.Fatal(err)
	}
	if err := wait(t, over); err != nil || out.String() != "hello" {
		t.Errorf("attach: %q, %v", out.String(), err)
	}
	_ = must(e.Wait(t.Context(), c.ID, false))
	// One that waits for a start that fails is let go.
	l.guests.run(c.ID, func(g *line) { g.halt() })
	parked = make(chan struct{})
	go func() {
		over <- e.Attach(context.Background(), c.ID, spec.Streams{Joined: func() { close(parked) }})
	}()
	wait(t, parked)
	if err := e.Start(t.Context(), c.ID); err == nil {
		t.Error("started")
	}
	if err := wait(t, over); err != nil {
		t.Errorf("attach to a failed start: %v", err)
	}
}

// A VM that is turned off takes its line along: for who is attached that is the
// end of the process, and no error.
func TestAttachEndsWithTheVM(t *testing.T) {
	l := newLab(t, simulator.ESX())
	e := l.boot()
	c := container(1)
	c.Process.Attach = true
	v, err := e.Create(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	off := make(chan struct{})
	l.guests.run(c.ID, func(g *line) {
		g.up()
		<-g.released
		<-g.joined
		g.start()
		<-off
	})
	parked, over := make(chan struct{}), make(chan error, 1)
	go func() {
		over <- e.Attach(context.Background(), c.ID, spec.Streams{Joined: func() { close(parked) }})
	}()
	wait(t, parked)
	if err := e.Start(t.Context(), c.ID); err != nil {
		t.Fatal(err)
	}
	defer close(off)
	if err := l.admin.PowerOff(t.Context(), l.vm(v)); err != nil {
		t.Fatal(err)
	}
	if err := wait(t, over); err != nil {
		t.Errorf("attach: %v", err)
	}
	if st := must(e.Wait(t.Context(), c.ID, false)); st.Code != 137 {
		t.Errorf("exit: %+v", st)
	}
}

func TestExec(t *testing.T) {
	l := newLab(t, simulator.ESX())
	e := l.boot()
	c := container(1)
	if _, err := e.Create(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	run := func() (spec.ExitStatus, string, error) {
		var out bytes.Buffer
		st, err := e.Exec(t.Context(), c.ID, "x1", spec.Process{Path: "ls"}, spec.Streams{Stdout: &out}, func(int) {})
		return st, out.String(), err
	}
	if _, _, err := run(); !errdefs.IsConflict(err) {
		t.Errorf("exec in one that does not run: %v", err)
	}
	if err := e.Start(t.Context(), c.ID); err != nil {
		t.Fatal(err)
	}
	if st, out, err := run(); err != nil || st.Code != 3 || out != "x1: ls" {
		t.Errorf("exec: %+v %q %v", st, out, err)
	}
	if err := e.SignalExec(t.Context(), c.ID, "x1", "HUP"); err == nil || !strings.Contains(err.Error(), "x1 HUP") {
		t.Errorf("signal: %v", err)
	}
	if err := e.Resize(t.Context(), c.ID, "", 24, 80); err != nil {
		t.Error(err)
	}
}
