package vsphere

import (
	"context"
	"fmt"

	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// PlaceConfig names where VMs are made, by inventory path.
type PlaceConfig struct {
	Datacenter string // empty: the only one
	Pool       string
	Folder     string // empty: the datacenter's VM folder
	Host       string // empty: vSphere chooses
}

// Place is where VMs are made.
type Place struct {
	Datacenter, Pool, Folder types.ManagedObjectReference
	// Host is nil where vSphere chooses it: on a single host, or with DRS.
	Host *types.ManagedObjectReference
	// DatacenterPath is the inventory path of Datacenter.
	DatacenterPath string
	finder         *find.Finder
}

// Place finds a place. On a cluster without DRS, where vSphere refuses to
// choose, it takes the first host that can run VMs.
func (s *Session) Place(ctx context.Context, cfg PlaceConfig) (Place, error) {
	f := find.NewFinder(s.vim, false)
	dc, err := f.DatacenterOrDefault(ctx, cfg.Datacenter)
	if err != nil {
		return Place{}, Classify(fmt.Errorf("find datacenter %s: %w", cfg.Datacenter, err))
	}
	f.SetDatacenter(dc)
	pool, err := f.ResourcePoolOrDefault(ctx, cfg.Pool)
	if err != nil {
		return Place{}, Classify(fmt.Errorf("find resource pool %s: %w", cfg.Pool, err))
	}
	folder, err := f.FolderOrDefault(ctx, cfg.Folder)
	if err != nil {
		return Place{}, Classify(fmt.Errorf("find folder %s: %w", cfg.Folder, err))
	}
	p := Place{
		Datacenter: dc.Reference(), Pool: pool.Reference(), Folder: folder.Reference(),
		DatacenterPath: dc.InventoryPath, finder: f,
	}
	if cfg.Host != "" {
		h, err := f.HostSystem(ctx, cfg.Host)
		if err != nil {
			return Place{}, Classify(fmt.Errorf("find host %s: %w", cfg.Host, err))
		}
		ref := h.Reference()
		p.Host = &ref
		return p, nil
	}
	p.Host, err = s.chooseHost(ctx, p.Pool)
	return p, err
}

func (s *Session) chooseHost(ctx context.Context, pool types.ManagedObjectReference) (*types.ManagedObjectReference, error) {
	pc := property.DefaultCollector(s.vim)
	var rp mo.ResourcePool
	if err := pc.RetrieveOne(ctx, pool, []string{"owner"}, &rp); err != nil {
		return nil, Classify(fmt.Errorf("read owner of resource pool %s: %w", pool.Value, err))
	}
	if rp.Owner.Type != "ClusterComputeResource" {
		return nil, nil
	}
	var c mo.ClusterComputeResource
	if err := pc.RetrieveOne(ctx, rp.Owner, []string{"configurationEx", "host"}, &c); err != nil {
		return nil, Classify(fmt.Errorf("read cluster %s: %w", rp.Owner.Value, err))
	}
	if x, ok := c.ConfigurationEx.(*types.ClusterConfigInfoEx); ok && x.DrsConfig.Enabled != nil && *x.DrsConfig.Enabled {
		return nil, nil
	}
	if len(c.Host) == 0 {
		return nil, nil
	}
	var hosts []mo.HostSystem
	if err := pc.Retrieve(ctx, c.Host, []string{"runtime.connectionState", "runtime.inMaintenanceMode"}, &hosts); err != nil {
		return nil, Classify(fmt.Errorf("read hosts of cluster %s: %w", rp.Owner.Value, err))
	}
	for _, h := range hosts {
		if h.Runtime.ConnectionState == types.HostSystemConnectionStateConnected && !h.Runtime.InMaintenanceMode {
			ref := h.Self
			return &ref, nil
		}
	}
	return nil, nil
}

// NetworkBacking finds a network by name or path and gives the backing of a
// NIC on it: a standard port group, a distributed one, or an opaque network.
func (s *Session) NetworkBacking(ctx context.Context, p Place, name string) (types.BaseVirtualDeviceBackingInfo, error) {
	f := p.finder
	if f == nil {
		f = find.NewFinder(s.vim, false).SetDatacenter(object.NewDatacenter(s.vim, p.Datacenter))
	}
	n, err := f.Network(ctx, name)
	if err != nil {
		return nil, Classify(fmt.Errorf("find network %s: %w", name, err))
	}
	b, err := n.EthernetCardBackingInfo(ctx)
	if err != nil {
		return nil, Classify(fmt.Errorf("read network %s: %w", name, err))
	}
	return b, nil
}

// PoolCapacity is what a resource pool may use.
type PoolCapacity struct {
	Name        string
	CPUMHz      int64
	MemoryBytes int64
	CPUs        int // logical processors of the hosts behind it
	// What its VMs use now, and the limits of its own; 0: none.
	CPUUsedMHz, CPULimitMHz int64
	MemoryUsed, MemoryLimit int64 // bytes
}

// PoolCapacity reads a pool's limits and the processors behind it.
func (s *Session) PoolCapacity(ctx context.Context, pool types.ManagedObjectReference) (PoolCapacity, error) {
	pc := property.DefaultCollector(s.vim)
	var rp mo.ResourcePool
	if err := pc.RetrieveOne(ctx, pool, []string{"name", "owner", "runtime", "config"}, &rp); err != nil {
		return PoolCapacity{}, Classify(fmt.Errorf("read resource pool %s: %w", pool.Value, err))
	}
	out := PoolCapacity{Name: rp.Name, CPUMHz: rp.Runtime.Cpu.MaxUsage, MemoryBytes: rp.Runtime.Memory.MaxUsage}
	out.CPUUsedMHz, out.MemoryUsed = rp.Runtime.Cpu.OverallUsage, rp.Runtime.Memory.OverallUsage
	if l := rp.Config.CpuAllocation.Limit; l != nil && *l > 0 { // -1: unlimited
		out.CPULimitMHz = *l
	}
	if l := rp.Config.MemoryAllocation.Limit; l != nil && *l > 0 { // MB
		out.MemoryLimit = *l << 20
	}
	var c mo.ComputeResource
	if err := pc.RetrieveOne(ctx, rp.Owner, []string{"summary"}, &c); err != nil {
		return out, Classify(fmt.Errorf("read compute resource %s: %w", rp.Owner.Value, err))
	}
	if c.Summary != nil {
		out.CPUs = int(c.Summary.GetComputeResourceSummary().NumCpuThreads)
	}
	return out, nil
}
