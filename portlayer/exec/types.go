package exec

import (
	"context"
	"io"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/logframe"
	"github.com/vic-engine/vic/pkg/spec"
	"github.com/vic-engine/vic/pkg/vsphere"
	"github.com/vic-engine/vic/portlayer/network"
)

// Images gives containers their disks. Implemented by storage.Images.
type Images interface {
	// CloneRoot makes the read-write disk at path, of a capacity in MiB.
	CloneRoot(ctx context.Context, path string, sizeMB int64) error
	// Disk gives the path of an image's disk, made anew if it is gone.
	Disk(ctx context.Context, id string) (string, error)
}

// Datastore is where containers live. Implemented by vsphere.Datastore.
type Datastore interface {
	Put(ctx context.Context, path string, r io.Reader, size int64) error
	Get(ctx context.Context, path string, offset int64) (io.ReadCloser, int64, error)
	List(ctx context.Context, dir string) ([]spec.DatastoreEntry, error)
	Mkdir(ctx context.Context, dir string) error
	Delete(ctx context.Context, path string) error
	DeleteDisk(ctx context.Context, path string) error
}

// Lines are the control lines of the containers. Implemented over
// attach.Server by package portlayer.
type Lines interface {
	// Session blocks until the container's line is up.
	Session(ctx context.Context, id string) (Line, error)
	// Drop ends the line of a container that is off, for good.
	Drop(id string)
}

// Line is one boot's control line. It ends when the guest is gone or Drop was
// called; a cut of the network in between does not show.
type Line interface {
	Release(ctx context.Context) (pid int, err error)
	Attach(ctx context.Context, s spec.Streams) error
	Exec(ctx context.Context, exec string, p spec.Process, s spec.Streams, started func(pid int)) (spec.ExitStatus, error)
	Signal(ctx context.Context, exec, signal string) error
	Resize(ctx context.Context, exec string, rows, cols int) error
	// Follow gives the frames of output after a position, live, until the
	// output has ended.
	Follow(ctx context.Context, after logframe.Position, each func(logframe.Frame) error) error
	// Network makes the guest's networks as u says; Grow lets the filesystem of
	// the disk scsi0:unit fill the disk.
	Network(ctx context.Context, u spec.NetworkUpdate) error
	Grow(ctx context.Context, unit int) error
	controls
}

// Config of a Manager. What has no default must be set.
type Config struct {
	// VCH is the UUID of the VCH whose containers these are.
	VCH string
	// AuthorizedKey is what the guests accept on their lines.
	AuthorizedKey string
	VSphere       *vsphere.Session
	Place         vsphere.Place
	Datastore     Datastore
	// DatastoreName and DatastoreRef are those of Datastore.
	DatastoreName string
	DatastoreRef  types.ManagedObjectReference
	// Marks is the datastore folder that names creates under way.
	Marks        string
	BootstrapISO string
	BootstrapRef types.ManagedObjectReference
	// Line is the URI that serial ports dial; asked for at each create and start,
	// as the VCH's address may change.
	Line func() (string, error)
	// Networks may be nil: containers have what they were made with then.
	Networks Networks
	// DNS gives the servers of containers that name none, without Networks.
	DNS    func() []string
	Images Images
	// Volumes may be nil: no container can have one then.
	Volumes Volumes
	Lines   Lines
	Leases  *network.Leases
	// Defaults of a container; zero: those of pkg/spec.
	CPUs     int
	MemoryMB int64
	// RootSizeMB is the capacity of read-write disks; zero: 8 GiB.
	RootSizeMB int64
	// BootTimeout bounds a start, from power-on to the process; zero: 3 minutes.
	BootTimeout time.Duration
	// EndTimeout bounds the power-off after the process ended; zero: 30 seconds.
	EndTimeout time.Duration
	// FilesLinger is how long a VM that was turned on for its files stays on when
	// they are not used any more; zero: 3 seconds.
	FilesLinger time.Duration
	// Publish gets every change of a container, in order. It must not block.
	Publish func(spec.Event)
	// Now is the clock; nil: time.Now.
	Now func() time.Time
	Log *logrus.Entry
}

const (
	// DefaultRootSizeMB is the capacity of containers' own disks.
	DefaultRootSizeMB  = 8 << 10
	defaultBootTimeout = 3 * time.Minute
	defaultEndTimeout  = 30 * time.Second
	defaultFilesLinger = 3 * time.Second

	// cleanupTimeout bounds undoing, which goes on when the caller has left.
	cleanupTimeout = 2 * time.Minute
	// lineTimeout bounds the wait for a running container's line, which is up
	// but for moments after a restart of the engine.
	lineTimeout = 10 * time.Second
	// joinTimeout bounds the wait for clients that attached before the start.
	joinTimeout = 5 * time.Second
	// drainTimeout bounds how long a client may take to read the last output.
	drainTimeout = 10 * time.Second
)

func (c *Config) defaults() {
	if c.RootSizeMB == 0 {
		c.RootSizeMB = DefaultRootSizeMB
	}
	if c.BootTimeout == 0 {
		c.BootTimeout = defaultBootTimeout
	}
	if c.EndTimeout == 0 {
		c.EndTimeout = defaultEndTimeout
	}
	if c.FilesLinger == 0 {
		c.FilesLinger = defaultFilesLinger
	}
	if c.Publish == nil {
		c.Publish = func(spec.Event) {}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.DNS == nil {
		c.DNS = func() []string { return nil }
	}
}
