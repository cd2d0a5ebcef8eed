package collector

import (
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// History is what answers the calls that a session's collector of past events or
// tasks cannot answer while the simulator adds another of them; nil: the collector
// itself. The simulator goes through its manager's list of collectors with the
// manager locked, and takes a collector off the list, and copies the manager's page,
// without: a map that is written to while it is read ends the process.
//
// The answer is not the session's object: whoever returns it from a Registry.Handler
// makes the call's This one that the session does not find.
func History(ctx *simulator.Context, m *simulator.Method) mo.Reference {
	switch m.Body.(type) {
	case *types.DestroyCollector, *types.SetCollectorPageSize:
	default:
		return nil
	}
	if ctx.Session == nil {
		return nil
	}
	content := ctx.Map.Get(vim25.ServiceInstance).(*simulator.ServiceInstance).Content
	switch c := ctx.Session.Registry.Get(m.This).(type) {
	case *simulator.EventHistoryCollector:
		return &historyPages{pages: c, manager: ctx.Map.Get(*content.EventManager)}
	case *simulator.TaskHistoryCollector:
		return &historyPages{pages: c, manager: ctx.Map.Get(*content.TaskManager)}
	}
	return nil
}

// pages are a collector of past events or tasks.
type pages interface {
	mo.Reference
	DestroyCollector(*simulator.Context, *types.DestroyCollector) soap.HasFault
	SetCollectorPageSize(*simulator.Context, *types.SetCollectorPageSize) soap.HasFault
}

// historyPages locks the manager of a collector first and the collector second, as the
// simulator does when there is something new.
type historyPages struct {
	pages
	manager mo.Reference
}

// Lock does nothing: the simulator would lock the collector for the whole call.
func (h *historyPages) Lock() {}

// Unlock does nothing.
func (h *historyPages) Unlock() {}

func (h *historyPages) DestroyCollector(ctx *simulator.Context, req *types.DestroyCollector) (res soap.HasFault) {
	h.locked(ctx, func() { res = h.pages.DestroyCollector(ctx, req) })
	return res
}

func (h *historyPages) SetCollectorPageSize(ctx *simulator.Context, req *types.SetCollectorPageSize) (res soap.HasFault) {
	h.locked(ctx, func() { res = h.pages.SetCollectorPageSize(ctx, req) })
	return res
}

func (h *historyPages) locked(ctx *simulator.Context, fn func()) {
	defer ctx.Map.AcquireLock(ctx, h.manager)()
	defer ctx.Map.AcquireLock(ctx, h.pages)()
	fn()
}
