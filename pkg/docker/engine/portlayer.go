package engine

import (
	"context"
	"time"

	"github.com/vic-engine/vic/pkg/policy"
	"github.com/vic-engine/vic/pkg/spec"
)

// PortLayer is what the engine needs to run containers. Reads are served from
// memory and never wait for vSphere. Errors are classes of containerd/errdefs;
// ids are full container ids (the engine resolves names and prefixes).
//
// It is implemented by portlayer.PortLayer; tests use a hand-written fake.
type PortLayer interface {
	// Create makes the VM of c, with its disks, address and lease, or nothing.
	// Endpoints of c name networks; the addresses chosen are in the View.
	Create(ctx context.Context, c spec.Container) (spec.View, error)
	// Start powers the VM on and returns when the process runs. A process that
	// could not be started is an error that carries ExitNotFound or
	// ExitNotExecutable (see spec.StartError); the container is then exited.
	Start(ctx context.Context, id string) error
	// AwaitStart returns when a start that is under way is over, well or not; at
	// once where there is none.
	AwaitStart(ctx context.Context, id string) error
	// Stop sends signal (empty: the container's own), waits up to timeout
	// (negative: for ever) and then powers the VM off. Stopping a stopped
	// container does nothing.
	Stop(ctx context.Context, id, signal string, timeout time.Duration) error
	// Signal sends a signal by name or number; KILL powers the VM off if the
	// guest does not answer. A container that is not running: ErrConflict.
	Signal(ctx context.Context, id, signal string) error
	// Remove destroys the VM and all that belongs to it alone. A running
	// container is ErrConflict unless force.
	Remove(ctx context.Context, id string, force bool) error
	// Wait blocks until the run that is current (or, with next, the next run)
	// ends. On a container that does not run and next false it returns at once.
	Wait(ctx context.Context, id string, next bool) (spec.ExitStatus, error)
	// WaitRemoved blocks until the container is gone and gives its last status.
	WaitRemoved(ctx context.Context, id string) (spec.ExitStatus, error)

	// Container gives one container, ErrNotFound if unknown; Containers all,
	// newest first.
	Container(id string) (spec.View, error)
	Containers() []spec.View
	// Snapshots are Containers without a copy: nobody may change them, and a
	// container's pointer stays the same as long as nothing about it changes.
	// Another pointer need not mean a change.
	Snapshots() []*spec.View
	// Update changes what may change without a new VM (name, labels, restart
	// counts, annotations) in one reconfigure. The closure may run twice.
	Update(ctx context.Context, id string, change func(*spec.Container) error) error

	// Attach joins client streams to the container's process and returns when
	// the process's output ended or ctx or the client is done. It may be called
	// before Start: started (may be nil) is closed when the streams are joined.
	Attach(ctx context.Context, id string, s spec.Streams) error
	// Resize sets the terminal size of the process, or of exec when not empty.
	Resize(ctx context.Context, id, exec string, rows, cols int) error
	// Exec runs p in a running container, joined to s. It returns when the
	// process ended and its output is written. started is called with the pid
	// in the guest as soon as it runs.
	Exec(ctx context.Context, id, exec string, p spec.Process, s spec.Streams, started func(pid int)) (spec.ExitStatus, error)
	// SignalExec sends a signal to an exec's process.
	SignalExec(ctx context.Context, id, exec, signal string) error

	// Logs calls each for the kept output, oldest first; with follow it goes on
	// until the container stops or ctx is done. since and until bound the
	// times (zero: unbounded); tail < 0 means all entries.
	Logs(ctx context.Context, id string, o spec.LogOptions, each func(spec.LogEntry) error) error

	// Subscribe gives every event from now on until ctx is done. A reader that
	// is too slow gets the channel closed, never a gap.
	Subscribe(ctx context.Context) <-chan spec.Event

	// Networks and volumes that exist; the first network is the default one.
	Networks() []spec.Network
	// Capacity tells what the VCH's pool has, for docker info.
	Capacity(ctx context.Context) (spec.Capacity, error)
}

// Networks is what the engine needs to make networks and to put containers on
// them; the networks that exist are PortLayer.Networks. Implemented by
// portlayer.PortLayer.
type Networks interface {
	// CreateNetwork makes a bridge network. What n leaves open (ID, subnet,
	// gateway) is chosen. A name that is taken: ErrAlreadyExists; a subnet that
	// overlaps another network's: ErrPermissionDenied, as Docker has it.
	CreateNetwork(ctx context.Context, n spec.Network) (spec.Network, error)
	// RemoveNetwork removes a network without containers (else ErrPermissionDenied).
	RemoveNetwork(ctx context.Context, id string) error
	// Connect puts a container, running or not, on another network. Network,
	// addresses wanted, aliases and links are taken from e.
	Connect(ctx context.Context, id string, e spec.Endpoint) error
	// Disconnect takes it off again; not on it: ErrNotFound.
	Disconnect(ctx context.Context, id, network string) error
}

// Policies is what the engine needs to show policies. Implemented by
// portlayer.PortLayer.
type Policies interface {
	// Policies are all rules, in the order in which they are asked.
	Policies() policy.Set
	// Traceflow says what becomes of a connection now.
	Traceflow(f policy.Flow) policy.Trace
}

// Volumes is what the engine needs of the volume stores. Implemented by
// portlayer/storage.Volumes. Names are unique over all stores. Reads are from
// memory.
type Volumes interface {
	// CreateVolume makes a volume. One of that name that exists is given back
	// when its driver and options agree, else ErrConflict.
	CreateVolume(ctx context.Context, r spec.VolumeRequest) (spec.Volume, error)
	Volume(name string) (spec.Volume, error)
	// Volumes also tells which stores cannot be reached.
	Volumes() (list []spec.Volume, warnings []string)
	// RemoveVolume deletes a volume and its data. The engine has made sure that
	// no container names it.
	RemoveVolume(ctx context.Context, name string) error
	// GrowVolume makes a volume larger, in bytes, also while it is in use.
	GrowVolume(ctx context.Context, name string, capacity int64) error
}

// Images is what the engine needs of the image store. Implemented by
// portlayer/storage.Images.
type Images interface {
	// Pull brings ref ("docker.io/library/busybox:latest", or with a digest)
	// into the store: blobs, and the disk made from them. Progress gets one
	// call per change. It returns the image and whether anything was new. A
	// failed or cancelled pull leaves no disk behind.
	Pull(ctx context.Context, ref string, o spec.PullOptions) (spec.Image, bool, error)
	// Resolve finds an image by reference, id or unambiguous id prefix.
	Resolve(ref string) (spec.Image, error)
	List() []spec.Image
	// Tag adds a name to an image; an existing name is moved.
	Tag(ctx context.Context, ref, name string) error
	// Untag removes a name; Delete removes an image with these names, its disk and
	// the blobs that no other image uses. One that has another name by then is
	// ErrConflict; it, and one that fails, stays with all its names. Neither knows
	// about containers.
	Untag(ctx context.Context, name string) error
	Delete(ctx context.Context, id string, names ...string) (freed []string, err error)
	// Disk gives the datastore path of the image's read-only disk, made anew
	// from the blobs if it is gone.
	Disk(ctx context.Context, id string) (path string, err error)
}
