package lab

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// TestPoolFigures: a pool may use what its host has, what the pool above it may, or its
// limit, and what VMs use counts for every pool above them.
func TestPoolFigures(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		type figures struct{ MaxMHz, MaxBytes, UsedBytes int64 }
		of := func(p *object.ResourcePool) figures {
			t.Helper()
			var m mo.ResourcePool
			r.must(property.DefaultCollector(r.c.Client).RetrieveOne(r.ctx, p.Reference(), []string{"runtime", "summary"}, &m))
			if d := cmp.Diff(m.Runtime, m.Summary.GetResourcePoolSummary().Runtime); d != "" {
				t.Errorf("runtime and summary:\n%s", d)
			}
			return figures{m.Runtime.Cpu.MaxUsage, m.Runtime.Memory.MaxUsage, m.Runtime.Memory.OverallUsage}
		}
		host, err := r.f.DefaultHostSystem(r.ctx)
		r.must(err)
		var h mo.HostSystem
		r.must(host.Properties(r.ctx, host.Reference(), []string{"summary.hardware"}, &h))
		all := figures{MaxMHz: int64(h.Summary.Hardware.CpuMhz) * int64(h.Summary.Hardware.NumCpuCores), MaxBytes: h.Summary.Hardware.MemorySize}
		if got := of(r.pool); got != all {
			t.Errorf("root: %+v, want %+v", got, all)
		}
		limits := func(mhz, mb int64) types.ResourceConfigSpec {
			s := types.DefaultResourceConfigSpec()
			s.CpuAllocation.Limit, s.MemoryAllocation.Limit = types.NewInt64(mhz), types.NewInt64(mb)
			return s
		}
		upper, err := r.pool.Create(r.ctx, "upper", limits(100, 512))
		r.must(err)
		lower, err := upper.Create(r.ctx, "lower", limits(-1, math.MaxInt64))
		r.must(err)
		for _, p := range []*object.ResourcePool{upper, lower} {
			if got, want := of(p), (figures{100, 512 << 20, 0}); got != want {
				t.Errorf("%s: %+v, want %+v", p, got, want)
			}
		}
		r.upload("VCH001/bootstrap.iso", []byte("iso"))
		info := r.wait(r.vms.CreateVM(r.ctx, r.containerSpec("c"), lower, nil))
		r.wait(object.NewVirtualMachine(r.c.Client, info.Result.(types.ManagedObjectReference)).PowerOn(r.ctx))
		r.l.stats(r.l.context(nil))
		for _, p := range []*object.ResourcePool{r.pool, upper, lower} {
			if got := of(p).UsedBytes; got != 64<<20 {
				t.Errorf("%s uses %d bytes", p, got)
			}
		}
		s := limits(-1, 256)
		r.must(upper.UpdateConfig(r.ctx, "", &s))
		want := figures{all.MaxMHz, 256 << 20, 64 << 20}
		for end := time.Now().Add(time.Minute); of(lower) != want; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("below a pool whose limits changed: %+v, want %+v", of(lower), want)
			}
		}
	})
}
