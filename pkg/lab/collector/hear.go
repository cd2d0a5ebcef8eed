package collector

import (
	"slices"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// filter is what is known of one filter.
type filter struct {
	// asked are the properties of tasks that the client wants; nil without a whole
	// info among them.
	asked []string
	// objects are all that it is for; nil when it follows paths to others.
	objects []types.ManagedObjectReference
}

// objectsOf are the objects of a filter that follows no path from them.
func objectsOf(set []types.ObjectSpec) []types.ManagedObjectReference {
	out := []types.ManagedObjectReference{}
	for _, o := range set {
		if len(o.SelectSet) > 0 {
			return nil
		}
		out = append(out, o.Obj)
	}
	return out
}

// note remembers a filter, and forgets those that have ended by themselves.
func (c *Collector) note(ctx *simulator.Context, ref types.ManagedObjectReference, f filter) {
	c.mu.Lock()
	if c.filters == nil {
		c.filters = map[types.ManagedObjectReference]filter{}
	}
	for old := range c.filters {
		if ctx.Session.Get(old) == nil {
			delete(c.filters, old)
		}
	}
	c.filters[ref] = f
	hears := c.hears
	c.mu.Unlock()
	// A wait that goes on shows what is new when it next wakes.
	if hears {
		c.PropertyCollector.PutObject(ctx, c)
	}
}

// hear has the simulator tell this of changes, which tells the collector within at
// the first of a client's waits, and again when one begins anew. Called before the
// wait ends, so that it is not after the collector's end.
func (c *Collector) hear(ctx *simulator.Context, version string) {
	if version != "" {
		return
	}
	c.mu.Lock()
	c.hears = true
	c.mu.Unlock()
	ctx.Map.AddHandler(c)
}

// concerns tells whether a filter is for an object, or may be.
func (c *Collector) concerns(ref types.ManagedObjectReference) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.filters {
		if f.objects == nil || slices.Contains(f.objects, ref) {
			return true
		}
	}
	return false
}

// PutObject is told of a new object.
func (c *Collector) PutObject(ctx *simulator.Context, o mo.Reference) {
	if c.concerns(o.Reference()) {
		c.PropertyCollector.PutObject(ctx, o)
	}
}

// UpdateObject is told of an object's change.
func (c *Collector) UpdateObject(ctx *simulator.Context, o mo.Reference, changes []types.PropertyChange) {
	if c.concerns(o.Reference()) {
		c.PropertyCollector.UpdateObject(ctx, o, changes)
	}
}

// RemoveObject is told that an object is no more.
func (c *Collector) RemoveObject(ctx *simulator.Context, ref types.ManagedObjectReference) {
	if c.concerns(ref) {
		c.PropertyCollector.RemoveObject(ctx, ref)
	}
}
