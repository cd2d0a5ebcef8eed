package collector

import (
	"slices"
	"sync"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// signs are the parts of a task's info of which at least one is in every change
// that the simulator and the lab make to a task after it began.
var signs = []string{"info.state", "info.progress", "info.description"}

const info = "info"

// Collector lets the simulator's filters look for signs where a client asked
// for a task's whole info, and puts the info in the signs' place in what the
// client gets. Its zero value is useful: the simulator makes the collector of
// each session so.
type Collector struct {
	simulator.PropertyCollector

	mu      sync.Mutex // guards all below
	filters map[types.ManagedObjectReference]filter
	hears   bool // a client has waited: the simulator tells of changes
	waits   int  // calls that wait now
	ended   bool // destroyed: nobody may wait any more
}

// Install makes every later session's collectors Collectors, gives the resource
// pools summaries of their own, and guards reconfigurations and new pools where
// the registry has no Handler yet.
func Install(m *simulator.Registry) {
	c := &Collector{}
	c.Self = m.Get(vim25.ServiceInstance).(*simulator.ServiceInstance).Content.PropertyCollector
	m.Put(c)
	poolsOff(m)
	if m.Handler == nil {
		m.Handler = Guard
	}
}

// CreatePropertyCollector makes another Collector.
func (c *Collector) CreatePropertyCollector(ctx *simulator.Context, _ *types.CreatePropertyCollector) soap.HasFault {
	made := &Collector{}
	made.Self.Type = "PropertyCollector" // by its Go type it would be a Collector
	return &methods.CreatePropertyCollectorBody{Res: &types.CreatePropertyCollectorResponse{
		Returnval: ctx.Session.Put(made).Reference()}}
}

// CreateFilter notes what a client asks of tasks when that is their whole info, and
// of which objects the filter is.
func (c *Collector) CreateFilter(ctx *simulator.Context, req *types.CreateFilter) soap.HasFault {
	own, paths := *req, taskPaths(req.Spec.PropSet)
	if slices.Contains(paths, info) {
		own.Spec.PropSet = withSigns(req.Spec.PropSet)
	} else {
		paths = nil
	}
	body := c.PropertyCollector.CreateFilter(ctx, &own)
	if made, ok := body.(*methods.CreateFilterBody); ok && made.Res != nil {
		c.note(ctx, made.Res.Returnval, filter{asked: paths, objects: objectsOf(req.Spec.ObjectSet)})
	}
	return body
}

// taskPaths are the properties of tasks that a filter is for.
func taskPaths(set []types.PropertySpec) []string {
	var out []string
	for _, p := range set {
		if p.Type != "Task" {
			continue
		}
		if p.All != nil && *p.All {
			return nil // changes are shown by their parts
		}
		out = append(out, p.PathSet...)
	}
	return out
}

// withSigns asks for the signs in place of a task's info. What else is asked
// for of tasks comes first, as the simulator takes the first path that fits.
func withSigns(set []types.PropertySpec) []types.PropertySpec {
	set = slices.Clone(set)
	for i, p := range set {
		if p.Type != "Task" {
			continue
		}
		paths := slices.DeleteFunc(slices.Clone(p.PathSet), func(s string) bool { return s == info })
		if len(paths) < len(p.PathSet) {
			paths = append(paths, signs...)
		}
		set[i].PathSet = paths
	}
	return set
}

// WaitForUpdatesEx waits as the simulator's does.
func (c *Collector) WaitForUpdatesEx(ctx *simulator.Context, req *types.WaitForUpdatesEx) soap.HasFault {
	if !c.enter() {
		return &methods.WaitForUpdatesExBody{Fault_: simulator.Fault("", new(types.RequestCanceled))}
	}
	defer c.leave()
	res := c.PropertyCollector.WaitForUpdatesEx(ctx, req)
	c.hear(ctx, req.Version)
	if body, ok := res.(*methods.WaitForUpdatesExBody); ok && body.Res != nil && body.Res.Returnval != nil {
		c.restore(ctx, body.Res.Returnval)
	}
	return res
}

// WaitForUpdates likewise.
func (c *Collector) WaitForUpdates(ctx *simulator.Context, req *types.WaitForUpdates) soap.HasFault {
	if !c.enter() {
		return &methods.WaitForUpdatesBody{Fault_: simulator.Fault("", new(types.RequestCanceled))}
	}
	defer c.leave()
	res := c.PropertyCollector.WaitForUpdates(ctx, req)
	c.hear(ctx, req.Version)
	if body, ok := res.(*methods.WaitForUpdatesBody); ok && body.Res != nil {
		c.restore(ctx, &body.Res.Returnval)
	}
	return res
}

func (c *Collector) enter() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ended {
		c.waits++
	}
	return !c.ended
}

func (c *Collector) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waits--
}

// DestroyPropertyCollector ends who waits first. The simulator cancels the wait
// that it knows of, and not one which is about to begin: that would last as long
// as its client wanted, and a server's end waits for it.
func (c *Collector) DestroyPropertyCollector(ctx *simulator.Context, req *types.DestroyPropertyCollector) soap.HasFault {
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for c.end() > 0 {
		c.CancelWaitForUpdates(&types.CancelWaitForUpdates{This: req.This})
		<-again.C
	}
	return c.PropertyCollector.DestroyPropertyCollector(ctx, req)
}

// end refuses waits from now on and tells how many there are still.
func (c *Collector) end() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	return c.waits
}

// restore puts whole infos where a filter found signs.
func (c *Collector) restore(ctx *simulator.Context, set *types.UpdateSet) {
	for _, f := range set.FilterSet {
		c.mu.Lock()
		paths := c.filters[f.Filter].asked
		c.mu.Unlock()
		if paths == nil {
			continue
		}
		for i, o := range f.ObjectSet {
			if o.Obj.Type == "Task" && o.Kind != types.ObjectUpdateKindLeave {
				f.ObjectSet[i].ChangeSet = whole(ctx, o, paths)
			}
		}
	}
}

// whole is an update's changes with the task's info in place of what the client
// did not ask for. Of a task that is gone, the parts are all there is.
func whole(ctx *simulator.Context, o types.ObjectUpdate, paths []string) []types.PropertyChange {
	t, ok := ctx.Map.Get(o.Obj).(*simulator.Task)
	if !ok {
		return o.ChangeSet
	}
	if !slices.ContainsFunc(o.ChangeSet, func(p types.PropertyChange) bool { return slices.Contains(signs, p.Name) }) {
		return o.ChangeSet
	}
	out := slices.DeleteFunc(slices.Clone(o.ChangeSet), func(p types.PropertyChange) bool { return !slices.Contains(paths, p.Name) })
	ctx.WithLock(t, func() {
		out = append(out, types.PropertyChange{Name: info, Op: types.PropertyChangeOpAssign, Val: t.Info})
	})
	return out
}
