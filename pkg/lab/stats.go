package lab

import (
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// statsPeriod is how often housekeeping looks, as vSphere's 20 s samples.
const statsPeriod = 20 * time.Second

// stats puts what VMs use into their quick statistics, and those of their host and
// pools. It tells no watcher: each change of any VM makes every filter of every client
// look again.
func (l *Lab) stats(c *simulator.Context) {
	l.mu.Lock()
	runs := make(map[types.ManagedObjectReference]*run, len(l.vms))
	for ref, r := range l.vms {
		runs[ref] = r
	}
	l.mu.Unlock()
	var cpu, mem int32
	used := map[types.ManagedObjectReference]usage{}
	for ref, r := range runs {
		o, ok := c.Map.Get(ref).(*simulator.VirtualMachine)
		u, err := r.inst.Usage()
		if !ok || err != nil {
			continue
		}
		seconds := u.CPUSeconds - r.use.CPUSeconds
		if r.use.CPUSeconds == 0 {
			seconds = 0
		}
		r.use = u
		locked(c, o, func() {
			q := &o.Summary.QuickStats
			q.OverallCpuUsage = int32(seconds / statsPeriod.Seconds() * float64(hostMHz(c, o)))
			q.OverallCpuDemand = q.OverallCpuUsage
			q.HostMemoryUsage, q.GuestMemoryUsage = int32(u.MemoryBytes>>20), int32(u.MemoryBytes>>20)
			q.PrivateMemory = q.HostMemoryUsage
			if b := o.Runtime.BootTime; b != nil {
				q.UptimeSeconds = int32(time.Since(*b).Seconds())
			}
			cpu += q.OverallCpuUsage
			mem += q.HostMemoryUsage
			if o.ResourcePool != nil {
				sum := used[*o.ResourcePool]
				sum.add(usage{int64(q.OverallCpuUsage), u.MemoryBytes})
				used[*o.ResourcePool] = sum
			}
		})
	}
	for _, ref := range c.Map.AllReference("HostSystem") {
		if h, ok := ref.(*simulator.HostSystem); ok {
			locked(c, h, func() {
				h.Summary.QuickStats.OverallCpuUsage, h.Summary.QuickStats.OverallMemoryUsage = cpu, mem
				if b := h.Runtime.BootTime; b != nil {
					h.Summary.QuickStats.Uptime = int32(time.Since(*b).Seconds())
				}
			})
		}
	}
	l.pools(c, used)
}

func hostMHz(c *simulator.Context, o *simulator.VirtualMachine) int32 {
	if h, ok := c.Map.Get(*o.Runtime.Host).(*simulator.HostSystem); ok && h.Summary.Hardware != nil {
		return h.Summary.Hardware.CpuMhz
	}
	return 0
}

// summaryOf is the summary of the compute resource a host belongs to.
func summaryOf(c *simulator.Context, h *simulator.HostSystem) *types.ComputeResourceSummary {
	return computeSummary(c, *h.Parent)
}
