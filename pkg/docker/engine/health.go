package engine

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/vic-engine/vic/pkg/spec"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
)

// What a health check has that does not say otherwise, and how much of it is
// kept: Docker's (daemon/health.go).
const (
	defaultProbeInterval = 30 * time.Second
	defaultProbeTimeout  = 30 * time.Second
	defaultStartInterval = 5 * time.Second
	defaultProbeRetries  = 3
	maxHealthLog         = 5
	maxHealthOutput      = 4096 // bytes
	// probeStart bounds the start of a probe, which is not part of its timeout.
	probeStart = 30 * time.Second
)

// killPatience is how long a probe that was killed may take to end. A guest that
// does not answer must not keep the container's status from being told.
const killPatience = 10 * time.Second

// The statuses of a container that has a health check.
const (
	healthStarting  = "starting"
	healthHealthy   = "healthy"
	healthUnhealthy = "unhealthy"
	healthNone      = "none" // what filters call a container without one
)

// Health is what is known of a container's health, as inspect shows it.
type Health struct {
	Status        string // starting, healthy or unhealthy
	FailingStreak int
	Log           []HealthResult // the last ones, oldest first
}

// HealthResult is one run of a health check. ExitCode -1: it could not be run, or
// took too long, as Output says.
type HealthResult struct {
	Start, End time.Time
	ExitCode   int
	Output     string
}

// healthProbe is a health check with all defaults filled in.
type healthProbe struct {
	cmd                                           []string
	interval, timeout, startPeriod, startInterval time.Duration
	retries                                       int
}

// probeOf gives the check of a configuration; nil: it has none that can be run.
func probeOf(c *ContainerConfig) *healthProbe {
	h := c.Healthcheck
	if h == nil || len(h.Test) == 0 {
		return nil
	}
	p := &healthProbe{interval: h.Interval, timeout: h.Timeout, startPeriod: h.StartPeriod, startInterval: h.StartInterval, retries: h.Retries}
	switch h.Test[0] {
	case "CMD":
		p.cmd = h.Test[1:]
	case "CMD-SHELL":
		shell := c.Shell
		if len(shell) == 0 {
			shell = []string{"/bin/sh", "-c"}
		}
		p.cmd = append(append([]string(nil), shell...), h.Test[1:]...)
	}
	if len(p.cmd) == 0 {
		return nil
	}
	set := func(d *time.Duration, def time.Duration) {
		if *d == 0 {
			*d = def
		}
	}
	set(&p.interval, defaultProbeInterval)
	set(&p.timeout, defaultProbeTimeout)
	set(&p.startInterval, defaultStartInterval)
	if p.retries == 0 {
		p.retries = defaultProbeRetries
	}
	return p
}

// healthWarnings tell of a check that is kept and cannot be run.
func healthWarnings(h *dockerspec.HealthcheckConfig) []string {
	if h == nil || len(h.Test) == 0 || (h.Test[0] == "NONE" && len(h.Test) == 1) || probeOf(&ContainerConfig{Healthcheck: h}) != nil {
		return nil
	}
	return []string{fmt.Sprintf("the health check %q is kept but not run: want NONE, CMD with a program, or CMD-SHELL with a command", h.Test)}
}

// next is the time from one run to the next, at a time since the container's start.
func (p *healthProbe) next(status string, up time.Duration) time.Duration {
	if up < p.startPeriod && status == healthStarting {
		return p.startInterval
	}
	return p.interval
}

// after is the health after one more result, up being the container's age when
// the check began. A failure while the container is still starting, in its start
// period, does not count.
func (h Health) after(p *healthProbe, r HealthResult, up time.Duration) Health {
	log := append(append([]HealthResult(nil), h.Log...), r)
	h.Log = log[max(0, len(log)-maxHealthLog):]
	switch {
	case r.ExitCode == 0:
		h.Status, h.FailingStreak = healthHealthy, 0
	case h.Status == healthStarting && up < p.startPeriod:
	default:
		h.FailingStreak++
		if h.FailingStreak >= p.retries {
			h.Status = healthUnhealthy
		}
	}
	return h
}

// monitored is the health of a container and what watches it. Guarded by Engine.mu.
type monitored struct {
	Health
	started time.Time     // of the run that is watched, by the guest's clock
	began   time.Time     // the same by ours, as far as it is known
	stop    chan struct{} // ends the monitor; nil: there is none
}

// watchHealth begins to watch a container that runs and has a health check. A new
// engine begins anew, as "starting". Called only from Run.
func (e *Engine) watchHealth(ctx context.Context, v spec.View) {
	p := probeOf(&e.storedOf(v).Config)
	if p == nil || isPaused(v) {
		return
	}
	id := v.Container.ID
	e.mu.Lock()
	t := e.track(id)
	if t.health == nil {
		t.health = &monitored{}
	}
	m := t.health
	if m.stop != nil && m.started.Equal(v.Status.Started) {
		e.mu.Unlock()
		return
	}
	if m.stop != nil {
		close(m.stop)
	}
	// One that goes on after a pause is what it was when it was paused: unhealthy.
	if !m.started.Equal(v.Status.Started) {
		m.Status, m.FailingStreak = healthStarting, 0
		m.began = e.sawStart(v)
	}
	began, status := m.began, m.Status
	m.started, m.stop = v.Status.Started, make(chan struct{})
	stop := m.stop
	e.mu.Unlock()
	e.job(ctx, func(ctx context.Context) { e.monitorHealth(ctx, id, p, began, status, stop) })
}

// sawStart is when a container started by our clock, which need not agree with its
// guest's: now, unless it ran before we came.
func (e *Engine) sawStart(v spec.View) time.Time {
	select {
	case <-e.ready:
		return e.clock.Now()
	default:
		return v.Status.Started
	}
}

