package lab

import (
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/vic-engine/vic/pkg/lab/collector"
)

var vimService = vim25.ServiceInstance

// ownGUID marks a call as the lab's, see dispatch.
const ownGUID = "lab"

// dispatch is Registry.Handler: it sees every call before the session check.
// The simulator prefers what the session finds for the call's object over what
// is returned here, and it finds the plain object. A ServerGUID makes that
// look-up miss (it is part of the key), so the returned wrapper is the one
// called. The registry keeps the plain objects, which the simulator's own code
// type-asserts in many places.
func (l *Lab) dispatch(ctx *simulator.Context, method *simulator.Method) (mo.Reference, types.BaseMethodFault) {
	if f := l.refuse(ctx, method); f != nil && ctx.Session != nil {
		return nil, f
	}
	obj := ctx.Map.Get(method.This)
	if sm, ok := obj.(*simulator.SessionManager); ok {
		if ctx.Session != nil {
			// The session answers for its manager by type, not by key.
			method.This.Type = "LabSessionManager"
		}
		return &sessionObj{SessionManager: sm, l: l}, nil
	}
	if ctx.Session == nil {
		return nil, nil // the simulator refuses, or answers what needs no session
	}
	w := l.wrap(obj)
	if _, ok := method.Body.(*types.CreateResourcePool); ok {
		if p, ok := obj.(*simulator.ResourcePool); ok {
			w = &poolMaker{Pool: &collector.Pool{ResourcePool: p}, l: l}
		}
	}
	if w == nil {
		w = collector.History(ctx, method)
	}
	if w == nil {
		return nil, nil
	}
	method.This.ServerGUID = ownGUID
	return w, nil
}

// wrap returns what answers the calls of an object, nil for the object itself.
func (l *Lab) wrap(obj mo.Reference) mo.Reference {
	switch o := obj.(type) {
	case *simulator.VirtualMachine:
		return &vmObj{VirtualMachine: o, l: l}
	case *simulator.Folder:
		return &folderObj{Folder: o, l: l}
	case *simulator.Datacenter:
		return &datacenterObj{Datacenter: o, l: l}
	case *simulator.ResourcePool:
		return &poolObj{ResourcePool: o, l: l}
	case *simulator.VirtualApp:
		return &vappObj{VirtualApp: o, l: l}
	case *simulator.VirtualDiskManager:
		return &diskObj{VirtualDiskManager: o, l: l}
	case *simulator.FileManager:
		return &fileObj{FileManager: o, l: l}
	case *simulator.Datastore:
		return &datastoreObj{Datastore: o, l: l}
	case *simulator.HostDatastoreBrowser:
		return &browserObj{HostDatastoreBrowser: o, l: l}
	case *simulator.HostNetworkSystem:
		return &networkObj{HostNetworkSystem: o, l: l}
	case *simulator.HostFirewallSystem:
		return &firewallObj{HostFirewallSystem: o}
	case *simulator.DistributedVirtualPortgroup:
		return &portgroupObj{DistributedVirtualPortgroup: o, l: l}
	case *simulator.DistributedVirtualSwitch:
		return &switchObj{DistributedVirtualSwitch: o, l: l}
	case *simulator.EventManager:
		return &eventObj{EventManager: o}
	case *simulator.Task:
		return &taskObj{Task: o}
	}
	return nil
}

// taskObj refuses to cancel: what the lab does can't be stopped half-way, and
// the simulator would only change the task's state.
type taskObj struct {
	*simulator.Task
}

func (t *taskObj) CancelTask(_ *simulator.Context, _ *types.CancelTask) soap.HasFault {
	return &methods.CancelTaskBody{Fault_: simulator.Fault("the task cannot be cancelled", new(types.NotSupported))}
}
