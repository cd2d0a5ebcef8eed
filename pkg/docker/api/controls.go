package api

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/vic-engine/vic/pkg/docker/engine"
	"github.com/vic-engine/vic/pkg/spec"

	"github.com/docker/docker/api/types/backend"
	"github.com/docker/docker/api/types/container"
)

func (b containerBackend) ContainerPause(name string) error { return b.e.Pause(b.Context, name) }

func (b containerBackend) ContainerUnpause(name string) error { return b.e.Unpause(b.Context, name) }

func (b containerBackend) ContainerUpdate(name string, h *container.HostConfig) (container.UpdateResponse, error) {
	host, err := json.Marshal(h)
	if err != nil {
		return container.UpdateResponse{}, fmt.Errorf("encode update request: %w", err)
	}
	warnings, err := b.e.Update(b.Context, name, host)
	return container.UpdateResponse{Warnings: warnings}, err
}

func (b containerBackend) ContainerTop(name, args string) (*container.TopResponse, error) {
	titles, rows, err := b.e.Top(b.Context, name, args)
	if err != nil {
		return nil, err
	}
	return &container.TopResponse{Titles: titles, Processes: rows}, nil
}

func (b containerBackend) ContainerStats(ctx context.Context, name string, c *backend.ContainerStatsConfig) error {
	var enc *json.Encoder
	ready := func() { enc = json.NewEncoder(c.OutStream()) }
	return b.e.Stats(ctx, name, engine.StatsOptions{Stream: c.Stream, OneShot: c.OneShot}, ready, func(s engine.StatsSample) error {
		return enc.Encode(statsResponse(s))
	})
}

// statsResponse is a sample in Docker's form on a host with cgroup v2.
func statsResponse(s engine.StatsSample) *container.StatsResponse {
	r := &container.StatsResponse{Name: "/" + s.Name, ID: s.ID}
	if s.Read.IsZero() {
		return r
	}
	r.Read, r.PreRead = s.Read, s.BeforeRead
	r.CPUStats = cpuStats(s.CPU)
	if !s.BeforeRead.IsZero() {
		r.PreCPUStats = cpuStats(s.Before)
	}
	r.MemoryStats = container.MemoryStats{Usage: s.Memory.Usage, Limit: s.Memory.Limit, Failcnt: s.Memory.Failures, Stats: memoryDetails(s.Memory.Details)}
	r.PidsStats = container.PidsStats{Current: s.Pids.Current, Limit: s.Pids.Limit}
	for _, d := range s.IO {
		r.BlkioStats.IoServiceBytesRecursive = append(r.BlkioStats.IoServiceBytesRecursive,
			container.BlkioStatEntry{Major: d.Major, Minor: d.Minor, Op: "read", Value: d.ReadBytes},
			container.BlkioStatEntry{Major: d.Major, Minor: d.Minor, Op: "write", Value: d.WriteBytes})
	}
	if !s.Networked {
		return r
	}
	r.Networks = map[string]container.NetworkStats{}
	for name, n := range s.Networks {
		r.Networks[name] = container.NetworkStats{
			RxBytes: n.RxBytes, RxPackets: n.RxPackets, RxErrors: n.RxErrors, RxDropped: n.RxDropped,
			TxBytes: n.TxBytes, TxPackets: n.TxPackets, TxErrors: n.TxErrors, TxDropped: n.TxDropped,
		}
	}
	return r
}

func cpuStats(c spec.CPUStats) container.CPUStats {
	return container.CPUStats{
		CPUUsage:       container.CPUUsage{TotalUsage: c.Total, UsageInKernelmode: c.Kernel, UsageInUsermode: c.User},
		SystemUsage:    c.System,
		OnlineCPUs:     uint32(c.Online),
		ThrottlingData: container.ThrottlingData{Periods: c.Periods, ThrottledPeriods: c.Throttled, ThrottledTime: c.ThrottledTime},
	}
}

// memoryDetails are the lines of memory.stat that Docker shows; kernels have more.
func memoryDetails(all map[string]uint64) map[string]uint64 {
	out := map[string]uint64{}
	for _, name := range []string{
		"anon", "file", "kernel_stack", "slab", "sock", "shmem", "file_mapped", "file_dirty", "file_writeback", "anon_thp",
		"inactive_anon", "active_anon", "inactive_file", "active_file", "unevictable", "slab_reclaimable", "slab_unreclaimable",
		"pgfault", "pgmajfault", "workingset_nodereclaim", "pgrefill", "pgscan", "pgsteal", "pgactivate", "pgdeactivate",
		"pglazyfree", "pglazyfreed", "thp_fault_alloc", "thp_collapse_alloc",
	} {
		out[name] = all[name]
	}
	// One number of older kernels is two of newer ones.
	for _, name := range []string{"workingset_refault", "workingset_activate"} {
		out[name] = all[name] + all[name+"_anon"] + all[name+"_file"]
	}
	return out
}
