package spec

import (
	"io"
	"time"
)

// Streams are the client's side of an attach or exec. Nil means not attached.
type Streams struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Joined is called once, when the streams are connected to the process (or
	// wait for its start), so that nothing written after can be missed.
	Joined func()
	// StdinOnce closes the process's stdin when Stdin ends.
	StdinOnce bool
}

// LogOptions bound what Logs gives.
type LogOptions struct {
	Follow       bool
	Since, Until time.Time
	Tail         int // entries (lines) from the end; negative: all
	Stdout       bool
	Stderr       bool
}

// Network is one scope that containers can be on.
type Network struct {
	ID, Name, Driver string
	Subnet, Gateway  string
	PortGroup        string
	Internal         bool
	Created          time.Time
	Labels           map[string]string
}

// Capacity is what the VCH may use and has used.
type Capacity struct {
	CPUs            int
	CPUMHz          int64
	MemoryBytes     int64
	ProductName     string // "VMware ESXi 8.0.2 build-…"
	ProductVersion  string
	StorageCapacity int64 // bytes of the image datastore
	StorageFree     int64
	Datastore       string
	Pool            string
}

// StartError is returned by Start when the guest could not run the program.
type StartError struct {
	Code int // ExitNotFound, ExitNotExecutable or ExitGuestFailed
	Msg  string
}

func (e *StartError) Error() string { return e.Msg }

// PullOptions of one pull.
type PullOptions struct {
	Platform string // "linux/amd64"; empty is the VCH's own
	Username string
	Password string
	Token    string // registry token or identity token
	Progress func(Progress)
}

// Progress of one layer in Docker's words.
type Progress struct {
	ID             string // short layer id, empty for the whole
	Status         string // "Pulling fs layer", "Downloading", "Download complete", "Extracting", "Pull complete", "Already exists", …
	Current, Total int64
}

// Image is one image of the store.
type Image struct {
	ID          string   // "sha256:…" of the config
	RepoTags    []string // "busybox:latest"
	RepoDigests []string // "busybox@sha256:…"
	Created     time.Time
	Size        int64 // bytes of all layers, uncompressed
	Layers      []string
	// LayerSizes are the uncompressed bytes of each of Layers, for `docker
	// history`; empty when they are not known.
	LayerSizes []int64
	// Config is the image configuration as the registry has it (JSON).
	Config []byte
	// Pulled is when the image came into the store.
	Pulled time.Time
}
