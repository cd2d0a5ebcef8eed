package spec

import (
	"errors"
	"fmt"
)

// Limits are what the guest holds a container's processes to, all of them
// together: the values of a control group. Zero is no limit. The VM's own
// hardware is Resources.
type Limits struct {
	// Memory is what the processes may use, in bytes.
	Memory int64 `json:",omitempty"`
	// MemoryLow is memory that the guest's kernel takes from them last, in bytes.
	MemoryLow int64 `json:",omitempty"`
	// CPUQuota is their time on all CPUs in each CPUPeriod, both in microseconds. A
	// period of 0 is DefaultCPUPeriod.
	CPUQuota  int64 `json:",omitempty"`
	CPUPeriod int64 `json:",omitempty"`
	// CPUShares are Docker's, 2 to 262144.
	CPUShares int64 `json:",omitempty"`
	// Pids is the number of processes and threads.
	Pids int64 `json:",omitempty"`
	// OOMScoreAdj makes the kernel more or less likely to end them when memory is
	// short. It is read at the boot only.
	OOMScoreAdj int `json:",omitempty"`
}

// DefaultCPUPeriod is the kernel's period of CPU limits, in microseconds.
const DefaultCPUPeriod = 100000

// Validate checks what must hold of any limits. All problems are joined.
func (l Limits) Validate() error {
	var errs []error
	for _, v := range []struct {
		name  string
		value int64
	}{
		{"memory", l.Memory}, {"memory reservation", l.MemoryLow}, {"CPU quota", l.CPUQuota},
		{"CPU period", l.CPUPeriod}, {"CPU shares", l.CPUShares}, {"number of processes", l.Pids},
	} {
		if v.value < 0 {
			errs = append(errs, fmt.Errorf("limit of %s is %d: want 0 (no limit) or more", v.name, v.value))
		}
	}
	if l.OOMScoreAdj < -1000 || l.OOMScoreAdj > 1000 {
		errs = append(errs, fmt.Errorf("OOM score adjustment %d: range should be [-1000, 1000]", l.OOMScoreAdj))
	}
	return errors.Join(errs...)
}
