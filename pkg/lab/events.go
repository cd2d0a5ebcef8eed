package lab

import (
	"fmt"
	"reflect"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// event posts a VM's event. Nobody's lock may be held but the caller's own.
func (l *Lab) event(c *simulator.Context, o *simulator.VirtualMachine, mk func(types.VmEvent) types.BaseEvent) {
	var host, parent *types.ManagedObjectReference
	e := types.VmEvent{}
	locked(c, o, func() {
		e.Vm = &types.VmEventArgument{EntityEventArgument: types.EntityEventArgument{Name: o.Name}, Vm: o.Self}
		host, parent = o.Runtime.Host, o.Parent
	})
	if host != nil {
		if h, ok := c.Map.Get(*host).(*simulator.HostSystem); ok {
			e.Host = &types.HostEventArgument{EntityEventArgument: types.EntityEventArgument{Name: h.Name}, Host: h.Self}
			e.ComputeResource = &types.ComputeResourceEventArgument{ComputeResource: *h.Parent,
				EntityEventArgument: types.EntityEventArgument{Name: nameOf(c, *h.Parent)}}
		}
	}
	if dc := datacenterOf(c, parent); dc != nil {
		e.Datacenter = &types.DatacenterEventArgument{EntityEventArgument: types.EntityEventArgument{Name: dc.Name}, Datacenter: dc.Self}
	}
	m := c.Map.EventManager()
	locked(c, m, func() { m.PostEvent(c, &types.PostEvent{EventToPost: mk(e)}) })
}

func nameOf(c *simulator.Context, ref types.ManagedObjectReference) string {
	if e, ok := c.Map.Get(ref).(mo.Entity); ok {
		return e.Entity().Name
	}
	return ""
}

// datacenterOf walks up from an entity to its datacenter, nil without one.
func datacenterOf(c *simulator.Context, p *types.ManagedObjectReference) *simulator.Datacenter {
	for p != nil {
		obj := c.Map.Get(*p)
		if dc, ok := obj.(*simulator.Datacenter); ok {
			return dc
		}
		e, ok := obj.(mo.Entity)
		if !ok {
			return nil
		}
		p = e.Entity().Parent
	}
	return nil
}

// faultText is what a person reads of a fault.
func faultText(f types.BaseMethodFault) string {
	if f == nil {
		return ""
	}
	if ms := f.GetMethodFault().FaultMessage; len(ms) > 0 && ms[0].Message != "" {
		return ms[0].Message
	}
	switch x := f.(type) {
	case *types.GenericVmConfigFault:
		return x.Reason
	case *types.SystemError:
		return x.Reason
	case *types.InvalidPowerState:
		return fmt.Sprintf("The attempted operation cannot be performed in the current state (%s).", x.ExistingState)
	case *types.FileNotFound:
		return fmt.Sprintf("File %s was not found.", x.File)
	case *types.FileAlreadyExists:
		return fmt.Sprintf("File %s already exists.", x.File)
	case *types.FileLocked:
		return fmt.Sprintf("Unable to access file %s since it is locked.", x.File)
	case *types.NoDiskSpace:
		return fmt.Sprintf("Insufficient disk space on datastore '%s'.", x.Datastore)
	case *types.DuplicateName:
		return fmt.Sprintf("The name '%s' already exists.", x.Name)
	case *types.InvalidDatastorePath:
		return fmt.Sprintf("Invalid datastore path '%s'.", x.DatastorePath)
	case *types.InvalidArgument:
		return fmt.Sprintf("A specified parameter was not correct: %s", x.InvalidProperty)
	case *types.TaskInProgress:
		return "Another task is already in progress."
	case *types.ConcurrentAccess:
		return "The object or item referred to has been changed by another operation."
	case *types.InvalidDeviceBacking:
		return fmt.Sprintf("Incompatible device backing specified for device '%d' (%s).", x.DeviceIndex, x.Property)
	case *types.InvalidDeviceSpec:
		return fmt.Sprintf("Invalid configuration for device '%d'.", x.DeviceIndex)
	case *types.ManagedObjectNotFound:
		return "The object has already been deleted or has not been completely created"
	}
	return reflect.TypeOf(f).Elem().Name()
}

// reason is a fault with words of its own.
func reason(f types.BaseMethodFault, format string, args ...any) types.BaseMethodFault {
	m := f.GetMethodFault()
	m.FaultMessage = []types.LocalizableMessage{{Key: "vic.lab", Message: fmt.Sprintf(format, args...)}}
	return f
}

// eventObj is the EventManager.
type eventObj struct {
	*simulator.EventManager
}

// PostEvent checks what the simulator's alarms take for granted.
func (m *eventObj) PostEvent(ctx *simulator.Context, req *types.PostEvent) soap.HasFault {
	if x, ok := req.EventToPost.(*types.EventEx); req.EventToPost == nil ||
		ok && ctx.Map.Get(types.ManagedObjectReference{Type: x.ObjectType, Value: x.ObjectId}) == nil {
		return &methods.PostEventBody{Fault_: simulator.Fault("no such object", &types.InvalidArgument{InvalidProperty: "eventToPost"})}
	}
	return m.EventManager.PostEvent(ctx, req)
}
