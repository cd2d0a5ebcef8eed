package engine

import (
	"github.com/vic-engine/vic/pkg/spec"
)

// limits are what the guest holds the container's processes to. What resources has
// checked already is not checked again.
func limits(h *HostConfig) (spec.Limits, error) {
	l := spec.Limits{
		Memory: h.Memory, MemoryLow: h.MemoryReservation, CPUShares: h.CPUShares, OOMScoreAdj: h.OomScoreAdj,
	}
	switch {
	case h.NanoCPUs > 0:
		// To the microsecond, and not below the millisecond that the kernel wants at
		// least (kernel/sched/core.c, min_cfs_quota_period).
		l.CPUPeriod = spec.DefaultCPUPeriod
		l.CPUQuota = max(h.NanoCPUs*spec.DefaultCPUPeriod/1e9, 1000)
	case h.CPUQuota > 0:
		l.CPUQuota, l.CPUPeriod = h.CPUQuota, h.CPUPeriod
	}
	if h.PidsLimit != nil && *h.PidsLimit > 0 {
		l.Pids = *h.PidsLimit
	}
	if h.OomScoreAdj < -1000 || h.OomScoreAdj > 1000 {
		return l, invalid("Invalid value %d, range for oom score adj is [-1000, 1000]", h.OomScoreAdj)
	}
	return l, nil
}
