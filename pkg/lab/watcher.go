package lab

import (
	"slices"
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// watcher is a simulator.RegisterObject: it is told of every object put, changed
// and removed, in the goroutine of whoever does it and with the object locked,
// so it must not block.
type watcher struct{ l *Lab }

func (w *watcher) Reference() types.ManagedObjectReference {
	return types.ManagedObjectReference{Type: "LabWatcher", Value: "lab"}
}

// PutObject sees every task of the simulator's before its goroutine starts
// (Task.Run puts the task first, and Execute is exported): each gets a shield,
// also those that its code starts by itself.
func (w *watcher) PutObject(_ *simulator.Context, obj mo.Reference) {
	t, ok := obj.(*simulator.Task)
	if !ok {
		if o, ok := obj.(*simulator.VirtualMachine); ok {
			w.l.hold(o)
		}
		w.l.saver.changed(obj.Reference())
		return
	}
	if t.Execute == nil || t.Info.Entity == nil {
		return // one of ours
	}
	run, ref, id := t.Execute, *t.Info.Entity, t.Info.DescriptionId
	t.Execute = func(t *simulator.Task) (types.AnyType, types.BaseMethodFault) {
		if ref.Type == "HostDatastoreBrowser" {
			defer w.l.holdDatastores(w.l.context(nil))()
		}
		res, fault := w.l.shielded(ref, id, func() (types.AnyType, types.BaseMethodFault) { return run(t) })
		if _, panicked := fault.(*types.SystemError); panicked && id == "Folder.createVm" {
			w.l.dropHalfMade(ref)
		}
		return res, fault
	}
}

// dropHalfMade removes what a panicking CreateVM leaves in its folder: a VM
// without a name makes every later look-up by name there panic. The task holds
// the folder's lock.
func (l *Lab) dropHalfMade(ref types.ManagedObjectReference) {
	c := l.context(nil)
	f, ok := c.Map.Get(ref).(*simulator.Folder)
	if !ok {
		return
	}
	for _, child := range append([]types.ManagedObjectReference(nil), f.ChildEntity...) {
		if o, ok := c.Map.Get(child).(*simulator.VirtualMachine); ok && (o.Runtime.Host == nil || o.Name == "") {
			simulator.RemoveReference(&f.ChildEntity, child)
			c.Map.Remove(c, child)
		}
	}
}

func (w *watcher) UpdateObject(_ *simulator.Context, obj mo.Reference, changes []types.PropertyChange) {
	m, ok := obj.(*mo.VirtualMachine)
	if !ok {
		// Every task is noted with its entity: that alone is no change.
		if kept(obj.Reference()) && slices.ContainsFunc(changes, func(c types.PropertyChange) bool { return c.Name != "recentTask" }) {
			w.l.saver.changed(obj.Reference())
		}
		return
	}
	for _, c := range changes {
		top, _, _ := strings.Cut(c.Name, ".")
		switch top {
		case "config", "name":
			w.l.files.dirty(m.Self)
			w.l.saver.changed(m.Self)
		case "runtime", "guest", "parent", "resourcePool", "network", "datastore", "summary":
			w.l.saver.changed(m.Self)
		}
	}
}

func (w *watcher) RemoveObject(_ *simulator.Context, ref types.ManagedObjectReference) {
	w.l.saver.removed(ref)
}