// unwatchHealth ends that. What does not run counts as unhealthy, as in Docker.
func (e *Engine) unwatchHealth(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if t := e.tracked[id]; t != nil && t.health != nil && t.health.stop != nil {
		close(t.health.stop)
		t.health.stop = nil
		t.health.Status = healthUnhealthy
	}
}

// healthOf is a copy of what is known; nil: the container has no check that ever ran.
// Call with mu held.
func (e *Engine) healthOf(id string) *Health {
	t := e.tracked[id]
	if t == nil || t.health == nil {
		return nil
	}
	h := t.health.Health // its log is never changed in place
	return &h
}

// monitorHealth runs the check until the container stops. status is what it has now.
func (e *Engine) monitorHealth(ctx context.Context, id string, p *healthProbe, started time.Time, status string, stop <-chan struct{}) {
	var last *probeRun
	for {
		select {
		case <-ctx.Done():
			return
		case <-stop:
			return
		case <-e.clock.After(p.next(status, e.clock.Now().Sub(started))):
		}
		v, err := e.pl.Container(id)
		if err != nil || !isRunning(v) {
			continue // its end is about to be told
		}
		began := e.clock.Now()
		var r HealthResult
		if last == nil || last.over() {
			last = e.startProbe(ctx, id, p)
			r = e.awaitProbe(ctx, id, p, last, stop)
		} else {
			r = HealthResult{ExitCode: -1, Output: p.tooLate(last.out.String())}
		}
		r.Start, r.End = began, e.clock.Now()
		select {
		case <-stop:
			return
		default:
		}
		status = e.setHealth(v, p, r, began.Sub(started), stop)
	}
}

// setHealth takes note of a result and tells of a change.
func (e *Engine) setHealth(v spec.View, p *healthProbe, r HealthResult, up time.Duration, stop <-chan struct{}) (status string) {
	id := v.Container.ID
	e.mu.Lock()
	t := e.tracked[id]
	if t == nil || t.health == nil || t.health.stop != stop {
		e.mu.Unlock()
		return healthUnhealthy // it stopped meanwhile
	}
	before := t.health.Status
	t.health.Health = t.health.Health.after(p, r, up)
	status = t.health.Status
	e.mu.Unlock()
	if status != before {
		e.containerEvent(v, "health_status: "+status, nil)
	}
	return status
}

func (p *healthProbe) tooLate(out string) string {
	msg := fmt.Sprintf("Health check exceeded timeout (%v)", p.timeout)
	if out != "" {
		msg += ": " + out
	}
	return msg
}

// probeRun is one exec of a check.
type probeRun struct {
	exec    string          // its id; empty: it could not be made
	started <-chan struct{} // closed when it runs; nil: it could not be made
	out     clipped
	done    chan struct{} // closed when it is over
	err     error         // set before done is closed
}

func (r *probeRun) over() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

func (e *Engine) startProbe(ctx context.Context, id string, p *healthProbe) *probeRun {
	r := &probeRun{done: make(chan struct{})}
	r.exec, r.err = e.ExecCreate(id, ExecOptions{Cmd: p.cmd, Stdout: true, Stderr: true})
	var x *execution
	if r.err == nil {
		x, r.err = e.exec(r.exec)
	}
	if r.err != nil {
		close(r.done)
		return r
	}
	r.started = x.started
	e.job(ctx, func(ctx context.Context) {
		defer close(r.done)
		r.err = e.ExecStart(ctx, r.exec, Streams{Stdout: &r.out, Stderr: &r.out}, 0, 0)
	})
	return r
}

// awaitProbe waits for a run, and ends one that takes too long. What it gives when
// stop is closed means nothing.
func (e *Engine) awaitProbe(ctx context.Context, id string, p *healthProbe, r *probeRun, stop <-chan struct{}) HealthResult {
	select {
	case <-r.started:
	case <-r.done:
	case <-stop:
		return HealthResult{}
	case <-ctx.Done():
		return HealthResult{}
	case <-e.clock.After(probeStart):
		return HealthResult{ExitCode: -1, Output: "timed out starting health check for container " + id}
	}
	select {
	case <-r.done:
		if r.err != nil {
			return HealthResult{ExitCode: -1, Output: r.err.Error()}
		}
		x, err := e.ExecInspect(r.exec)
		if err != nil || x.ExitCode == nil {
			return HealthResult{ExitCode: -1, Output: fmt.Sprintf("healthcheck for container %s has no exit code", id)}
		}
		return HealthResult{ExitCode: *x.ExitCode, Output: r.out.String()}
	case <-stop:
		return HealthResult{}
	case <-ctx.Done():
		return HealthResult{}
	case <-e.clock.After(p.timeout):
	}
	e.job(ctx, func(ctx context.Context) {
		if err := e.pl.SignalExec(ctx, id, r.exec, "SIGKILL"); err != nil {
			e.log.WithField(spec.FieldContainer, id).WithError(err).Debug("end a health check that takes too long")
		}
	})
	select {
	case <-r.done:
	case <-stop:
	case <-ctx.Done():
	case <-e.clock.After(killPatience):
	}
	return HealthResult{ExitCode: -1, Output: p.tooLate(r.out.String())}
}

// clipped keeps the first maxHealthOutput bytes written to it.
type clipped struct {
	mu  sync.Mutex // guards what follows
	buf strings.Builder
	cut bool
}

// Write never fails: what does not fit is dropped.
func (c *clipped) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := min(len(b), maxHealthOutput-c.buf.Len())
	c.buf.Write(b[:n])
	c.cut = c.cut || n < len(b)
	return len(b), nil
}

// String ends in "..." when something was dropped.
func (c *clipped) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut {
		return c.buf.String() + "..."
	}
	return c.buf.String()
}
