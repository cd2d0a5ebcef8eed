package exec

import (
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/vic-engine/vic/pkg/spec"
)

// event is what can happen to a container.
type event string

const (
	evCreated  event = "created"   // its VM exists
	evFailed   event = "failed"    // what was under way did not work
	evStart    event = "start"     // somebody asks for it
	evOn       event = "VM on"     // the VM was seen powered on
	evStarted  event = "started"   // the guest says that the process runs
	evStop     event = "stop"      // somebody asks for it
	evOff      event = "VM off"    // the VM was seen powered off
	evRemove   event = "remove"    // somebody asks for it
	evRemoved  event = "removed"   // the VM and all that is its own is gone
	evVanished event = "vanished"  // the VM left the inventory without us
	evBroken   event = "VM broken" // vSphere cannot use the VM (orphaned, inaccessible, …)
)

// phaseGone is after the end of life; the container is not listed any more.
const phaseGone spec.Phase = ""

// next is the whole life of a container:
//
//	            created   failed  start     on        started  stop      off      remove    removed  vanished  broken
//	creating    created   gone    -         creating  -        -         creating -         -        gone      -
//	created     -         -       starting  starting  created  -         created  removing  -        gone      dead
//	starting    -         exited  -         starting  running  stopping  exited   -         -        gone      dead
//	running     -         -       -         running   running  stopping  exited   -         -        gone      dead
//	stopping    -         -       -         stopping  stopping stopping  exited   -         -        gone      dead
//	exited      -         -       starting  starting  exited   -         exited   removing  -        gone      dead
//	removing    -         dead    -         removing  removing -         removing -         gone     gone      removing
//	dead        -         dead    -         starting  dead     -         exited   removing  -        gone      dead
//
// "-" is an error (ErrConflict). A report of a start while created or exited
// comes too late, after the VM was seen off, and changes nothing.
func next(p spec.Phase, e event) (spec.Phase, error) {
	if to, ok := transitions[p][e]; ok {
		return to, nil
	}
	return p, fmt.Errorf("container is %s: %s is not possible: %w", name(p), e, errdefs.ErrConflict)
}

func name(p spec.Phase) string {
	if p == phaseGone {
		return "gone"
	}
	return string(p)
}

var transitions = map[spec.Phase]map[event]spec.Phase{
	spec.PhaseCreating: {
		evCreated: spec.PhaseCreated, evFailed: phaseGone, evVanished: phaseGone,
		evOn: spec.PhaseCreating, evOff: spec.PhaseCreating,
	},
	spec.PhaseCreated: {
		evStart: spec.PhaseStarting, evOn: spec.PhaseStarting, evStarted: spec.PhaseCreated, evOff: spec.PhaseCreated,
		evRemove: spec.PhaseRemoving, evVanished: phaseGone, evBroken: spec.PhaseDead,
	},
	spec.PhaseStarting: {
		evFailed: spec.PhaseExited, evOn: spec.PhaseStarting, evStarted: spec.PhaseRunning, evStop: spec.PhaseStopping,
		evOff: spec.PhaseExited, evVanished: phaseGone, evBroken: spec.PhaseDead,
	},
	spec.PhaseRunning: {
		evOn: spec.PhaseRunning, evStarted: spec.PhaseRunning, evStop: spec.PhaseStopping,
		evOff: spec.PhaseExited, evVanished: phaseGone, evBroken: spec.PhaseDead,
	},
	spec.PhaseStopping: {
		evOn: spec.PhaseStopping, evStarted: spec.PhaseStopping, evStop: spec.PhaseStopping,
		evOff: spec.PhaseExited, evVanished: phaseGone, evBroken: spec.PhaseDead,
	},
	spec.PhaseExited: {
		evStart: spec.PhaseStarting, evOn: spec.PhaseStarting, evStarted: spec.PhaseExited, evOff: spec.PhaseExited,
		evRemove: spec.PhaseRemoving, evVanished: phaseGone, evBroken: spec.PhaseDead,
	},
	spec.PhaseRemoving: {
		evFailed: spec.PhaseDead, evOn: spec.PhaseRemoving, evStarted: spec.PhaseRemoving, evOff: spec.PhaseRemoving,
		evRemoved: phaseGone, evVanished: phaseGone, evBroken: spec.PhaseRemoving,
	},
	spec.PhaseDead: {
		evFailed: spec.PhaseDead, evOn: spec.PhaseStarting, evStarted: spec.PhaseDead, evOff: spec.PhaseExited,
		evRemove: spec.PhaseRemoving, evVanished: phaseGone, evBroken: spec.PhaseDead,
	},
}

// active phases have a VM that is on, or is being turned on.
func active(p spec.Phase) bool {
	return p == spec.PhaseStarting || p == spec.PhaseRunning || p == spec.PhaseStopping
}
