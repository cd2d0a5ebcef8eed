package lab

import (
	"fmt"
	"reflect"
	"runtime/debug"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// job is the work of a task. It runs in a goroutine of its own, with a context
// of its own, and holds no lock when it begins.
type job func(c *simulator.Context) (types.AnyType, types.BaseMethodFault)

// task starts a vSphere task that does not lock its entity while it runs: the
// simulator's own tasks do, and a slow one of those blocks every read of its VM.
// name is like powerOn; progress may be set by setProgress.
func (l *Lab) task(ctx *simulator.Context, entity mo.Reference, name string, fn job) types.ManagedObjectReference {
	ref := entity.Reference()
	t := simulator.CreateTask(ref, name, nil)
	t.Self = types.ManagedObjectReference{Type: "Task", Value: fmt.Sprintf("task-%s-%d", l.boot, l.tasks.Add(1))}
	t.Info.Key, t.Info.Task = t.Self.Value, t.Self
	t.Info.State = types.TaskInfoStateRunning
	t.Info.StartTime = now()
	t.Info.Cancelable = false
	if e, ok := entity.(mo.Entity); ok && e.Entity().Name != "" {
		t.Info.EntityName = e.Entity().Name
	}
	t.Info.Reason = &types.TaskReasonUser{UserName: ctx.Session.UserName}

	c := l.context(ctx.Session)
	// Putting a task changes its entity's list of recent ones.
	locked(ctx, entity, func() { c.Map.Put(t) })
	l.background(func() {
		l.faults.delay(c, name)
		res, fault := l.shielded(ref, name, func() (types.AnyType, types.BaseMethodFault) { return fn(c) })
		l.finish(c, t, res, fault)
	})
	return t.Self
}

// shielded turns a panic of the simulator's into a fault: in a task's goroutine
// it would end the process.
func (l *Lab) shielded(ref types.ManagedObjectReference, name string, fn func() (types.AnyType, types.BaseMethodFault)) (res types.AnyType, fault types.BaseMethodFault) {
	defer func() {
		if r := recover(); r != nil {
			l.log.WithFields(map[string]any{"object": ref.String(), "task": name}).Errorf("panic: %v\n%s", r, debug.Stack())
			res, fault = nil, &types.SystemError{Reason: fmt.Sprint(r)}
		}
	}()
	return fn()
}

func (l *Lab) finish(c *simulator.Context, t *simulator.Task, res types.AnyType, fault types.BaseMethodFault) {
	changes := []types.PropertyChange{{Name: "info.completeTime", Val: time.Now()}}
	state := types.TaskInfoStateSuccess
	if fault != nil {
		state = types.TaskInfoStateError
		changes = append(changes, types.PropertyChange{Name: "info.error", Val: types.LocalizedMethodFault{
			Fault: fault, LocalizedMessage: faultText(fault)}})
	} else {
		changes = append(changes, types.PropertyChange{Name: "info.result", Val: res})
	}
	locked(c, t, func() {
		c.Update(t, append(changes, types.PropertyChange{Name: "info.state", Val: state}))
	})
}

// failed is a task that ends at once with a fault.
func (l *Lab) failed(ctx *simulator.Context, entity mo.Reference, name string, fault types.BaseMethodFault) types.ManagedObjectReference {
	return l.task(ctx, entity, name, func(*simulator.Context) (types.AnyType, types.BaseMethodFault) { return nil, fault })
}

// waitInner waits for a task of the simulator's that this goroutine started
// through a method's body, and forgets it: clients never hear of it.
func (l *Lab) waitInner(c *simulator.Context, body soap.HasFault) types.TaskInfo {
	if f := body.Fault(); f != nil {
		fault, _ := f.Detail.Fault.(types.BaseMethodFault)
		if fault == nil {
			fault = &types.SystemError{Reason: f.String}
		}
		return types.TaskInfo{State: types.TaskInfoStateError, Error: &types.LocalizedMethodFault{Fault: fault}}
	}
	ref := reflect.ValueOf(body).Elem().FieldByName("Res").Elem().FieldByName("Returnval").Interface().(types.ManagedObjectReference)
	t := c.Map.Get(ref).(*simulator.Task)
	t.Wait()
	var info types.TaskInfo
	locked(c, t, func() { info = t.Info })
	c.Map.Remove(c, ref)
	return info
}

// inner calls a task method of the simulator's on an object, locked as by a
// client's call, and gives the task's outcome. c is the task's too.
func (l *Lab) inner(c *simulator.Context, obj mo.Reference, call func() soap.HasFault) (types.AnyType, types.BaseMethodFault) {
	var body soap.HasFault
	free := func() {}
	defer func() { free() }()
	locked(c, obj, func() {
		free = l.holdDatastores(c)
		body = call()
	})
	info := l.waitInner(c, body)
	if info.Error != nil {
		return nil, info.Error.Fault
	}
	return info.Result, nil
}

// purge forgets tasks that ended long ago: the simulator keeps every one.
func (l *Lab) purge(c *simulator.Context) {
	limit := time.Now().Add(-l.cfg.TaskRetention)
	for _, ref := range c.Map.AllReference("Task") {
		t, ok := ref.(*simulator.Task)
		if !ok {
			continue
		}
		old := false
		locked(c, t, func() { old = t.Info.CompleteTime != nil && t.Info.CompleteTime.Before(limit) })
		if old {
			c.Map.Remove(c, t.Self)
		}
	}
}
