package spec

import "time"

// Stats are what a container uses at one moment, as its guest reads it. Counters
// grow from the start of the VM.
type Stats struct {
	Read   time.Time // the guest's clock, UTC
	CPU    CPUStats
	Memory MemoryStats
	Pids   PidsStats
	IO     []DiskStats
	// Networks by the name of the interface in the container ("eth0").
	Networks map[string]LinkStats
}

// CPUStats are times in nanoseconds.
type CPUStats struct {
	Total, User, Kernel uint64 // of the container's processes, on all CPUs
	System              uint64 // of the whole guest, idle time included
	Online              int    // number of CPUs
	// Periods of a CPU limit: all, those in which the container was held back, and
	// for how long.
	Periods, Throttled, ThrottledTime uint64
}

// MemoryStats are bytes.
type MemoryStats struct {
	Usage uint64 // page cache included
	Limit uint64 // the container's, or what the guest has if that is less
	// Details are the lines of the kernel's memory.stat.
	Details map[string]uint64
	// Failures counts how often the limit was reached with nothing left to free.
	Failures uint64
}

// PidsStats count processes and threads. Limit 0: none.
type PidsStats struct{ Current, Limit uint64 }

// DiskStats are what went to and from one disk.
type DiskStats struct {
	Major, Minor          uint64
	ReadBytes, WriteBytes uint64
	ReadCount, WriteCount uint64
}

// LinkStats are what went through one network interface.
type LinkStats struct {
	RxBytes, RxPackets, RxErrors, RxDropped uint64
	TxBytes, TxPackets, TxErrors, TxDropped uint64
}

// ProcessInfo is one process of a container, as its guest sees it.
type ProcessInfo struct {
	PID, PPID, PGID, SID int
	UID, GID             int    // effective
	User, Group          string // names that the container has for them, or the numbers
	// Command is the program's name, at most 15 bytes; Args its command line, empty
	// for a thread of the kernel and for a process that has ended.
	Command string
	Args    []string
	// State is the kernel's letter: R, S, D, T, Z, …
	State string
	// TTY is the terminal without /dev/ ("pts/0"); empty: none.
	TTY           string
	Nice, Threads int
	Priority      int
	RSS, VSize    uint64 // bytes
	// Leader of its session, in the terminal's Foreground, with Locked memory.
	Foreground, Locked bool
	Started            time.Time
	CPU                time.Duration // used by all its threads
}

// ProcessTable is what is known of a container's processes at one moment.
type ProcessTable struct {
	Read        time.Time
	MemoryBytes uint64 // what the guest has
	Processes   []ProcessInfo
}
