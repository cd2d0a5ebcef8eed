package collector

import (
	"bytes"
	"sync"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/simulator/esx"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
	"github.com/vmware/govmomi/vim25/xml"
)

// template guards what esx.ResourcePool.Summary points to. The simulator gives
// every new pool of the process that very object, and writes the name of the
// latest one there.
var template sync.Mutex

// Pool makes children that have a summary of their own. It answers no other call
// than CreateResourcePool otherwise than the simulator.
type Pool struct {
	*simulator.ResourcePool
}

// Lock does nothing: the simulator would lock the pool for the whole call. Here
// template comes first and the pool's lock second, at every place.
func (p *Pool) Lock() {}

// Unlock does nothing.
func (p *Pool) Unlock() {}

// CreateResourcePool makes a child as the simulator does, then takes it off the
// template while nobody else can write there.
func (p *Pool) CreateResourcePool(ctx *simulator.Context, req *types.CreateResourcePool) soap.HasFault {
	template.Lock()
	defer template.Unlock()
	var res soap.HasFault
	locked(ctx, p.ResourcePool, func() { res = p.ResourcePool.CreateResourcePool(ctx, req) })
	if body, ok := res.(*methods.CreateResourcePoolBody); ok && body.Res != nil {
		if child, ok := ctx.Map.Get(body.Res.Returnval).(*simulator.ResourcePool); ok {
			ownSummary(ctx, child)
		}
	}
	return res
}

// poolsOff takes the pools that there are off the template.
func poolsOff(m *simulator.Registry) {
	template.Lock()
	defer template.Unlock()
	ctx := &simulator.Context{Map: m}
	for _, obj := range m.AllReference("ResourcePool") {
		if p, ok := obj.(*simulator.ResourcePool); ok {
			ownSummary(ctx, p)
		}
	}
}

// ownSummary is called with template locked, and with no object locked.
func ownSummary(ctx *simulator.Context, p *simulator.ResourcePool) {
	locked(ctx, p, func() {
		if p.Summary != esx.ResourcePool.Summary {
			return
		}
		own := copySummary(p.Summary.GetResourcePoolSummary())
		own.Name = p.Name
		p.Summary = own
	})
}

// copySummary shares nothing with s.
func copySummary(s *types.ResourcePoolSummary) *types.ResourcePoolSummary {
	var b bytes.Buffer
	var out types.ResourcePoolSummary
	err := xml.NewEncoder(&b).Encode(s)
	if err == nil {
		d := xml.NewDecoder(&b)
		d.TypeFunc = types.TypeFunc()
		err = d.Decode(&out)
	}
	if err != nil { // the template is a constant of the simulator's
		panic("a resource pool's summary: " + err.Error())
	}
	return &out
}

func locked(ctx *simulator.Context, p *simulator.ResourcePool, fn func()) {
	defer ctx.Map.AcquireLock(ctx, p)()
	fn()
}
