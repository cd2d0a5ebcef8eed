package lab

import (
	"slices"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/lab/collector"
)

// usage is what VMs use.
type usage struct {
	cpu    int64 // MHz
	memory int64 // bytes
}

func (u *usage) add(v usage) { u.cpu, u.memory = u.cpu+v.cpu, u.memory+v.memory }

// pools puts into every resource pool what it may use at most, which is what the pool
// above it may, or its own limit; and with used, what its VMs and those of the pools
// below it use, by the pool that they are in. Like stats it tells no watcher.
func (l *Lab) pools(c *simulator.Context, used map[types.ManagedObjectReference]usage) {
	for _, ref := range c.Map.AllReference("ResourcePool") {
		root, ok := ref.(*simulator.ResourcePool)
		if !ok || root.Parent == nil || root.Parent.Type == "ResourcePool" || root.Parent.Type == "VirtualApp" {
			continue
		}
		s := computeSummary(c, root.Owner)
		if s == nil {
			continue
		}
		most := usage{int64(s.TotalCpu), s.TotalMemory}
		locked(c, root, func() { // as on ESXi, where these are what the host has
			root.Config.CpuAllocation.Limit = types.NewInt64(most.cpu)
			root.Config.MemoryAllocation.Limit = types.NewInt64(most.memory >> 20)
		})
		l.pool(c, root.Self, most, used)
	}
}

// pool does so for one pool and those below it, and gives what they use.
func (l *Lab) pool(c *simulator.Context, ref types.ManagedObjectReference, most usage, used map[types.ManagedObjectReference]usage) usage {
	var p *mo.ResourcePool
	switch o := c.Map.Get(ref).(type) {
	case *simulator.ResourcePool:
		p = &o.ResourcePool
	case *simulator.VirtualApp:
		p = &o.ResourcePool
	default:
		return usage{} // it went meanwhile
	}
	var below []types.ManagedObjectReference
	locked(c, p, func() {
		if n := p.Config.CpuAllocation.Limit; n != nil && *n >= 0 { // -1: unlimited
			most.cpu = min(most.cpu, *n)
		}
		if n := p.Config.MemoryAllocation.Limit; n != nil && *n >= 0 && *n < most.memory>>20 {
			most.memory = *n << 20
		}
		below = slices.Clone(p.ResourcePool)
	})
	sum := used[ref]
	for _, child := range below {
		sum.add(l.pool(c, child, most, used))
	}
	locked(c, p, func() {
		r := p.Runtime
		for _, x := range []struct {
			of   *types.ResourcePoolResourceUsage
			most int64
			uses int64
		}{{&r.Cpu, most.cpu, sum.cpu}, {&r.Memory, most.memory, sum.memory}} {
			x.of.MaxUsage, x.of.UnreservedForPool, x.of.UnreservedForVm = x.most, x.most, x.most
			if used != nil {
				x.of.OverallUsage = x.uses
			}
		}
		p.Runtime = r
		if p.Summary != nil {
			p.Summary.GetResourcePoolSummary().Runtime = r
		}
	})
	return sum
}

// computeSummary is the summary of a compute resource, nil if it is none.
func computeSummary(c *simulator.Context, ref types.ManagedObjectReference) *types.ComputeResourceSummary {
	switch cr := c.Map.Get(ref).(type) {
	case *mo.ComputeResource:
		return cr.Summary.GetComputeResourceSummary()
	case *simulator.ClusterComputeResource:
		return cr.Summary.GetComputeResourceSummary()
	}
	return nil
}

// poolMaker tells a new pool what it may use.
type poolMaker struct {
	*collector.Pool
	l *Lab
}

func (p *poolMaker) CreateResourcePool(ctx *simulator.Context, req *types.CreateResourcePool) soap.HasFault {
	res := p.Pool.CreateResourcePool(ctx, req)
	p.l.pools(p.l.context(nil), nil)
	return res
}

// UpdateConfig tells it, and those below it, once this pool is not locked any more.
func (p *poolObj) UpdateConfig(ctx *simulator.Context, req *types.UpdateConfig) soap.HasFault {
	res := p.ResourcePool.UpdateConfig(ctx, req)
	if b, ok := res.(*methods.UpdateConfigBody); ok && b.Res != nil {
		p.l.background(func() { p.l.pools(p.l.context(nil), nil) })
	}
	return res
}
