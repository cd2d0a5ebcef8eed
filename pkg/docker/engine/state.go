package engine

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/vic-engine/vic/pkg/spec"

	"github.com/docker/go-units"
)

// State is a container's state in Docker's words.
type State struct {
	Status     string // created, running, paused, restarting, removing, exited, dead
	Running    bool
	Paused     bool // it runs too
	Restarting bool
	OOMKilled  bool
	Dead       bool
	Pid        int
	ExitCode   int
	Error      string
	// StartedAt and FinishedAt are zero while there was none.
	StartedAt, FinishedAt time.Time
	// Health is nil while there is no health check that ever ran.
	Health *Health
}

// healthText is what ps shows of the health of a container that runs.
func (s State) healthText() string {
	switch {
	case s.Health == nil:
		return ""
	case s.Health.Status == healthStarting:
		return " (health: starting)"
	}
	return " (" + s.Health.Status + ")"
}

// healthFilter is the status that filters know it by.
func (s State) healthFilter() string {
	if s.Health == nil {
		return healthNone
	}
	return s.Health.Status
}

// stateOf translates a status. restarting is the engine's own knowledge. A
// container whose program could not be started counts as created, as in Docker.
func stateOf(s spec.Status, restarting bool) State {
	st := State{
		OOMKilled: s.Exit.OOM, ExitCode: s.Exit.Code, Error: s.Exit.Error, Pid: s.Pid,
		StartedAt: s.Started, FinishedAt: s.Exit.Stopped,
	}
	switch s.Phase {
	case spec.PhaseRunning, spec.PhaseStopping:
		st.Status, st.Running = "running", true
		st.ExitCode, st.Error, st.OOMKilled = 0, "", s.OOM
		if s.Paused {
			st.Status, st.Paused = "paused", true
		}
		return st
	case spec.PhaseRemoving:
		st.Status = "removing"
	case spec.PhaseDead:
		st.Status, st.Dead = "dead", true
	default:
		st.Status = "exited"
		if s.Started.IsZero() {
			st.Status = "created"
			st.FinishedAt = time.Time{}
		}
	}
	st.Pid = 0
	if restarting && !st.Dead && s.Phase != spec.PhaseRemoving {
		st.Status, st.Running, st.Restarting = "restarting", true, true
	}
	return st
}

// Text is the STATUS column of ps.
func (s State) Text(now time.Time) string {
	switch {
	case s.Restarting:
		return fmt.Sprintf("Restarting (%d) %s ago", s.ExitCode, units.HumanDuration(now.Sub(s.FinishedAt)))
	case s.Paused:
		return "Up " + units.HumanDuration(now.Sub(s.StartedAt)) + " (Paused)"
	case s.Running:
		return "Up " + units.HumanDuration(now.Sub(s.StartedAt)) + s.healthText()
	case s.Status == "removing":
		return "Removal In Progress"
	case s.Dead:
		return "Dead"
	case s.Status == "created":
		return "Created"
	default:
		return fmt.Sprintf("Exited (%d) %s ago", s.ExitCode, units.HumanDuration(now.Sub(s.FinishedAt)))
	}
}

// Info is everything that is known of one container.
type Info struct {
	spec.View
	State State
	// Config is the merged configuration, HostConfig the request's as it came.
	Config     ContainerConfig
	HostConfig json.RawMessage
	Host       HostConfig
	Endpoints  map[string]json.RawMessage
	// RestartCount counts automatic restarts.
	RestartCount int
	// Volumes are the mounts of volumes, by destination.
	Volumes []MountInfo
	// ExecIDs are the execs that run or are still to be started.
	ExecIDs []string
	// StatusText is the STATUS column of ps.
	StatusText string
	// Command is the COMMAND column of ps.
	Command string
	// ImageName is the IMAGE column of ps: the name as given, or the image's id
	// when the name means another image by now.
	ImageName string
}

func (e *Engine) info(v spec.View) Info {
	e.mu.Lock()
	t := e.tracked[v.Container.ID]
	restarting, health := t != nil && t.restarting, e.healthOf(v.Container.ID)
	var execs []string
	for id, x := range e.execs {
		if x.container == v.Container.ID && x.ended.IsZero() {
			execs = append(execs, id)
		}
	}
	e.mu.Unlock()
	i := e.describe(v, restarting, health)
	i.ExecIDs = execs
	i.StatusText = i.State.Text(e.clock.Now())
	return i
}

// describe is what the view alone tells, whether the container is being
// restarted, and its health. StatusText is left empty.
func (e *Engine) describe(v spec.View, restarting bool, health *Health) Info {
	s := e.storedOf(v)
	i := Info{
		View: v, State: stateOf(v.Status, restarting), Config: s.Config, HostConfig: s.HostConfig, Host: s.host,
		Endpoints: s.Endpoints, RestartCount: restartCount(v), Command: shownCommand(s.Config),
		ImageName: s.Config.Image,
	}
	i.State.Health = health
	i.Config.Labels = v.Container.Labels
	i.Volumes = e.mountInfos(v, s)
	return i
}

// storedOf decodes what a container was created with, once for each text. A
// containerVM without it (or with one that cannot be read) is described from
// its spec alone.
func (e *Engine) storedOf(v spec.View) *Stored {
	id, text := v.Container.ID, v.Container.Annotations[AnnotationCreate]
	e.mu.Lock()
	have, ok := e.stored[id]
	e.mu.Unlock()
	if ok && have.text == text {
		return have.s
	}
	s, err := decodeStored(text)
	if err != nil {
		if text != "" {
			e.log.WithField(spec.FieldContainer, id).WithError(err).Warn("the kept create request cannot be read")
		}
		s = storedFromSpec(v.Container)
	}
	e.mu.Lock()
	e.stored[id] = storedEntry{text, s}
	e.mu.Unlock()
	return s
}

func storedFromSpec(c spec.Container) *Stored {
	s := &Stored{
		Config: ContainerConfig{
			Hostname: c.Hostname, Domainname: c.Domainname, User: c.Process.User, Tty: c.Process.TTY, OpenStdin: c.Process.OpenStdin,
			StdinOnce: c.Process.StdinOnce, Env: c.Process.Env, Cmd: append([]string{c.Process.Path}, c.Process.Args...),
			Image: c.Repo, WorkingDir: c.Process.Dir, Labels: c.Labels, StopSignal: c.Process.StopSignal,
		},
		HostConfig: json.RawMessage("{}"),
	}
	if len(c.Endpoints) == 0 {
		s.host.NetworkMode = "none"
	}
	return s
}

func restartCount(v spec.View) int {
	n, err := strconv.Atoi(v.Container.Annotations[AnnotationRestarts])
	if err != nil {
		return v.Status.RestartCount
	}
	return n
}

// isRunning tells whether the process may still run: a VM that is being
// stopped counts.
func isRunning(v spec.View) bool {
	return v.Status.Phase == spec.PhaseRunning || v.Status.Phase == spec.PhaseStopping
}
