package spec

import "time"

// Phase is where a container is in its life.
type Phase string

// The phases of a container. The VM's power state decides between Running and
// the others; see portlayer/exec for the transition table.
const (
	PhaseCreating Phase = "creating"
	PhaseCreated  Phase = "created"
	PhaseStarting Phase = "starting"
	PhaseRunning  Phase = "running"
	PhaseStopping Phase = "stopping"
	PhaseExited   Phase = "exited"
	PhaseRemoving Phase = "removing"
	// PhaseDead is a container whose VM cannot be used any more.
	PhaseDead Phase = "dead"
)

// Status is the state of a container at one moment, served from memory.
type Status struct {
	Phase Phase
	// Exit is the last exit status; its times are zero while never started.
	Exit ExitStatus
	// Started is when the process was last started, by the guest's report.
	Started time.Time
	// Addresses are what the guest has, by network name, in CIDR form.
	Addresses map[string]string
	// VM is the managed object id ("vm-42"), VMName its display name.
	VM, VMName string
	// RestartCount counts automatic restarts.
	RestartCount int
	// Paused is set while its processes are frozen; it runs then too.
	Paused bool
	// OOM is set once the kernel has killed a process of this run for want of
	// memory; Exit.OOM tells it of the last run.
	OOM bool
	// Pid of the process inside the guest, 0 when not running.
	Pid int
}

// View is a container together with its status: a copy, safe to keep.
type View struct {
	Container Container
	Status    Status
}

// EventKind is what happened to a container.
type EventKind string

// The events that the port layer reports. The engine turns them into Docker's.
const (
	EventCreated EventKind = "created"
	EventStarted EventKind = "started"
	// EventExited carries the exit status; sent once per run.
	EventExited  EventKind = "exited"
	EventRemoved EventKind = "removed"
	// EventRenamed is sent for a rename through Docker or in vSphere.
	EventRenamed EventKind = "renamed"
	EventOOM     EventKind = "oom"
	// EventPaused and EventUnpaused are sent when its processes were frozen and go on.
	EventPaused   EventKind = "paused"
	EventUnpaused EventKind = "unpaused"
)

// Event is one change of a container.
type Event struct {
	Kind EventKind
	ID   string
	Time time.Time
	// View is the container just after the change (for EventRemoved: before).
	View View
	// OldName is set for EventRenamed.
	OldName string
	// External is true when it was not asked for through this port layer.
	External bool
}

// LogEntry is one piece of output as the container wrote it.
type LogEntry struct {
	Stream Stream
	Time   time.Time
	Data   []byte
}

// Stream tells stdout from stderr.
type Stream byte

// The streams, with the numbers that Docker's stdcopy uses.
const (
	Stdin  Stream = 0
	Stdout Stream = 1
	Stderr Stream = 2
)
